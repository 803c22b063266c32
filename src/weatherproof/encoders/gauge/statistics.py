"""What a gauge sees: some thirty statistics of the pixels, cheap beside a network's forward pass.

An image of up to 63 pixels a side is seen by a window of at most 32 x 32 in its middle, a larger one by four such
windows spread over it, their corners on the 8 x 8 grid of JPEG: what a damage does to neighbouring pixels is seen at
the image's own resolution, and the cost does not grow with the image. In float32, the same numbers for an image
whatever else is in its batch.
"""

from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof.types import Images

WINDOW = 32
LEAST = 12  # pixels a side: one border of two blocks, three means of 4 x 4 pixels
_GRID = 8  # pixels, of a JPEG's blocks
_LEVEL = 1 / 255
# At which differences of neighbours are cut off, the largest first: coarse noise, fine noise, one 8-bit level. What is
# cut off at one level counts the differences that are not none, without a comparison, which takes a CPU five times as
# long as a clamp.
_STEPS = (24 * _LEVEL, 6 * _LEVEL, 1.5 * _LEVEL)
_SMALL = 1e-4  # far below a level: what is added before a logarithm

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as JPEG's
_ROWS = 64
_BANDS = (1, 4, 7, 10, 15)  # sums of the two frequencies at which the bands begin, and the end

Plane = Float[Tensor, "batch windows rows columns"]
Smaller = Float[Tensor, "batch windows fewer narrower"]
Sum = tuple[Float[Tensor, "batch"], float]
Rows = Float[Tensor, "batch statistics"]
Some = Float[Tensor, "batch _"]


def statistics(images: Images) -> Rows:
    """The statistics of each image, of one channel or more, at least 12 pixels a side.

    Of the middle channel: shares of what is not black, not white, and of neighbours that are both not black; mean,
    spread and ends of 4 x 4 pixels' means; sizes of mixed differences (x[i, j] - x[i+1, j] - x[i, j+1] + x[i+1, j+1],
    which no slope of the picture reaches) over 1, 2 and 4 pixels, as they are and cut off at some steps, so that edges
    count little (the estimate of noise of Immerkaer 1996, made robust); of plain differences; how much larger these are
    across the borders of 8 x 8 blocks. Of the luma: sizes of the coefficients of JPEG's cosine transform in four bands
    of frequencies, cut off at one level and at four, which tell what a codec has rounded to nothing. Of all channels:
    means, the share of pixels with anything in them, and how much of their mixed differences the first and the last
    have in common.
    """
    first, middle, last = (_windows(images[:, c]) for c in (0, images.shape[1] // 2, images.shape[1] - 1))
    coarse = _halved(middle)
    coarser = _halved(coarse)
    red, green, blue = (_lower(plane) for plane in (first, middle, last))
    across = green[..., 1:] - green[..., :-1]
    mixed, sizes = (across[:, :, 1:] - across[:, :, :-1]).abs_(), across.abs_()
    lit = middle.clamp(0.0, _LEVEL)
    plain = [
        _mean(first),
        _mean(middle),
        _mean(last),
        _mean(lit, _LEVEL),
        _mean((1 - middle).clamp_(0.0, _LEVEL), _LEVEL),
        _mean(lit[..., 1:] * lit[..., :-1], _LEVEL**2),
        _mean((first + middle).add_(last).clamp_(0.0, _LEVEL), _LEVEL),
    ]
    profile = sizes.mean(dim=2)  # [batch, windows, columns]: the difference of column i and i + 1
    magnitudes = [
        _mean(profile[..., _GRID - 1 :: _GRID]),
        _mean(profile[..., _GRID // 2 - 1 :: _GRID]),
        *_sizes(sizes, _STEPS),
        *_sizes(mixed, _STEPS),
        *_sizes(_mixed(coarse).abs_(), _STEPS),
        *_sizes(_mixed(coarser).abs_(), _STEPS[:2]),
    ]
    logarithms = _means(magnitudes).add_(_SMALL).log_()
    blocks = logarithms[:, :1] - logarithms[:, 1:3]
    luma = torch.add(red, blue, alpha=_LUMA[2] / _LUMA[0]).mul_(_LUMA[0]).add_(green, alpha=_LUMA[1])
    return torch.cat([_means(plain), *_ends(coarser), logarithms, blocks, *_shared(red, blue), _bands(luma)], dim=1)


def in_blocks(
    rows: Float[Tensor, "many inputs"], weight: Float[Tensor, "inputs outputs"]
) -> Float[Tensor, "many outputs"]:
    """rows @ weight, always 64 rows at a time: a product of another size may sum in another order.

    In a graph that is traced for another program (`torch.export`), whose products are its own affair, all rows at once.
    """
    if torch.compiler.is_compiling():
        return rows @ weight
    missing = -len(rows) % _ROWS
    padded = torch.cat([rows, rows.new_zeros(missing, rows.shape[1])]) if missing else rows
    return torch.cat([block @ weight for block in padded.split(_ROWS)] or [padded @ weight])[: len(rows)]


def _windows(planes: Float[Tensor, "batch height width"]) -> Plane:
    height, width = planes.shape[-2:]
    tall, wide = min(WINDOW, height), min(WINDOW, width)
    seen = [planes[:, y : y + tall, x : x + wide] for y in _starts(height) for x in _starts(width)]
    return torch.stack(seen, dim=1) if len(seen) > 1 else seen[0][:, None]


def _starts(side: int) -> tuple[int, ...]:
    if side < 2 * WINDOW:
        return (max(0, side - WINDOW) // 2 // _GRID * _GRID,)
    first = (side - 2 * WINDOW) // 4 // _GRID * _GRID
    return first, (side - WINDOW - first) // _GRID * _GRID


def _lower(plane: Plane) -> Smaller:
    """The lower half of each window, where all is looked at that takes many passes."""
    return plane[:, :, plane.shape[2] // 2 // _GRID * _GRID :]


def _halved(plane: Plane) -> Smaller:
    """The mean of every 2 x 2 pixels."""
    rows, columns = plane.shape[2] // 2 * 2, plane.shape[3] // 2 * 2
    down = plane[:, :, 0:rows:2] + plane[:, :, 1:rows:2]
    return (down[..., 0:columns:2] + down[..., 1:columns:2]).mul_(0.25)


def _mixed(plane: Plane) -> Smaller:
    across = plane[..., 1:] - plane[..., :-1]
    return across[:, :, 1:] - across[:, :, :-1]


def _mean(plane: Tensor, unit: float = 1.0) -> Sum:
    """The mean over an image, in that unit, to be: the sum, and what it is to be divided by."""
    values = plane.flatten(1)
    return values.sum(dim=1), values.shape[1] * unit


def _means(sums: list[Sum]) -> Some:
    """All divisions in one: a small operation costs as much as a pass over the pixels of twenty small images."""
    columns, counts = zip(*sums, strict=True)
    return torch.stack(columns, dim=1).div_(torch.tensor(counts, device=columns[0].device))


def _sizes(sizes: Plane, steps: tuple[float, ...]) -> list[Sum]:
    """The mean, and that of what lies below each step. `sizes` is overwritten."""
    return [_mean(sizes), *(_mean(sizes.clamp_(max=step)) for step in steps)]


def _ends(plane: Plane) -> list[Some]:
    """The smallest, the largest and how far values lie from their mean, and the logarithms of their distance and of
    that."""
    values = plane.flatten(1)
    low, high = values.aminmax(dim=1, keepdim=True)
    away = (values - values.mean(dim=1, keepdim=True)).abs_().mean(dim=1, keepdim=True)
    return [low, high, away, torch.cat([high - low, away], dim=1).add_(_SMALL).log_()]


def _shared(first: Plane, last: Plane) -> list[Some]:
    """The correlation of two channels' mixed differences (1 for a grey image), and the logarithms of their mean
    squares."""
    one, other = _mixed(first), _mixed(last)
    both = _means([_mean(one * one), _mean(other * other), _mean(one * other)])
    squares = both[:, :2] + _SMALL**2
    return [both[:, 2:] / squares.prod(dim=1, keepdim=True).sqrt_(), squares.log_()]


def _bands(luma: Plane) -> Some:
    """The logarithm of the mean size of the coefficients of each band, cut off at one level and at four."""
    down, across = luma.shape[2] // _GRID, luma.shape[3] // _GRID
    left, right, bands = _transform(down, across, str(luma.device))
    # batched products of one size each: what an image gets does not depend on how many there are
    planes = luma[:, :, : down * _GRID, : across * _GRID].flatten(0, 1)
    many = planes.shape[0]  # which `len` would make a constant of, in a graph
    halfway = torch.bmm(planes, right.expand(many, -1, -1))
    sizes = torch.bmm(left.expand(many, -1, -1), halfway).abs_().view(*luma.shape[:2], -1)
    cut = [in_blocks(sizes.clamp_(max=most).mean(dim=1), bands) for most in (4 * _LEVEL, _LEVEL)]
    return torch.cat(cut, dim=1).add_(_SMALL).log_()


@lru_cache
def _transform(
    down: int, across: int, device: str
) -> tuple[Float[Tensor, "rows rows"], Float[Tensor, "columns columns"], Float[Tensor, "pixels bands"]]:
    """The cosine transform of so many blocks as two matrices, for their rows and columns, and one that averages the
    coefficients of each band."""
    at = torch.arange(_GRID, dtype=torch.float64)
    waves = torch.cos(torch.pi * (at + 0.5) * at[:, None] / _GRID) * (2 / _GRID) ** 0.5
    waves[0] /= 2**0.5
    sums = at.repeat(down)[:, None] + at.repeat(across)
    inside = [((sums >= low) & (sums < high)).flatten() for low, high in pairwise(_BANDS)]
    bands = torch.stack([band / band.sum() for band in inside], dim=1)
    left, right = (torch.block_diag(*[waves] * count) for count in (down, across))
    return left.float().to(device), right.T.float().contiguous().to(device), bands.float().to(device)
