"""Brightness, contrast, saturation, hue and greyscale, each image with a number of its own.

They are torchvision's functions, results clamped to [0, 1]; an image of one channel has neither saturation nor hue.
Images have 1 or 3 channels, or `InputError` is raised.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.types import Images
from weatherproof.views.resampling import weighted_rows
from weatherproof.views.steps import Change

PerImage = Float[Tensor, "batch"]

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue, as torchvision and TensorFlow have them


def greyscale(images: Images) -> Images:
    """.2989 R + .587 G + .114 B in all channels."""
    if not colours(images):
        return images.clone()
    return mixed(images, torch.tensor(GREY, device=images.device).expand(len(images), 3, 3))


def mixed(images: Images, weights: Float[Tensor, "batch 3 3"]) -> Images:
    """Every channel a weighted sum of the image's three: out[n, c] = sum over k of weights[n, c, k] images[n, k]."""
    planes = images.reshape(len(images) * 3, -1)
    three = _three(str(images.device), 1 << len(images).bit_length())[: len(planes)]
    return weighted_rows(planes, three, weights.reshape(-1, 3)).view(images.shape)


@lru_cache(maxsize=32)
def _three(device: str, images: int) -> Int64[Tensor, "planes 3"]:
    """For each plane the three of its image."""
    return torch.arange(images * 3, device=device).view(-1, 1, 3).expand(-1, 3, -1).reshape(-1, 3)


def colours(images: Images) -> bool:
    """Whether images are in colour, not grey. Raises `InputError` if they are neither."""
    if images.shape[1] not in (1, 3):
        raise InputError(f"colour views need images of 1 or 3 channels, got {images.shape[1]}")
    return images.shape[1] == 3


def _brightness(factor: PerImage) -> Change:
    """clamp(factor x)."""
    factor = factor.view(-1, 1, 1, 1)

    def brighten(images: Images, part: slice) -> None:
        images.mul_(factor[part]).clamp_(0, 1)

    return brighten


def _contrast(factor: PerImage) -> Change:
    """clamp(factor x + (1 - factor) mean), with the mean of the image's greyscale."""
    factor, rest = factor.view(-1, 1, 1, 1), (1 - factor).view(-1, 1)
    weights = {3: rest * torch.tensor(GREY, device=factor.device), 1: rest}

    def stretch(images: Images, part: slice) -> None:
        means = images.sum(dim=(2, 3)).div_(images.shape[2] * images.shape[3])
        added = means.mul_(weights[images.shape[1]][part]).sum(dim=1)
        images.mul_(factor[part]).add_(added.view(-1, 1, 1, 1)).clamp_(0, 1)

    return stretch


def _saturation(factor: PerImage) -> Change:
    """clamp(factor x + (1 - factor) greyscale(x))."""
    grey = torch.tensor(GREY, device=factor.device).expand(3, 3)
    weights = torch.lerp(grey, torch.eye(3, device=factor.device), factor.view(-1, 1, 1))

    def saturate(images: Images, part: slice) -> None:
        if colours(images):
            torch.clamp(mixed(images, weights[part]), 0, 1, out=images)

    return saturate


def _hue(shift: PerImage) -> Change:
    """The hue of the HSV hexcone turned by shift, which is 1 for the whole circle; value and saturation stay.

    Turned by s sixths of the circle, 0 <= s <= 1, a channel c with its neighbours on the circle n and p (red, green,
    blue, red) becomes the middle one of the pixel's largest value v, its smallest u, and
    (2 - s) c + s p - s n - (1 - s) m, where m = c + n + p - v - u is its third value. For s < 0, -s stands for s, and n
    and p change places. A turn by two sixths shifts the channels.

    All of them are linear in c, n and p on each sixth of the circle; so there are no angles and no divisions.
    """
    thirds = (3 * shift).round()
    rest = 6 * shift - 2 * thirds
    weights, of_ends = _hue_weights(thirds, rest), (1 - rest.abs()).view(-1, 1, 1, 1)

    def turn(images: Images, part: slice) -> None:
        if not colours(images):
            return
        red, green, blue = images.split(1, dim=1)
        high, low = torch.maximum(red, green), torch.minimum(red, green)
        torch.maximum(high, blue, out=high)
        torch.minimum(low, blue, out=low)
        turned = mixed(images, weights[part]).add_((high + low).mul_(of_ends[part]))
        torch.clamp(turned, low, high, out=images)

    return turn


def _hue_weights(thirds: PerImage, rest: PerImage) -> Float[Tensor, "batch 3 3"]:
    """Which channels a channel of the turned image is made of. They are those `thirds` places before."""
    own = torch.stack([2 - rest.abs(), rest, -rest], dim=1)  # of a channel itself, of that before it, of that after it
    channel = torch.arange(3, device=rest.device)
    before = (channel[:, None] - channel - thirds.view(-1, 1, 1).long()) % 3
    return own[:, None].expand(-1, 3, -1).gather(2, before) - (1 - rest.abs()).view(-1, 1, 1)


OPERATIONS: tuple[Callable[[PerImage], Change], ...] = (_brightness, _contrast, _saturation, _hue)
