"""Claims count what they say they count."""

from weatherproof.studies import Claim
from weatherproof.studies.lab.claims import (
    above,
    alike,
    all_of,
    below,
    best,
    falls,
    falls_less,
    mean_above,
    not_worst,
    slightly_below,
    small_share,
    spread,
    worst,
)

GRID = {("a", "low"): 0.5, ("a", "high"): 0.7, ("b", "low"): 0.6, ("b", "high"): 0.6, ("c", "low"): 0.2}


def test_above() -> None:
    assert above("high", "low", ("a",))(GRID) == (1, 1, "")
    assert above("high", "low", ("a", "b", "c", "d"))(GRID) == (1, 2, "not at b +0.0%")  # equal is not above
    turned = {(column, row): value for (row, column), value in GRID.items()}
    assert above("high", "low", ("a", "b"), rows_are_models=True)(turned) == (1, 2, "not at b +0.0%")


def test_below() -> None:
    assert below("low", "high", ("a",))(GRID) == (1, 1, "")
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


def test_falls() -> None:
    def column(*values: float) -> dict[tuple[str, str], float]:
        return {(str(i), "x"): value for i, value in enumerate(values)}

    rows = ("0", "1", "2", "9")
    assert falls("x", rows)(column(0.9, 0.5, 0.1)) == (2, 2, "")
    assert falls("x", rows)(column(0.5, 0.504, 0.6)) == (1, 2, "")  # half a point is noise, ten are not
    assert falls("x", rows)({}) == (0, 0, "")


def test_spread() -> None:
    assert spread("low", "high", ("a", "b"), 0.21)(GRID) == (2, 2, "")
    assert spread("low", "high", ("a", "b"), 0.1)(GRID) == (1, 2, "not at a -20.0%")


def test_worst_and_not_worst() -> None:
    grid = {("r", "mse"): 0.1, ("r", "x"): 0.2, ("s", "mse"): 0.3, ("s", "x"): 0.2, ("s", "y"): 0.4}
    assert worst("mse", ("r", "s", "t"))(grid) == (1, 2, "not at s (lowest: x)")
    assert not_worst("mse", ("x", "y"), ("r", "s"))(grid) == (2, 3, "x not at s -10.0%")


def test_a_claim_without_any_number_does_not_hold() -> None:
    assert Claim("c", above("x", "y", ("a",))).check({}) == {"claim": "c", "passed": False, "detail": "0 of 0"}
    found = {key: {"value": value} for key, value in GRID.items()}
    assert Claim("c", above("high", "low", ("a",))).check(found) == {
        "claim": "c",
        "passed": True,
        "detail": "1 of 1",
    }


def test_best_and_all_of() -> None:
    grid = {("r", "x"): 0.3, ("r", "y"): 0.2, ("s", "x"): 0.3, ("s", "y"): 0.4}
    assert best("x", ("r", "s", "t"))(grid) == (1, 2, "not at s (highest: y)")
    assert all_of(best("x", ("r",)), worst("x", ("s", "t")))(grid) == (2, 2, "")
    assert all_of(best("y", ("r",)), worst("y", ("s",)))(grid) == (
        0,
        2,
        "not at r (highest: x); not at s (lowest: x)",
    )


def test_alike() -> None:
    grid = {("r", "x"): 0.30, ("r", "y"): 0.31, ("s", "x"): 0.30, ("s", "y"): 0.40, ("t", "x"): 0.1}
    assert alike(("x", "y"), ("r", "s", "t"), 0.02)(grid) == (1, 2, "not at s 10.0%")  # t was not measured whole


def test_slightly_below_and_small_share() -> None:
    assert slightly_below("low", "high", ("a", "b"), 0.25)(GRID) == (1, 2, "a -20.0%, b +0.0%")  # equal is not below
    assert slightly_below("low", "high", ("a",), 0.1)(GRID)[:2] == (0, 1)
    assert small_share("low", "high", ("a", "b", "c"), 0.75)(GRID) == (1, 2, "a: 71% of it, b: 100% of it")
