"""How the pixels of a resized box are summed from an image's, antialiased: torchvision's rule (`antialias=True`)."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from weatherproof.sizes import Size, sides
from weatherproof.views.resampling import Taps

Boxes = Int64[Tensor, "batch 4"]  # top, left, height, width in whole pixels, on the CPU

REACH = {"bilinear": 1.0, "bicubic": 2.0}  # how far the kernel of interpolation reaches to each side
_CUBIC = -0.5  # Keys's a, as Pillow's and torchvision's antialiased bicubic have it


def crop_taps(
    boxes: Boxes,
    size: Size,
    flips: Bool[Tensor, "batch"] | None = None,
    interpolation: str = "bilinear",
    device: torch.device | str = "cpu",
) -> tuple[Taps, Taps]:
    """Which rows and which columns of an image the crop's are made of.

    Args:
        boxes: top, left, height, width in pixels, inside the image, on the CPU.
        size: side of the crop in pixels, or its (rows, columns).
        flips: which crops are mirrored left to right.
        interpolation: "bilinear" or "bicubic".
    """
    top, left, height, width = boxes.unbind(1)
    rows, columns = sides(size)
    down = _taps(top, height, rows, interpolation, device)
    across = _taps(left, width, columns, interpolation, device)
    if flips is not None:
        place = torch.arange(columns, device=device)
        place = torch.where(flips.to(device)[:, None], columns - 1 - place, place)
        across = across.at(place)
    return down, across


def _taps(
    start: Int64[Tensor, "batch"], length: Int64[Tensor, "batch"], size: int, interpolation: str,
    device: torch.device | str,
) -> Taps:  # fmt: skip
    """How `size` pixels are interpolated from `length` pixels that begin at `start`."""
    stretch = max(1.0, float(length.max()) / size) if len(length) else 1.0
    taps = torch.arange(math.ceil(2 * REACH[interpolation] * stretch), device=device)
    start, length = start.to(device)[:, None, None], length.to(device)[:, None, None]
    scale = length.double() / size  # 2^-24 of 224 pixels is too coarse for a weight
    wide = scale.clamp(min=1)
    centre = scale * torch.arange(0.5, size, dtype=torch.float64, device=device)[:, None]
    first = (centre - REACH[interpolation] * wide + 0.5).floor()
    distance = ((first + 0.5 - centre) / wide).float() + taps * (1 / wide).float()
    lines = first.long() + taps
    inside = (lines >= 0) & (lines < length)
    weights = _KERNELS[interpolation](distance.abs_()).mul_(inside)
    weights.div_(weights.sum(dim=2, keepdim=True))
    return Taps(start + torch.minimum(lines.clamp_(min=0), length - 1), weights)


def _linear(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return (1 - distance).clamp_(min=0)


def _cubic(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * _CUBIC
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


_KERNELS = {"bilinear": _linear, "bicubic": _cubic}
