"""Claims that are decided over training seeds: the same seed with two methods makes a pair."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from weatherproof.studies.lab.claims import awaiting_values
from weatherproof.studies.lab.draws import LEVEL
from weatherproof.studies.lab.study import Found, Key

Samples = Mapping[Key, Sequence[float]]  # of every cell the numbers of its seeds, in their order
Compare = Callable[[Samples], "list[Comparison]"]


@dataclass(frozen=True)
class Comparison:
    """One method against another on one row, seed by seed.

    Attributes:
        what: "FCL over XE at BAL+UN".
        high, low: numbers of the same seeds; the first should be above the second.
        margin: or not so far below it, where 0 is not below it at all; None: above it.
    """

    what: str
    high: tuple[float, ...]
    low: tuple[float, ...]
    margin: float | None = None

    @property
    def gain(self) -> float:
        """The mean difference."""
        return fmean(high - low for high, low in zip(self.high, self.low, strict=True))

    @property
    def p(self) -> float:
        """Of the paired t-test that the gain is above -margin, one-sided: 0 or 1 where the gain is the same in every
        seed; NaN where it is that margin in every seed, and of a single seed."""
        from scipy.stats import ttest_1samp

        over = self._over
        if len(set(over)) > 1:
            return float(ttest_1samp(over, 0.0, alternative="greater").pvalue)
        return float(over[0] < 0) if over[0] and len(over) > 1 else math.nan

    @property
    def holds(self) -> bool:
        """Shown by the test; or the gain is the margin that is allowed to the last digit, in every seed."""
        return self.p < LEVEL or (self.margin is not None and len(self.high) > 1 and not any(self._over))

    @property
    def _over(self) -> list[float]:
        """By how much the gain of each seed is above -margin."""
        return [round(a - b + (self.margin or 0), 12) for a, b in zip(self.high, self.low, strict=True)]

    def state(self, of: int = 1) -> str:
        """ "holds"; "the reverse", where the opposite is shown at `LEVEL` / `of`; or "not decided".

        Args:
            of: how many comparisons a claim has. All must hold, which needs no correction of `LEVEL`; but one that is
                reversed refutes the claim, so that with their number one more easily is by chance (Bonferroni).
        """
        return "holds" if self.holds else "the reverse" if self.p > 1 - LEVEL / of else "not decided"

    def words(self, points: bool) -> str:
        """The difference and its p: "FCL over XE at BAL+UN +3.10 points (p 0.002)"."""
        gain = f"{100 * self.gain:+.2f} points" if points else f"{self.gain:+.3f}"
        seeds = "in every seed" if len(self.high) > 1 else "one seed"
        test = f"p {_probability(self.p)}" if len(set(self._over)) > 1 else seeds
        return f"{self.what} {gain} ({test})"


@dataclass(frozen=True)
class PairedClaim:
    """A sentence of the paper that holds if every one of its comparisons does.

    What is not decided counts as not held, and is called so. With two seeds or three the test sees large and steady
    gains alone.

    Attributes:
        compare: the comparisons whose cells were measured.
        points: differences are of fractions, told in points of a hundred.
    """

    text: str
    compare: Compare
    points: bool = True

    def check(self, found: Found) -> dict[str, Any]:
        """The claim as an entry of checks.json, with a "verdict" that tells what is wrong from what is not decided."""
        compared = self.compare({key: record["samples"] for key, record in found.items() if "samples" in record})
        states = [comparison.state(of=len(compared)) for comparison in compared]
        held = states.count("holds")
        verdict = (
            "not measured" if not compared else "holds" if held == len(compared)
            else "does not hold" if "the reverse" in states else "not decided"
        )  # fmt: skip
        parts = [f"{held} of {len(compared)}" + (f" over {len(compared[0].high)} seeds" if compared else "")]
        for state in ("holds", "the reverse", "not decided"):
            detail = "; ".join(c.words(self.points) for c, own in zip(compared, states, strict=True) if own == state)
            parts += [f"{state}: {detail}"] if detail else []
        return {"claim": self.text, "passed": verdict == "holds", "detail": ". ".join(parts), "verdict": verdict}


@awaiting_values
def beats(
    samples: Samples, high: str, lows: Sequence[str], rows: Sequence[str], margin: float | None = None
) -> list[Comparison]:
    """Column `high` above each column of `lows` in each row, or not more than `margin` below."""
    return [
        Comparison(f"{high} over {low} at {row}", tuple(samples[row, high]), tuple(samples[row, low]), margin)
        for row in rows
        for low in lows
        if low != high and measured(samples, (row, high), (row, low))
    ]


@awaiting_values
def together(samples: Samples, *parts: Compare) -> list[Comparison]:
    """All comparisons of all parts."""
    return [comparison for part in parts for comparison in part(samples)]


@awaiting_values
def gains_more(samples: Samples, high: str, low: str, rows: Sequence[tuple[str, str]]) -> list[Comparison]:
    """What column `high` has over column `low` is more in the first row of each pair than in the second."""
    found = []
    for more, less in rows:
        if measured(samples, *((row, column) for row in (more, less) for column in (high, low))):
            first, second = (
                tuple(a - b for a, b in zip(samples[row, high], samples[row, low], strict=True)) for row in (more, less)
            )
            found.append(Comparison(f"{high}'s gain over {low}, {more} against {less},", first, second))
    return found


def measured(samples: Samples, *keys: Key) -> bool:
    """Whether there is a number for every seed: of a network that has died some measures are NaN, in JSON null."""
    return all(v is not None and math.isfinite(v) for key in keys for v in samples.get(key, (math.nan,)))


def _probability(p: float) -> str:
    return "below 0.001" if p < 0.001 else f"{p:.3f}"
