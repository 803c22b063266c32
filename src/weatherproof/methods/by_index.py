"""Rows that are looked up by the images' own numbers."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class ByIndex:
    """One row for every image, found by the image's index, which may be any number: `rows[batch.index]`.

    Args:
        index: of the images, each another.
        rows: theirs, in this order.
    """

    def __init__(self, index: Int64[Tensor, "n"], rows: Float[Tensor, "n features"]) -> None:
        self.rows = rows
        self.sorted, self.order = index.cpu().sort()

    def __getitem__(self, index: Int64[Tensor, "m"]) -> Float[Tensor, "m features"]:
        """The rows of these images, NaN where there is none."""
        at = torch.searchsorted(self.sorted, index.contiguous()).clamp_(max=len(self.sorted) - 1)
        found = self.rows[self.order[at]]
        found[self.sorted[at] != index] = torch.nan
        return found
