"""Defocus blur: the disk that a lens out of focus makes of every point."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Float64
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.types import Images, Keys


def defocus_blur(images: Images, keys: Keys, radius: float, alias_sigma: float) -> Images:
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
    # By Fourier transform: 0.7 ms for an image of 224 px on one CPU core whatever the radius, where convolving takes
    # 1.3 to 6.7 ms.
    size = _fast(height + 2 * reach), _fast(width + 2 * reach)
    waves = torch.fft.rfft2(F.pad(images, (reach,) * 4, mode="reflect"), s=size)
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
    half, soft = (8, 1) if radius <= 8 else (math.ceil(radius), 2)
    i = torch.arange(-half, half + 1, dtype=torch.float64)
    kernel = (i[:, None] ** 2 + i**2 <= radius**2).double()
    kernel /= kernel.sum()
    j = torch.arange(-soft, soft + 1, dtype=torch.float64)
    line = torch.exp(-0.5 * (j / alias_sigma) ** 2)
    line /= line.sum()
    padded = F.pad(kernel[None, None], (soft,) * 4, mode="reflect")
    kernel = F.conv2d(padded, torch.outer(line, line)[None, None])[0, 0]
    reach = int((kernel[half] > 1e-12).sum()) // 2  # less is the tail of a Gaussian that is all but a point
    return kernel[half - reach : half + reach + 1, half - reach : half + reach + 1]


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
