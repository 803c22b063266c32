"""From mild to severe: the levels at which one family of damage is measured, beyond the trained range too."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from weatherproof.operators.blur import GaussianBlur
from weatherproof.operators.compression import JPEG
from weatherproof.operators.contrast import Contrast
from weatherproof.operators.drawn import SCALES
from weatherproof.operators.masking import RandomMask
from weatherproof.operators.noise import GaussianNoise
from weatherproof.protocols import Operator

_LEVELS = {
    RandomMask: (0.25, 0.5, 0.75, 0.9, 0.96, 0.99),
    GaussianNoise: (0.1, 0.2, 0.3, 0.5, 0.7),
    GaussianBlur: (1.0, 2.0, 3.0, 5.0, 9.0),
    JPEG: (90.0, 75.0, 50.0, 25.0, 10.0, 5.0),
    Contrast: (0.25, 0.5, 0.75, 0.9, 0.95),
}


def ladder(operator: Operator, side: int, levels: Sequence[float] | None = None) -> list[tuple[float, Operator]]:
    """Fixed levels of the operator's family, the trained ones among them: [(level, operator at that level)], the
    mildest first.

    Args:
        operator: what was trained on. Only a family of one level has a ladder; for others the list is empty.
        side: the shorter side of the images in pixels: a blur whose border cannot be reflected there is left out.
        levels: use these instead of the family's own.
    """
    if type(operator) not in _LEVELS:
        return []
    scale, usual = SCALES[type(operator)], _LEVELS[type(operator)]
    trained = scale.of(operator)
    family: Any = operator
    ends = trained if isinstance(trained, tuple) else (trained,)
    mildest_first = sorted({*(levels or usual), *ends}, key=lambda level: abs(level - scale.none))
    rungs = [(level, replace(family, **{scale.field: level})) for level in mildest_first]
    return [(level, rung) for level, rung in rungs if not isinstance(rung, GaussianBlur) or rung.radius < side]
