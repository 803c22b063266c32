"""Claims over training seeds are paired tests: the same seed with two methods makes a pair."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from weatherproof.studies import PairedClaim
from weatherproof.studies.lab.paired import Comparison, beats, gains_more, together

HIGH, LOW = (0.91, 0.93, 0.90, 0.95, 0.92), (0.90, 0.91, 0.88, 0.92, 0.92)


@pytest.mark.parametrize("margin", [0.0, 0.005, -0.02])
def test_a_comparison_is_the_paired_t_test(margin: float) -> None:
    for high, low in ((HIGH, LOW), (LOW, HIGH)):
        found = Comparison("high over low", high, low, margin)
        wanted = ttest_rel(np.array(high) + margin, np.array(low), alternative="greater")
        assert found.p == pytest.approx(wanted.pvalue, abs=1e-12)
        assert found.gain == pytest.approx(np.mean(high) - np.mean(low))
        assert found.holds == (wanted.pvalue < 0.05)
        # the opposite, tested on its own
        other = ttest_rel(np.array(low) - margin, np.array(high), alternative="greater")
        assert (found.state() == "the reverse") == (other.pvalue < 0.05 and not found.holds)


def test_pairs_matter() -> None:
    """Where seeds differ by more than the methods do, only the pairs show it."""
    low = (0.5, 0.7, 0.6, 0.9, 0.8)
    high = tuple(value + gain for value, gain in zip(low, (0.010, 0.012, 0.009, 0.011, 0.010), strict=True))
    assert Comparison("", high, low).p < 1e-4
    assert Comparison("", high, tuple(reversed(low))).p > 0.2


@pytest.mark.parametrize(
    ("high", "margin", "state"),
    [
        (0.9, None, "holds"), (0.8, None, "not decided"), (0.7, None, "the reverse"),  # above
        (0.8, 0.0, "holds"), (0.8005, 0.0, "holds"), (0.79, 0.0, "the reverse"),  # not below
        (0.79, 0.01, "holds"), (0.795, 0.01, "holds"), (0.78, 0.01, "the reverse"),  # at most a point below
    ],
)  # fmt: skip
def test_a_gain_that_is_the_same_in_every_seed(high: float, margin: float | None, state: str) -> None:
    """The limit of the test as the spread goes to nothing: the sign decides."""
    found = Comparison("a over b", (high, high + 0.1, high), (0.8, 0.9, 0.8), margin)
    assert found.state(of=10) == state
    assert found.words(points=True) == f"a over b {100 * (high - 0.8):+.2f} points (in every seed)"
    if found.gain > 1e-9:  # an almost equal gain says the same
        near = Comparison("", (high, high + 0.1, high + 1e-7), (0.8, 0.9, 0.8), margin)
        assert near.state(of=10) == state


def test_one_seed_decides_nothing() -> None:
    for margin in (None, 0.0, 0.5):
        found = Comparison("a over b", (0.5,), (0.4,), margin)
        assert math.isnan(found.p) and found.state() == "not decided" and "(one seed)" in found.words(points=True)


def records(samples: dict[tuple[str, str], tuple[float | None, ...]]) -> dict[tuple[str, str], dict[str, object]]:
    return {key: {"samples": list(own)} for key, own in samples.items()}


def test_verdicts() -> None:
    samples = {
        ("UN", "a"): HIGH, ("UN", "b"): LOW, ("NUN", "a"): LOW,
        ("NUN", "b"): tuple(value + 0.02 for value in HIGH),
        ("even", "a"): (0.5, 0.7, 0.6), ("even", "b"): (0.6, 0.5, 0.7),
    }  # fmt: skip

    def check(*rows: str, margin: float = 0.0) -> dict[str, object]:
        return PairedClaim("a above b", beats("a", ("b", "a"), rows, margin)).check(records(samples))

    assert check("UN") == {
        "claim": "a above b", "passed": True, "verdict": "holds",
        "detail": f"1 of 1 over 5 seeds. holds: a over b at UN +1.60 points (p {ttest_rel(HIGH, LOW).pvalue / 2:.3f})",
    }  # fmt: skip
    wrong = check("UN", "NUN", "even")
    assert wrong["verdict"] == "does not hold" and not wrong["passed"]
    assert str(wrong["detail"]).startswith("1 of 3 over 5 seeds. holds: a over b at UN ")
    assert "the reverse: a over b at NUN -3.60" in str(wrong["detail"])
    assert "not decided: a over b at even +0.00" in str(wrong["detail"])
    undecided = check("UN", "even")
    assert undecided["verdict"] == "not decided" and not undecided["passed"]
    assert check("CIFAR-100") == {"claim": "a above b", "passed": False, "verdict": "not measured", "detail": "0 of 0"}
    assert check("NUN", margin=0.05)["passed"], "no more than five points below"
    dead = {**samples, ("UN", "b"): (0.9, math.nan, 0.8, 0.7, 0.9), ("NUN", "b"): (0.9, None, 0.8, 0.7, 0.9)}
    assert PairedClaim("", beats("a", ("b",), ("UN", "NUN"))).check(records(dead))["verdict"] == "not measured"


@pytest.mark.slow
def test_one_comparison_among_many_is_reversed_by_chance() -> None:
    """Of claims of ten comparisons without a difference one in twenty may be called refuted, not two in five."""
    draws = np.random.default_rng(0).normal(size=(100, 2, 10, 5))
    refuted = 0
    for high, low in draws:
        samples = {(str(i), name): tuple(rows[i]) for i in range(10) for name, rows in (("a", high), ("b", low))}
        claim = PairedClaim("", beats("a", ("b",), [str(i) for i in range(10)]))
        refuted += claim.check(records(samples))["verdict"] == "does not hold"
    assert 1 <= refuted <= 13, refuted  # 5 expected; uncorrected it would be 40


def test_gains_more_and_together() -> None:
    samples = {
        ("many", "x"): (0.9, 0.8, 0.91), ("many", "y"): (0.5, 0.45, 0.5), ("few", "x"): (0.6, 0.6, 0.6),
        ("few", "y"): (0.5, 0.52, 0.51),
    }  # fmt: skip
    compare = gains_more("x", "y", [("many", "few"), ("none", "few")])
    (found,) = compare(samples)
    assert found.high == pytest.approx((0.4, 0.35, 0.41)) and found.low == pytest.approx((0.1, 0.08, 0.09))
    assert found.holds and "x's gain over y, many against few" in found.what
    assert len(together(compare, beats("x", ("y",), ("few", "many")))(samples)) == 3
