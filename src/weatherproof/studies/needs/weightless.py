"""Networks without numbers: their tensors have shapes and sizes, and nothing is computed. What a step needs is counted
as it is with numbers, in a hundredth of the time."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders import Encoder

_META = torch.device("meta")


def weightless(method: nn.Module) -> nn.Module:
    """A copy of a method, the bodies of whose encoders have no numbers. What is around them (views, heads, projectors,
    losses) computes as ever, from random embeddings and random gradients."""
    made = copy.deepcopy(method)
    encoders = [part for part in made.modules() if isinstance(part, Encoder)]
    inside = {id(part) for encoder in encoders for part in encoder.body.modules()}
    for encoder in encoders:
        encoder.body.to(_META)
        encoder.body.register_forward_pre_hook(_away)
        encoder.body.register_forward_hook(_back)
    for part in made.modules():
        if id(part) not in inside and not isinstance(part, Encoder):
            part.register_forward_pre_hook(_brought)  # taps reach what is inside
    return made


def _away(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_Away.apply(value) if isinstance(value, Tensor) else value for value in arguments)


def _back(module: nn.Module, arguments: object, output: Any) -> Any:
    return _Back.apply(output) if isinstance(output, Tensor) else output


def _brought(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_Back.apply(v) if isinstance(v, Tensor) and v.device == _META else v for v in arguments)


class _Away(torch.autograd.Function):
    """Numbers are forgotten."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return torch.empty_like(value, device=_META)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Back.apply(gradient)


class _Back(torch.autograd.Function):
    """And others come back."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return torch.randn(value.shape, dtype=value.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Away.apply(gradient)
