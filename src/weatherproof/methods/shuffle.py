"""Rows of a batch in another order, over all processes: no process normalises an image's key with its query."""

from dataclasses import dataclass

import torch
from torch import Tensor

from weatherproof.protocols import Gather
from weatherproof.types import Keys


@dataclass(frozen=True)
class Shuffle:
    """A permutation of the whole batch that depends on its keys alone, and this process's share of it.

    Args:
        keys: of this process's images, folded for this use.
        gather: joins the rows of all processes.
        device: where the rows lie.
    """

    order: Tensor
    rank: int
    world: int
    gather: Gather

    @classmethod
    def of(cls, keys: Keys, gather: Gather, device: torch.device) -> "Shuffle":
        everyone = gather(keys.to(device))
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if joined else 0
        return cls(everyone.argsort(stable=True), rank, len(everyone) // max(1, len(keys)), gather)

    def share(self, rows: Tensor) -> Tensor:
        """The rows of this process among those of all."""
        each = len(rows) // self.world
        return rows[self.rank * each : (self.rank + 1) * each]

    def mix(self, rows: Tensor) -> Tensor:
        """This process's share of all processes' rows in the new order."""
        return self.gather(rows)[self.share(self.order)]

    def restore(self, rows: Tensor) -> Tensor:
        """All processes' rows, back in the old order."""
        mixed = self.gather(rows)
        return torch.empty_like(mixed).index_copy_(0, self.order, mixed)
