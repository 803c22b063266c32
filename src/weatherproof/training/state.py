"""What a checkpoint holds: everything that the next step depends on, and what tells whether it belongs here."""

import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from weatherproof.data.images import IDENTITY
from weatherproof.errors import InputError
from weatherproof.methods.momentum import MomentumCopy
from weatherproof.training.plan import Course

if TYPE_CHECKING:
    from lightning_fabric import Fabric


_NUMBERING = "version of the rule that numbers images"
_EARLIER = {_NUMBERING: 1}  # of checkpoints that do not say it


def _fixed(method: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that nothing moves: neither the optimizer, nor a momentum encoder. One that two networks share is
    there under both names."""
    followers = [module for module in method.modules() if isinstance(module, MomentumCopy)]
    moving = {id(p) for module in followers for p in module.parameters()}
    named = method.named_parameters(remove_duplicate=False)
    return {n: p for n, p in named if not p.requires_grad and id(p) not in moving}


def trained(method: nn.Module) -> dict[str, Tensor]:
    """What training moves: all weights that are not fixed, and all buffers (running statistics, queues, banks)."""
    fixed = _fixed(method)
    return {name: value for name, value in method.state_dict().items() if name not in fixed}


def load_trained(method: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put back what `trained` gave."""
    here = trained(method)
    if here.keys() != weights.keys() or any(here[name].shape != value.shape for name, value in weights.items()):
        raise InputError("the saved weights are those of another network: choose another --out or delete it")
    method.load_state_dict(dict(weights), strict=False)


def all_finite(weights: Mapping[str, Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in weights.values())


def fingerprint(method: nn.Module) -> int:
    """A checksum of the fixed weights: another teacher makes it another training."""
    checksum = 0
    for parameter in _fixed(method).values():
        raw = parameter.detach().cpu().contiguous().flatten().view(torch.uint8)
        checksum = zlib.crc32(raw.numpy().data, checksum)
    return checksum


def _belongs(method: nn.Module, course: Course, frozen: int) -> dict[str, Any]:
    """What must be the same for a checkpoint to be taken up."""
    return {
        "number of images": course.images,
        _NUMBERING: IDENTITY,
        "number of steps": course.steps,
        "plan": {name: getattr(course.plan, name) for name in ("batch_size", "optimizer", "schedule", "seed")},
        "frozen weights": frozen,
        "groups of batch normalisation": getattr(method, "groups", 1),
    }


def capture(
    method: nn.Module, optimizer: Any, fabric: "Fabric", course: Course, step: int, frozen: int
) -> dict[str, Any]:
    """The state after `step` steps."""
    return {
        "step": step,
        "weights": trained(method),
        "optimizer": optimizer.state_dict(),
        "precision": fabric.strategy.precision.state_dict(),  # the loss scale of 16-mixed
        "belongs": _belongs(method, course, frozen),
        "processes": fabric.world_size,
    }


def restore(
    saved: Mapping[str, Any],
    method: nn.Module,
    optimizer: Any,
    fabric: "Fabric",
    course: Course,
    frozen: int,
    where: Path,
) -> int:
    """Put a captured state back and return its step. Raises `InputError` where it is another training's."""
    for name, here in _belongs(method, course, frozen).items():
        there = saved["belongs"].get(name, _EARLIER.get(name, here))  # older ones know fewer
        if there != here:
            raise InputError(
                f"{where} is of another training: {name} {there} there and {here} here; delete it or use another --out"
            )
    load_trained(method, saved["weights"])
    optimizer.load_state_dict(_computed_here(saved["optimizer"], optimizer))
    fabric.strategy.precision.load_state_dict(saved["precision"])
    there = saved.get("processes", fabric.world_size)
    if there != fabric.world_size and fabric.is_global_zero:
        warnings.warn(_other_processes(method, course, there, fabric.world_size), UserWarning, stacklevel=2)
    return int(saved["step"])


def _computed_here(saved: Mapping[str, Any], optimizer: Any) -> dict[str, Any]:
    """An optimizer's state for the kernel of this run, which may be fused into one; that reads memory in the weights'
    own order (channels last), whatever order a tensor has."""
    groups = zip(saved["param_groups"], optimizer.param_groups, strict=True)
    kernel = [theirs | {name: own[name] for name in ("fused",) if name in own} for theirs, own in groups]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    states = {i: {n: _ordered(value, weights[i]) for n, value in state.items()} for i, state in saved["state"].items()}
    return {**saved, "param_groups": kernel, "state": states}


def _ordered(value: Tensor, weight: Tensor) -> Tensor:
    if value.shape != weight.shape or value.stride() == weight.stride():
        return value
    return torch.empty_strided(weight.shape, weight.stride(), dtype=value.dtype).copy_(value)


def _draws(part: nn.Module) -> bool:
    """Whether it is dropout, of PyTorch or, as timm has it, of whole paths."""
    if isinstance(part, _DropoutNd):
        return part.p > 0
    return type(part).__name__ == "DropPath" and bool(getattr(part, "drop_prob", 0))


def _other_processes(method: nn.Module, course: Course, there: int, here: int) -> str:
    """What changes where a training goes on with another number of processes."""
    size = course.plan.batch_size
    change = (
        f"this training began with {there} process(es) and goes on with {here}: the batches of {size} images stay, in "
        "their order, and the weights are the same up to rounding"
    )
    normed = any(isinstance(part, _BatchNorm) for own in method.modules() if own.training for part in own.children())
    if normed and getattr(method, "groups", 1) == 1:
        change += (
            f", but for batch normalisation: its statistics are those of {size // here} images, not of {size // there}"
        )
    if any(own.training and _draws(own) for own in method.modules()):
        change += "; dropout is drawn by each process for its share, so otherwise than before"
    rest = course.images % size
    if course.last_rows and (rest % there or rest % here):
        change += f"; an epoch's last batch has {rest - rest % here} images, not {rest - rest % there}"
    return change
