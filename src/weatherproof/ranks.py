"""Numbers in order, equal ones counted half."""

import torch
from jaxtyping import Float
from torch import Tensor


def fractional_ranks(values: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """1 for the least of a row, n for the largest; equal values share the mean of their ranks. In float64."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values.contiguous())
    up_to = torch.searchsorted(ordered, values.contiguous(), right=True)
    return (below + up_to + 1).double() / 2


def share_above(values: Float[Tensor, "n"], others: Float[Tensor, "m"]) -> float:
    """P(a value is above one of the others) + P(equal) / 2 (Mann & Whitney 1947). NaN where there are none."""
    ordered, values = others.sort().values, values.contiguous()
    twice = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    return float(twice.double().sum() / (2 * len(values) * len(others)))
