"""Elastic transform, a common corruption (Hendrycks & Dietterich 2019): a random affine map, then a smooth field."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.types import Images, Keys

Grid = Float[Tensor, "batch 2 height width"]  # where each pixel reads, x then y, -1 to 1 across the image

_TRUNCATE = 3.0  # standard deviations at which the benchmark cuts its Gaussian
_BLOCK = 32  # columns of a banded matrix that are multiplied at a time: fastest of 28, 32, 56, 112 at 224 pixels


def elastic_transform(images: Images, keys: Keys, alpha: float, sigma: float, delta: float) -> Images:
    """A random affine map (`warp`), then a smooth random displacement (`displace`), both read bilinearly.

    Args:
        alpha: what the smoothed uniform noise on (-1, 1) is multiplied with, in pixels; 0: the affine map alone.
        sigma: standard deviation of the smoothing, in pixels.
        delta: how far each coordinate of the map's three points moves at most, in pixels.

    Raises:
        InputError: a side has fewer than 3 pixels, so that the three points coincide, or there is no sigma.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 3:
        raise InputError(f"elastic_transform needs images of at least 3 pixels a side, got {height}x{width}")
    if alpha and not sigma > 0:
        raise InputError(f"a displacement needs a smoothing sigma above 0, got {sigma}")
    images = warp(images, shaken(random.fold(keys, 0), height, width, delta))
    if not alpha:
        return images
    noise = random.words(random.fold(keys, 1), (2, height, width), images.device).float().sub_(32767.5)
    return displace(images, smooth(noise, sigma), alpha / 32768)


def shaken(keys: Keys, height: int, width: int, delta: float) -> Float64[Tensor, "batch 2 3"]:
    """Per image the affine map from an output pixel to where it reads, (x, y, 1) -> (x, y), in pixels, on the CPU.

    With c = (width // 2, height // 2) and s = min(height, width) // 3, its inverse sends the points c + (s, s),
    c + (s, -s) and c - (s, s) to those moved by U(-delta, delta) in each coordinate.
    """
    x, y, s = width // 2, height // 2, min(height, width) // 3
    points = torch.tensor([[x + s, y + s], [x + s, y - s], [x - s, y - s]], dtype=torch.float64)
    moves = random.uniforms(keys, (3, 2)).double().sub_(0.5).mul_(2 * delta)
    moved = F.pad(points + moves, (0, 1), value=1.0)
    # Three equations for each row of the map. One call of LAPACK takes less than half the time of Cramer's rule in
    # small tensors; unlike `solve` this one does not raise where the moved points happen to lie on a line.
    reads = torch.linalg.solve_ex(moved, points.expand(len(moved), -1, -1)).result.mT
    return torch.nan_to_num(reads, nan=0.0, posinf=0.0, neginf=0.0)


def warp(images: Images, reads: Float64[Tensor, "batch 2 3"]) -> Images:
    """out(p) = in(reads p), bilinear, borders mirrored without repeating the edge, as often as needed."""
    height, width = images.shape[-2:]
    # Mirrored, the image repeats itself after 2 (side - 1) pixels, which are 4 of the grid's units. Points moved nearly
    # onto a line read thousands of pixels away, where single precision is too coarse; so whole periods go first.
    reads = reads * torch.tensor([[2 / (width - 1)], [2 / (height - 1)]], dtype=torch.float64)
    across = (reads[:, :, :1] * torch.arange(width) + reads[:, :, 2:]).remainder_(4).sub_(1).float()
    down = (reads[:, :, 1:2] * torch.arange(height)).remainder_(4).float()
    grid = across.to(images.device)[:, :, None, :] + down.to(images.device)[:, :, :, None]
    return _read(images, grid, align_corners=True)


def displace(images: Images, field: Grid, alpha: float) -> Images:
    """out(y, x) = in(y + alpha field_1, x + alpha field_0), in pixels, bilinear, borders mirrored, edges repeated."""
    centres, per_pixel = _centres(*images.shape[-2:], str(field.device))
    return _read(images, torch.addcmul(centres, field, per_pixel * alpha), align_corners=False)


@lru_cache(maxsize=32)
def _centres(height: int, width: int, device: str) -> tuple[Float[Tensor, "2 height width"], Float[Tensor, "2 1 1"]]:
    """Where pixels lie on the grid whose units -1 and 1 are the image's outer edges, and how many units a pixel has."""
    y, x = ((2 * torch.arange(side, dtype=torch.float64) + 1) / side - 1 for side in (height, width))
    centres = torch.stack((x.expand(height, -1), y[:, None].expand(-1, width))).float()
    return centres.to(device), torch.tensor([2 / width, 2 / height], device=device).view(2, 1, 1)


def _read(images: Images, grid: Grid, align_corners: bool) -> Images:
    # "reflection" mirrors at the centres of the outermost pixels if corners are aligned, else at their outer edges.
    return F.grid_sample(images, grid.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=align_corners)


def smooth(field: Grid, sigma: float) -> Grid:
    """Gaussian filter, cut at 3 sigma, borders mirrored with the edge repeated, as often as needed.

    Along a side that is a multiplication by a matrix, done block by block where the matrix is banded. (The cut-off
    leaves too many singular values for a product of two thin matrices to do.)
    """
    height, width = field.shape[-2:]
    lines = field.reshape(-1, width)
    across = torch.empty_like(lines)
    for first, last, low, high, block in _blocks(sigma, width, str(field.device)):
        torch.mm(lines[:, low:high], block.mT, out=across[:, first:last])
    planes = across.view(-1, height, width)
    down = torch.empty_like(planes)
    for first, last, low, high, block in _blocks(sigma, height, str(field.device)):
        torch.bmm(block.expand(len(planes), -1, -1), planes[:, low:high], out=down[:, first:last])
    return down.view_as(field)


Block = tuple[int, int, int, int, Float[Tensor, "rows columns"]]


@lru_cache(maxsize=32)
def _blocks(sigma: float, side: int, device: str) -> tuple[Block, ...]:
    """(first, last, low, high, rows first..last of the smoothing matrix without its zero columns outside low..high)."""
    radius = int(_TRUNCATE * sigma + 0.5)
    taps = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (taps.double() / sigma) ** 2)
    source = (torch.arange(side)[:, None] + taps).remainder(2 * side)
    source = torch.where(source < side, source, 2 * side - 1 - source)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    matrix = matrix.scatter_add_(1, source, (weights / weights.sum()).expand(side, -1)).float()
    step = _BLOCK if 2 * radius + _BLOCK < side else side  # no band to speak of: one block
    blocks = []
    for first in range(0, side, step):
        last = min(first + step, side)
        low, high = max(first - radius, 0), min(last + radius, side)
        blocks.append((first, last, low, high, matrix[first:last, low:high].contiguous().to(device)))
    return tuple(blocks)
