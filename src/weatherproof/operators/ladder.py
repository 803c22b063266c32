"""From none to severe: the levels at which one kind of damage is measured, milder than trained and beyond it too."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from weatherproof.operators.blur import GaussianBlur
from weatherproof.operators.combine import OneOf, Sometimes
from weatherproof.operators.levels import WIDEST
from weatherproof.operators.masking import RandomMask
from weatherproof.operators.noise import GaussianNoise
from weatherproof.protocols import Operator


class _Family(NamedTuple):
    """`beyond`: a level above the highest trained one, where that is none of the usual ones; itself where there is
    none."""

    setting: str
    usual: tuple[float, ...]
    beyond: Callable[[float], float]


_FAMILIES = {
    RandomMask: _Family("fraction", (0.1, 0.25, 0.5, 0.75, 0.9, 0.96, 0.99), lambda top: (1 + top) / 2),
    GaussianNoise: _Family("sigma", (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7), lambda top: min(1.0, 1.4 * top)),
    GaussianBlur: _Family("sigma", (0.5, 1.0, 2.0, 3.0, 5.0, 9.0), lambda top: min(WIDEST, 1.4 * top)),
}

Rungs = list[tuple[float, Operator]]


def ladder(operator: Operator, side: int, levels: Sequence[float] | None = None) -> Rungs:
    """Fixed levels of the operator's family, the trained ones and one beyond among them: [(level, operator there)].

    Args:
        operator: what was trained on. Only a family of one level has a ladder; for others the list is empty.
        side: the shorter side of the images in pixels: a blur whose border cannot be reflected there is left out.
        levels: use these instead of the family's own.
    """
    if type(operator) not in _FAMILIES:
        return []
    family, (low, high) = _FAMILIES[type(operator)], _trained(operator)
    usual = levels or (*family.usual, *([round(family.beyond(high), 4)] if high >= family.usual[-1] else []))
    own: Any = operator
    rungs = [(level, replace(own, **{family.setting: level})) for level in sorted({*usual, low, high})]
    return [(level, rung) for level, rung in rungs if not isinstance(rung, GaussianBlur) or rung.radius < side]


@dataclass(frozen=True)
class Kind:
    """One kind of damage among those that an operator draws from.

    Attributes:
        family: its name: "RandomMask".
        trained: the ranges of levels that are drawn; a fixed level is a range of its own.
        rungs: its `ladder`; above 0.
    """

    family: str
    trained: tuple[tuple[float, float], ...]
    rungs: Rungs


def kinds(operator: Operator, side: int) -> list[Kind]:
    """The kinds of damage of one level that an operator is, or gives to an image alone: through `OneOf` and
    `Sometimes`. What damages an image in two ways at once has none.

    Args:
        side: as for `ladder`.
    """
    found: dict[str, Kind] = {}
    for own in _alone(operator):
        name, rungs = type(own).__name__, [(level, rung) for level, rung in ladder(own, side) if level > 0]
        known = found.get(name, Kind(name, (), []))
        levels = {level for level, _ in known.rungs}
        merged = sorted((*known.rungs, *(rung for rung in rungs if rung[0] not in levels)), key=lambda rung: rung[0])
        found[name] = Kind(name, (*known.trained, _trained(own)), merged)
    return list(found.values())


def _alone(operator: Operator) -> Iterator[Operator]:
    """The members of families in it."""
    if type(operator) in _FAMILIES:
        yield operator
    for inner in operator.ops if isinstance(operator, OneOf) else ():
        yield from _alone(inner)
    if isinstance(operator, Sometimes):
        yield from _alone(operator.op)


def _trained(operator: Operator) -> tuple[float, float]:
    """The range of its levels."""
    level = getattr(operator, _FAMILIES[type(operator)].setting)
    return level if isinstance(level, tuple) else (level, level)
