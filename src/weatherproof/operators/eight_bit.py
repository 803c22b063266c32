"""Between pixels in [0, 1] and the 8-bit levels 0 .. 255 of a file.

A CPU takes four times as long to turn float32 into uint8 as to turn it into int16 and that into uint8.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from weatherproof.types import Images

Bytes = UInt8[Tensor, "batch channels height width"]
Levels = Float[Tensor, "batch channels height width"]  # on the scale of bytes, 0 to 255, with fractions

TOLERANCE = 3e-4  # of a level: what float32 has rounded down from a level still counts as that level


def as_pixels(images: Bytes) -> Images:
    """k / 255."""
    return images.float().div_(255)


def as_bytes(images: Images) -> Bytes:
    """The level nearest to each pixel; beyond [0, 1] the last one."""
    return drop_fractions(torch.add(torch.tensor(0.5), images, alpha=255))


def cut_to_bytes(images: Float[Tensor, "*any"]) -> UInt8[Tensor, "*any"]:
    """The level at or below each pixel, as the benchmark's code cuts its floats to 8 bits."""
    return drop_fractions(torch.add(torch.tensor(TOLERANCE), images, alpha=255))


def drop_fractions(levels: Float[Tensor, "*any"]) -> UInt8[Tensor, "*any"]:
    """Clamps to 0 .. 255 and cuts off what comes after the point. `levels` is overwritten."""
    return whole(levels.clamp_(0, 255))


def whole(levels: Float[Tensor, "*any"]) -> UInt8[Tensor, "*any"]:
    """Cuts off what comes after the point of numbers in [0, 256)."""
    return levels.to(torch.int16).to(torch.uint8)
