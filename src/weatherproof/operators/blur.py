"""Blur."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import levels
from weatherproof.spec import component
from weatherproof.types import Images, Keys


@component
class GaussianBlur:
    """Convolves each image with an isotropic Gaussian kernel; borders are reflected (without repeating the edge).

    Args:
        sigma: standard deviation in pixels, or (low, high) from which each image draws its own uniformly.
        kernel_size: odd length n of the kernel. By default 4 sigma + 1 of the largest sigma, rounded up to odd, as in
            Contrastive Inversion, section 4.1: (n, sigma) = (21, 5) and (37, 9).

    Raises:
        InputError: the image is not larger than half the kernel, so that its border cannot be reflected.
    """

    sigma: levels.Level
    kernel_size: int | None = None

    def __post_init__(self) -> None:
        levels.check(self.sigma, "sigma", 0)
        if self.kernel_size is not None and (self.kernel_size < 1 or self.kernel_size % 2 == 0):
            raise ValueError(f"kernel_size must be odd and positive, got {self.kernel_size}")

    @property
    def deterministic(self) -> bool:
        """Without a range nothing is drawn, so one realization is all of them."""
        return not isinstance(self.sigma, tuple)

    @property
    def radius(self) -> int:
        """How many pixels the kernel reaches to each side."""
        return (self.kernel_size or 2 * math.ceil(2 * levels.top(self.sigma)) + 1) // 2

    def __call__(self, images: Images, keys: Keys) -> Images:
        radius = self.radius
        height, width = images.shape[-2:]
        if radius >= min(height, width):
            raise InputError(
                f"a blur kernel of {2 * radius + 1} pixels needs images of more than {radius} pixels a side, "
                f"got {height}x{width}: give a smaller sigma or kernel_size"
            )
        sigma = levels.draw(self.sigma, random.fold(keys, 0))
        if self.deterministic:
            sigma = sigma[:1]  # one kernel serves the whole batch
        kernels = _kernels(sigma, radius).to(images.device)
        down, across = _matrices(kernels, height), _matrices(kernels, width)
        # Convolving along a side is multiplying by a banded matrix: at 224 px 4-5 times faster than a depthwise
        # convolution on a CPU, 30 times at 32 px.
        return down @ (images @ across.mT)


def _kernels(sigma: Float[Tensor, "kinds"], radius: int) -> Float[Tensor, "kinds taps"]:
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma.clamp(min=1e-3)[:, None]) ** 2)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _matrices(kernels: Float[Tensor, "kinds taps"], side: int) -> Float[Tensor, "kinds 1 side side"]:
    """The matrix that convolves a line of `side` pixels with each kernel, its borders reflected."""
    radius = kernels.shape[1] // 2
    at = torch.arange(side, device=kernels.device)[:, None]
    source = at + torch.arange(-radius, radius + 1, device=kernels.device)
    source = source.abs()
    source = torch.where(source >= side, 2 * (side - 1) - source, source)
    matrix = torch.zeros(len(kernels), side, side, device=kernels.device)
    places, weights = source.expand(len(kernels), -1, -1), kernels[:, None, :].expand(-1, side, -1)
    return matrix.scatter_add_(2, places, weights)[:, None]
