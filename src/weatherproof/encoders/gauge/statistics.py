"""What a gauge sees: some thirty statistics of the pixels, cheap beside a network's forward pass.

An image of up to 63 pixels a side is seen by a window of at most 32 x 32 in its middle, a larger one by four such
windows spread over it, their corners on the 8 x 8 grid of JPEG: what a damage does to neighbouring pixels is seen at
the image's own resolution, and the cost does not grow with the image. In float32, the same numbers for an image
whatever else is in its batch.

Of few images the number of calls is what costs, of many the memory that is touched for the first time: what goes
through the same calls goes through them together, and what a group of statistics needs is freed before the next.
"""

import math
from collections.abc import Callable
from functools import lru_cache, wraps
from itertools import pairwise
from typing import ParamSpec, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof.luma import LUMA
from weatherproof.types import Images

WINDOW = 32
LEAST = 12  # pixels a side: one border of two blocks, three means of 4 x 4 pixels
_GRID = 8  # pixels, of a JPEG's blocks
_LEVEL = 1 / 255
# At which differences of neighbours are cut off: nowhere, coarse noise, fine noise, one 8-bit level. What is cut off at
# one level counts the differences that are not none, without a comparison, which takes a CPU five times as long.
_STEPS = (math.inf, 24 * _LEVEL, 6 * _LEVEL, 1.5 * _LEVEL)
_CUTS = (4 * _LEVEL, _LEVEL)  # of the coefficients
_SMALL = 1e-4  # far below a level: what is added before a logarithm

_BANDS = (1, 4, 7, 10, 15)  # sums of the two frequencies at which the bands begin, and the end

Channels = Float[Tensor, "batch channels windows rows columns"]
Plane = Float[Tensor, "batch windows rows columns"]
Smaller = Float[Tensor, "batch windows fewer narrower"]
Some = Float[Tensor, "batch _"]
Rows = Float[Tensor, "batch statistics"]


P = ParamSpec("P")
T = TypeVar("T")


def _made_once(make: Callable[P, T]) -> Callable[P, T]:
    """Made once of the same arguments. In a graph that is traced for another program tensors have no numbers, and no
    later look could take them: there it is made anew."""
    cached = cast(Callable[P, T], lru_cache(make))

    @wraps(make)
    def of(*args: P.args, **settings: P.kwargs) -> T:
        return (make if torch.compiler.is_compiling() else cached)(*args, **settings)

    return of


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
    seen = _windows(_ends_and_middle(images))
    middle = seen[:, 1]
    coarse = _halved(middle)
    coarser = _halved(coarse)
    plain = [seen.flatten(2).mean(dim=2), _lit(seen)]
    low, high, away = _range(coarser)
    lower = seen[..., seen.shape[3] // 2 // _GRID * _GRID :, :]  # where all is looked at that takes many passes
    squares, correlation = _shared(lower[:, ::2])
    sizes = [*_neighbours(lower[:, 1]), _cut_off(_mixed(coarse).abs_()), _cut_off(_mixed(coarser).abs_(), _STEPS[:3])]
    bands = _bands(_luma(lower))
    logarithms = torch.cat([high - low, away, *sizes, bands], dim=1).add_(_SMALL).log_()
    extent, bands = logarithms.tensor_split((-bands.shape[1],), dim=1)
    blocks = extent[:, 2:3] - extent[:, 3:5]
    return torch.cat([*plain, low, high, away, extent, blocks, correlation, squares.log(), bands], dim=1)


def _ends_and_middle(images: Images) -> Float[Tensor, "batch 3 height width"]:
    """The first, the middle and the last channel."""
    count = images.shape[1]
    return images if count == 3 else images[:, [0, count // 2, count - 1]]


def _windows(images: Float[Tensor, "batch channels height width"]) -> Channels:
    height, width = images.shape[-2:]
    tall, wide = min(WINDOW, height), min(WINDOW, width)
    seen = [images[:, :, y : y + tall, x : x + wide] for y in _starts(height) for x in _starts(width)]
    return torch.stack(seen, dim=2) if len(seen) > 1 else seen[0].contiguous()[:, :, None]


def _starts(side: int) -> tuple[int, ...]:
    if side < 2 * WINDOW:
        return (max(0, side - WINDOW) // 2 // _GRID * _GRID,)
    first = (side - 2 * WINDOW) // 4 // _GRID * _GRID
    return first, (side - WINDOW - first) // _GRID * _GRID


def _halved(plane: Plane) -> Smaller:
    """The mean of every 2 x 2 pixels."""
    rows, columns = plane.shape[2] // 2 * 2, plane.shape[3] // 2 * 2
    down = plane[:, :, 0:rows:2] + plane[:, :, 1:rows:2]
    return (down[..., 0:columns:2] + down[..., 1:columns:2]).mul_(0.25)


def _lit(seen: Channels) -> Some:
    """The shares of what is not black, of what is not white, of neighbours that are both not black, and of pixels with
    anything in them."""
    first, middle, last = seen.unbind(1)
    lit = middle.clamp(0.0, _LEVEL)
    shares = [
        _mean(lit),
        _mean((1 - middle).clamp_(0.0, _LEVEL)),
        _mean(lit[..., 1:] * lit[..., :-1]).div_(_LEVEL),
        _mean((first + middle).add_(last).clamp_(0.0, _LEVEL)),
    ]
    return torch.cat(shares, dim=1).div_(_LEVEL)


def _mean(plane: Plane) -> Float[Tensor, "batch 1"]:
    return plane.flatten(1).mean(dim=1, keepdim=True)


def _range(plane: Plane) -> tuple[Some, Some, Some]:
    """The smallest and the largest value, and how far values lie from their mean."""
    values = plane.flatten(1)
    low, high = values.aminmax(dim=1, keepdim=True)
    return low, high, _mean((plane - values.mean(dim=1).view(-1, 1, 1, 1)).abs_())


def _mixed(planes: Float[Tensor, "... rows columns"]) -> Float[Tensor, "... fewer narrower"]:
    across = planes[..., 1:] - planes[..., :-1]
    return across[..., 1:, :] - across[..., :-1, :]


def _neighbours(plane: Plane) -> list[Some]:
    """The mean size of differences at the borders of blocks, and midway between them; that of all differences, and that
    of mixed ones, cut off."""
    across = plane[..., 1:] - plane[..., :-1]
    mixed, across = (across[:, :, 1:] - across[:, :, :-1]).abs_(), across.abs_()
    profile = across.mean(dim=2)  # [batch, windows, columns]: the difference of column i and i + 1
    at = [profile[..., start::_GRID].flatten(1).mean(dim=1, keepdim=True) for start in (_GRID - 1, _GRID // 2 - 1)]
    return [*at, _cut_off(across), _cut_off(mixed)]


def _cut_off(sizes: Plane, steps: tuple[float, ...] = _STEPS) -> Some:
    """The mean of what lies below each step: [batch, steps]."""
    return torch.minimum(sizes.flatten(1)[:, None], _column(steps, str(sizes.device))).mean(dim=2)


@_made_once
def _column(values: tuple[float, ...], device: str) -> Float[Tensor, "values 1"]:
    return torch.tensor(values, device=device)[:, None]


def _shared(ends: Channels) -> tuple[Float[Tensor, "batch 2"], Float[Tensor, "batch 1"]]:
    """The mean squares of two channels' mixed differences, and their correlation, 1 for a grey image."""
    mixed = _mixed(ends).flatten(2)
    squares = mixed.square().mean(dim=2).add_(_SMALL**2)
    product = (mixed[:, 0] * mixed[:, 1]).mean(dim=1, keepdim=True)
    return squares, product / squares.prod(dim=1, keepdim=True).sqrt_()


def _luma(seen: Channels) -> Plane:
    red, green, blue = seen.unbind(1)
    return torch.add(red, blue, alpha=LUMA[2] / LUMA[0]).mul_(LUMA[0]).add_(green, alpha=LUMA[1])


def _bands(luma: Plane) -> Some:
    """The mean size of the coefficients of each band, cut off at four levels and at one."""
    down, across = luma.shape[2] // _GRID, luma.shape[3] // _GRID
    left, right, bands = _transform(across, str(luma.device))
    # batched products of one size each: what an image gets does not depend on how many there are
    rows = luma[:, :, : down * _GRID, : across * _GRID].reshape(-1, _GRID, across * _GRID)
    many = rows.shape[0]  # which `len` would make a constant of, in a graph
    halfway = torch.bmm(left.expand(many, -1, -1), rows)
    sizes = torch.bmm(halfway, right.expand(many, -1, -1)).abs_().view(luma.shape[0], 1, -1, bands.shape[1])
    cut = torch.minimum(sizes, _column(_CUTS, str(luma.device))[..., None]).mean(dim=2)
    # a product with bands as its columns lie in memory, rather than its rows, takes a quarter of the time
    return torch.bmm(cut, bands.T.expand(cut.shape[0], -1, -1)).flatten(1)


@_made_once
def _transform(
    across: int, device: str
) -> tuple[Float[Tensor, "8 8"], Float[Tensor, "columns columns"], Float[Tensor, "bands coefficients"]]:
    """The cosine transform of a row of so many blocks as two matrices, for its rows and columns, and one that averages
    the coefficients of each band."""
    at = torch.arange(_GRID, dtype=torch.float64)
    waves = torch.cos(torch.pi * (at + 0.5) * at[:, None] / _GRID) * (2 / _GRID) ** 0.5
    waves[0] /= 2**0.5
    sums = at[:, None] + at.repeat(across)
    inside = [((sums >= low) & (sums < high)).flatten() for low, high in pairwise(_BANDS)]
    bands = torch.stack([band / band.sum() for band in inside])
    right = torch.block_diag(*[waves] * across).T.contiguous()
    return waves.float().to(device), right.float().to(device), bands.float().to(device)
