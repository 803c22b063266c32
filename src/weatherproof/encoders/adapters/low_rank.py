"""A change of a weight that has few numbers (LoRA, Hu et al. 2021, arXiv 2106.09685, equation 3)."""

import math

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """W + up down, with W frozen.

    W [out, in, ...] counts as a matrix [out, in * ...]: a convolution's kernel is one row for each output. At first up
    is 0 and nothing changes; down is drawn as `nn.Linear` draws its weights (the paper's scale, alpha / rank, is 1).

    Args:
        weight: W, looked at for its shape alone.
        rank: of the change, at most what W itself can have.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        rank = min(rank, rows, columns)
        self.down = nn.Parameter(torch.empty(rank, columns, device=weight.device, dtype=weight.dtype))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight, also in mixed precision a sum of full precision."""
        with torch.autocast(weight.device.type, enabled=False):
            if weight.is_contiguous():  # half the traffic of a sum
                return torch.addmm(weight.flatten(1), self.up, self.down).view(weight.shape)
            return weight + (self.up @ self.down).view(weight.shape)  # keeps the layout of kernels
