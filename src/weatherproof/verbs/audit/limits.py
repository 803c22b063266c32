"""The checks of an audit: `--fail-under METRIC=VALUE` and `--fail-over METRIC=VALUE`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from weatherproof.errors import InputError
from weatherproof.reports.words.records import metric_words
from weatherproof.verbs.outcome import Outcome

_Outcome = TypeVar("_Outcome", bound=Outcome)


@dataclass(frozen=True)
class Limit:
    """The value that a metric must not fall below, or not exceed."""

    metric: str
    value: float
    least: bool

    @property
    def option(self) -> str:
        return "--fail-under" if self.least else "--fail-over"

    @property
    def asked(self) -> str:
        """As it was asked for."""
        return f"{self.option} {self.metric}={self.value:g}"

    @property
    def value_is_share(self) -> bool:
        """Whether it is one; errors over AlexNet's may be above 1."""
        return 0 <= self.value <= (math.inf if self.metric.endswith("mce") else 1)

    def holds(self, values: Sequence[float]) -> bool:
        """Whether all of the values keep to it; one that is not a number does not."""
        return all(v >= self.value if self.least else v <= self.value for v in values)

    def passed_by(self, value: float) -> str:
        """By how much a value is on the wrong side, in words; "" where it keeps to the limit or is no number."""
        if math.isnan(value) or self.holds([value]):
            return ""
        return f", {abs(value - self.value):.4f} too {'low' if self.least else 'high'}"

    def __str__(self) -> str:
        return f"{self.metric} {'at least' if self.least else 'at most'} {self.value:g}"


def read_limits(under: Sequence[str] | None, over: Sequence[str] | None) -> list[Limit]:
    """The limits as they are written on the command line. Raises `InputError`."""
    return [*(_limit(text, least=True) for text in under or ()), *(_limit(text, least=False) for text in over or ())]


def _limit(text: str, *, least: bool) -> Limit:
    metric, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    limit = Limit(metric, value, least)
    if not metric or not math.isfinite(value):
        example = "top1=0.6" if least else "mce=0.8"
        raise InputError(f"{limit.option} takes METRIC=VALUE such as {example}, got {text!r}")
    return limit


def require_known(limits: Sequence[Limit], metrics: Sequence[str], what: str) -> None:
    """Raise `InputError` for a limit on a metric that will not be measured, or one that no share can pass or keep."""
    for limit in limits:
        if limit.metric in metrics and metric_words(limit.metric).percent and not limit.value_is_share:
            raise InputError(f"{limit.asked}: {limit.metric} is a share from 0 to 1, of which 5 % is written 0.05")
        if limit.metric not in metrics:
            raise InputError(f"{limit.asked}: {what} measures {', '.join(metrics)} only")


def checked(outcome: _Outcome, limits: Sequence[Limit], key: str, wanted: str | None, about: str = "") -> _Outcome:
    """The outcome with its checks; status 1 if one fails.

    Args:
        key, wanted: the values are those of the records with this value of this key.
        about: what the claim says of that.

    Raises:
        InputError: nothing was measured that a limit is about.
    """
    for limit in limits:
        values = [_value(r) for r in outcome.records if r["metric"] == limit.metric and r[key] == wanted]
        if not values:
            known = sorted({str(r["metric"]) for r in outcome.records if r[key] == wanted})
            reason = f"this audit measured {', '.join(known)} only" if known else "time was up before it was measured"
            raise InputError(f"{limit.asked}: {reason}")
        passed = limit.holds(values)
        worst = math.nan if any(map(math.isnan, values)) else (min if limit.least else max)(values)
        detail = f"measured {worst:.4f}{limit.passed_by(worst)}"
        check = {"claim": f"{limit}{about}", "passed": passed, "detail": detail}
        outcome.checks = [*outcome.checks, check]
        outcome.status = outcome.status or int(not passed)
    return outcome


def _value(record: Mapping[str, Any]) -> float:
    """That of a record; results.json has neither NaN nor the infinite median of what no size of an attack fools."""
    if record["value"] is None:
        return math.inf if record["metric"] == "median_perturbation" else math.nan
    return float(record["value"])
