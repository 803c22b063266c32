"""AugMix's operations on the levels of a pixel, batched: Pillow's ImageOps and ImageEnhance on 8-bit images.

Each takes levels (uint8) and, where it has one, a parameter per image on the CPU, and gives levels. What Pillow cuts
off (the fraction of a level) is cut off here too, so that results are equal.
"""

import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.operators.eight_bit import Bytes as Levels
from weatherproof.operators.eight_bit import whole

Factor = Float[Tensor, "batch"]

_LUMINANCE = (19595, 38470, 7471)  # .299, .587, .114 of red, green, blue in 65,536ths, as Pillow's "L" has them


def posterize(levels: Levels, bits: Int[Tensor, "batch"]) -> Levels:
    """Keeps the upper bits of every level."""
    return levels & _each(256 - 2 ** (8 - bits), levels).to(torch.uint8)


def solarize(levels: Levels, threshold: Int[Tensor, "batch"]) -> Levels:
    """Inverts the levels at or above the threshold (0 to 256)."""
    below = (levels.to(torch.int16) - _each(threshold, levels).to(torch.int16)).bitwise_right_shift_(15)
    return below.bitwise_not_().to(torch.uint8).bitwise_xor_(levels)  # 255 - v is v with every bit turned


def autocontrast(levels: Levels) -> Levels:
    """Stretches every channel linearly so that its lowest level is 0 and its highest 255."""
    planes = levels.flatten(0, 1).flatten(1)
    low, high = planes.amin(1, keepdim=True).double(), planes.amax(1, keepdim=True).double()
    scale = torch.full_like(low, 255) / (high - low).clamp(min=1)  # 255 / tensor would be 255 times its reciprocal
    table = (_all_levels(levels) * scale - low * scale).clamp_(0, 255)
    return _look_up(_indices(planes), torch.where(high > low, table, _all_levels(levels))).view_as(levels)


def equalize(levels: Levels) -> Levels:
    """Maps every channel's levels so that their histogram is as flat as Pillow's integer rule makes it."""
    indices = _indices(levels.flatten(0, 1).flatten(1))
    histogram = torch.bincount(indices.view(-1), minlength=256 * len(indices)).view(-1, 256).double()
    above = histogram.cumsum(1)
    of_highest = histogram.gather(1, above.argmax(1, keepdim=True))  # argmax: the first place where all are counted
    step = ((above[:, -1:] - of_highest) / 255).floor_()
    table = (above - histogram).add_((step / 2).floor_()).div_(step.clamp(min=1)).clamp_(max=255)
    return _look_up(indices, torch.where(step > 0, table, _all_levels(levels))).view_as(levels)


def brightness(levels: Levels, factor: Factor) -> Levels:
    """Between black (factor 0) and the image (1), and beyond it."""
    return _cut(levels.float().mul_(_each(factor.float(), levels)), factor)


def contrast(levels: Levels, factor: Factor) -> Levels:
    """Between the image's mean grey (factor 0) and the image (1), and beyond it."""
    mean = (_grey(levels).flatten(1).mean(1, dtype=torch.float64) + 0.5).floor().float().view(-1, 1, 1, 1)
    return _cut(levels.float().sub_(mean).mul_(_each(factor.float(), levels)).add_(mean), factor)


def color(levels: Levels, factor: Factor) -> Levels:
    """Between the image in grey (factor 0) and the image (1), and beyond it."""
    return levels if levels.shape[1] == 1 else _blend(_grey(levels), levels, factor)


def sharpness(levels: Levels, factor: Factor) -> Levels:
    """Between the image smoothed by (1 1 1, 1 5 1, 1 1 1) / 13, its border as it is (factor 0), and the image (1)."""
    smooth = levels.float()
    rows = smooth[..., :-2] + smooth[..., 1:-1] + smooth[..., 2:]
    total = (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]).add_(smooth[..., 1:-1, 1:-1], alpha=4)
    smooth[..., 1:-1, 1:-1] = total.mul_(1 / 13).add_(0.5).floor_()
    return _blend(smooth, levels, factor)


def _blend(start: Float[Tensor, "..."], levels: Levels, factor: Factor) -> Levels:
    return _cut(torch.lerp(start, levels.float(), _each(factor.float(), levels)), factor)


def _cut(values: Float[Tensor, "batch channels height width"], factor: Factor) -> Levels:
    within = len(factor) == 0 or 0 <= float(factor.min()) <= float(factor.max()) <= 1
    return whole(values if within else values.clamp_(0, 255))


def _grey(levels: Levels) -> Float[Tensor, "batch 1 height width"]:
    """The levels of Pillow's "L": below 2^24 all sums of integers are exact in float32."""
    if levels.shape[1] == 1:
        return levels.float()
    if levels.shape[1] != 3:
        raise InputError(f"expected images of 1 or 3 channels (grey or RGB), got {levels.shape[1]}")
    total = levels[:, :1].float().mul_(_LUMINANCE[0])
    for channel in (1, 2):
        total.add_(levels[:, channel : channel + 1], alpha=_LUMINANCE[channel])
    return total.add_(32768).mul_(1 / 65536).floor_()


def _each(parameter: Tensor, levels: Levels) -> Tensor:
    """One number per image, beside its pixels."""
    return parameter.to(levels.device, non_blocking=True).view(-1, 1, 1, 1)


def _all_levels(levels: Levels) -> Float[Tensor, "256"]:
    return torch.arange(256, dtype=torch.float64, device=levels.device)


def _indices(planes: UInt8[Tensor, "planes pixels"]) -> Int32[Tensor, "planes pixels"]:
    """Where each pixel's level stands in tables that lie one after the other, 256 entries for each plane."""
    starts = torch.arange(0, 256 * len(planes), 256, dtype=torch.int32, device=planes.device)
    return planes.to(torch.int32).add_(starts[:, None])


def _look_up(indices: Int32[Tensor, "planes pixels"], table: Tensor) -> UInt8[Tensor, "values"]:
    return table.to(torch.uint8).view(-1).index_select(0, indices.view(-1))
