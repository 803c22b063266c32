"""What an operator drew: the kind of damage and its level, replayed from the images' keys alone.

`drawn` looks at no image. It follows the folds of `Sometimes`, `OneOf` and of every operator with one level, so that it
tells what the very same call with these keys does to each image. Of other operators, chains of several, mixed chains
and the user's own functions among them, it tells whether they were applied, and no level.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from weatherproof import random
from weatherproof.functions import given
from weatherproof.operators import levels
from weatherproof.operators.blur import GaussianBlur
from weatherproof.operators.combine import Chain, OneOf, Sometimes
from weatherproof.operators.compression import JPEG
from weatherproof.operators.contrast import Contrast
from weatherproof.operators.family import CommonCorruptions
from weatherproof.operators.masking import RandomMask
from weatherproof.operators.noise import GaussianNoise
from weatherproof.operators.pixels import NonUniformNoise, UniformNoise
from weatherproof.operators.suites import Corruption
from weatherproof.protocols import Operator
from weatherproof.types import Keys

CLEAN = "clean"


@dataclass(frozen=True)
class Scale:
    """The one level of an operator.

    Args:
        field: the operator's field that holds it.
        none: the level at which nothing happens.
        end: the worst level there is.
        of_side: the worst level of use, as a share of the image's shorter side; None: whatever the size.
        ranges: whether the field may hold a pair from which each image draws its own.
        whole: levels are whole numbers, of which 1 is the mildest.
        draw: (operator, keys) -> levels, where they are drawn in a way of their own.
    """

    field: str
    none: float
    end: float
    of_side: float | None = None
    ranges: bool = True
    whole: bool = False
    draw: Callable[[Any, Keys], Tensor] | None = None

    def of(self, operator: Operator) -> levels.Level:
        level: levels.Level = getattr(operator, self.field)
        return level

    def severity(self, level: float) -> float:
        """How far a level is from none."""
        return abs(level - self.none)

    def drawn(self, operator: Operator, keys: Keys) -> Float64[Tensor, "batch"]:
        if self.draw is not None:
            return self.draw(operator, keys).double()
        return levels.draw(self.of(operator), random.fold(keys, 0))


SCALES: dict[type, Scale] = {
    RandomMask: Scale("fraction", 0, 1),
    GaussianNoise: Scale("sigma", 0, 1),
    GaussianBlur: Scale("sigma", 0, levels.WIDEST, of_side=0.25),
    JPEG: Scale("quality", 100, 1, draw=JPEG.draw),
    Contrast: Scale("amount", 0, 1),
    UniformNoise: Scale("fraction", 0, 1, ranges=False),
    NonUniformNoise: Scale("fraction", 0, 1, ranges=False),
    Corruption: Scale("severity", 0, 5, whole=True, draw=Corruption.draw),
}


@dataclass(frozen=True)
class Kind:
    """One kind of damage that an operator can draw.

    Attributes:
        name: the operator's, of a common corruption its own ("fog"), else its text.
        operators: those of this kind, each with its own levels.
        scale: of the level; None: it has none that could be told.
    """

    name: str
    operators: tuple[Operator, ...]
    scale: Scale | None

    @property
    def span(self) -> tuple[float, float]:
        """The mildest and the worst level that can be drawn. Of a kind with a scale."""
        scale = self._scale
        found = [end for op in self.operators for end in levels.ends(scale.of(op))]
        return min(found, key=scale.severity), max(found, key=scale.severity)

    def end(self, times: float, side: int) -> float:
        """The worst level of use for images of that shorter side, at most so many times as far from none as the worst
        that can be drawn, which it is at least."""
        scale, top = self._scale, self.span[1]
        most = scale.severity(scale.end) if scale.of_side is None else scale.of_side * side
        far = max(scale.severity(top), min(times * scale.severity(top), most))
        return scale.none + math.copysign(far, top - scale.none)

    def between(self, one: float, other: float, steps: int = 12) -> Operator:
        """The same damage with levels drawn evenly between two; of `steps` of them where it takes no range."""
        scale, first = self._scale, self.operators[0]
        low, high = sorted((one, other))
        field: Any = first  # a frozen dataclass, which `replace` makes anew
        if not scale.ranges:
            return OneOf(
                *(replace(field, **{scale.field: low + (high - low) * i / steps}) for i in range(1, steps + 1))
            )
        pair = (max(1, round(low)), max(1, round(high))) if scale.whole else (float(low), float(high))
        return replace(field, **{scale.field: pair})

    @property
    def _scale(self) -> Scale:
        assert self.scale is not None, f"{self.name} has no level"
        return self.scale


@dataclass(frozen=True)
class Drawn:
    """What each image got.

    Attributes:
        kind: 0: nothing; else 1 + the place in `kinds(operator)`.
        level: in the operator's own unit; NaN where there is none, or none that could be told.
    """

    kind: Int64[Tensor, "batch"]
    level: Float64[Tensor, "batch"]


def kinds(operator: Operator) -> tuple[Kind, ...]:
    """The kinds of damage that an operator can draw, in the order of its text."""
    found, shared = dict[str, list[Operator]](), _shared_names(operator)
    for leaf in _leaves(operator):
        found.setdefault(_kind_name(leaf, shared), []).append(leaf)
    return tuple(Kind(name, tuple(same), SCALES.get(type(same[0]))) for name, same in found.items())


def drawn(operator: Operator, keys: Keys) -> Drawn:
    """The kind and the level that `operator(images, keys)` draws for each image."""
    kind = torch.zeros(len(keys), dtype=torch.int64)
    level = torch.full((len(keys),), torch.nan, dtype=torch.float64)
    places, shared = {own.name: 1 + place for place, own in enumerate(kinds(operator))}, _shared_names(operator)
    for leaf, chosen, own in _applied_leaves(operator, keys, torch.ones(len(keys), dtype=torch.bool)):
        kind[chosen] = places[_kind_name(leaf, shared)]
        if (scale := SCALES.get(type(leaf))) is not None:
            level[chosen] = scale.drawn(leaf, own)[chosen]
    return Drawn(kind, level)


def _kind_name(leaf: Operator, shared: set[str]) -> str:
    """What kind a leaf is of. Functions of one name, such as two lambdas, go by their texts."""
    name = _name(leaf)
    return _text(leaf) if name in shared else name


def _shared_names(operator: Operator) -> set[str]:
    """Those that several functions have. No text is asked for: it is a digest of all that a function holds."""
    first: dict[str, Operator] = {}
    bare = [leaf for leaf in _leaves(operator) if type(leaf) not in SCALES]
    return {name for leaf in bare if first.setdefault(name := _name(leaf), leaf) != leaf}


def _name(leaf: Operator) -> str:
    if isinstance(leaf, Corruption):
        return leaf.name
    if type(leaf) in SCALES:
        return type(leaf).__name__
    return str(getattr(leaf, "__name__", None) or _text(leaf)).strip("'")


def _text(leaf: Operator) -> str:
    return repr(given(leaf))


def _leaves(operator: Operator) -> Iterator[Operator]:
    match operator:
        case Sometimes(op=op) | Chain(ops=(op,)):
            yield from _leaves(op)
        case CommonCorruptions(family=op):
            yield from _leaves(op)
        case OneOf(ops=ops):
            for op in ops:
                yield from _leaves(op)
        case _:
            yield operator


def _applied_leaves(
    operator: Operator, keys: Keys, among: Bool[Tensor, "batch"]
) -> Iterator[tuple[Operator, Bool[Tensor, "batch"], Keys]]:
    """Each leaf, which of the images it is applied to, and the keys with which. The folds are the operators' own."""
    match operator:
        case Sometimes(op=op):
            yield from _applied_leaves(op, random.fold(keys, 1), among & operator.chosen(keys))
        case CommonCorruptions(family=op):
            yield from _applied_leaves(op, keys, among)
        case OneOf(ops=ops):
            choice = random.integers(random.fold(keys, 0), len(ops))
            for place, op in enumerate(ops):
                yield from _applied_leaves(op, random.fold(keys, 1 + place), among & (choice == place))
        case Chain(ops=(op,)):
            yield from _applied_leaves(op, random.fold(keys, 0), among)
        case Chain(ops=ops):
            touched = torch.zeros_like(among)
            for place, op in enumerate(ops):
                for _, chosen, _ in _applied_leaves(op, random.fold(keys, place), among):
                    touched |= chosen
            yield operator, touched, keys
        case _:
            yield operator, among, keys
