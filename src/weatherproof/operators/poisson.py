"""Poisson counts of 8-bit images by table: Walker's alias method (1977), one random word a value."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, Int32, UInt8
from torch import Tensor

from weatherproof import random
from weatherproof.operators.eight_bit import Bytes, cut_to_bytes
from weatherproof.types import Keys

_LEVELS = 256  # of an 8-bit value
_WORDS = 1 << 16  # `random.words` is uniform on 0 .. 65,535: the unit of every probability here


_Rows = Int[np.ndarray, "levels cells"]


class _Table(NamedTuple):
    """The alias tables of all levels, one after the other, each a power of two of cells of `1 << shift` words.

    A word belongs to the cell of its upper bits; its `shift` lower bits choose between the cell's two values: the
    first below the cell's threshold, the second from there on.
    """

    shift: int
    moves: Int32[Tensor, "cells"]  # (1 << shift) - threshold: added to a word, it overflows where the second is meant
    values: UInt8[Tensor, "twice_cells"]  # the levels of the first and second value of each cell


def poisson(images: Bytes, keys: Keys, rate: float) -> Bytes:
    """The level below Poisson(rate x) / rate for x = k/255, independent for each value.

    Each cumulative probability is exact to 1/65,536.
    """
    table = _table(rate, str(images.device))
    word = images.int().mul_(_WORDS).add_(random.words(keys, images.shape[1:], images.device)).flatten()
    cell = word >> table.shift
    choice = word.add_(table.moves.index_select(0, cell)).bitwise_right_shift_(table.shift).add_(cell)
    return table.values.index_select(0, choice).view(images.shape)


@lru_cache(maxsize=16)
def _table(rate: float, device: str) -> _Table:
    shares, counts = _shares(rate)
    threshold, second = _alias(shares)
    words = _WORDS // shares.shape[1]  # in a cell
    values = np.stack([counts, np.take_along_axis(counts, second, axis=1)], axis=-1) / rate
    return _Table(
        shift=words.bit_length() - 1,
        moves=torch.from_numpy((words - threshold).astype(np.int32).ravel()).to(device),
        values=cut_to_bytes(torch.from_numpy(values.ravel())).to(device),
    )


def _shares(rate: float) -> tuple[_Rows, _Rows]:
    """Of the 65,536 words, how many go to each count that gets any, and those counts; filled up with (0, 0).

    Rows are levels. The number of cells is the power of two that holds the widest row.
    """
    mean = rate * torch.arange(_LEVELS, dtype=torch.float64)[:, None] / (_LEVELS - 1)
    last = math.ceil(rate)
    # P(count <= k) = Q(k + 1, mean), the regularised upper incomplete gamma function; from `last` on they are one.
    below = torch.special.gammaincc(torch.arange(1, last + 1, dtype=torch.float64), mean)
    words = np.pad((below * _WORDS).round().numpy().astype(np.int64), ((0, 0), (1, 1)), constant_values=(0, _WORDS))
    share = np.diff(words, axis=1)  # rounding sums, not parts: every row adds up, and no error does
    widest = int((share > 0).sum(axis=1).max())
    cells = 1 << max(widest - 1, 0).bit_length()
    counts = np.argsort(share == 0, axis=1, kind="stable")[:, :cells]  # those with words first, in order
    share = np.take_along_axis(share, counts, axis=1)
    pad = ((0, 0), (0, cells - share.shape[1]))
    return np.pad(share, pad), np.pad(counts, pad)


def _alias(shares: _Rows) -> tuple[_Rows, _Rows]:
    """Walker's table for every row: the threshold of each cell, in words, and its second value, as a place in the row.

    Time and again the outcome with the fewest words left fills what it can of its own cell, and the one with the most
    the rest of that cell. A cell holds the mean share, so the fewest always fit and the most always suffice.
    """
    cell = shares.sum(axis=1)[0] // shares.shape[1]
    left, rows = shares.copy(), np.arange(len(shares))
    second, threshold = np.zeros_like(shares), np.zeros_like(shares)
    done = np.zeros_like(shares)  # a large number where the cell is full
    for _ in range(shares.shape[1]):
        few, most = (left + done).argmin(axis=1), (left - done).argmax(axis=1)
        threshold[rows, few], second[rows, few] = left[rows, few], most
        left[rows, most] -= cell - left[rows, few]
        done[rows, few] = 2 * _WORDS
    return threshold, second
