"""Tests of the papers' claims on a grid of values: each returns (how many hold, of how many, a few words).

Cells that were not measured (a scale may lack a data set) are left out of the count.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import pairwise
from typing import Concatenate, ParamSpec, TypeVar

from weatherproof.studies.lab.study import Key

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")

Values = Mapping[Key, float]
Verdict = tuple[int, int, str]
Test = Callable[[Values], Verdict]
Below = tuple[Key, Key, float]  # how far the value of the first key may be below that of the second

_ROUNDING = 1e-9  # a difference of exactly what is allowed is allowed


def awaiting_values(function: Callable[Concatenate[V, P], R]) -> Callable[P, Callable[[V], R]]:
    """The function of all arguments but the first one, the values, which are given to what it returns."""

    @wraps(function)
    def of(*args: P.args, **settings: P.kwargs) -> Callable[[V], R]:
        return lambda values: function(values, *args, **settings)

    return of


@awaiting_values
def above(values: Values, high: str, low: str, over: Sequence[str], *, rows_are_models: bool = False) -> Verdict:
    """Column `high` above column `low` in every row of `over` (or row above row in every column)."""
    pairs = [((high, o), (low, o)) if rows_are_models else ((o, high), (o, low)) for o in over]
    there = [(o, a, b) for o, (a, b) in zip(over, pairs, strict=True) if a in values and b in values]
    gaps = {o: values[a] - values[b] for o, a, b in there}
    lost = [f"{o} {gap:+.1%}" for o, gap in gaps.items() if gap <= 0]
    return len(gaps) - len(lost), len(gaps), _words(lost, gaps)


def _words(lost: Sequence[str], gaps: Mapping[str, float]) -> str:
    """What is lost; where nothing is, the least and the largest gap."""
    if lost or not gaps:
        return "not at " + ", ".join(lost) if lost else ""
    least, most = (pick(gaps, key=lambda where: gaps[where]) for pick in (min, max))
    up = f" to {gaps[most]:.1%} at {most}" if most != least else ""
    return f"by {gaps[least]:.1%} at {least}{up}"


@awaiting_values
def mostly_above(values: Values, high: str, low: str, over: Sequence[str]) -> Verdict:
    """Column `high` above column `low` in more than half of the rows of `over`."""
    held, of, detail = above(high, low, over)(values)
    return int(2 * held > of), int(of > 0), f"in {held} of {of}, {detail}" if of else ""


def below(low: str, high: str, over: Sequence[str], *, rows_are_models: bool = False) -> Test:
    """Column `low` below column `high` in every row of `over` (or row below row): for errors."""
    return above(high, low, over, rows_are_models=rows_are_models)


@awaiting_values
def mean_above(values: Values, high: str, low: str, over: Sequence[str], points: float = 0.0) -> Verdict:
    """The mean of column `high` more than `points` above that of column `low`, over the rows that have both."""
    there = [row for row in over if (row, high) in values and (row, low) in values]
    if not there:
        return 0, 0, ""
    first, second = (sum(values[row, column] for row in there) / len(there) for column in (high, low))
    return int(first - second > points), 1, f"{first:.1%} against {second:.1%} over {len(there)}"


@awaiting_values
def at_most_below(values: Values, pairs: Sequence[Below]) -> Verdict:
    """The first of each pair no further below the second than it may be."""
    there = [(high, low, by) for high, low, by in pairs if high in values and low in values]
    lost = [
        f"{place(high)} {100 * (values[high] - values[low]):+.1f}"
        for high, low, by in there
        if values[low] - values[high] > by + _ROUNDING
    ]
    return len(there) - len(lost), len(there), "not at " + ", ".join(dict.fromkeys(lost)) if lost else ""


def place(key: Key) -> str:
    """A cell without what a row says of the model after a colon: "ResNet-20, masks, mild"."""
    return f"{key[0].partition(':')[0]}, {key[1]}"


@awaiting_values
def falls(values: Values, column: str, rows: Sequence[str]) -> Verdict:
    """The column never rises from one row to the next."""
    there = [values[row, column] for row in rows if (row, column) in values]
    steps = [later <= earlier for earlier, later in pairwise(there)]
    return sum(steps), len(steps), f"{there[0]:.1%} to {there[-1]:.1%}" if steps else ""


@awaiting_values
def spread(values: Values, low: str, high: str, rows: Sequence[str], points: float) -> Verdict:
    """Column `low` at most `points` below column `high` in every row."""
    gaps = {r: values[r, high] - values[r, low] for r in rows if (r, low) in values and (r, high) in values}
    lost = [f"{r} {-gap:+.1%}" for r, gap in gaps.items() if gap > points + _ROUNDING]
    return len(gaps) - len(lost), len(gaps), _words(lost, gaps)


def worst(column: str, rows: Sequence[str]) -> Test:
    """The column is the lowest of its row, in every row."""
    return best(column, rows, lowest=True)


@awaiting_values
def not_worst(values: Values, low: str, high: Sequence[str], rows: Sequence[str]) -> Verdict:
    """Each of the columns `high` above the column `low`, in every row."""
    results = [above(column, low, rows)(values) for column in high]
    words = "; ".join(f"{column} {detail}" for column, (_, _, detail) in zip(high, results, strict=True) if detail)
    return sum(r[0] for r in results), sum(r[1] for r in results), words


@awaiting_values
def best(values: Values, column: str, rows: Sequence[str], *, lowest: bool = False) -> Verdict:
    """The column is the highest of its row (or the lowest), in every row."""
    sign, word = (-1, "lowest") if lowest else (1, "highest")
    lost, gaps = list[str](), dict[str, float]()
    for row in (row for row in rows if (row, column) in values):
        others = {c: sign * v for (r, c), v in values.items() if r == row and c != column}
        rival = max(others, key=lambda c: others[c])
        gaps[row] = sign * values[row, column] - others[rival]
        if gaps[row] <= 0:
            lost.append(f"{row} ({word}: {rival})")
    return len(gaps) - len(lost), len(gaps), _words(lost, gaps)


@awaiting_values
def alike(values: Values, columns: Sequence[str], rows: Sequence[str], points: float) -> Verdict:
    """In every row the highest of these columns is at most `points` above the lowest."""
    there = [row for row in rows if all((row, column) in values for column in columns)]
    gaps = {r: max(values[r, c] for c in columns) - min(values[r, c] for c in columns) for r in there}
    lost = [f"{row} {gap:.1%}" for row, gap in gaps.items() if gap > points + _ROUNDING]
    return len(gaps) - len(lost), len(gaps), _words(lost, gaps)


@awaiting_values
def slightly_below(values: Values, low: str, high: str, rows: Sequence[str], points: float) -> Verdict:
    """Column `low` below column `high` in every row, by at most `points`."""
    gaps = {r: values[r, low] - values[r, high] for r in rows if (r, low) in values and (r, high) in values}
    detail = ", ".join(f"{row} {gap:+.1%}" for row, gap in gaps.items())
    return sum(-points - _ROUNDING <= gap < 0 for gap in gaps.values()), len(gaps), detail


@awaiting_values
def small_share(values: Values, low: str, high: str, rows: Sequence[str], share: float) -> Verdict:
    """Column `low` is less than this share of column `high` in every row."""
    shares = {r: values[r, low] / values[r, high] for r in rows if (r, low) in values and values.get((r, high))}
    detail = ", ".join(f"{row}: {own:.0%} of it" for row, own in shares.items())
    return sum(own < share for own in shares.values()), len(shares), detail


@awaiting_values
def all_of(values: Values, *tests: Test) -> Verdict:
    """All comparisons of all these tests."""
    results = [test(values) for test in tests]
    details = "; ".join(detail for _, _, detail in results if detail)
    return sum(result[0] for result in results), sum(result[1] for result in results), details


@awaiting_values
def falls_less(values: Values, steady: str, other: str, first: str, last: str) -> Verdict:
    """From row `first` to row `last`, column `steady` loses less than column `other`."""
    if any((row, column) not in values for row in (first, last) for column in (steady, other)):
        return 0, 0, ""
    losses = [values[first, column] - values[last, column] for column in (steady, other)]
    return int(losses[0] < losses[1]), 1, f"{losses[0]:.1%} against {losses[1]:.1%}"
