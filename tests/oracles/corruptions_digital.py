"""Digital corruptions of one image x, height x width x 3 in [0, 1]."""

import io
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import color

Array = np.ndarray[Any, Any]


def contrast(x: Array, rng: np.random.Generator, factor: float) -> Array:
    mean = x.mean(axis=(0, 1))
    return (x - mean) * factor + mean


def _sample(x: Array, rows: Array, columns: Array, mode: str) -> Array:
    return np.stack([ndimage.map_coordinates(c, (rows, columns), order=1, mode=mode) for c in np.moveaxis(x, 2, 0)], 2)


def elastic_transform(x: Array, rng: np.random.Generator, alpha: float, sigma: float, delta: float) -> Array:
    """A random affine map of three points, then a smooth random displacement."""
    height, width = x.shape[:2]
    centre, s = np.array([height // 2, width // 2]), min(height, width) // 3
    points = np.array([centre + s, (centre[0] + s, centre[1] - s), centre - s], dtype=np.float64)  # as (x, y)
    moved = points + rng.uniform(-delta, delta, points.shape)
    # The points of the image go to the moved ones, so an output pixel reads where the map back sends it.
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points)
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    there = np.stack([columns, rows, np.ones_like(rows)], axis=2) @ back
    x = _sample(x, there[..., 1], there[..., 0], mode="mirror")
    if alpha == 0:
        return x
    field = rng.uniform(-1, 1, (2, height, width))
    shift = alpha * ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3.0, axes=(1, 2))
    return _sample(x, rows + shift[0], columns + shift[1], mode="reflect")


def _picture(x: Array) -> Image.Image:
    return Image.fromarray(np.rint(255 * x).astype(np.uint8))


def pixelate(x: Array, rng: np.random.Generator, factor: float) -> Array:
    height, width = x.shape[:2]
    small = _picture(x).resize((int(width * factor), int(height * factor)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX)) / 255


def jpeg_compression(x: Array, rng: np.random.Generator, quality: int) -> Array:
    file = io.BytesIO()
    _picture(x).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255


def saturate(x: Array, rng: np.random.Generator, factor: float, added: float) -> Array:
    hsv = color.rgb2hsv(x)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + added, 0, 1)
    return color.hsv2rgb(hsv)
