"""Spatter on one image x, height x width x 3 in [0, 1], and the classical image processing that its water needs."""

from typing import Any

import numpy as np
from scipy import ndimage

from .corruptions_blur import smooth

Array = np.ndarray[Any, Any]

WATER = np.array([175, 238, 238]) / 255
MUD = np.array([63, 42, 20]) / 255
RELIEF = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
# 5 x 5 chamfer weights of a step along a side, a diagonal and a knight's move (Borgefors 1986, as OpenCV's DIST_L2).
CHAMFER = {(0, 1): 1.0, (1, 0): 1.0, (1, 1): 1.4, (1, 2): 2.1969, (2, 1): 2.1969}
STEPS = {(a * down, b * right): w for (down, right), w in CHAMFER.items() for a in (-1, 1) for b in (-1, 1)}


def canny(levels: Array, low: float, high: float) -> Array:
    """Edges, as booleans: 3 x 3 Sobel, L1 magnitude, four directions, hysteresis over eight neighbours."""
    values = levels.astype(np.int64)
    smoothing, slope = (1, 2, 1), (-1, 0, 1)
    dx = ndimage.correlate1d(ndimage.correlate1d(values, smoothing, 0, mode="nearest"), slope, 1, mode="nearest")
    dy = ndimage.correlate1d(ndimage.correlate1d(values, smoothing, 1, mode="nearest"), slope, 0, mode="nearest")
    size = np.abs(dx) + np.abs(dy)
    framed = np.pad(size, 1)  # nothing beyond the border
    height, width = size.shape

    def beside(down: int, right: int) -> Array:
        return framed[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    flat = np.abs(dy) < np.tan(np.pi / 8) * np.abs(dx)
    steep = np.abs(dy) > np.tan(3 * np.pi / 8) * np.abs(dx)
    falling = (dx < 0) != (dy < 0)
    # Of equal neighbours along a side the first one wins; along a diagonal both must be smaller.
    peak = np.select(
        [flat, steep, falling],
        [
            (size > beside(0, -1)) & (size >= beside(0, 1)),
            (size > beside(-1, 0)) & (size >= beside(1, 0)),
            (size > beside(-1, 1)) & (size > beside(1, -1)),
        ],
        (size > beside(-1, -1)) & (size > beside(1, 1)),
    ).astype(bool)
    weak = peak & (size > low)
    label, count = ndimage.label(weak, np.ones((3, 3)))
    strong = np.zeros(count + 1, dtype=bool)
    strong[label[weak & (size > high)]] = True
    strong[0] = False
    return strong[label]


def distance(edges: Array, limit: float) -> Array:
    """5 x 5 chamfer distance to the nearest edge, truncated: steps are tried until none shortens a path."""
    height, width = edges.shape
    d = np.where(edges, 0.0, limit)
    while True:
        before = d.copy()
        there = np.pad(d, 2, constant_values=limit)
        for (down, right), weight in STEPS.items():
            np.minimum(d, there[2 + down : 2 + down + height, 2 + right : 2 + right + width] + weight, out=d)
        if np.array_equal(before, d):
            return d


def equalise(levels: Array) -> Array:
    """Histogram equalisation of uint8: the lowest level that occurs goes to 0, the highest to 255."""
    counts = np.bincount(levels.ravel(), minlength=256)
    lowest = int(np.flatnonzero(counts)[0])
    if counts[lowest] == levels.size:
        return levels
    counts[lowest] = 0
    return np.rint(np.cumsum(counts) * 255 / counts.sum()).astype(np.uint8)[levels]


def box(values: Array) -> Array:
    """Mean of 3 x 3, borders mirrored without repeating the edge."""
    return ndimage.correlate(values.astype(np.float64), np.ones((3, 3)), mode="mirror") / 9


def water_mask(liquid: Array, intensity: float) -> Array | None:
    """How much water there is at each pixel; None where there is none at all."""
    drops = np.clip(np.floor(255 * liquid), 0, 255).astype(np.uint8)
    depth = np.floor(box(distance(canny(drops, 50, 150), 20)) + 1e-6).astype(np.uint8)
    relief = ndimage.correlate(equalise(depth).astype(np.int64), RELIEF, mode="mirror")
    mask = drops * np.rint(box(np.clip(relief, 0, 255)))
    return mask / mask.max() * intensity if mask.max() > 0 else None


def spatter(
    x: Array,
    rng: np.random.Generator,
    mean: float,
    std: float,
    sigma: float,
    threshold: float,
    amount: float,
    mud: int,
) -> Array:
    liquid = smooth(rng.normal(mean, std, x.shape[:2]), sigma)
    liquid[liquid < threshold] = 0
    if not mud:
        mask = water_mask(liquid, amount)
        return x if mask is None else x + mask[..., None] * WATER
    mask = smooth((liquid > threshold).astype(np.float64), amount)
    mask[mask < 0.8] = 0
    return x * (1 - mask[..., None]) + mask[..., None] * MUD
