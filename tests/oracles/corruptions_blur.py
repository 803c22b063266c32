"""Blur on one image x, height x width x 3 in [0, 1]."""

import math
from typing import Any

import numpy as np
from scipy import ndimage, signal

from .corruptions_noise import to_bytes

Array = np.ndarray[Any, Any]


def smooth(x: Array, sigma: float) -> Array:
    """A Gaussian cut at 4 sigma with replicated edges, over the two sides of the image."""
    return ndimage.gaussian_filter(x, sigma, mode="nearest", truncate=4.0, axes=(0, 1))


def gaussian_blur(x: Array, rng: np.random.Generator, sigma: float) -> Array:
    return smooth(x, sigma)


def disk(radius: float) -> Array:
    """1 inside the radius, on a grid of -8..8 or, for a larger radius, -radius..radius."""
    reach = 8 if radius <= 8 else int(radius)
    i, j = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return (i**2 + j**2 <= radius**2).astype(np.float64)


def defocus_kernel(radius: float, alias_sigma: float) -> Array:
    """The disk's mean, its rim softened."""
    kernel = disk(radius)
    kernel /= kernel.sum()
    half = 1 if radius <= 8 else 2
    taps = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * alias_sigma**2))
    taps /= taps.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, taps, axis=axis, mode="mirror")
    return kernel


def defocus_blur(x: Array, rng: np.random.Generator, radius: float, alias_sigma: float) -> Array:
    kernel = defocus_kernel(radius, alias_sigma)  # symmetric: convolving is correlating
    reach = len(kernel) // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return signal.fftconvolve(padded, kernel[:, :, None], mode="valid", axes=(0, 1))


def glass_sources(height: int, width: int, reach: int, rounds: int, rng: np.random.Generator, swap: bool) -> Array:
    """For every pixel the flat index of the one whose colour it ends with: the scan, step by step, on indices."""
    rows = range(height - reach, reach, -1)
    columns = range(width - reach, reach, -1)
    source = list(range(height * width))
    for _ in range(rounds):
        offsets = rng.integers(-reach, reach, (len(rows) * len(columns), 2))
        jumps = iter((offsets[:, 1] * width + offsets[:, 0]).tolist())
        for h in rows:
            for w in columns:
                here = h * width + w
                there = here + next(jumps)
                if swap:
                    source[here], source[there] = source[there], source[here]
                else:
                    source[here] = source[there]
    return np.array(source)


def glass_blur(
    x: Array, rng: np.random.Generator, sigma: float, reach: int, rounds: int, *, swap: bool = False
) -> Array:
    """The benchmark's own statement copies the displaced pixel and leaves its source as it was."""
    height, width, channels = x.shape
    first = to_bytes(smooth(x, sigma)).reshape(-1, channels)
    moved = first[glass_sources(height, width, reach, rounds, rng, swap)].reshape(x.shape)
    return smooth(moved / 255, sigma)


def motion_taps(radius: int, sigma: float) -> Array:
    taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


def streak(x: Array, radius: int, sigma: float, degrees: float) -> Array:
    """One-sided Gaussian along a direction; edges replicated."""
    taps = motion_taps(radius, sigma)
    height, width = x.shape[:2]
    reach = len(taps)
    padded = np.pad(x, [(reach, reach), (reach, reach)] + [(0, 0)] * (x.ndim - 2), mode="edge")
    out = np.zeros_like(x)
    for i, tap in enumerate(taps):
        top = reach + math.ceil(i * math.sin(math.radians(degrees)) - 0.5)
        left = reach + math.ceil(i * math.cos(math.radians(degrees)) - 0.5)
        out += tap * padded[top : top + height, left : left + width]
    return out


def motion_blur(x: Array, rng: np.random.Generator, radius: int, sigma: float) -> Array:
    return streak(x, radius, sigma, rng.uniform(-45, 45))


def zoom_geometry(side: int, factor: float) -> tuple[int, int, int, int]:
    """(cut, top, size, trim): the centre's side and corner, its side once enlarged, and the corner of what is kept."""
    cut = math.ceil(side / factor)
    size = round(cut * factor)
    return cut, (side - cut) // 2, size, (size - side) // 2


def centre_zoom(x: Array, factor: float) -> Array:
    """The centre of a square image, enlarged linearly with the corner pixels on top of each other."""
    side = x.shape[0]
    cut, top, size, trim = zoom_geometry(side, factor)
    zoom = (size / cut, size / cut) + (1,) * (x.ndim - 2)
    large = ndimage.zoom(x[top : top + cut, top : top + cut], zoom, order=1, mode="nearest")
    return large[trim : trim + side, trim : trim + side]


def zoom_factors(step: float, count: int, last: float) -> list[float]:
    """A floating-point range as the benchmark's: its 1.25 is a hair above, so that 26 pixels become 33 and not 32."""
    factors = np.arange(1, last + step / 2, step).tolist()
    assert len(factors) == count
    return factors


def zoom_blur(x: Array, rng: np.random.Generator, step: float, count: int, last: float) -> Array:
    x = x.astype(np.float32)
    total = x.copy()
    for factor in zoom_factors(step, count, last):
        total += centre_zoom(x, factor)
    return total / np.float32(count + 1)
