"""Spatter: drops of water or mud on the lens (Hendrycks & Dietterich 2019, one of the four extra corruptions)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16, Shaped
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators.banded import gaussian
from weatherproof.operators.colour import shade
from weatherproof.operators.edges import canny, distance
from weatherproof.types import Images, Keys

Field = Float[Tensor, "batch height width"]
Whole = Int16[Tensor, "batch height width"]
Numbers = Shaped[Tensor, "batch height width"]
Lines = Shaped[Tensor, "batch _"]  # fields, row after row

WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
MUD = (63 / 255, 42 / 255, 20 / 255)
CANNY = (50, 150)  # thresholds of the magnitude, on 8-bit levels
FARTHEST = 20  # where the distance to the edge of a drop is cut off
SLACK = 1e-4  # distances are multiples of it, and a mean of nine that is a whole number must not round to the one below
THICK = 0.8  # thinner mud is left out


def spatter(
    images: Images, keys: Keys, mean: float, std: float, sigma: float, threshold: float, intensity: float, mud: int
) -> Images:
    """Lays drops over the images, where a smooth random field N(mean, std^2) exceeds a threshold.

    Water brightens: x + m c, c pale turquoise, m the height of the liquid times a relief of its distance to the edges
    of the drops, up to `intensity`. Mud hides: x (1 - m) + m c, c brown, m the smoothed drops where above .8.

    Args:
        sigma: of the field's Gaussian blur, in pixels.
        intensity: of the water; for mud the sigma, in pixels, of the blur of the drops.
        mud: 1 for mud, 0 for water.

    Raises:
        InputError: the image has a side of one pixel.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 2:
        raise InputError(f"spatter needs images of at least 2 pixels a side, got {height}x{width}: give larger ones")
    field = random.normals(random.fold(keys, 0), (1, height, width), images.device).mul_(std).add_(mean)
    liquid = gaussian(field, sigma)
    if mud:
        mask = F.threshold(gaussian((liquid > threshold).to(images.dtype), intensity), THICK, 0)
        return _coloured(images * (1 - mask), mask, MUD)
    return _coloured(images, _water(F.threshold(liquid[:, 0], threshold, 0), intensity)[:, None], WATER)


def _coloured(
    images: Images, mask: Float[Tensor, "batch 1 height width"], colour: tuple[float, float, float]
) -> Images:
    """images + mask colour."""
    out = torch.empty_like(images)
    for channel, amount in enumerate(shade(colour, images.shape[1])):
        torch.add(images[:, channel], mask[:, 0], alpha=amount, out=out[:, channel])
    return out


def _water(liquid: Field, intensity: float) -> Field:
    """How much water stands at each pixel: 0 .. intensity, reached somewhere, or 0 everywhere if there is none."""
    drops = liquid.mul_(255).floor_().clamp_(0, 255)
    far = distance(canny(drops.permute(1, 2, 0).to(torch.int16), *CANNY), FARTHEST).permute(2, 0, 1)
    depth = _nine(far).mul_(1 / 9).add_(SLACK).floor_()
    mask = _nine(_relief(_equalised(depth).to(torch.int16))).float().mul_(1 / 9).round_().mul_(drops)
    return mask.mul_(intensity / mask.amax((1, 2), keepdim=True).clamp_(min=1))  # at least 1 unless it is 0


def _framed(fields: Numbers) -> Lines:
    """A frame of one pixel, mirrored without repeating the border, row after row: any neighbour lies a fixed number of
    values on. With two more values at the end, what is computed from 3 x 3 pixels makes rows of width + 2."""
    batch, height, width = fields.shape
    lines = fields.new_empty(batch, (height + 2) * (width + 2) + 2)
    framed = lines[:, :-2].view(batch, height + 2, width + 2)
    framed[:, 1:-1, 1:-1] = fields
    framed[:, 0], framed[:, -1] = framed[:, 2], framed[:, -3]
    framed[..., 0], framed[..., -1] = framed[..., 2], framed[..., -3]
    return lines


def _cut(lines: Lines, row: int) -> Numbers:
    return lines.view(len(lines), -1, row)[..., :-2]


def _nine(fields: Numbers) -> Numbers:
    """The sum of 3 x 3 pixels."""
    lines, row = _framed(fields), fields.shape[2] + 2
    rows = (lines[:, : -2 * row] + lines[:, row:-row]).add_(lines[:, 2 * row :])
    return _cut((rows[:, :-2] + rows[:, 1:-1]).add_(rows[:, 2:]), row)


def _relief(levels: Whole) -> Whole:
    """Lit from one corner: a 3 x 3 correlation with (-2 -1 0, -1 1 1, 0 1 2), cut to 8-bit levels."""
    lines, row = _framed(levels), levels.shape[2] + 2
    rise = lines[:, row + 1 :] - lines[:, : -row - 1]  # from each pixel to the one below on its right
    out = (rise[:, : -row - 1] + rise[:, row + 1 :]).mul_(2).add_(rise[:, 1:-row]).add_(rise[:, row:-1])
    return _cut(out.add_(lines[:, row + 1 : -row - 1]).clamp_(0, 255), row)


def _equalised(depth: Field) -> Field:
    """Histogram equalisation as OpenCV does it, levels 0 .. FARTHEST to 0 .. 255: the lowest level that occurs goes to
    0, the highest to 255; an image of one level stays."""
    batch, pixels, levels = len(depth), depth.shape[1:].numel(), FARTHEST + 1
    images = torch.arange(batch, dtype=torch.int32, device=depth.device)[:, None, None]
    at = depth.int().add_(images * levels).flatten()
    below = torch.bincount(at, minlength=batch * levels).view(batch, levels).cumsum(1)
    lowest = torch.where(below > 0, below, pixels).amin(1, keepdim=True)
    others = pixels - lowest
    table = ((below - lowest) * (255 / others)).round_().clamp_(min=0)
    table = torch.where(others > 0, table, torch.arange(levels, device=depth.device))
    return table.flatten().index_select(0, at).view_as(depth)
