"""Ranks of numbers in rows, and how two orders agree."""

import torch
from jaxtyping import Float
from torch import Tensor


def fractional_ranks(values: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """1 for the least of a row, n for the largest; equal values share the mean of their ranks. In float64."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values.contiguous())
    up_to = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + up_to + 1).double() / 2


def rank_correlation(first: Float[Tensor, "rows n"], second: Float[Tensor, "rows n"]) -> Float[Tensor, "rows"]:
    """Spearman's rho of every pair of rows: the linear correlation of their `fractional_ranks`, -1 to 1, in float64.

    NaN for a row whose values are all the same, on either side.
    """
    sides = [fractional_ranks(values) for values in (first, second)]
    units = [ranks - ranks.mean(dim=1, keepdim=True) for ranks in sides]
    return (units[0] * units[1]).sum(dim=1) / (units[0].norm(dim=1) * units[1].norm(dim=1))
