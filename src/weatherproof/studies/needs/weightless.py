"""Networks without numbers: their tensors have shapes and sizes, and nothing is computed. What a step needs is counted
as it is with numbers, in a hundredth of the time."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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


class RememberedShapes(TorchDispatchMode):
    """Inside, an operator on tensors without numbers is asked once what shapes it gives of which. PyTorch finds them in
    Python, in a third of a millisecond, and a step in parts asks for the same a thousand times.

    Attributes:
        count: of answers from memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._known: dict[tuple[object, ...], list[tuple[Any, ...] | None]] = {}
        self._functional: dict[Any, bool] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in self._functional:
            self._functional[func] = _functional(func)
        if not self._functional[func]:
            return func(*args, **kwargs)
        try:
            key = func, _described(args), *((name, _described(value)) for name, value in kwargs.items())
            known = self._known.get(key)
        except (_Numbers, TypeError):  # TypeError: not hashable
            return func(*args, **kwargs)
        if known is None:
            out = func(*args, **kwargs)
            made = out if isinstance(out, tuple) else (out,)
            if all(one is None or one.device == _META for one in made):
                self._known[key] = [None if one is None else (one.shape, one.stride(), one.dtype) for one in made]
            return out
        self.count += 1
        made = tuple(one and torch.empty_strided(one[0], one[1], dtype=one[2], device=_META) for one in known)
        return made if len(func._schema.returns) > 1 else made[0]


class _Numbers(Exception):
    """A tensor has numbers, on which results may depend."""


def _functional(func: Any) -> bool:
    """Whether an operator changes none of its arguments, and gives tensors of their own."""
    schema = func._schema
    aliases = any(one.alias_info is not None for one in (*schema.arguments, *schema.returns))
    return not aliases and {one.type.kind() for one in schema.returns} == {"TensorType"}


def _described(value: object) -> object:
    """What shapes depend on. A number comes with its type: 1 is not 1.0."""
    if isinstance(value, Tensor):
        if value.device != _META:
            raise _Numbers
        return value.shape, value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple(map(_described, value))
    return type(value), value
