"""Gaussian blur of a view, each image with a width of its own."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import levels
from weatherproof.spec import component
from weatherproof.types import Images, Keys
from weatherproof.views.resampling import Taps, resample
from weatherproof.views.steps import Change, Drawn, apply, put

_FAR = 5.0  # standard deviations beyond which the kernel, 6e-7 of it, is left out


@component
class RandomBlur:
    """Gaussian blur with sigma uniform in a range, each image with probability p; borders mirrored, edge not repeated.

    Args:
        sigma: (low, high), or one number for all images, in pixels, from 0 to 1,000. SimCLR and MoCo v2:
            (.1, 2).
        kernel_size: odd length of the kernel. By default it reaches 4 of the largest sigma to each side.
        p: probability that an image is blurred.

    Raises:
        InputError: a setting out of its range; an image not larger than half the kernel.
    """

    sigma: levels.Level = (0.1, 2.0)
    kernel_size: int | None = None
    p: float = 1.0
    sorts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        levels.check(self.sigma, "sigma", 0, levels.WIDEST)
        if self.kernel_size is not None and (self.kernel_size < 1 or self.kernel_size % 2 == 0):
            raise InputError(f"kernel_size must be odd and positive, got {self.kernel_size}")
        if not 0 <= self.p <= 1:
            raise InputError(f"expected a probability p in [0, 1], got {self!r}")

    @property
    def reach(self) -> int:
        """How many pixels the kernel reaches to each side."""
        return self.kernel_size // 2 if self.kernel_size else math.ceil(4 * levels.top(self.sigma))

    def draw(self, keys: Keys) -> Drawn:
        """sigma of each image; 0: not blurred."""
        sigma = levels.draw(self.sigma, random.fold(keys, 0))
        return torch.where(random.uniform(random.fold(keys, 1)) < self.p, sigma, 0.0)[:, None]

    def change(self, drawn: Drawn, device: torch.device) -> Change:
        chosen = drawn[:, 0].nonzero().flatten()
        weights = kernels(drawn[chosen, 0], self.reach).to(device)

        def blur(images: Images, part: slice) -> None:
            _check(images, self.reach)
            first, last = torch.searchsorted(chosen, torch.tensor([part.start, part.stop])).tolist()
            if last > first:
                places = chosen[first:last] - part.start
                put(images, places, _blurred(images, weights[first:last], places.to(device)))

        return blur

    def __call__(self, images: Images, keys: Keys) -> Images:
        return apply(images, [self], [self.draw(keys)])


@torch.no_grad()
def gaussian_blur(images: Images, sigma: Float[Tensor, "batch"], kernel_size: int) -> Images:
    """Each image convolved with a Gaussian of its own sigma, kernel_size taps of sum 1 in each direction.

    Borders are mirrored, the edge not repeated: torchvision's function of this name. A sigma of 0 changes nothing.
    """
    _check(images, kernel_size // 2)
    weights = kernels(sigma.cpu(), kernel_size // 2).to(images.device)
    return _blurred(images, weights, torch.arange(len(images), device=images.device))


def kernels(sigma: Float[Tensor, "batch"], reach: int) -> Float[Tensor, "batch taps"]:
    """The Gaussian kernel of each image, of sum 1, as long as the widest needs it but at most `reach` to each side."""
    reach = min(reach, math.ceil(_FAR * float(sigma.max()))) if len(sigma) else 0
    taps, sigma = torch.arange(-reach, reach + 1), sigma.double()[:, None]
    weights = torch.exp(-0.5 * (taps / sigma.clamp(min=1e-3)) ** 2) * (taps.abs() <= (_FAR * sigma).ceil())
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def _blurred(
    images: Images, weights: Float[Tensor, "part taps"], source: Int64[Tensor, "part"]
) -> Float[Tensor, "part channels height width"]:
    height, width = images.shape[-2:]
    return resample(images, _everywhere(weights, height), _everywhere(weights, width), source)


def _check(images: Images, reach: int) -> None:
    height, width = images.shape[-2:]
    if reach >= min(height, width):
        raise InputError(
            f"a blur kernel of {2 * reach + 1} pixels needs images of more than {reach} pixels a side, "
            f"got {height}x{width}: give a smaller sigma or kernel_size"
        )


def _everywhere(weights: Float[Tensor, "part taps"], side: int) -> Taps:
    lines = _mirrored(side, weights.shape[1] // 2, weights.device)
    return Taps(lines.expand(len(weights), -1, -1), weights[:, None].expand(-1, side, -1))


def _mirrored(side: int, reach: int, device: torch.device) -> Int64[Tensor, "side taps"]:
    at = torch.arange(side, device=device)
    lines = (at[:, None] + torch.arange(-reach, reach + 1, device=device)).abs_()
    return torch.where(lines >= side, 2 * (side - 1) - lines, lines)
