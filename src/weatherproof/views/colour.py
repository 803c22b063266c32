"""Colour jitter, in an order of operations of each image's own, and random greyscale."""

from collections.abc import Iterator
from itertools import groupby, permutations
from typing import ClassVar

import torch

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.spec import component
from weatherproof.types import Images, Keys
from weatherproof.views.adjust import OPERATIONS, colours, greyscale
from weatherproof.views.steps import Change, Drawn, apply, put

_STRONGEST = 10  # a factor of 11 makes white of all but the darkest pixels
ORDERS = (*permutations(range(4)), ())  # of brightness, contrast, saturation and hue; the last: none of them


@component
class ColorJitter:
    """Brightness, contrast, saturation and hue in random order (torchvision's rule), each image with probability p.

    Args:
        brightness, contrast, saturation: a factor is uniform in [max(0, 1 - this), 1 + this]; from 0 to 10.
        hue: a shift is uniform in +/- this share of the colour circle, at most .5.
        p: probability that an image is changed.

    Raises:
        InputError: a setting out of its range; images with neither 1 nor 3 channels.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    p: float = 1.0
    sorts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        strengths = (self.brightness, self.contrast, self.saturation)
        if min(strengths) < 0 or max(strengths) > _STRONGEST or not 0 <= self.hue <= 0.5:
            raise InputError(
                f"ColorJitter needs strengths of at least 0 (and at most {_STRONGEST}), and a hue of at most 0.5, got "
                f"{self!r}"
            )
        _check_probability(self, self.p)

    def draw(self, keys: Keys) -> Drawn:
        """The number of the order, and the four factors of each image."""
        order = random.integers(random.fold(keys, 0), len(ORDERS) - 1)
        order = torch.where(random.uniform(random.fold(keys, 1)) < self.p, order, len(ORDERS) - 1)
        ranges = [(max(0.0, 1 - x), 1 + x) for x in (self.brightness, self.contrast, self.saturation)]
        ranges.append((-self.hue, self.hue))
        factors = [random.uniform(random.fold(keys, 2 + use), *bounds) for use, bounds in enumerate(ranges)]
        return torch.stack([order.float(), *factors], dim=1)

    def change(self, drawn: Drawn, device: torch.device) -> Change:
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        factors = drawn.to(device).unbind(1)[1:]
        operations = [make(x) if used else None for make, x, used in zip(OPERATIONS, factors, strengths, strict=True)]
        orders = [ORDERS[int(number)] for number in drawn[:, 0].tolist()]

        def jitter(images: Images, part: slice) -> None:
            colours(images)
            for order, run in _runs(orders[part]):
                rows = slice(part.start + run.start, part.start + run.stop)
                for operation in (operations[number] for number in order):
                    if operation is not None:
                        operation(images[run], rows)

        return jitter

    def __call__(self, images: Images, keys: Keys) -> Images:
        return apply(images, [self], [self.draw(keys)])


@component
class RandomGrayscale:
    """Makes each image grey with probability p: .2989 R + .587 G + .114 B in all channels."""

    p: float = 0.1
    sorts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_probability(self, self.p)

    def draw(self, keys: Keys) -> Drawn:
        return (random.uniform(random.fold(keys, 0)) < self.p).float()[:, None]

    def change(self, drawn: Drawn, device: torch.device) -> Change:
        def grey(images: Images, part: slice) -> None:
            places = drawn[part, 0].nonzero().flatten()
            if colours(images) and len(places):
                put(images, places, greyscale(images.index_select(0, places.to(device))))

        return grey

    def __call__(self, images: Images, keys: Keys) -> Images:
        return apply(images, [self], [self.draw(keys)])


def _runs(orders: list[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], slice]]:
    """Neighbours of one order: the order, and where they are."""
    start = 0
    for order, run in groupby(orders):
        stop = start + len(list(run))
        yield order, slice(start, stop)
        start = stop


def _check_probability(step: object, p: float) -> None:
    if not 0 <= p <= 1:
        raise InputError(f"expected a probability p in [0, 1], got {step!r}")
