"""More of the severe levels: what a training that begins at none would otherwise see too little of."""

from dataclasses import replace
from typing import Any

from weatherproof.operators.combine import OneOf, Sometimes
from weatherproof.operators.drawn import SCALES
from weatherproof.protocols import Operator


def leaning(operator: Operator) -> Operator:
    """Half of the images draw their level from the worse half of its range, the others from all of it; the operator
    itself where no level has a range.

    >>> leaning(RandomMask((0.0, 0.9)))
    OneOf(RandomMask((0.0, 0.9)), RandomMask((0.45, 0.9)))
    """
    worse = _worse_half(operator)
    return operator if worse == operator else OneOf(operator, worse)


def _worse_half(operator: Operator) -> Operator:
    match operator:
        case OneOf(ops=ops):
            return OneOf(*map(_worse_half, ops))
        case Sometimes(op=op):
            return replace(operator, op=_worse_half(op))
    scale = SCALES.get(type(operator))
    level = None if scale is None else scale.of(operator)
    if scale is None or not isinstance(level, tuple):
        return operator
    worst = max(level, key=scale.severity)
    middle = sum(level) / 2
    if scale.whole:
        middle = round(middle)
    own: Any = operator
    return replace(own, **{scale.field: (min(middle, worst), max(middle, worst))})
