"""Blur: Gaussian blur of any level, and the blurs of the common corruptions (Hendrycks & Dietterich 2019)."""

import math

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import banded, levels
from weatherproof.operators.glass import glass_blur
from weatherproof.operators.lens import defocus_blur
from weatherproof.operators.motion import motion_blur
from weatherproof.operators.zoom import zoom_blur
from weatherproof.spec import component
from weatherproof.types import Images, Keys

__all__ = ["GaussianBlur", "defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur"]


@component
class GaussianBlur:
    """Convolves each image with an isotropic Gaussian kernel; borders are reflected (without repeating the edge).

    Args:
        sigma: standard deviation in pixels of the image, from 0 (no blur) to 1,000, or (low, high) from which each
            image draws its own uniformly. A kernel that reaches from border to border leaves a grey haze: useful levels
            are up to a tenth of the side.
        kernel_size: odd length n of the kernel. By default 4 sigma + 1 of the largest sigma, rounded up to odd, as in
            Contrastive Inversion, section 4.1: (n, sigma) = (21, 5) and (37, 9).

    Raises:
        InputError: a setting out of its range; the image is not larger than half the kernel, so that its border cannot
            be reflected.
    """

    sigma: levels.Level
    kernel_size: int | None = None

    def __post_init__(self) -> None:
        levels.check(self.sigma, "sigma", 0, levels.WIDEST)
        if self.kernel_size is not None and (self.kernel_size < 1 or self.kernel_size % 2 == 0):
            raise InputError(f"kernel_size must be odd and positive, got {self.kernel_size}")

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
        kernels = banded.kernels(sigma, radius).to(images.device)
        down, across = banded.matrices(kernels, height), banded.matrices(kernels, width)
        return down @ (images @ across.mT)


def gaussian_blur(images: Images, keys: Keys, sigma: float) -> Images:
    """Gaussian blur of the common corruptions: `banded.gaussian`. Nothing is drawn."""
    return banded.gaussian(images, sigma)
