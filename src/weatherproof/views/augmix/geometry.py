"""AugMix's operations that move pixels, batched: Pillow's affine transform, bilinear, black where it reads outside.

Each takes levels (uint8) and a parameter per image on the CPU, and gives levels. A pixel (x, y) of the result is read
at xin = a (x + .5) + b (y + .5) + c in units of pixels from the image's left edge (yin likewise); it is black where
xin is outside [0, width), and neighbours beyond the border are the border's pixels. The fraction of a level is cut off.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64, Real, UInt8
from torch import Tensor

from weatherproof.operators.eight_bit import whole
from weatherproof.views.augmix.ops import Levels

_SLACK = 1 / 128  # of a level: what float32 has rounded down from a level still counts as that level


def rotate(levels: Levels, degrees: Real[Tensor, "batch"]) -> Levels:
    """Counter-clockwise about the middle of the image, which keeps its size."""
    angle = degrees.double().deg2rad()
    cos, sin = angle.cos(), angle.sin()
    x, y = levels.shape[-1] / 2, levels.shape[-2] / 2
    across = torch.stack((cos, -sin, x - cos * x + sin * y), dim=1)
    down = torch.stack((sin, cos, y - sin * x - cos * y), dim=1)
    return affine(levels, torch.stack((across, down), dim=1))


def affine(levels: Levels, reads: Float64[Tensor, "batch 2 3"]) -> Levels:
    """xin, yin = reads (x + .5, y + .5, 1), as in Pillow's `Image.transform` with AFFINE and BILINEAR."""
    height, width = levels.shape[-2:]
    a, b, c = (reads * torch.tensor([[2 / width], [2 / height]], dtype=torch.float64)).unbind(2)  # -1 to 1 across
    x, y = (torch.arange(side, dtype=torch.float64) + 0.5 for side in (width, height))
    along_x = (a[:, :, None] * x + (c - 1)[:, :, None])[:, :, None, :].float().to(levels.device, non_blocking=True)
    along_y = (b[:, :, None] * y)[:, :, :, None].float().to(levels.device, non_blocking=True)
    grid = along_x + along_y
    read = F.grid_sample(
        levels + torch.tensor(_SLACK), grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )
    inside = torch.maximum(grid[:, :1].abs(), grid[:, 1:].abs()) < 1
    return whole(read).mul_(inside.view(torch.uint8))


def shear_x(levels: Levels, amount: Float[Tensor, "batch"]) -> Levels:
    """xin = x + .5 + amount (y + .5): rows slide, each as a whole."""
    height, width = levels.shape[-2:]
    slide = amount.double()[:, None] * (torch.arange(height, dtype=torch.float64) + 0.5)
    slide.clamp_(-width - 1, width + 1)  # no pixel left to be seen
    margin = int(slide.abs().max()) + 2
    left, right = (levels[..., x : x + 1].expand(*levels.shape[:-1], margin) for x in (0, width - 1))
    pair = _windows(torch.cat((left, levels, right), dim=-1), slide.floor().long() + margin, width + 1).float()
    fraction = (slide - slide.floor()).float().to(levels.device, non_blocking=True)[:, None, :, None]
    moved = whole(torch.lerp(pair[..., :-1], pair[..., 1:], fraction))
    inside = F.pad(levels.new_ones(1, 1, 1, width), (margin, margin))
    return moved.mul_(_windows(inside, (slide + 0.5).floor().long() + margin, width))


def shear_y(levels: Levels, amount: Float[Tensor, "batch"]) -> Levels:
    """yin = y + .5 + amount (x + .5): columns slide, each as a whole."""
    return shear_x(levels.mT.contiguous(), amount).mT.contiguous()


def translate_x(levels: Levels, pixels: Int64[Tensor, "batch"]) -> Levels:
    """xin = x + .5 + pixels: a positive number moves the content to the left, as in AugMix's own code."""
    height, width = levels.shape[-2:]
    pixels = pixels.clamp(-width, width)
    margin = int(pixels.abs().max())
    return _windows(F.pad(levels, (margin, margin)), (pixels + margin)[:, None].expand(-1, height), width)


def translate_y(levels: Levels, pixels: Int64[Tensor, "batch"]) -> Levels:
    """yin = y + .5 + pixels: a positive number moves the content up."""
    height, width = levels.shape[-2:]
    pixels = pixels.clamp(-height, height)
    margin = int(pixels.abs().max())
    whole = F.pad(levels, (0, 0, margin, margin)).flatten(2)[..., None, :]  # an image's rows are one row of it
    return _windows(whole, (pixels + margin)[:, None] * width, height * width).view_as(levels)


def _windows(
    rows: UInt8[Tensor, "batches channels lines padded"], first: Int64[Tensor, "batch height"], width: int
) -> UInt8[Tensor, "batch channels height width"]:
    """From every row `width` values, beginning at its place `first`: pieces of memory, copied as they are.

    `rows` of a batch of one belong to every image; of height one, to every line.
    """
    batches, channels, lines, padded = rows.shape
    rows = rows.contiguous()
    start = torch.arange(batches * channels * lines).view(batches, channels, lines) * padded + first[:, None]
    windows = rows.as_strided((rows.numel() - width + 1, width), (1, 1))
    picked = windows.index_select(0, start.flatten().to(rows.device, non_blocking=True))
    return picked.view(len(first), channels, -1, width)
