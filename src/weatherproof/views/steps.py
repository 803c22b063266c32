"""Steps of a view: they change images where they are, as many at a time as fit the processor's caches.

A step draws its parameters from the keys on the CPU, so nothing has to come back from a GPU. Images are worked on in
the order that a step wants, so that like ones are neighbours.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.sizes import Size, sides
from weatherproof.types import Images, Keys

Drawn = Float[Tensor, "batch _"]  # on the CPU, one row per image
Change = Callable[[Images, slice], None]  # works in place on contiguous images, whose rows of what was drawn these are
Cut = Callable[[slice, Int64[Tensor, "part"]], Images]  # the views to work on, made from the images of these numbers

_CHUNK = 3 << 19  # values that a CPU works on at a time: 6 MB; smaller ones cost more in calls than they save
_LARGE = 1 << 14  # values of an image that is worth a call of its own


@runtime_checkable
class Step(Protocol):
    """An operator that can work in place."""

    sorts: ClassVar[bool]  # whether images of like first parameters are best treated together

    def __call__(self, images: Images, keys: Keys) -> Images: ...

    def draw(self, keys: Keys) -> Drawn: ...

    def change(self, drawn: Drawn, device: torch.device) -> Change:
        """What is done to images of these parameters."""


def draw(steps: Sequence[Step], keys: Keys, first: int = 0) -> list[Drawn]:
    """The parameters of each step, from the keys that a `Chain` gives the operators from place `first` on."""
    return [step.draw(random.fold(keys, first + place)) for place, step in enumerate(steps)]


def grouped(steps: Sequence[Step], drawn: Sequence[Drawn], count: int) -> Int64[Tensor, "batch"]:
    """The numbers of the images in the order in which they are worked on."""
    for step, rows in zip(steps, drawn, strict=True):
        if step.sorts:
            return rows[:, 0].argsort(stable=True)
    return torch.arange(count)


@torch.no_grad()
def apply(images: Images, steps: Sequence[Step], drawn: Sequence[Drawn]) -> Images:
    """The steps, one after the other, on a copy of the images."""
    order = grouped(steps, drawn, len(images))
    return work(images, steps, drawn, order, lambda _, numbers: images.index_select(0, numbers.to(images.device)))


@torch.no_grad()
def work(
    images: Images, steps: Sequence[Step], drawn: Sequence[Drawn], order: Int64[Tensor, "batch"], cut: Cut,
    size: Size = 0,
) -> Float[Tensor, "batch channels rows columns"]:  # fmt: skip
    """The steps, one after the other, on what `cut` makes of the images in that order, of that size."""
    count, channels = images.shape[:2]
    out = images.new_empty(count, channels, *(sides(size) if size else images.shape[-2:]))
    changes = [step.change(rows[order], images.device) for step, rows in zip(steps, drawn, strict=True)]
    several = at_once(images, size)
    for start in range(0, count, several):
        part = slice(start, min(start + several, count))
        views = cut(part, order[part])
        for change in changes:
            change(views, part)
        put(out, order[part], views)
    return out


def put(images: Images, places: Int64[Tensor, "part"], views: Float[Tensor, "part channels height width"]) -> None:
    """images[places] = views; the places are on the CPU."""
    if images.device.type == "cpu" and images[:1].numel() > _LARGE:
        for place, view in zip(places.tolist(), views, strict=True):  # `index_copy_` takes three times as long
            images[place] = view
    else:
        images.index_copy_(0, places.to(images.device), views)


def at_once(images: Images, size: Size = 0) -> int:
    """How many images fit a CPU's caches, as they are and with views of that size; elsewhere all of them."""
    values = images.shape[1] * max(images.shape[2] * images.shape[3], prod(sides(size)))
    return max(1, _CHUNK // max(1, values)) if images.device.type == "cpu" else max(1, len(images))
