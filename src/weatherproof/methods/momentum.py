"""Networks that follow others slowly."""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MomentumCopy(nn.Module):
    """A copy whose parameters are a moving average of the originals' (He et al. 2020, eq. 2). No gradient reaches it.

    Its batch normalisation has running statistics of its own, from its own passes. Its parameters count as frozen, yet
    they move and so belong into a checkpoint: `training.state` knows this class.

    Args:
        originals: applied one after the other.
        momentum: share of the old value that each `follow` keeps.
    """

    def __init__(self, *originals: nn.Module, momentum: float) -> None:
        super().__init__()
        self.networks = nn.Sequential(*(copy.deepcopy(original) for original in originals)).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def follow(self, *originals: nn.Module) -> None:
        """theta_copy <- momentum theta_copy + (1 - momentum) theta."""
        theirs = [p.detach() for original in originals for p in original.parameters()]
        get_ema_multi_avg_fn(self.momentum)(list(self.networks.parameters()), theirs, None)

    @torch.no_grad()
    def forward(self, rows: Tensor) -> Tensor:
        return self.networks(rows)
