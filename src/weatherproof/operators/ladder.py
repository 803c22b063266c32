"""From none to severe: the levels at which one kind of damage is measured, milder than trained and beyond it too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from weatherproof.benchmark import SEVERITIES
from weatherproof.operators.blur import GaussianBlur
from weatherproof.operators.compression import JPEG
from weatherproof.operators.contrast import Contrast
from weatherproof.operators.drawn import SCALES, Scale, kinds
from weatherproof.operators.levels import ends
from weatherproof.operators.masking import RandomMask
from weatherproof.operators.noise import GaussianNoise
from weatherproof.operators.pixels import NonUniformNoise, UniformNoise
from weatherproof.operators.suites import Corruption
from weatherproof.protocols import Operator

_USUAL: dict[type, tuple[float, ...]] = {
    RandomMask: (0.1, 0.25, 0.5, 0.75, 0.9, 0.96, 0.99),
    GaussianNoise: (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    GaussianBlur: (0.5, 1.0, 2.0, 3.0, 5.0, 9.0),
    JPEG: (90.0, 75.0, 50.0, 25.0, 10.0, 5.0),
    Contrast: (0.1, 0.25, 0.5, 0.75, 0.9, 0.95),
    UniformNoise: (0.02, 0.05, 0.15, 0.3, 0.5, 0.75),
    NonUniformNoise: (0.02, 0.05, 0.15, 0.3, 0.5, 0.75),
    Corruption: SEVERITIES,
}

Rungs = list[tuple[float, Operator]]


def ladder(operator: Operator, side: int, levels: Sequence[float] | None = None) -> Rungs:
    """Fixed levels of the operator's family, the trained ones and one beyond among them, the mildest first, without
    none: [(level, operator there)]. Severities end at 5, so that nothing is beyond it.

    Args:
        operator: what was trained on. Only a family of one level has a ladder; for others the list is empty.
        side: the shorter side of the images in pixels: a blur whose border cannot be reflected there is left out.
        levels: use these instead of the family's own.
    """
    if type(operator) not in _USUAL:
        return []
    scale = SCALES[type(operator)]
    trained, usual = ends(scale.of(operator)), levels or _USUAL[type(operator)]
    worst, last = (max(own, key=scale.severity) for own in (trained, usual))
    if levels is None and not scale.whole and scale.severity(worst) >= scale.severity(last):
        usual = (*usual, _beyond(scale, worst))
    damaging = sorted((level for level in {*usual, *trained} if level != scale.none), key=scale.severity)
    own: Any = operator
    rungs = [(level, replace(own, **{scale.field: level})) for level in damaging]
    return [(level, rung) for level, rung in rungs if not isinstance(rung, GaussianBlur) or rung.radius < side]


def _beyond(scale: Scale, worst: float) -> float:
    """A level beyond the worst that was trained; that one where it is the end."""
    severity = scale.severity(worst)
    further = severity + min(0.4 * severity, (scale.severity(scale.end) - severity) / 2)
    return round(scale.none + math.copysign(further, scale.end - scale.none), 4)


@dataclass(frozen=True)
class KindLadder:
    """One kind of damage among those that an operator draws from. Its levels are how far they are from none: of JPEG
    100 less the quality.

    Attributes:
        family: its name: "RandomMask".
        trained: the ranges of levels that are drawn; a fixed level is a range of its own.
        rungs: its `ladder`, ascending; above 0.
    """

    family: str
    trained: tuple[tuple[float, float], ...]
    rungs: Rungs


def kind_ladders(operator: Operator, side: int) -> list[KindLadder]:
    """The kinds of damage of one level that an operator is, or gives to an image alone: through `OneOf` and
    `Sometimes`. What damages an image in two ways at once has none.

    Args:
        side: as for `ladder`.
    """
    found = []
    for own in kinds(operator):
        rungs: dict[float, Operator] = {}
        trained = []
        for op in own.operators:
            for level, rung in ladder(op, side):
                rungs.setdefault(SCALES[type(op)].severity(level), rung)
            if type(op) in _USUAL:
                low, high = sorted(SCALES[type(op)].severity(end) for end in ends(SCALES[type(op)].of(op)))
                trained.append((low, high))
        if trained:
            found.append(KindLadder(own.name, tuple(trained), sorted(rungs.items())))
    return found
