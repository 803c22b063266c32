"""Defocus blur: the disk that a lens out of focus makes of every point."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.operators.eight_bit import TOLERANCE, Bytes, Levels, drop_fractions
from weatherproof.types import Keys

_GRID = 8  # up to this radius, in pixels, the benchmark draws the disk on a grid of that reach, whatever its radius


def defocus_blur(images: Bytes, keys: Keys, radius: float, alias_sigma: float) -> Bytes:
    """Defocus blur of the common corruptions (Hendrycks & Dietterich 2019): each channel correlated with `disk`, the
    border line a mirror. Nothing is drawn.

    Args:
        radius: of the disk, in pixels.
        alias_sigma: standard deviation, in pixels, of the Gaussian that softens the disk's edge.

    Raises:
        InputError: the image is not larger than half the kernel, so that its border cannot be mirrored.
    """
    reach = len(disk(radius, alias_sigma)) // 2
    height, width = images.shape[-2:]
    if reach >= min(height, width):
        raise InputError(
            f"defocus_blur with a radius of {radius} pixels needs images of more than {reach} pixels a side, "
            f"got {height}x{width}: give a smaller radius"
        )
    return drop_fractions(defocused(images, radius, alias_sigma).add_(TOLERANCE))


def defocused(images: Bytes, radius: float, alias_sigma: float) -> Levels:
    """`defocus_blur` before its result is cut to 8 bits."""
    room = min(images.shape[-2:]) > math.floor(radius) + 1
    return (_by_sums if room and math.floor(radius) < _GRID else _by_waves)(images, radius, alias_sigma)


def _by_sums(images: Bytes, radius: float, alias_sigma: float) -> Levels:
    """Where the disk leaves the border of its grid free, softening the image of the disk is softening the sum over it.

    That sum is taken in whole numbers, line by line: at a distance j from the middle the disk is a column of
    `half_chord(j)` pixels to both sides, and the columns grow towards the middle. 0.2 ms for an image of 224 px on one
    CPU core and a radius of 6.
    """
    whole = math.floor(radius)
    framed = F.pad(images.float().sub_(128), (whole + 1,) * 4, mode="reflect")
    padded = framed.to(torch.int16, memory_format=torch.contiguous_format)  # 149 pixels x 128 < 2^15
    row, flat = padded.shape[-1], padded.view(-1)  # what runs over from line to line ends in the margin
    columns, total, reach = flat.clone(), torch.zeros_like(flat), 0
    for j in range(whole, 0, -1):
        _grow(columns, flat, reach, half_chord(radius, j), row)
        reach = half_chord(radius, j)
        total[j:-j].add_(columns[2 * j :]).add_(columns[: -2 * j])
    _grow(columns, flat, reach, whole, row)
    inside = slice(whole, padded.shape[-2] - whole), slice(whole, row - whole)
    summed = total.add_(columns).view(padded.shape)[:, :, *inside].float()
    beside, middle = _softening(alias_sigma, 1)[:2].tolist()
    area = sum(1 + 2 * half_chord(radius, j) for j in range(-whole, whole + 1))
    down = (summed[:, :, :-2] + summed[:, :, 2:]).mul_(beside / area).add_(summed[:, :, 1:-1], alpha=middle / area)
    return (down[..., :-2] + down[..., 2:]).mul_(beside).add_(down[..., 1:-1], alpha=middle).add_(128)


def _grow(columns: Tensor, flat: Tensor, reach: int, to: int, row: int) -> None:
    """From sums over `reach` pixels up and down to sums over `to`."""
    for distance in range((reach + 1) * row, to * row + 1, row):
        columns[distance:-distance].add_(flat[2 * distance :]).add_(flat[: -2 * distance])


def half_chord(radius: float, j: int) -> int:
    """The largest i with i^2 + j^2 <= radius^2."""
    return math.isqrt(math.floor(radius**2) - j**2)


def _by_waves(images: Bytes, radius: float, alias_sigma: float) -> Levels:
    """By Fourier transform: 0.7 ms for an image of 224 px on one CPU core whatever the radius, where convolving takes
    1.3 to 6.7 ms."""
    reach = len(disk(radius, alias_sigma)) // 2
    height, width = images.shape[-2:]
    size = _fast(height + 2 * reach), _fast(width + 2 * reach)
    waves = torch.fft.rfft2(F.pad(images.float(), (reach,) * 4, mode="reflect"), s=size)
    waves *= _gain(radius, alias_sigma, size, str(images.device))
    blurred = torch.fft.irfft2(waves, s=size)
    return blurred[..., reach : reach + height, reach : reach + width].contiguous()


@lru_cache(maxsize=64)
def disk(radius: float, alias_sigma: float) -> Float64[Tensor, "side side"]:
    """The kernel: 1 where i^2 + j^2 <= radius^2, divided by how many those are, then softened by a Gaussian.

    It is made as the benchmark makes it: on a grid of 17 x 17 up to a radius of 8 pixels, with a Gaussian of 3 x 3;
    beyond, on a grid just as large as the disk, with one of 5 x 5; the border of the grid a mirror. Disks of 8 and 10
    pixels touch that border, so their kernels sum to 1.013 and 1.011: a slight brightening, kept. Rows of zeros around
    the kernel are cut off.
    """
    half, soft = (_GRID, 1) if radius <= _GRID else (math.ceil(radius), 2)
    i = torch.arange(-half, half + 1, dtype=torch.float64)
    kernel = (i[:, None] ** 2 + i**2 <= radius**2).double()
    kernel /= kernel.sum()
    line = _softening(alias_sigma, soft)
    padded = F.pad(kernel[None, None], (soft,) * 4, mode="reflect")
    kernel = F.conv2d(padded, torch.outer(line, line)[None, None])[0, 0]
    reach = int((kernel[half] > 1e-12).sum()) // 2  # less is the tail of a Gaussian that is all but a point
    return kernel[half - reach : half + reach + 1, half - reach : half + reach + 1]


def _softening(alias_sigma: float, reach: int) -> Float64[Tensor, "taps"]:
    j = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-0.5 * (j / alias_sigma) ** 2)
    return line / line.sum()


@lru_cache(maxsize=64)
def _gain(radius: float, alias_sigma: float, size: tuple[int, int], device: str) -> Float32[Tensor, "rows half"]:
    """What the kernel does to each wave of an image of `size`: real, since the kernel is the same from all sides."""
    kernel = disk(radius, alias_sigma)
    reach = len(kernel) // 2
    around = torch.zeros(size, dtype=torch.float64)
    around[: len(kernel), : len(kernel)] = kernel
    return torch.fft.rfft2(around.roll((-reach, -reach), (0, 1))).real.float().to(device)


def _fast(length: int) -> int:
    """The next multiple of 4 without prime factors above 7: transforms of other lengths take up to 3 times as long."""
    length = -(-length // 4) * 4
    while not _smooth(length):
        length += 4
    return length


def _smooth(length: int) -> bool:
    for prime in (2, 3, 5, 7):
        while length % prime == 0:
            length //= prime
    return length == 1
