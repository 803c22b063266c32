"""Spatter: drops of water or mud on the lens (Hendrycks & Dietterich 2019, one of the four extra corruptions)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators.banded import gaussian
from weatherproof.operators.colour import shade
from weatherproof.operators.edges import canny, distance
from weatherproof.types import Images, Keys

Field = Float[Tensor, "batch height width"]

WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
MUD = (63 / 255, 42 / 255, 20 / 255)
CANNY = (50, 150)  # thresholds of the magnitude, on 8-bit levels
FARTHEST = 20  # where the distance to the edge of a drop is cut off
SLACK = 1e-4  # distances are multiples of it, and a mean of nine that is a whole number must not round to the one below
THICK = 0.8  # thinner mud is left out
RELIEF = ((0, 0, -2), (0, 1, -1), (1, 0, -1), (1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 2, 2))  # (row, column, weight)


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
    return _coloured(images, _water(F.threshold(liquid[:, 0], threshold, 0)).mul_(intensity)[:, None], WATER)


def _coloured(
    images: Images, mask: Float[Tensor, "batch 1 height width"], colour: tuple[float, float, float]
) -> Images:
    """images + mask colour."""
    out = torch.empty_like(images)
    for channel, amount in enumerate(shade(colour, images.shape[1])):
        torch.add(images[:, channel], mask[:, 0], alpha=amount, out=out[:, channel])
    return out


def _water(liquid: Field) -> Field:
    """How much water stands at each pixel: 0 .. 1 with 1 somewhere, or 0 everywhere where there is none."""
    drops = liquid.mul_(255).floor_().clamp_(0, 255)
    levels = drops.to(torch.int16).permute(1, 2, 0).contiguous()
    far = distance(canny(levels, *CANNY), FARTHEST).permute(2, 0, 1).contiguous()
    relief = _relief(_equalised(_box(far).add_(SLACK).floor_()))
    mask = _box(relief).round_().mul_(drops)
    return mask.div_(mask.amax((1, 2), keepdim=True).clamp_(min=1))  # at least 1 unless it is 0


def _framed(fields: Field) -> Float[Tensor, "batch framed_height framed_width"]:
    """A frame of one pixel, mirrored without repeating the border."""
    fields = torch.cat((fields[:, 1:2], fields, fields[:, -2:-1]), dim=1)
    return torch.cat((fields[..., 1:2], fields, fields[..., -2:-1]), dim=2)


def _box(fields: Field) -> Field:
    """The mean of 3 x 3 pixels."""
    framed = _framed(fields)
    rows = (framed[:, :-2] + framed[:, 1:-1]).add_(framed[:, 2:])
    return (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:]).div_(9)


def _relief(fields: Field) -> Field:
    """Lit from one corner: a 3 x 3 correlation, cut to 8-bit levels."""
    framed, (height, width) = _framed(fields), fields.shape[1:]
    out = torch.zeros_like(fields)
    for row, column, weight in RELIEF:
        out.add_(framed[:, row : row + height, column : column + width], alpha=weight)
    return out.clamp_(0, 255)


def _equalised(depth: Field) -> Field:
    """Histogram equalisation as OpenCV does it, levels 0 .. FARTHEST to 0 .. 255: the lowest level that occurs goes to
    0, the highest to 255; an image of one level stays."""
    batch, pixels, levels = len(depth), depth.shape[1:].numel(), FARTHEST + 1
    own = torch.arange(batch, device=depth.device)[:, None, None] * levels  # where each image's counts begin
    at = depth.long().add_(own).flatten()
    counts = torch.zeros(batch * levels, device=depth.device).index_add_(0, at, depth.new_ones(1).expand_as(at))
    below = counts.view(batch, levels).cumsum(1)
    lowest = torch.where(below > 0, below, pixels).amin(1, keepdim=True)
    others = pixels - lowest
    table = ((below - lowest) * (255 / others)).round_().clamp_(min=0)
    table = torch.where(others > 0, table, torch.arange(levels, device=depth.device))
    return table.flatten().index_select(0, at).view_as(depth)
