"""What every drawing with axes has: its element, a grid with numbers, the names of the axes. User units throughout."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Place = Callable[[float], float]
Show = Callable[[float], str]


@dataclass(frozen=True)
class Frame:
    """A drawing's size and its margins, in user units."""

    width: float
    height: float
    left: float = 40
    right: float = 14
    top: float = 30
    bottom: float = 40

    @property
    def floor(self) -> float:
        """Where the horizontal axis lies."""
        return self.height - self.bottom

    @property
    def end(self) -> float:
        """Where it ends."""
        return self.width - self.right

    def across(self, low: float, high: float, inner: float = 8) -> Place:
        """Takes low to the left and high to the right edge, or so far inside, which leaves room for markers."""
        return straight(low, high, self.left + inner, self.end - inner)

    def up(self, low: float, high: float) -> Place:
        """Takes low to the horizontal axis and high to the top."""
        return straight(low, high, self.floor, self.top)

    def drawing(self, title: str, parts: Sequence[Markup]) -> Markup:
        """The `<svg>` element, with a title for screen readers."""
        opened = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img"><title>{}</title>')
        return Markup("").join([opened.format(self.width, self.height, title), *parts, Markup("</svg>")])

    def rows(self, ticks: Sequence[float], place: Place, show: Show) -> Markup:
        """A horizontal line of the grid for every tick with its number on the left, and the axis below them."""
        parts = []
        for tick in ticks:
            parts.append(stroke("grid", self.left, place(tick), self.end, place(tick)))
            parts.append(words_at(self.left - 7, place(tick) + 3.5, show(tick), "end"))
        return Markup("").join([*parts, stroke("axis", self.left, self.floor, self.end, self.floor)])

    def columns(self, ticks: Sequence[float], place: Place, show: Show) -> Markup:
        """A vertical line of the grid for every tick, and its number."""
        lines = (stroke("grid", place(tick), self.top, place(tick), self.floor) for tick in ticks)
        return Markup("").join([*lines, *(self.number(place(tick), show(tick)) for tick in ticks)])

    def number(self, x: float, text: str) -> Markup:
        """A number below the horizontal axis."""
        return words_at(x, self.floor + 17, text, "middle")

    def names(self, across: str, up: str = "") -> Markup:
        """The names of the axes: below the middle of one, and above the other."""
        below = words_at((self.left + self.end) / 2, self.height - 5, across, "middle", "label")
        return below + (words_at(8, 14, up, "start", "label") if up else Markup(""))


def percent(value: float) -> str:
    """A fraction as the number of a tick.

    >>> percent(0.125)
    '12.5'
    """
    return f"{100 * value:g}"


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2, 2.5 or 5 times a power of ten) inside [low, high].

    >>> nice_ticks(0, 1), nice_ticks(0.5, 0.9, 3)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.6, 0.8])
    """
    raw = (high - low) / max(count, 1) or 1.0
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def straight(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """The straight line that takes low to start and high to end; everything to the middle where they are equal."""
    if high == low:
        return lambda _: (start + end) / 2
    return lambda v: start + (v - low) / (high - low) * (end - start)


def fitted(values: Sequence[float]) -> tuple[float, float]:
    """The range of the values, with a little room at both ends."""
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def stroke(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    """A straight line of a kind that the page has a style for."""
    return Markup(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')


def words_at(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    """Text, escaped; `anchor` is SVG's: start, middle or end."""
    return Markup(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')
