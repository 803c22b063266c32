"""The digital group of the common corruptions (Hendrycks & Dietterich 2019); elastic transform has a file of its own.

Contrast, pixelate and JPEG go from 8-bit images to 8-bit images; the others take images on the levels k/255 and leave
it to `Corruption` to clamp what they return and cut it to 8 bits.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Num
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.operators.codec import jpeg
from weatherproof.operators.colour import scale_saturation
from weatherproof.operators.eight_bit import TOLERANCE, Bytes, drop_fractions, whole
from weatherproof.operators.elastic import elastic_transform
from weatherproof.operators.planes import transposed
from weatherproof.types import Images, Keys

Grid = Num[Tensor, "batch channels height width"]  # 8-bit levels, floats where they are averaged
Resized = Num[Tensor, "batch channels rows width"]

__all__ = ["contrast", "elastic_transform", "jpeg_compression", "pixelate", "saturate"]

_PRECISION = 22  # bits after the point of the weights with which Pillow averages 8-bit values


def contrast(images: Bytes, keys: Keys, factor: float) -> Bytes:
    """(x - m) factor + m, m the mean of the image's channel."""
    levels = images.float()
    mean = levels.mean(dim=(2, 3), keepdim=True)
    return drop_fractions(levels.mul_(factor).add_(mean.mul_(1 - factor).add_(TOLERANCE)))


def saturate(images: Images, keys: Keys, multiply: float, add: float) -> Images:
    """The saturation of HSV becomes clamp(S multiply + add, 0, 1)."""
    return scale_saturation(images, multiply, add)


def jpeg_compression(images: Bytes, keys: Keys, quality: float) -> Bytes:
    """Encodes as JPEG (4:2:0, libjpeg's quality from 1 to 100) and decodes; the codec is the CPU's, wherever x is.

    Raises:
        InputError: the images have neither one channel nor three, or the quality is out of range.
    """
    if images.shape[1] not in (1, 3):
        raise InputError(f"JPEG holds images of 1 or 3 channels, got {images.shape[1]}")
    if not 1 <= quality <= 100:
        raise InputError(f"a JPEG quality is from 1 to 100, got {quality}")
    return jpeg(images.cpu(), [int(quality)] * len(images)).to(images.device)


def pixelate(images: Bytes, keys: Keys, factor: float) -> Bytes:
    """Shrinks each side n to int(factor n) and enlarges it again, with box filters and Pillow's 8-bit roundings.

    Raises:
        InputError: factor is not in (0, 1], or nothing would be left of a side.
    """
    height, width = images.shape[-2:]
    small = (int(height * factor), int(width * factor))
    if not 0 < factor <= 1 or 0 in small:
        raise InputError(
            f"pixelate by {factor} makes {height}x{width} images {small[0]}x{small[1]}: "
            "give a factor in (0, 1] that leaves at least a pixel a side"
        )
    # Along the rows first, then along the columns, the result of each rounded to whole levels, as Pillow does.
    few = _average(transposed(_average(transposed(images.float()), small[1])), small[0])
    return _average(whole(transposed(_average(transposed(few), width))), height)


class _Windows(NamedTuple):
    """Which neighbours along a side are averaged."""

    taps: tuple[Int64[Tensor, "size"], ...]  # tap i is the i-th pixel of each window, or its last where it has fewer
    present: tuple[Float[Tensor, "size"] | None, ...]  # 0 where the window has fewer than i + 1 pixels; None: all 1
    scale: Float[Tensor, "size"]  # 1 / number of pixels
    half: Float[Tensor, "size"]  # what is added before the floor that rounds


def _average(levels: Grid, size: int) -> Resized:
    """Box-filters the columns of the images to `size` pixels: whole rows are added up."""
    side = levels.shape[2]
    if side == size:
        return levels
    windows = _windows(side, size, str(levels.device))
    total = levels.index_select(2, windows.taps[0])
    if len(windows.taps) == 1:
        return total
    for tap, present in zip(windows.taps[1:], windows.present[1:], strict=True):
        more = levels.index_select(2, tap)
        total.add_(more if present is None else more.mul_(present[:, None]))
    return total.mul_(windows.scale[:, None]).add_(windows.half[:, None]).floor_()


@lru_cache(maxsize=64)
def _windows(side: int, size: int, device: str) -> _Windows:
    """Pillow's windows, their bounds computed in double precision in the same order of operations.

    Pixel i of the result covers scale = side / size pixels (at least one) around (i + 1/2) scale. All whose centre
    lies in that range, its left end excluded, count alike. Pillow rounds weights to 22 bits, which decides about
    halves: a mean k + 1/2 of n pixels goes up if the rounded 1/n is at least 1/n. Here a quarter of 1/n, the distance
    between means, is added or taken away instead, which leaves every other mean where it is.
    """
    scale = side / size
    support = 0.5 * max(scale, 1.0)
    windows = []
    for i in range(size):
        centre = (i + 0.5) * scale
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), side)
        inside = [x for x in range(first, last) if -0.5 < (x - centre + 0.5) * (1 / max(scale, 1.0)) <= 0.5]
        windows.append((inside[0], len(inside)))
    first_, count = torch.tensor(windows).unbind(1)
    up = torch.tensor([int(0.5 + (1 << _PRECISION) / n) * n >= 1 << _PRECISION for n in count.tolist()])
    half = 0.5 + torch.where(up, 0.25, -0.25) / count
    taps, present = [], []
    for i in range(int(count.max())):
        taps.append((first_ + (count - 1).clamp(max=i)).to(device))
        present.append(None if i < int(count.min()) else (count > i).float().to(device))
    return _Windows(tuple(taps), tuple(present), (1 / count).float().to(device), half.float().to(device))
