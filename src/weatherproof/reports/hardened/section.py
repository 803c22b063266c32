"""The first thing that the page of a hardening says: four numbers, the curve with the gauge's answer, the promise."""

from dataclasses import dataclass

from weatherproof.benchmark import COMMON_19
from weatherproof.reports.drawing.charts import Chart, Style
from weatherproof.reports.group import Group
from weatherproof.reports.hardened.curve import CURVE, Changed, Curve
from weatherproof.reports.hardened.drawing import (
    BEYOND,
    CLEAN,
    ESTIMATE,
    draw_called,
    draw_estimates,
    draw_levels,
)
from weatherproof.reports.hardened.gauge import GAUGED, Gauged, certainty_words
from weatherproof.reports.hardened.promise import PROMISE, Promise
from weatherproof.reports.hardened.words import Pair, kind_pairs, measured_how, pairs, sentence, warning
from weatherproof.reports.parts import read_list, read_part
from weatherproof.reports.training.curves import Palette
from weatherproof.reports.verdict import Verdict
from weatherproof.reports.words import records as words

Legend = tuple[tuple[Style, str], ...]


@dataclass(frozen=True)
class Drawn:
    """One kind of damage: its curve, and what the gauge answers below it.

    Attributes:
        trained: the trained range, in words.
        further: the curves of the other numbers.
    """

    title: str
    trained: str
    images: int
    chart: Chart
    gauge: tuple[Chart, ...]
    further: tuple[Chart, ...]


@dataclass(frozen=True)
class Hardened:
    """What the page shows. `first` and `sentence`: None and "" where nothing was measured on both sides.

    Attributes:
        range: over which levels the curves go, in words.
    """

    first: Changed | None
    sentence: str
    warning: str
    how: str
    pairs: tuple[Pair, ...]
    kind_pairs: tuple[Pair, ...]
    range: str
    drawn: tuple[Drawn, ...]
    legend: Legend
    gauge_legend: Legend
    promise: Promise | None
    gauged: Gauged | None
    certainty: str
    kinds: tuple[str, ...]
    rows: tuple[str, ...]


def hardened_part(group: Group) -> Hardened | None:
    """The part of one run; None where its folder has none of the files."""
    folder = group.runs[0].path
    found, promise, gauged = read_list(folder, CURVE), read_part(folder, PROMISE), read_part(folder, GAUGED)
    if not found and promise is None and gauged is None:
        return None
    first = found[0] if found else None
    drawn = _drawn(found, gauged, group.palette)
    models = dict.fromkeys(own.model for curve in (first.curves if first else ()) for own in curve.models)
    return Hardened(
        first=first,
        sentence=sentence(first) if first else "",
        warning=warning(first, promise, gate=gauged is not None) if first else "",
        how=measured_how(first) if first else "",
        pairs=pairs(first) if first else (),
        kind_pairs=kind_pairs(first) if first else (),
        range="From none to beyond" if first and any(map(_goes_beyond, first.curves)) else "From none to the worst",
        drawn=drawn,
        legend=tuple((Style(group.palette.colour(model)), words.model_words(model)) for model in models),
        gauge_legend=((ESTIMATE, "estimated level"), (BEYOND, "called beyond"), (CLEAN, "called clean"))
        if any(own.gauge for own in drawn) else (),
        promise=promise,
        gauged=gauged,
        certainty=certainty_words(gauged) if gauged else "",
        kinds=tuple(map(words.damage_words, gauged.names)) if gauged else (),
        rows=tuple(map(words.damage_words, gauged.rows)) if gauged else (),
    )  # fmt: skip


def _drawn(found: tuple[Changed, ...], gauged: Gauged | None, palette: Palette) -> tuple[Drawn, ...]:
    """The curves of the first number, each with those of the others for the same kind."""
    answers = {kind.family: kind for kind in gauged.kinds if kind.levels} if gauged else {}
    curves = []
    for curve in found[0].curves if found else ():
        kind = answers.get(curve.family)
        others = [(own, c) for own in found[1:] for c in own.curves if c.family == curve.family]
        curves.append(
            Drawn(
                words.damage_words(curve.family),
                _trained(curve),
                curve.images,
                draw_levels(found[0], curve, palette),
                () if kind is None else (draw_estimates(curve, kind), draw_called(curve, kind)),
                tuple(draw_levels(own, c, palette) for own, c in others),
            )
        )
    return tuple(curves)


def _goes_beyond(curve: Curve) -> bool:
    return curve.levels[-1] > max((high for _, high in curve.trained), default=0.0)


def _trained(curve: Curve) -> str:
    scale, unit = (100, " %") if curve.family in words.SHARES else (1, "")
    what = "severity " if curve.family in COMMON_19 else ""
    ranges = [
        f"{low * scale:g}" if low == high else f"{low * scale:g} to {high * scale:g}" for low, high in curve.trained
    ]
    return f"{what}{words.listed(ranges)}{unit}"


def first_words(verdict: Verdict, shown: Hardened) -> Verdict:
    """The page's first sentence is about both sides; the numbers themselves stand below it."""
    return Verdict(shown.sentence, (), "", ()) if shown.sentence else verdict
