"""Combinations that are measured by four numbers, and those that no other dominates: scatter plots as inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from weatherproof.reports.attack.certificates import read_certificates
from weatherproof.reports.drawing.axes import Axis, percent
from weatherproof.reports.drawing.charts import Chart, Dot, Style, draw
from weatherproof.reports.parts import PartFile, read_list

NUMBERS = ("Clean", "Corrupted", "Adversarial", "Calibration error")
PANELS = ((0, 2), (0, 1))  # across, up: adversarial and corrupted accuracy over clean accuracy

State = Literal["front", "level", "dominated"]
_STATES = {"front": "not dominated", "level": "dominated within the errors", "dominated": "dominated"}


@dataclass(frozen=True)
class Combination:
    """One of them.

    Attributes:
        start, kept, alpha: what it is made of; start decides the colour, kept the shape.
        values, errors: clean, corrupted and adversarial accuracy and calibration error, fractions, with standard errors
            or None.
        state: "front": no other is at least as good in all four and better in one; "level": one is, by no more than two
            standard errors in any of them; "dominated".
        by: who dominates it.
        doubted: a point of the attack's certificate fails.
    """

    name: str
    start: str
    kept: str
    alpha: float
    values: tuple[float, ...]
    errors: tuple[float | None, ...]
    state: State
    by: tuple[str, ...] = ()
    doubted: bool = False

    def __post_init__(self) -> None:
        if not len(self.values) == len(self.errors) == len(NUMBERS):
            raise ValueError(f"{self.name} has not {len(NUMBERS)} values with their errors")


FRONT = PartFile("front.json", "a list of combinations", Combination)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    number: str
    style: Style
    name: str
    texts: tuple[str, ...]
    best: tuple[bool, ...]
    verdict: str


@dataclass(frozen=True)
class Front:
    """What the page shows: those of the front first, each by falling clean accuracy.

    Attributes:
        starts: a colour each.
        kinds: what was kept, a shape each.
        doubts: points of the attack's certificate that fail.
    """

    shown: tuple[Combination, ...]
    starts: tuple[str, ...]
    kinds: tuple[str, ...]
    doubts: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        return f"{len(self.on_front)} of {len(self.shown)} combinations are not dominated."

    @property
    def on_front(self) -> tuple[Combination, ...]:
        return tuple(c for c in self.shown if c.state == "front")

    @property
    def legend(self) -> tuple[tuple[Style, str], ...]:
        starts = ((Style(1 + i, -1 - i), name) for i, name in enumerate(self.starts))
        return (*starts, *((Style(0, i), name or "no regularizer") for i, name in enumerate(self.kinds)))

    @property
    def rows(self) -> tuple[Row, ...]:
        tops = [max(c.values[i] for c in self.shown) for i in range(3)] + [min(c.values[3] for c in self.shown)]
        return tuple(self._row(place, c, tops) for place, c in enumerate(self.shown, 1))

    def _row(self, place: int, shown: Combination, tops: Sequence[float]) -> Row:
        pairs = zip(shown.values, shown.errors, strict=True)
        texts = [_percent(value) + ("" if e is None else f" ± {_percent(e)}") for value, e in pairs]
        texts[2] += "†" if shown.doubted else ""
        more = f" and {len(shown.by) - 1} more" if len(shown.by) > 1 else ""
        verdict = _STATES[shown.state] + (f": by {shown.by[0]}{more}" if shown.by else "")
        best = tuple(value == top for value, top in zip(shown.values, tops, strict=True))
        number = str(place) if shown.state == "front" else ""
        return Row(number, self.style(shown), shown.name, tuple(texts), best, verdict)

    def style(self, shown: Combination) -> Style:
        colour = 1 + self.starts.index(shown.start)
        return Style(colour, self.kinds.index(shown.kept) - colour)  # a marker's shape goes by the sum of both


def read_front(folder: Path) -> Front | None:
    """The front of a run folder; None where it has none, or one of nothing. Raises `InputError`."""
    front = make_front(read_list(folder, FRONT))
    doubts = [f"{p.claim}: {p.detail}" for own in read_certificates(folder) for p in own.failed] if front else []
    return front and replace(front, doubts=tuple(doubts))


def make_front(combinations: Sequence[Combination]) -> Front | None:
    """What the page shows; None of nothing."""
    if not combinations:
        return None
    order = sorted(combinations, key=lambda c: (list(_STATES).index(c.state), -c.values[0]))
    starts, kinds = (tuple(dict.fromkeys(getattr(c, name) for c in combinations)) for name in ("start", "kept"))
    return Front(tuple(order), starts, kinds)


def draw_front(front: Front) -> tuple[Markup, ...]:
    """The two panels, `<svg>` elements with a title for screen readers and a tooltip on every marker."""
    return tuple(_panel(front, across, up) for across, up in PANELS)


def _panel(front: Front, across: int, up: int) -> Markup:
    tooltip = f"{NUMBERS[up]} over {NUMBERS[across].lower()} accuracy: {len(front.shown)} combinations"
    dots = [_dot(front, place, shown, across, up) for place, shown in enumerate(front.shown, 1)]
    chart = Chart(
        tooltip, _axis(front, across, count=6, inner=8), _axis(front, up), tuple(reversed(dots)), height=360, right=18
    )
    return draw(chart, wide=True)


def _axis(front: Front, number: int, count: int = 4, inner: float = 0) -> Axis:
    """Holds all values, and on the front the ends of their whiskers."""
    whiskers = [(c.values[number], c.errors[number] or 0.0) for c in front.on_front]
    ends = [c.values[number] for c in front.shown] + [value + side * e for value, e in whiskers for side in (-1, 1)]
    return Axis.around(ends, f"{NUMBERS[number]} accuracy, %", count=count, show=percent, grid=True, inner=inner)


def _dot(front: Front, place: int, shown: Combination, across: int, up: int) -> Dot:
    """With its number and one standard error to all sides where it belongs to the front."""
    pairs = zip(NUMBERS, shown.values, strict=True)
    tooltip = f"{shown.name}: {', '.join(f'{name.lower()} {_percent(value)} %' for name, value in pairs)}"
    dot = Dot(shown.values[across], shown.values[up], front.style(shown), f"{tooltip}; {_STATES[shown.state]}", "dull")
    if shown.state != "front":
        return dot
    dx, dy = shown.errors[across] or 0.0, shown.errors[up] or 0.0
    return replace(dot, kind="on-front", number=str(place), across=dx, up=dy)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
