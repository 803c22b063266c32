"""AugMix on one 8-bit image, as its paper's pseudocode reads, with Pillow's operations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Array = np.ndarray[Any, Any]
Link = tuple[str, float]  # an operation and Pillow's own parameter of it

STANDARD = (
    "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip
ALL = (*STANDARD, "color", "contrast", "brightness", "sharpness")
SIGNED = STANDARD[3:4] + STANDARD[5:]


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


APPLY: dict[str, Callable[[Image.Image, Any], Image.Image]] = {
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "posterize": ImageOps.posterize,
    "rotate": lambda image, degrees: image.rotate(degrees, resample=Image.Resampling.BILINEAR),
    "solarize": ImageOps.solarize,
    "shear_x": lambda image, amount: _affine(image, 1, amount, 0, 0, 1, 0),
    "shear_y": lambda image, amount: _affine(image, 1, 0, 0, amount, 1, 0),
    "translate_x": lambda image, pixels: _affine(image, 1, 0, pixels, 0, 1, 0),
    "translate_y": lambda image, pixels: _affine(image, 1, 0, 0, 0, 1, pixels),
    "color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
}


def magnitude(name: str, v: float, side: int) -> float:
    """The parameter at level v, without its sign; side: the one along which the operation moves pixels."""
    match name:
        case "posterize":
            return 4 - int(0.4 * v)
        case "solarize":
            return 256 - int(25.6 * v)
        case "rotate":
            return int(3 * v)
        case "shear_x" | "shear_y":
            return 0.03 * v
        case "translate_x" | "translate_y":
            return int(v * side / 30)
        case "autocontrast" | "equalize":
            return 0
    return 0.18 * v + 0.1


def mixed(levels: Array, weights: Sequence[float], chains: Sequence[Sequence[Link]]) -> Array:
    """The image (levels, height x width x 3) and its chains with their weights, the image's own first; in [0, 1]."""
    own, *others = weights
    mixture = own * (levels.astype(np.float32) / 255)
    for weight, chain in zip(others, chains, strict=True):
        image = Image.fromarray(levels)
        for name, parameter in chain:
            image = APPLY[name](image, parameter)
        mixture += weight * (np.asarray(image, dtype=np.float32) / 255)
    return mixture


def augmix(levels: Array, rng: np.random.Generator, names: Sequence[str] = STANDARD, severity: float = 3.0) -> Array:
    """Three chains of one to three operations, drawn as the authors draw them."""
    chains = [[_draw(levels, rng, names, severity) for _ in range(rng.integers(1, 4))] for _ in range(3)]
    shares, m = rng.dirichlet([1, 1, 1]), rng.beta(1, 1)
    return mixed(levels, [1 - m, *(m * shares)], chains)


def _draw(levels: Array, rng: np.random.Generator, names: Sequence[str], severity: float) -> Link:
    name = names[rng.integers(len(names))]
    parameter = magnitude(name, rng.uniform(0.1, severity), levels.shape[0 if name == "translate_y" else 1])
    return name, -parameter if name in SIGNED and rng.random() < 0.5 else parameter
