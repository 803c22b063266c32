"""Noise on one image x, height x width x 3 in [0, 1]; and the way from floats to bytes."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_LEVEL = 1e-6  # k / 255 * 255 may fall short of k by a rounding error: far above that, far below any real difference


def to_bytes(x: Array) -> Array:
    """[0, 1] to 0..255, truncated."""
    return np.floor(np.clip(x, 0, 1) * 255 + _LEVEL).astype(np.uint8)


def gaussian_noise(x: Array, rng: np.random.Generator, sigma: float) -> Array:
    return x + sigma * rng.standard_normal(x.shape)


def shot_noise(x: Array, rng: np.random.Generator, photons: float) -> Array:
    return rng.poisson(x * photons) / photons


def impulse_noise(x: Array, rng: np.random.Generator, share: float) -> Array:
    hit = rng.random(x.shape) < share
    return np.where(hit, rng.integers(0, 2, x.shape), x)


def speckle_noise(x: Array, rng: np.random.Generator, sigma: float) -> Array:
    return x + x * sigma * rng.standard_normal(x.shape)
