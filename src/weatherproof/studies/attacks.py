"""Figure 2 of "Robustness of Contrastive Learning Models" (2020): misclassified images against the size of the
perturbation, for PGD (a, c, e) and the proximal log-barrier (b, d, f), at lambda 0.1, 1 and 10.

A panel has four curves: supervised and contrastive, each without and with regularization.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from weatherproof.attacks.described import GRIDS
from weatherproof.reports.attack.panels import Panel
from weatherproof.studies.attack_cells import AttackCell, Metric
from weatherproof.studies.attack_scales import BARRIER, PGD_L2, PGD_LINF
from weatherproof.studies.claims import Test
from weatherproof.studies.pretraining import CONTRASTIVE, LAMBDAS, SUPERVISED, regularized
from weatherproof.studies.pretraining_workshop import model_name
from weatherproof.studies.study import Claim, Key, Study

NAME = "attacks-figure-2"
SATURATED = 0.99  # errors of both curves from which on nothing is left to tell them apart
_KINDS = {"supervised": SUPERVISED, "contrastive": CONTRASTIVE}
MEDIAN, FAILURES = "median", "failures"


def column(kind: str, weight: float) -> str:
    """ "supervised", "contrastive, lambda 0.1"."""
    return f"{kind}, lambda {weight:g}" if weight else kind


def row(attack: str, size: float | str) -> str:
    """ "PGD, 0.25", "PGD Linf, 2/255", "PLB, median"."""
    if isinstance(size, str):
        return f"{attack}, {size}"
    return f"{attack}, {round(255 * size)}/255" if attack == PGD_LINF else f"{attack}, {size:g}"


def panels(attacks: Mapping[str, object]) -> list[Panel]:
    """(a) to (f), for the page.

    Args:
        attacks: of the scale.
    """
    made = []
    for title, attack, weight in _panels():
        models = {
            model_name(regularized(name, own)): kind + (" + Tikhonov" if own else "")
            for kind, name in _KINDS.items()
            for own in (0.0, weight)
        }
        made.append(Panel(title, repr(attacks[attack]), models))
    return made


def _figure_2() -> Study:
    cells = {}
    for attack, size, metric in _numbers():
        for kind, name in _KINDS.items():
            for weight in (0.0, *LAMBDAS):
                told = size if isinstance(size, float) else None
                cells[row(attack, size), column(kind, weight)] = AttackCell(
                    regularized(name, weight), attack, metric, told
                )
    title = "Robustness of Contrastive Learning Models, Figure 2: under attack"
    note = (
        "PGD and PLB (proximal log-barrier): the share of images that are misclassified, in per cent, by a "
        "perturbation of at most this size in L2, pixels from 0 to 1; size 0 is the clean error. Median: half of the "
        "images are misclassified by less (infinite where they are not at any size). Failures: images that PLB could "
        f"not get misclassified. {PGD_LINF} (not in the paper): accuracy under PGD. A claim about curves compares them "
        "at every size above 0 but where both have an error of 99 % or more, and does not look at standard errors. "
        "The attacks see the whole classifier, the linear readout included. Models and regularization are those of "
        "tikhonov-table-2."
    )
    return Study(NAME, title, cells, tuple(_claims()), note=note)


def _numbers() -> Iterator[tuple[str, float | str, Metric]]:
    """Every row: attack, size or word, metric."""
    for attack in (PGD_L2, BARRIER):
        yield from ((attack, size, "error") for size in GRIDS["l2"])
        yield attack, MEDIAN, "median_perturbation"
    yield BARRIER, FAILURES, "attack_failures"
    yield from ((PGD_LINF, size, "top1") for size in GRIDS["linf"])


def _claims() -> Iterator[Claim]:
    """What the figure's caption says, of every panel."""
    for attack in (PGD_L2, BARRIER):
        told = f"{attack}: the contrastive model resists better than the supervised one"
        yield Claim(told, under(attack, "contrastive", ["supervised"]))
        yield Claim(f"{told}, by the median", largest(attack, "contrastive", ["supervised"]))
    for panel, attack, weight in _panels():
        smooth, both = (column(kind, weight) for kind in _KINDS)
        rest = ["supervised", smooth, "contrastive"]
        yield Claim(
            f"{panel}: the contrastive model brings more than regularization alone",
            under(attack, "contrastive", [smooth]),
        )
        yield Claim(f"{panel}: regularization adds to the contrastive model", under(attack, both, ["contrastive"]))
        yield Claim(f"{panel}: both together resist best", under(attack, both, rest))
        yield Claim(f"{panel}: both together resist best, by the median", largest(attack, both, rest))
        yield Claim(f"{panel}: regularization helps the supervised model", under(attack, smooth, ["supervised"]))


def _panels() -> Iterator[tuple[str, str, float]]:
    """(a) to (f): what it is called, the attack, lambda."""
    letters = iter("abcdef")
    for weight in LAMBDAS:
        for attack in (PGD_L2, BARRIER):
            yield f"({next(letters)}) {attack}, lambda {weight:g}", attack, weight


def under(attack: str, low: str, highs: Sequence[str]) -> Test:
    """The curve of `low` under each of the others, at all sizes above 0 but those where both are saturated."""

    def test(values: Mapping[Key, float]) -> tuple[int, int, str]:
        held, of, lost = 0, 0, []
        for high in highs:
            sizes = [size for size in GRIDS["l2"][1:] if _decides(values, row(attack, size), low, high)]
            missed = [size for size in sizes if values[row(attack, size), low] >= values[row(attack, size), high]]
            held, of = held + len(sizes) - len(missed), of + len(sizes)
            lost += [f"at {', '.join(f'{size:g}' for size in missed)} against {high}"] if missed else []
        return held, of, "not " + "; ".join(lost) if lost else ""

    return test


def _decides(values: Mapping[Key, float], key: str, *columns: str) -> bool:
    """Whether a row has these columns, and not all of them are saturated."""
    there = [values[key, name] for name in columns if (key, name) in values]
    return len(there) == len(columns) and min(there) < SATURATED


def largest(attack: str, high: str, lows: Sequence[str]) -> Test:
    """The median perturbation of `high` is larger than that of each of the others."""

    def test(values: Mapping[Key, float]) -> tuple[int, int, str]:
        key = row(attack, MEDIAN)
        sizes = {name: _size(values[key, name]) for name in (high, *lows) if (key, name) in values}
        if high not in sizes:
            return 0, 0, ""
        others = [sizes[low] for low in lows if low in sizes]
        told = ", ".join(f"{name} {size:.3f}" for name, size in sizes.items())
        return sum(sizes[high] > other for other in others), len(others), told

    return test


def _size(value: float | None) -> float:
    """A median; None where the images resist at all sizes."""
    return math.inf if value is None else value


STUDIES = {NAME: _figure_2()}
