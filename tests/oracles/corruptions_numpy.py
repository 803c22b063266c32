"""The 19 common corruptions (Hendrycks & Dietterich 2019), one image at a time, with NumPy, SciPy and scikit-image.

A second implementation from the description of the algorithms alone: float64 inside, the obvious algorithm for each.
It is what the package is compared with, and its rival in the benchmarks.
"""

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from . import corruptions_blur as blur
from . import corruptions_digital as digital
from . import corruptions_noise as noise
from . import corruptions_weather as weather
from .corruptions_spatter import spatter

Array = np.ndarray[Any, Any]

IMAGENET: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # sigma
    "shot_noise": (60, 25, 12, 5, 3),  # photons at white
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),  # share of the values
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),  # radius, alias sigma
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),  # sigma, reach, rounds
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),  # radius, sigma
    "zoom_blur": ((0.01, 12, 1.11), (0.01, 16, 1.15), (0.02, 11, 1.20), (0.02, 13, 1.24), (0.03, 11, 1.30)),
    "snow": (  # mean, std, zoom, threshold, blur radius, blur sigma, keep
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),  # weights of the image and of the frost
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),  # strength, decay
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": (  # alpha, sigma, affine delta
        (488, 170.8, 24.4),
        (488, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    ),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
    "speckle_noise": (0.15, 0.20, 0.35, 0.45, 0.60),
    "gaussian_blur": (1, 2, 3, 4, 6),
    "spatter": (  # mean, std, sigma, threshold, intensity or mud sigma, mud?
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),  # factor, added
}

CIFAR: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((0.01, 7, 1.06), (0.01, 12, 1.11), (0.01, 16, 1.15), (0.01, 21, 1.20), (0.01, 26, 1.25)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": (0.05, 0.10, 0.15, 0.20, 0.30),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": (80, 65, 58, 50, 40),
    "speckle_noise": (0.06, 0.10, 0.12, 0.16, 0.20),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}

PARAMETERS = MappingProxyType({"imagenet": IMAGENET, "cifar": CIFAR})
DETERMINISTIC = (
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression", "gaussian_blur", "saturate",
)  # fmt: skip
ALGORITHMS: dict[str, Callable[..., Array]] = {
    **{f.__name__: f for f in (noise.gaussian_noise, noise.shot_noise, noise.impulse_noise, noise.speckle_noise)},
    **{f.__name__: f for f in (blur.defocus_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur)},
    **{f.__name__: f for f in (blur.gaussian_blur, weather.snow, weather.frost, weather.fog, weather.brightness)},
    **{f.__name__: f for f in (digital.contrast, digital.elastic_transform, digital.pixelate, spatter)},
    **{f.__name__: f for f in (digital.jpeg_compression, digital.saturate)},
}


def corrupt(
    image: Array,
    name: str,
    severity: int,
    rng: np.random.Generator,
    parameters: str,
    textures: Sequence[Array] | None = None,
) -> Array:
    """One image, height x width x 3 uint8, corrupted and truncated (not rounded) to uint8.

    Args:
        parameters: "imagenet" (224 pixels a side) or "cifar" (32).
        textures: the frost photographs 1, 2, 4 and 5, as height x width x 3 on 0..255, at the size that is cropped;
            without them, synthetic ones.
    """
    numbers = PARAMETERS[parameters][name][severity - 1]
    numbers = numbers if isinstance(numbers, tuple) else (numbers,)
    extra: dict[str, Any] = {}
    if name == "frost":
        extra["textures"] = textures or weather.synthetic_frost({"imagenet": 1.0, "cifar": 0.2}[parameters])
    if name == "fog":
        extra["size"] = {"imagenet": 256, "cifar": 32}[parameters]
    x = image.astype(np.float64) / 255
    return noise.to_bytes(ALGORITHMS[name](x, rng, *numbers, **extra))
