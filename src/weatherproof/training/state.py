"""What a checkpoint holds: everything that the next step depends on, and what tells whether it belongs here."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from weatherproof.errors import InputError
from weatherproof.methods.momentum import MomentumCopy
from weatherproof.training.plan import Course

if TYPE_CHECKING:
    from lightning_fabric import Fabric


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


def _belongs(course: Course, frozen: int) -> dict[str, Any]:
    """What must be the same for a checkpoint to be taken up."""
    return {
        "number of images": course.images,
        "number of steps": course.steps,
        "plan": {name: getattr(course.plan, name) for name in ("batch_size", "optimizer", "schedule", "seed")},
        "frozen weights": frozen,
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
        "belongs": _belongs(course, frozen),
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
    for name, here in _belongs(course, frozen).items():
        there = saved["belongs"][name]
        if there != here:
            raise InputError(
                f"{where} is of another training: {name} {there} there and {here} here; delete it or use another --out"
            )
    load_trained(method, saved["weights"])
    optimizer.load_state_dict(saved["optimizer"])
    fabric.strategy.precision.load_state_dict(saved["precision"])
    return int(saved["step"])
