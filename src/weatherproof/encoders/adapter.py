"""What the adapters to other people's model libraries share. The libraries are imported when first asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from weatherproof.encoders.unfilled import Unfilled
from weatherproof.errors import InputError, shown
from weatherproof.sizes import Size, in_pixels, nearest, sides, size_of, size_words
from weatherproof.texts import LARGEST_SIDE


@dataclass(frozen=True)
class Release:
    """Weights that a library publishes for one of its architectures.

    Args:
        text: names the architecture with these weights: "timm:vit_small_patch16_224.dino".
        files: names under which the weights are published, without the ending.
        tag: the library's name for them; None: those of the bare name, where the library publishes none by default.
        expects: what pixels they expect, in words that are equal where the expectations are.
    """

    text: str
    files: tuple[str, ...]
    tag: str | None
    expects: str


def stem(url: str | None) -> str:
    """The file's name in an address, without the ending."""
    return (url or "").rstrip("/").rpartition("/")[2].rpartition(".")[0]


def expectations(mean: Sequence[float], std: Sequence[float], size: Size | None, *more: str) -> str:
    """What pixels weights expect, in words."""
    centre, spread = ("/".join(f"{value:.4g}" for value in dict.fromkeys(values)) for values in (mean, std))
    return ", ".join([f"mean {centre}", f"std {spread}", *([f"{size_words(size)} px"] if size else []), *more])


def no_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises: InputError, if there are options."""
    if options:
        raise InputError(f"{name} takes no options, got {', '.join(map(str, options))}")


_MOST_WEIGHTS = 1 << 30  # 4 GB: of the native encoders the largest has 24 million
_MOST_PARTS = 1 << 15  # modules and tensors, which take memory of their own: networks of timm have up to some 3,000
_LARGEST = 1 << 17  # of an option: lists of so many numbers are made before the first layer is


def require_room(name: str, make: Callable[[], nn.Module], options: Mapping[str, Any]) -> None:
    """Raise `InputError` where the network would fill the memory; counted without taking any, as far as the limit."""
    for option, value in options.items():
        numbers = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(number, int) and abs(number) > _LARGEST for number in numbers):
            raise InputError(f"{option} of {name} must be at most {_LARGEST:,}, got {shown(value)}")
    with torch.device("meta"), Unfilled(), bounded(f"{name} with {shown(dict(options))}", "give smaller options"):
        make()


def require_few(name: str, settings: Mapping[str, Any]) -> None:
    """Raise `InputError` where a description asks for more layers than any network has: lists are made of as many."""
    for setting, value in settings.items():
        if isinstance(value, Mapping):
            require_few(name, value)
        numbers = value if isinstance(value, list | tuple) else (value,)
        counts = "layer" in str(setting) or "depth" in str(setting)
        if counts and any(isinstance(number, int) and abs(number) > _MOST_PARTS for number in numbers):
            raise InputError(f"{setting} of {name} must be at most {_MOST_PARTS:,}, got {shown(value)}")


@contextmanager
def bounded(named: str, advice: str, most: int = _MOST_WEIGHTS) -> Iterator[None]:
    """Inside, a network that is built must not have more weights than that, nor more parts than any has. Raises
    `InputError` at the first one beyond, which says what the network is called and what to do."""
    with _counted(most) as count:
        try:
            yield
        except _Full:
            weights = f"{most:,} weights, {most * 4 >> 30} GB"
            many = weights if count.weights > most else f"{_MOST_PARTS:,} modules and tensors"
            raise InputError(f"{named} would have more than {many}: {advice}") from None


class _Full(BaseException):
    """There is more than is taken. No library catches it."""


@dataclass
class _Count:
    most: int
    weights: int = 0
    parts: int = 0

    def note(self, _module: nn.Module, _name: str, part: nn.Module | nn.Parameter | None) -> None:
        """Count one more part of a network that is being built. Raises `_Full` beyond the limits."""
        self.parts += 1
        self.weights += part.numel() if isinstance(part, nn.Parameter) else 0
        if self.weights > self.most or self.parts > _MOST_PARTS:
            raise _Full


@contextmanager
def _counted(most: int) -> Iterator[_Count]:
    """Inside, all that modules get is counted, up to so many weights."""
    count = _Count(most)
    hooks = [
        register_module_parameter_registration_hook(count.note),
        register_module_module_registration_hook(count.note),
    ]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


def classifier_path(model: nn.Module, head: nn.Module) -> str:
    """The name of a module inside a model."""
    return next(path for path, module in model.named_modules() if module is head)


def without_head(model: nn.Module, path: str) -> nn.Module:
    """The model with its classifier replaced by the identity, so that it returns the embedding."""
    model.set_submodule(path, nn.Identity())
    return model


def input_size(size: int | Sequence[int]) -> Size:
    """The size of a model's input, from a number or (height, width)."""
    return size_of((size,) if isinstance(size, int) else (int(size[0]), int(size[-1])))


def multiples(size: Size, patch: tuple[int, int]) -> str:
    """The sizes next to this one that a patch divides, in words."""
    below, above = nearest(size, patch)
    found = [in_pixels(one) for one in dict.fromkeys((below, above)) if not exceeds(one)]
    return " and ".join(found)


def exceeds(size: Size) -> bool:
    """Whether a side is larger than any that is taken."""
    return max(sides(size)) > LARGEST_SIDE


def divides(size: Size, patch: tuple[int, int]) -> bool:
    """Whether the patch covers all of the size."""
    return not any(side % one for side, one in zip(sides(size), patch, strict=True))
