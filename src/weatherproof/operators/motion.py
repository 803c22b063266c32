"""Motion blur along a line, as ImageMagick computes it."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.types import Images, Keys

# Taps whose weights together stay below this are left out: 1/2,500 of an 8-bit level.
_NEGLIGIBLE = 1.5e-6
_SMALL = 3 << 14  # values: for images up to here it pays to put those of like angles side by side


def motion_blur(images: Images, keys: Keys, radius: float, sigma: float) -> Images:
    """Motion blur of the common corruptions (Hendrycks & Dietterich 2019): `motion` at an angle uniform on (-45, 45)
    degrees, drawn per image."""
    return motion(images, radius, sigma, random.uniform(random.fold(keys, 0), -45.0, 45.0))


def motion(images: Images, radius: float, sigma: float, angle_degrees: Float[Tensor, "batch"]) -> Images:
    """Smears each image along a line, to one side: the motion blur of ImageMagick, which the benchmark calls.

    out(y, x) = sum_i k_i in(y + ceil(i sin a - 1/2), x + ceil(i cos a - 1/2)), i = 0 .. 2 radius, the border repeated,
    with k_i proportional to exp(-i^2 / (2 sigma^2)) and of sum 1.

    Args:
        images: any number of channels, values of any range.
        radius: half the length of the smear, in pixels; a fraction is rounded.
        sigma: standard deviation of the one-sided Gaussian, in pixels.
        angle_degrees: one angle per image, any values; 0 looks along +x and 90 along +y (down).
    """
    weights = _weights(radius, sigma)
    small = images.shape[1:].numel() <= _SMALL
    order = angle_degrees.argsort() if small else torch.arange(len(images))
    places = _places(angle_degrees[order].double(), len(weights))
    (top, left), (bottom, right) = places.amin((0, 1)).tolist(), places.amax((0, 1)).tolist()
    if small:
        images = images.index_select(0, order.to(images.device))
    padded = F.pad(images, (-left, right, -top, bottom), mode="replicate")
    out = images * weights[0].item()  # the first tap reads the pixels themselves
    size, stride = images.shape[1:], padded.stride()
    for first, last, dy, dx, weight in _steps(places[1:], weights[1:].tolist()):
        # as_strided is one call where slicing takes one for each dimension, half as long as the sum itself
        start = first * stride[0] + (dy - top) * stride[2] + (dx - left) * stride[3]
        out[first:last].add_(padded.as_strided((last - first, *size), stride, start), alpha=weight)
    return out.index_select(0, order.argsort().to(images.device)) if small else out


def _weights(radius: float, sigma: float) -> Float64[Tensor, "taps"]:
    """The one-sided Gaussian, without its negligible end."""
    taps = torch.arange(2 * round(radius) + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    weights /= weights.sum()
    return weights[: int((weights.flip(0).cumsum(0) > _NEGLIGIBLE).sum())]


def _places(degrees: Float64[Tensor, "batch"], taps: int) -> Int64[Tensor, "taps batch 2"]:
    """Where tap i of each image reads: (dy, dx)."""
    angle = (degrees * (math.pi / 180)).cpu()
    i = torch.arange(taps, dtype=torch.float64)[:, None]
    return torch.stack((i * angle.sin() - 0.5, i * angle.cos() - 0.5), dim=-1).ceil().long()


def _steps(places: Int64[Tensor, "taps batch 2"], weights: list[float]) -> Iterator[tuple[int, int, int, int, float]]:
    """(first image, last image, dy, dx, weight): neighbours by angle often read the same place, and share one sum.

    Where two taps of an image read one place they stay two sums: which images are neighbours depends on the batch, and
    an image's sum must not.
    """
    for row, weight in zip(places.tolist(), weights, strict=True):
        first = 0
        for last in range(1, len(row) + 1):
            if last == len(row) or row[last] != row[first]:
                yield first, last, row[first][0], row[first][1], weight
                first = last
