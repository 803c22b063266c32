"""More of the severe levels, and milder ones: what a training sees of a damage, beside what its operator says."""

from dataclasses import replace
from typing import Any, cast

from weatherproof.operators.combine import Chain, OneOf, Sometimes
from weatherproof.operators.drawn import SCALES, Scale
from weatherproof.operators.family import CommonCorruptions
from weatherproof.operators.mixed_chains import MixedChains
from weatherproof.operators.suites import Corruption
from weatherproof.protocols import Operator


def leaning(operator: Operator) -> Operator:
    """Two fifths of the images draw their level from the worst quarter of its range, the others from all of it; the
    operator itself where no level has a range.

    >>> leaning(RandomMask((0.0, 0.8)))
    OneOf(RandomMask((0.0, 0.8)), RandomMask((0.0, 0.8)), RandomMask((0.0, 0.8)), RandomMask((0.6, 0.8)), \
RandomMask((0.6, 0.8)))
    """
    worst = worst_part(operator, 0.25)
    return operator if worst == operator else OneOf(*[operator] * 3, *[worst] * 2)


def worst_part(operator: Operator, share: float) -> Operator:
    """The same damage at levels from the worst `share` of its range alone, in (0, 1]; the operator itself where no
    level has a range.

    >>> worst_part(JPEG((5, 85)), 0.25)
    JPEG((5, 25))
    """
    match operator:
        case OneOf(ops=ops):
            return OneOf(*(worst_part(op, share) for op in ops))
        case Sometimes(op=op):
            return replace(operator, op=worst_part(op, share))
    scale = SCALES.get(type(operator))
    level = None if scale is None else scale.of(operator)
    if scale is None or not isinstance(level, tuple):
        return operator
    mild, worst = sorted(level, key=scale.severity)
    begin = round(mild + (1 - share) * (worst - mild), None if scale.whole else 6)
    own: Any = operator
    return replace(own, **{scale.field: (min(begin, worst), max(begin, worst))})


def milder(operator: Operator, share: float) -> Operator:
    """The same damage with every level at that share of its way from none, in [0, 1]; what has no level that could be
    told is as it is.

    >>> milder(OneOf(RandomMask((0.5, 1.0)), JPEG(20)), 0.5)
    OneOf(RandomMask((0.25, 0.5)), JPEG(60.0))
    """
    match operator:
        case OneOf(ops=ops) | Chain(ops=ops):
            return type(operator)(*(milder(op, share) for op in ops))
        case MixedChains(ops=ops, width=width, depth=depth, alpha=alpha):
            return MixedChains(*(milder(op, share) for op in ops), width=width, depth=depth, alpha=alpha)
        case Sometimes(op=op):
            return replace(operator, op=milder(op, share))
    scale = SCALES.get(Corruption if isinstance(operator, CommonCorruptions) else type(operator))
    if scale is None:
        return operator
    level, own = scale.of(operator), cast(Any, operator)
    moved = tuple(_moved(end, scale, share) for end in (level if isinstance(level, tuple) else (level,)))
    return cast(Operator, replace(own, **{scale.field: moved if isinstance(level, tuple) else moved[0]}))


def _moved(level: float, scale: Scale, share: float) -> float:
    moved = scale.none + share * (level - scale.none)
    return max(1, round(moved)) if scale.whole else moved
