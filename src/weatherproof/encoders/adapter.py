"""What the adapters to other people's model libraries share. The libraries are imported when first asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from weatherproof.errors import InputError


def no_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises: InputError, if there are options."""
    if options:
        raise InputError(f"{name} takes no options, got {', '.join(map(str, options))}")


def classifier_path(model: nn.Module, head: nn.Module) -> str:
    """The name of a module inside a model."""
    return next(path for path, module in model.named_modules() if module is head)


def without_head(model: nn.Module, path: str) -> nn.Module:
    """The model with its classifier replaced by the identity, so that it returns the embedding."""
    model.set_submodule(path, nn.Identity())
    return model


def square_side(size: int | Sequence[int], name: str) -> int:
    """The side of a model's square input, from a number or (height, width)."""
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[-1]))
    if height != width:
        raise InputError(f"{name} expects {height}x{width} pixels: only encoders with a square input are supported")
    return height
