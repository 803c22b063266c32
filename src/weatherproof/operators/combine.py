"""Operators made of operators."""

from dataclasses import field

import torch
from jaxtyping import Bool, Float

from weatherproof import random
from weatherproof.errors import InputError, shown
from weatherproof.protocols import Operator
from weatherproof.spec import component
from weatherproof.types import Images, Keys


def check_operator(op: object) -> None:
    """Raise `InputError` for what cannot be called."""
    if not callable(op):
        raise InputError(f"expected an operator, got {shown(op)}")


@component
class Chain:
    """Applies operators one after the other: ``Chain(GaussianBlur(1.0), GaussianNoise(0.1))``.

    Raises `InputError` for what cannot be called.
    """

    ops: tuple[Operator, ...] = field(metadata={"star": True})

    def __init__(self, *ops: Operator) -> None:
        for op in ops:
            check_operator(op)
        object.__setattr__(self, "ops", ops)

    @property
    def deterministic(self) -> bool:
        return all(getattr(op, "deterministic", False) for op in self.ops)

    def __call__(self, images: Images, keys: Keys) -> Float[torch.Tensor, "batch channels rows columns"]:
        for place, op in enumerate(self.ops):
            images = op(images, random.fold(keys, place))
        return images


@component
class Sometimes:
    """Applies an operator to each image with probability p in [0, 1], independently. Raises `InputError` otherwise."""

    op: Operator
    p: float = 0.5

    def __post_init__(self) -> None:
        check_operator(self.op)
        if not 0 <= self.p <= 1:
            raise InputError(f"p must be in [0, 1], got {self.p}")

    def __call__(self, images: Images, keys: Keys) -> Images:
        return _apply_to(self.op, images, random.fold(keys, 1), self.chosen(keys).nonzero().flatten())

    def chosen(self, keys: Keys) -> Bool[torch.Tensor, "batch"]:
        """Whether it is applied to the images with these keys."""
        return random.uniform(random.fold(keys, 0)) < self.p


@component
class OneOf:
    """Applies one of several operators to each image, drawn uniformly and independently.

    Raises `InputError` without an operator, and for what cannot be called.
    """

    ops: tuple[Operator, ...] = field(metadata={"star": True})

    def __init__(self, *ops: Operator) -> None:
        if not ops:
            raise InputError("OneOf needs at least one operator")
        for op in ops:
            check_operator(op)
        object.__setattr__(self, "ops", ops)

    def __call__(self, images: Images, keys: Keys) -> Images:
        choice = random.integers(random.fold(keys, 0), len(self.ops))
        for place, op in enumerate(self.ops):
            images = _apply_to(op, images, random.fold(keys, 1 + place), (choice == place).nonzero().flatten())
        return images


def _apply_to(op: Operator, images: Images, keys: Keys, chosen: torch.Tensor) -> Images:
    """`op` on the chosen images alone: the others cost nothing, and no draw depends on who else is in the batch."""
    if len(chosen) == 0:
        return images
    if len(chosen) == len(images):
        return op(images, keys)
    places = chosen.to(images.device)
    return images.index_copy(0, places, op(images[places], keys[chosen]))
