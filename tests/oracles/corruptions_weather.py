"""Weather on one image x, height x width x 3 in [0, 1]."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from skimage import color

from .corruptions_blur import centre_zoom, streak
from .corruptions_noise import to_bytes

Array = np.ndarray[Any, Any]

FROST_SHARES = (0.2, 0.4, 0.2, 0.2)  # photographs 1, 2 and its twin 3, 4, 5
# Height, width, mean and deviation of the colours, slope of the power spectrum.
PHOTOGRAPHS = (
    (600, 900, (78, 149, 166), (27, 16, 15), -1.4),
    (315, 560, (201, 205, 214), (21, 22, 23), -1.7),
    (350, 527, (138, 153, 165), (28, 28, 30), -1.0),
    (495, 660, (112, 123, 135), (44, 43, 42), -1.8),
)


def snow(
    x: Array,
    rng: np.random.Generator,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    keep: float,
) -> Array:
    flakes = centre_zoom(rng.normal(mean, std, x.shape[:2]), zoom)
    flakes[flakes < threshold] = 0
    layer = streak(to_bytes(flakes).astype(np.float64), radius, sigma, rng.uniform(-135, -45))
    layer = np.rint(layer)[..., None] / 255
    grey = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    pale = keep * x + (1 - keep) * np.maximum(x, 1.5 * grey + 0.5)
    return pale + layer + np.rot90(layer, 2)


@cache
def synthetic_frost(scale: float) -> tuple[Array, ...]:
    """Fractal noise in the place of the photographs: for where their look does not matter, as in timing."""
    rng = np.random.default_rng(0)
    made = []
    for tall, wide, mean, std, slope in PHOTOGRAPHS:
        height, width = int(tall * scale), int(wide * scale)
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
        frequency[0, 0] = np.inf
        field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * frequency ** (slope / 2))
        field /= field.std()
        made.append(np.clip(np.rint(np.array(mean) + field[..., None] * np.array(std)), 0, 255))
    return tuple(made)


def frost(
    x: Array, rng: np.random.Generator, image_weight: float, frost_weight: float, *, textures: Sequence[Array]
) -> Array:
    texture = textures[rng.choice(len(FROST_SHARES), p=FROST_SHARES)]
    height, width = x.shape[:2]
    top = rng.integers(0, texture.shape[0] - height)
    left = rng.integers(0, texture.shape[1] - width)
    crop = texture[top : top + height, left : left + width]
    return (image_weight * 255 * x + frost_weight * crop) / 255


def plasma(rng: np.random.Generator, size: int, decay: float) -> Array:
    """Diamond-square on a torus, in [0, 1]: size x size, a power of two."""
    m = np.zeros((size, size))
    step, w = size, 100.0

    def wobble(mean: Array) -> Array:
        return mean + w * rng.uniform(-w, w, mean.shape)

    while step >= 2:
        half = step // 2
        corners = m[::step, ::step]
        right, below = np.roll(corners, -1, 1), np.roll(corners, -1, 0)
        m[half::step, half::step] = wobble((corners + right + below + np.roll(right, -1, 0)) / 4)
        centres = m[half::step, half::step]
        m[::step, half::step] = wobble((corners + right + centres + np.roll(centres, 1, 0)) / 4)
        m[half::step, ::step] = wobble((corners + below + centres + np.roll(centres, 1, 1)) / 4)
        step //= 2
        w /= decay
    m -= m.min()
    return m / m.max()


def fog(x: Array, rng: np.random.Generator, strength: float, decay: float, *, size: int) -> Array:
    height, width = x.shape[:2]
    haze = plasma(rng, size, decay)[:height, :width, None]
    return (x + strength * haze) * x.max() / (x.max() + strength)


def brightness(x: Array, rng: np.random.Generator, added: float) -> Array:
    hsv = color.rgb2hsv(x)
    hsv[..., 2] = np.clip(hsv[..., 2] + added, 0, 1)
    return color.hsv2rgb(hsv)
