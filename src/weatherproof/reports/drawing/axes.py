"""An axis: which values it shows, and where they lie."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Show = Callable[[float], str]


@dataclass(frozen=True)
class Axis:
    """The values from `low` to `high`.

    Attributes:
        count: of its numbers, about; 0 for none. They are round, or those of `given`, and written by `show`.
        log: equal ratios are equally far apart; needs `given`.
        root: square roots of what lies above `low` are evenly spread, so that small values have room beside 0.
        grid: lines through the drawing, not short ticks, at the numbers of a horizontal axis.
        inner: user units kept free at both ends, for markers.
    """

    low: float
    high: float
    label: str = ""
    count: int = 4
    show: Show = "{:g}".format
    given: tuple[float, ...] = ()
    log: bool = False
    grid: bool = False
    inner: float = 0
    root: bool = False

    @classmethod
    def around(
        cls, values: Sequence[float], label: str = "", *, within: tuple[float, float] = (-math.inf, math.inf),
        count: int = 4, show: Show = "{:g}".format, grid: bool = False, inner: float = 0,
    ) -> "Axis":  # fmt: skip
        """Holds the values, with a little room at both ends as far as that is `within`."""
        low, high = min(values), max(values)
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        return cls(max(low - room, within[0]), min(high + room, within[1]), label, count, show, grid=grid, inner=inner)

    @property
    def ticks(self) -> Sequence[float]:
        return self.given or (nice_ticks(self.low, self.high, self.count) if self.count else ())

    def place(self, value: float, start: float, end: float) -> float:
        """Where a value lies on an axis from start to end; in the middle where low is high."""
        low, high, value = map(self._scaled, (self.low, self.high, value))
        return (start + end) / 2 if low == high else start + (value - low) / (high - low) * (end - start)

    def _scaled(self, value: float) -> float:
        if self.log:
            return math.log10(value)
        return max(0.0, value - self.low) ** 0.5 if self.root else value


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
