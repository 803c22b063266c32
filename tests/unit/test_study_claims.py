"""Claims count what they say they count."""

import math
import re
from typing import Any

import pytest
from scipy.stats import norm

from weatherproof.studies import STUDIES, Claim
from weatherproof.studies.lab.claims import (
    above,
    alike,
    all_of,
    at_most_below,
    below,
    best,
    falls,
    falls_less,
    mean_above,
    mostly_above,
    not_worst,
    slightly_below,
    small_share,
    spread,
    worst,
)
from weatherproof.studies.lab.draws import share_of_draws
from weatherproof.studies.lab.study import COUNT, MEDIAN
from weatherproof.studies.papers.urrl import transfer

GRID = {("a", "low"): 0.5, ("a", "high"): 0.7, ("b", "low"): 0.6, ("b", "high"): 0.6, ("c", "low"): 0.2}


def test_above() -> None:
    assert above("high", "low", ("a",))(GRID) == (1, 1, "by 20.0% at a")
    more = GRID | {("c", "high"): 0.25}
    assert above("high", "low", ("a", "c"))(more) == (2, 2, "by 5.0% at c to 20.0% at a")
    assert above("high", "low", ("a", "b", "c", "d"))(GRID) == (1, 2, "not at b +0.0%")  # equal is not above
    turned = {(column, row): value for (row, column), value in GRID.items()}
    assert above("high", "low", ("a", "b"), rows_are_models=True)(turned) == (1, 2, "not at b +0.0%")


def test_mostly_above() -> None:
    grid = {(str(row), "x"): 0.5 for row in range(4)} | {(str(row), "y"): 0.4 if row < 3 else 0.6 for row in range(4)}
    rows = tuple("0123")
    assert mostly_above("x", "y", rows)(grid) == (1, 1, "in 3 of 4, not at 3 -10.0%")
    assert mostly_above("x", "y", rows[:1])(grid) == (1, 1, "in 1 of 1, by 10.0% at 0")
    assert mostly_above("x", "y", rows[2:])(grid)[:2] == (0, 1)  # half is not most
    assert mostly_above("y", "x", rows)(grid)[:2] == (0, 1) and mostly_above("x", "z", rows)(grid) == (0, 0, "")


def test_below() -> None:
    assert below("low", "high", ("a",))(GRID) == (1, 1, "by 20.0% at a")
    assert below("low", "high", ("a", "b", "c"))(GRID) == (1, 2, "not at b +0.0%")
    assert below("high", "low", ("a",))(GRID) == (0, 1, "not at a -20.0%")


def test_falls_less() -> None:
    grid = {("all", "x"): 0.7, ("few", "x"): 0.6, ("all", "y"): 0.9, ("few", "y"): 0.4}
    assert falls_less("x", "y", "all", "few")(grid) == (1, 1, "10.0% against 50.0%")
    assert falls_less("y", "x", "all", "few")(grid)[:2] == (0, 1)
    assert falls_less("x", "y", "all", "none")(grid) == (0, 0, "")


def test_mean_above() -> None:
    assert mean_above("high", "low", ("a", "b", "c"))(GRID) == (1, 1, "65.0% against 55.0% over 2")
    assert mean_above("low", "high", ("a", "b", "c"))(GRID)[:2] == (0, 1)
    assert mean_above("high", "low", ("c", "d"))(GRID) == (0, 0, "")
    assert [mean_above("high", "low", ("a", "b"), points)(GRID)[0] for points in (0.099, 0.1001)] == [1, 0]


def test_falls() -> None:
    def column(*values: float) -> dict[tuple[str, str], float]:
        return {(str(i), "x"): value for i, value in enumerate(values)}

    rows = ("0", "1", "2", "9")
    assert falls("x", rows)(column(0.9, 0.5, 0.1)) == (2, 2, "90.0% to 10.0%")
    assert falls("x", rows)(column(0.5, 0.504, 0.5)) == (
        1,
        2,
        "50.0% to 50.0%",
    )  # how much is noise is for the errors to say
    assert falls("x", rows)({}) == (0, 0, "")


def test_spread() -> None:
    assert spread("low", "high", ("a", "b"), 0.21)(GRID) == (2, 2, "by 0.0% at b to 20.0% at a")
    assert spread("low", "high", ("a", "b"), 0.1)(GRID) == (1, 2, "not at a -20.0%")


def test_worst_and_not_worst() -> None:
    grid = {("r", "mse"): 0.1, ("r", "x"): 0.2, ("s", "mse"): 0.3, ("s", "x"): 0.2, ("s", "y"): 0.4}
    assert worst("mse", ("r", "s", "t"))(grid) == (1, 2, "not at s (lowest: x)")
    assert not_worst("mse", ("x", "y"), ("r", "s"))(grid) == (2, 3, "x not at s -10.0%; y by 10.0% at s")


def test_a_claim_without_any_number_does_not_hold() -> None:
    empty = {"claim": "c", "passed": False, "detail": "0 of 0", "verdict": "not measured"}
    assert Claim("c", above("x", "y", ("a",))).check({}) == empty
    found = {key: {"value": value} for key, value in GRID.items()}
    assert Claim("c", above("high", "low", ("a",))).check(found) == {
        "claim": "c",
        "passed": True,
        "detail": "1 of 1: by 20.0% at a",
        "verdict": "holds",
    }


def test_a_value_that_is_no_number_is_as_if_it_was_not_measured() -> None:
    """JSON has none: it is null there, as is a median that is infinite, and that is a number to compare."""
    claim = Claim("c", above("high", "low", ("a", "b")))
    found: dict[tuple[str, str], dict[str, Any]] = {
        ("a", "high"): {"value": 0.5, "stderr": 0.01}, ("a", "low"): {"value": 0.2, "stderr": None},
        ("b", "high"): {"value": None, "stderr": None}, ("b", "low"): {"value": 0.2, "stderr": 0.01},
    }  # fmt: skip
    check = claim.check(found)
    assert check["detail"].startswith("1 of 1: by 30.0% at a;") and check["verdict"] == "holds"
    found["b", "high"]["metric"] = MEDIAN
    assert claim.check(found)["detail"].startswith("2 of 2: by 30.0% at a")
    two = {key: {**record, "samples": [record["value"], record["value"]]} for key, record in found.items()}
    assert claim.check(two)["detail"].endswith("by itself with 2 of 2 seeds")


def test_a_seed_in_which_nothing_is_compared_does_not_hold() -> None:
    """Its attack leaves nothing of either model, so that it says nothing of which one resists."""
    found = {
        (f"eps 0.5: {name}", "CIFAR-10"): {"value": sum(own) / 2, "stderr": None, "samples": own}
        for name, own in {"MoCo v2": (0.06, 0.015), "Supervised": (0.03, 0.019)}.items()
    }
    entry = Claim("resists", transfer.ahead("MoCo v2", "Supervised", ("eps 0.5",))).check(found)
    assert (entry["verdict"], entry["detail"].rpartition("; ")[2]) == ("not decided", "by itself with 1 of 2 seeds")


def test_seeds_are_asked_of_what_the_means_are_asked() -> None:
    """Of a row without a mean, since one of its trainings has died, no seed is asked either."""
    rows = {"a": (0.9, 0.9), "b": (0.5, None), "c": (0.7, 0.7)}
    found = {
        (row, "top-1"): {"value": None if None in own else own[0], "stderr": None, "samples": own}
        for row, own in rows.items()
    }
    entry = Claim("falls", falls("top-1", tuple(rows))).check(found)
    assert (entry["verdict"], entry["detail"].rpartition("; ")[2]) == ("holds", "by itself with 2 of 2 seeds")


def test_best_and_all_of() -> None:
    grid = {("r", "x"): 0.3, ("r", "y"): 0.2, ("s", "x"): 0.3, ("s", "y"): 0.4}
    assert best("x", ("r", "s", "t"))(grid) == (1, 2, "not at s (highest: y)")
    assert all_of(best("x", ("r",)), worst("x", ("s", "t")))(grid) == (2, 2, "by 10.0% at r; by 10.0% at s")
    assert all_of(best("y", ("r",)), worst("y", ("s",)))(grid) == (
        0,
        2,
        "not at r (highest: x); not at s (lowest: x)",
    )


def test_alike() -> None:
    grid = {("r", "x"): 0.30, ("r", "y"): 0.31, ("s", "x"): 0.30, ("s", "y"): 0.40, ("t", "x"): 0.1}
    assert alike(("x", "y"), ("r", "s", "t"), 0.02)(grid) == (1, 2, "not at s 10.0%")  # t was not measured whole
    assert alike(("x", "y"), ("r",), 0.02)(grid) == (1, 1, "by 1.0% at r")


def test_slightly_below_and_small_share() -> None:
    assert slightly_below("low", "high", ("a", "b"), 0.25)(GRID) == (1, 2, "a -20.0%, b +0.0%")  # equal is not below
    assert slightly_below("low", "high", ("a",), 0.1)(GRID)[:2] == (0, 1)
    assert small_share("low", "high", ("a", "b", "c"), 0.75)(GRID) == (1, 2, "a: 71% of it, b: 100% of it")


@pytest.mark.parametrize("points", [14, 17, 510, 860])
def test_a_difference_of_exactly_what_is_allowed_is_allowed(points: int) -> None:
    """Accuracies are thousandths: their differences have a last digit of their own."""
    grid = {("r", "high"): points / 1000, ("r", "low"): (points - 10) / 1000}
    assert spread("low", "high", ("r",), 0.01)(grid)[:2] == (1, 1)
    assert alike(("low", "high"), ("r",), 0.01)(grid)[:2] == (1, 1)
    assert slightly_below("low", "high", ("r",), 0.01)(grid)[:2] == (1, 1)
    pair = ("r", "low"), ("r", "high")
    assert at_most_below([(*pair, 0.01)])(grid) == (1, 1, "")
    assert at_most_below([(*pair, 0.0099)] * 2)(grid) == (0, 2, "not at r, low -1.0")


def _split(found: dict[tuple[str, str], Any]) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], float]]:
    """Values and errors."""
    values, errors = ({key: record[name] for key, record in found.items()} for name in ("value", "stderr"))
    return values, errors


def _with_errors(gap: float, error: float) -> dict[tuple[str, str], dict[str, float | None]]:
    return {("r", "high"): {"value": 0.5 + gap, "stderr": error}, ("r", "low"): {"value": 0.5, "stderr": error}}


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [(0.03, "holds"), (0.02, "not decided"), (-0.02, "not decided"), (-0.03, "does not hold")],
)
def test_a_difference_within_its_error_decides_nothing(gap: float, verdict: str) -> None:
    """The one-sided test at 5 %: 1.645 times the error of a difference, 2.3 points here."""
    check = Claim("c", above("high", "low", ("r",))).check(_with_errors(gap, 0.01))
    assert check["verdict"] == verdict and check["passed"] == (verdict == "holds")
    assert ("with the standard errors it holds in " in check["detail"]) == (verdict == "not decided")


def test_draws_from_the_errors_against_the_normal_distribution() -> None:
    found = _with_errors(0.02, 0.01)
    share = share_of_draws(above("high", "low", ("r",)), *_split(found))
    assert share == pytest.approx(norm.cdf(0.02 / (0.01 * math.sqrt(2))), abs=0.02)
    two = {("s", column): record for (_, column), record in found.items()} | found
    assert share_of_draws(above("high", "low", ("r", "s")), *_split(two)) == pytest.approx(share**2, abs=0.03)
    fixed = {key: {**record, "stderr": None} for key, record in found.items()}
    assert share_of_draws(above("high", "low", ("r",)), _split(fixed)[0], {}) is None
    check = Claim("c", above("high", "low", ("r",))).check(fixed)
    assert check["verdict"] == "holds" and check["detail"].endswith("; no errors are known")


def test_a_claim_says_which_of_its_numbers_have_no_error() -> None:
    """Others of the grid may have one: it is about those that the claim looks at."""
    found = _with_errors(0.02, 0.01) | {
        ("t", name): {"value": own, "stderr": None} for name, own in (("low", 0.1), ("high", 0.2))
    }
    said = [Claim("c", above("high", "low", rows)).check(found)["detail"] for rows in (("t",), ("r", "t"), ("r",))]
    known = [re.findall("no error[^;]*", own) for own in said]
    assert known == [["no errors are known"], ["no error is known of 2 of 4 numbers"], []]
    counts = {key: {**record, "metric": COUNT} for key, record in found.items()}
    assert "errors" not in Claim("c", above("high", "low", ("t",))).check(counts)["detail"]


def test_the_best_of_several_needs_more() -> None:
    found = _with_errors(0.03, 0.01)
    assert Claim("c", above("high", "low", ("r",)), among=9).check(found)["verdict"] == "not decided"


def test_the_supervised_start_against_all_rows_of_urrl() -> None:
    """Not against one that happens to suit."""
    checks = {claim.text: claim for claim in STUDIES["urrl-table-2"].claims}
    least = checks["the supervised start is the least robust of all rows"]
    cleanest = checks["the supervised start has the best clean accuracy of all rows"]
    rows = dict.fromkeys(transfer.MODELS, 0.4) | {transfer.SUPERVISED: 0.3}
    robust = {(transfer.row(transfer.ROBUST, name), "DTD"): {"value": value} for name, value in rows.items()}
    assert least.check(robust)["passed"]
    robust[transfer.row(transfer.ROBUST, transfer.URRL_SP), "DTD"] = {"value": 0.2}
    assert least.check(robust)["detail"] == "5 of 6: URRL-L2SP: eps 0.5 20.0% against 30.0% over 1"
    clean = {(transfer.row(transfer.CLEAN, name), "DTD"): {"value": 1 - value} for name, value in rows.items()}
    assert cleanest.check(clean)["passed"]
    clean[transfer.row(transfer.CLEAN, transfer.MOCO), "DTD"] = {"value": 0.8}
    assert not cleanest.check(clean)["passed"]
