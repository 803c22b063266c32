"""Tests of the papers' claims on a grid of values: each returns (how many hold, of how many, a few words).

Cells that were not measured (a scale may lack a data set) are left out of the count.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from weatherproof.studies.lab.study import Key

Values = Mapping[Key, float]
Test = Callable[[Values], tuple[int, int, str]]


def above(high: str, low: str, over: Sequence[str], *, rows_are_models: bool = False) -> Test:
    """Column `high` above column `low` in every row of `over` (or row above row in every column)."""

    def test(values: Values) -> tuple[int, int, str]:
        pairs = [((high, o), (low, o)) if rows_are_models else ((o, high), (o, low)) for o in over]
        there = [(o, a, b) for o, (a, b) in zip(over, pairs, strict=True) if a in values and b in values]
        gaps = [(o, values[a] - values[b]) for o, a, b in there]
        lost = [f"{o} {gap:+.1%}" for o, gap in gaps if gap <= 0]
        return len(gaps) - len(lost), len(gaps), "not at " + ", ".join(lost) if lost else ""

    return test


def below(low: str, high: str, over: Sequence[str], *, rows_are_models: bool = False) -> Test:
    """Column `low` below column `high` in every row of `over` (or row below row): for errors."""
    return above(high, low, over, rows_are_models=rows_are_models)


def mean_above(high: str, low: str, over: Sequence[str]) -> Test:
    """The mean of column `high` above that of column `low`, over the rows that have both."""

    def test(values: Values) -> tuple[int, int, str]:
        there = [row for row in over if (row, high) in values and (row, low) in values]
        if not there:
            return 0, 0, ""
        first, second = (sum(values[row, column] for row in there) / len(there) for column in (high, low))
        return int(first > second), 1, f"{first:.1%} against {second:.1%} over {len(there)}"

    return test


def falls(column: str, rows: Sequence[str]) -> Test:
    """The column never rises from one row to the next by more than half a point."""

    def test(values: Values) -> tuple[int, int, str]:
        there = [values[row, column] for row in rows if (row, column) in values]
        steps = [later <= earlier + 0.005 for earlier, later in pairwise(there)]
        return sum(steps), len(steps), ""

    return test


def spread(low: str, high: str, rows: Sequence[str], points: float) -> Test:
    """Column `low` less than `points` below column `high` in every row."""

    def test(values: Values) -> tuple[int, int, str]:
        gaps = [(r, values[r, low] - values[r, high]) for r in rows if (r, low) in values and (r, high) in values]
        lost = [f"{r} {gap:+.1%}" for r, gap in gaps if gap < -points]
        return len(gaps) - len(lost), len(gaps), "not at " + ", ".join(lost) if lost else ""

    return test


def worst(column: str, rows: Sequence[str]) -> Test:
    """The column is the lowest of its row, in every row."""

    def test(values: Values) -> tuple[int, int, str]:
        lost, rows_there = [], [row for row in rows if (row, column) in values]
        for row in rows_there:
            others = {c: v for (r, c), v in values.items() if r == row and c != column}
            lowest = min(others, key=lambda c: others[c])
            if others[lowest] <= values[row, column]:
                lost.append(f"{row} (lowest: {lowest})")
        return len(rows_there) - len(lost), len(rows_there), "not at " + ", ".join(lost) if lost else ""

    return test


def not_worst(low: str, high: Sequence[str], rows: Sequence[str]) -> Test:
    """Each of the columns `high` above the column `low`, in every row."""

    def test(values: Values) -> tuple[int, int, str]:
        results = [above(column, low, rows)(values) for column in high]
        words = "; ".join(f"{column} {detail}" for column, (_, _, detail) in zip(high, results, strict=True) if detail)
        return sum(r[0] for r in results), sum(r[1] for r in results), words

    return test


def falls_less(steady: str, other: str, first: str, last: str) -> Test:
    """From row `first` to row `last`, column `steady` loses less than column `other`."""

    def test(values: Values) -> tuple[int, int, str]:
        if any((row, column) not in values for row in (first, last) for column in (steady, other)):
            return 0, 0, ""
        losses = [values[first, column] - values[last, column] for column in (steady, other)]
        return int(losses[0] < losses[1]), 1, f"{losses[0]:.1%} against {losses[1]:.1%}"

    return test
