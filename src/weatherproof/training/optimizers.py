"""What moves the weights."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from weatherproof.encoders import Encoder
from weatherproof.errors import InputError

if TYPE_CHECKING:
    from weatherproof.training.plan import Plan


def make_optimizer(plan: "Plan", parameters: Iterable[Tensor], device: torch.device) -> torch.optim.Optimizer:
    """The plan's optimizer, in one kernel for all weights where the device has it."""
    fused = device.type in ("cpu", "cuda") and not (plan.shards and plan.optimizer == "sgd")  # no DTensor has that one
    if plan.optimizer == "lars":
        return _lars(plan, list(parameters))
    if plan.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, plan.lr, plan.momentum, weight_decay=plan.weight_decay, nesterov=plan.nesterov, fused=fused
        )
    kind = torch.optim.Adam if plan.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, plan.lr, weight_decay=plan.weight_decay, fused=fused)


def _lars(plan: "Plan", parameters: list[Tensor]) -> torch.optim.Optimizer:
    """LARS (You et al. 2017, trust coefficient 0.001). As SimCLR has it, biases and normalisation layers, which are
    the parameters of one dimension, are neither decayed nor adapted: they take plain momentum steps of the full
    learning rate."""
    from timm.optim import Lars

    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": plan.weight_decay, "always_adapt": True},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "always_adapt": False},
    ]
    used = [group for group in groups if group["params"]]
    return Lars(used, lr=plan.lr, momentum=plan.momentum, nesterov=plan.nesterov)


def require_gradients(method: nn.Module, weights: Iterable[Tensor]) -> None:
    """Raise `InputError` for an encoder that is trained, of which no weight has got a gradient."""
    trained = {id(weight) for weight in weights}
    for encoder in (part for part in method.modules() if isinstance(part, Encoder)):
        own = [weight for weight in encoder.parameters() if id(weight) in trained]
        if own and all(weight.grad is None for weight in own):
            raise InputError(
                f"no gradient reaches the weights of {encoder.name}: it computes without (torch.no_grad, detach, "
                "NumPy); give a network that can be trained"
            )
