"""What the page of an audit by the gauge says: how many images are beyond what training saw, and when."""

from dataclasses import dataclass
from typing import Any

from weatherproof.reports.drawing.charts import Chart, Style
from weatherproof.reports.drawing.pictures import data_address, is_small
from weatherproof.reports.drift.drawing import (
    BEYOND,
    DAMAGED,
    LEVEL,
    draw_extents,
    draw_kinds,
    draw_own_levels,
    draw_shares,
    kind_styles,
)
from weatherproof.reports.drift.files import DRIFT, LIMITS, SUSPECTS, Drift, KindLevel, Limit, Suspect
from weatherproof.reports.drift.words import beside, level_words, order_words, sentence, suspect_words, top_words
from weatherproof.reports.group import Group
from weatherproof.reports.parts import read_list, read_part
from weatherproof.reports.verdict import Verdict
from weatherproof.reports.words import records as words

_NUMBERS = ("beyond", "damaged", "clean", "level", "damage_probability")  # those that there are
_OWN_LEVEL = "mean level of the images that are called so, with the mean of its interval"

Legend = tuple[tuple[Style, str], ...]


@dataclass(frozen=True)
class Figure:
    """One chart with what its lines mean.

    Attributes:
        lines: classes of lines across, and what they are.
    """

    title: str
    chart: Chart
    legend: Legend
    lines: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class KindRow:
    """What there is to say of the images of one kind; numbers as they are printed."""

    name: str
    images: str
    share: str
    beyond: str
    level: str
    trained: str


@dataclass(frozen=True)
class Pictured:
    """One of the most suspicious images, as a data address, with its words."""

    picture: str
    pixelated: bool
    name: str
    place: int
    why: str
    read: str
    beyond: bool


@dataclass(frozen=True)
class LimitRow:
    """A limit and whether the images keep to it."""

    words: str
    holds: bool
    measured: str


@dataclass(frozen=True)
class Drifted:
    """What the page shows."""

    sentence: str
    beside: tuple[str, ...]
    order: str
    numbers: tuple[tuple[str, str, str], ...]
    figures: tuple[Figure, ...]
    further: tuple[Figure, ...]
    rows: tuple[KindRow, ...]
    suspects: tuple[Pictured, ...]
    levels: bool
    limits: tuple[LimitRow, ...]
    notes: tuple[str, ...]


def drift_part(group: Group) -> Drifted | None:
    """The part of one run; None where its folder has none of the files."""
    folder = group.runs[0].path
    drift = read_part(folder, DRIFT)
    if drift is None:
        return None
    limits, suspects = read_list(folder, LIMITS), read_part(folder, SUSPECTS)
    pictures = [] if suspects is None else list(zip(suspects.pictures, suspects.told, strict=True))
    figures, further = _figures(drift, limits)
    known = {str(record["metric"]): record for record in group.runs[0].records}
    return Drifted(
        sentence=sentence(drift),
        beside=beside(drift),
        order=order_words(drift),
        numbers=tuple(_number(name, known[name]) for name in _NUMBERS if name in known),
        figures=figures,
        further=further,
        rows=tuple(_row(drift, own) for own in sorted(drift.levels, key=lambda own: (own.kind == 0, -own.images))),
        suspects=tuple(_pictured(drift, picture, suspect) for picture, suspect in pictures),
        levels=drift.tells_levels,
        limits=tuple(_limit(own, known) for own in limits),
        notes=group.notes,
    )


def _number(metric: str, record: Any) -> tuple[str, str, str]:
    number, _, spread = words.number(metric, record.get("value"), record.get("stderr")).partition(" ± ")
    return words.metric_words(metric).title, number, spread


def _figures(drift: Drift, limits: tuple[Limit, ...]) -> tuple[tuple[Figure, ...], tuple[Figure, ...]]:
    """Two charts, or four where there are several kinds of damage; and those that are folded away. Of levels there are
    none where no kind has any."""
    shares = tuple(("limit", limit_words(own)) for own in limits if own.metric != "level")
    levels = tuple(("limit", limit_words(own)) for own in limits if own.metric == "level")
    figures = [
        Figure(
            "How many are beyond what training saw", draw_shares(drift, limits),
            ((BEYOND, "beyond, ± standard error"), (DAMAGED, "damaged at all")), shares,
        ),
    ]  # fmt: skip
    if drift.tells_levels:
        worst = (("worst", "the worst that training saw"), *levels)
        legend = ((LEVEL, "mean level, with the mean of its interval"),)
        figures.append(Figure("How bad it is", draw_extents(drift, limits), legend, worst))
    kinds = draw_kinds(drift)
    if kinds is not None:
        named = tuple((style, words.kind_words(drift.kinds[kind])) for kind, style in kind_styles(drift).items())
        figures.append(Figure("Which kind of damage it is", kinds, named))
    first = len(figures) + (kinds is not None)
    figures += [Figure(own.title, own, ((style, _OWN_LEVEL),)) for style, own in draw_own_levels(drift)]
    return tuple(figures[:first]), tuple(figures[first:])


def limit_words(limit: Limit) -> str:
    """ "beyond at most 5 %"."""
    return f"{limit.metric} {'at least' if limit.least else 'at most'} {words.quantity(limit.metric, limit.value)}"


def _row(drift: Drift, own: KindLevel) -> KindRow:
    name = drift.kinds[own.kind]
    level = "" if own.kind == 0 else level_words(name, own.level, own.low, own.high)
    share, beyond = (words.percent(part) for part in (own.images / drift.images, own.beyond / max(1, own.images)))
    return KindRow(words.damage_words(name), f"{own.images:,}", share, beyond, level, top_words(name, drift.top(name)))


def _pictured(drift: Drift, picture: Any, suspect: Suspect) -> Pictured:
    why, read = suspect_words(suspect, drift.top(suspect.kind))
    return Pictured(data_address(picture), is_small(picture), suspect.name, suspect.place, why, read, suspect.beyond)


def _limit(limit: Limit, known: dict[str, Any]) -> LimitRow:
    value = known.get(limit.metric, {}).get("value")
    holds = words.finite(value) and (value >= limit.value if limit.least else value <= limit.value)
    return LimitRow(limit_words(limit), holds, words.quantity(limit.metric, value))


def drift_words(verdict: Verdict, shown: Drifted) -> Verdict:
    """The page's first sentence is about the images; what stands beside it is in the part."""
    return Verdict(shown.sentence, (), "", ())
