"""Weights that no process holds whole: FSDP2 (`torch.distributed.fsdp.fully_shard`; Zhao et al. 2023, 2304.11277).

Processes are started and joined as those of DDP are. Fabric's ModelParallelStrategy would start them by running the
user's script anew, which a call of `fit` within a program cannot have, and writes checkpoints that neither DDP nor one
process could take up.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed import get_world_size, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from weatherproof.encoders import Encoder
from weatherproof.encoders.adapters import Adapted
from weatherproof.encoders.recomputed import blocks
from weatherproof.encoders.taps import EMBEDDING
from weatherproof.errors import InputError
from weatherproof.methods.feature_contrast import OUTPUT
from weatherproof.methods.momentum import MomentumCopy


class Sharded(DDPStrategy):
    """Fabric's strategy of processes among which weights are shared out."""

    def module_to_device(self, module: nn.Module) -> None:
        """Nothing: the whole may not fit there, and every part goes when it is shared out."""

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        return shared_out(module, self.root_device)


def shared_out(method: nn.Module, device: torch.device) -> nn.Module:
    """The method, in place, with an equal part of each of its weights left in this process.

    A block of an encoder (`encoders.recomputed.blocks`: transformer layer, residual block), trained or frozen, is put
    together for its own passes. Everything else (first and last layers, heads, projectors, networks without blocks) is
    put together for the whole step, and so can be called in any way. Buffers stay whole, each process has its own.
    """
    mesh = init_device_mesh(device.type, (get_world_size(),))
    for block in _blocks(method):
        block.register_forward_hook(_no_view)
        fully_shard(block, mesh=mesh)
    fully_shard(method, mesh=mesh)
    return method


@contextmanager
def put_together() -> Iterator[None]:
    """Inside, `InputError` is raised for a network that reads weights of a block outside of its passes."""
    try:
        yield
    except RuntimeError as error:
        if "DTensor" not in str(error):
            raise
        raise InputError(
            "strategy fsdp puts a block's weights together for its own passes, and this network reads them "
            "elsewhere: take strategy ddp"
        ) from error


def _blocks(method: nn.Module) -> list[nn.Module]:
    return [block for one in method.modules() if isinstance(one, Encoder) for block in blocks(one.body)]


def _no_view(block: nn.Module, arguments: Any, output: Any) -> Any:
    """What changes a view in place afterwards would take away from it that the block is put together in the backward
    pass."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else output


def whole(nest: Any, *, keep: bool) -> Any:
    """Mappings and lists of tensors, those that are shared out put together on the CPU. All processes have to call it.

    Args:
        keep: what is put together; else an empty tensor stands for it.
    """
    if isinstance(nest, DTensor):
        full = nest.full_tensor()
        return full.cpu() if keep else full.new_empty(0)
    if isinstance(nest, Mapping):
        return {name: whole(value, keep=keep) for name, value in nest.items()}
    return type(nest)(whole(value, keep=keep) for value in nest) if isinstance(nest, list | tuple) else nest


def parted(saved: Mapping[str, Any], method: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A saved state of whole tensors with this process's part of each that is shared out here."""
    here = method.state_dict()
    moved = [weight for group in optimizer.param_groups for weight in group["params"]]
    states = saved["optimizer"]["state"]
    own = {i: {name: _part(value, moved[i]) for name, value in state.items()} for i, state in states.items()}
    return {
        **saved,
        "weights": {name: _part(value, here.get(name)) for name, value in saved["weights"].items()},
        "optimizer": {**saved["optimizer"], "state": own},
    }


def _part(value: Tensor, like: Tensor | None) -> Tensor:
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    ordered = torch.empty_strided(like.shape, like.stride(), dtype=value.dtype, device=like.device).copy_(value)
    return distribute_tensor(ordered, like.device_mesh, like.placements, src_data_rank=None)


def check_shareable(method: nn.Module) -> None:
    """Raise `InputError` for a method that reads or moves weights outside of the passes for which they are put
    together, or takes a gradient before the step's own."""
    if (found := next(_obstacles(method), None)) is not None:
        raise InputError(f"strategy fsdp and {found} do not go together: take strategy ddp")


def _obstacles(method: nn.Module) -> Iterator[str]:
    if any(isinstance(part, MomentumCopy) for part in method.modules()):
        yield "a momentum encoder, which follows weights that no process has whole,"
    if any(isinstance(part, Adapted) and part.adapter is not None for part in method.modules()):
        yield "an adapter, whose tensors stand in for those of blocks,"
    if any(getattr(getattr(method, name, None), "weight", 0) for name in ("tikhonov", "penalty")):
        yield "a Tikhonov penalty, whose gradient is taken before that of the step,"
    if getattr(method, "attack", None) is not None:
        yield "an attack, whose gradient is taken before that of the step,"
    if getattr(getattr(method, "partner", None), "needs_utility", False):
        yield "the utility of pixels, a gradient that is taken before that of the step,"
    if getattr(method, "sp", None) is not None:
        yield "L2-SP, which compares weights that no process has whole,"
    if {*getattr(method, "layers", ()), getattr(method, "layer", EMBEDDING)} - {EMBEDDING, OUTPUT}:
        yield "a loss at inner layers, whose passes end early,"
    if _shares(method):
        yield "networks that share weights"


def _shares(method: nn.Module) -> bool:
    """Whether a block has a weight that is also another's, or stands outside of blocks."""
    parts = [[*block.modules()] for block in _blocks(method)]
    inside = {id(module) for part in parts for module in part}
    parts.append([module for module in method.modules() if id(module) not in inside])
    owned = [{id(weight) for module in part for weight in module.parameters(recurse=False)} for part in parts]
    return len(set[int]().union(*owned)) < sum(map(len, owned))
