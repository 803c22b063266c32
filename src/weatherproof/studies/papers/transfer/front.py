"""The pieces together, which none of the papers does: how an encoder was made, what fine-tuning keeps of it, and how
far fine-tuning is followed, measured by clean, corrupted and adversarial accuracy and by calibration.

A combination is dominated if another one is at least as good in all four numbers and better in one of them. The front
are those that are not.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from weatherproof.reports.parts import save_list
from weatherproof.reports.study.front import FRONT, Combination, State
from weatherproof.studies.lab.claims import Values, Verdict, awaiting_values
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Claim, Found, Study
from weatherproof.studies.papers.transfer.models import HARDENED, MOCO, URRL, Models, Tuned, study
from weatherproof.studies.papers.urrl.transfer import ATTACK_NOTE, ATTACKS, ROBUST, SIMILARITY

NAME = "front"
CLEAN, CORRUPTED, ADVERSARIAL, CALIBRATION = "clean", "corrupted", "adversarial", "calibration error"
NUMBERS = (CLEAN, CORRUPTED, ADVERSARIAL, CALIBRATION)
TIKHONOV = "InputGradient(0.1, 'gradients')"  # the smallest lambda of the Tikhonov paper
KEPT = {"": (), "SR": (SIMILARITY,), "Tikhonov": (TIKHONOV,), "SR + Tikhonov": (SIMILARITY, TIKHONOV)}
STARTS = (MOCO, URRL, HARDENED)
ALPHAS = (1.0, 0.7, 0.4)
APART = 2.0  # standard errors of a difference

_COLUMNS: Mapping[str, Mapping[str, Any]] = {
    CLEAN: {},
    CORRUPTED: {"metric": "corrupted"},
    ADVERSARIAL: {"attack": ATTACKS[ROBUST]},
    CALIBRATION: {"metric": "calibration_error"},
}


def name_of(start: str, kept: str, alpha: float) -> str:
    """ "URRL, SR, alpha 0.5"; "URRL, frozen"."""
    if alpha == 0:
        return f"{start}, frozen"
    return ", ".join([start, *([kept] if kept else []), *([f"alpha {alpha:g}"] if alpha < 1 else [])])


_ROWS = [(start, kept, alpha) for start in STARTS for kept in KEPT for alpha in ALPHAS]
_ROWS += [(start, "", 0.0) for start in STARTS]
_NAMES = {name_of(*own): own for own in _ROWS}


def combinations(found: Found) -> list[Combination]:
    """What was measured, each with whether another one dominates it.

    Args:
        found: the records of the study's cells.
    """
    values = _gains({key: record["value"] for key, record in found.items()})
    measured = {name: [found[name, number] for number in NUMBERS] for name in values}
    errors = {name: [r["stderr"] or 0.0 for r in records] for name, records in measured.items()}
    combinations = []
    for name, records in measured.items():
        by = [other for other in values if dominates(values[other], values[name])]
        sure = any(apart(values[o], values[name], errors[o], errors[name]) for o in by)
        state: State = "front" if not by else "dominated" if sure else "level"
        numbers, theirs = (tuple(r[key] for r in records) for key in ("value", "stderr"))
        doubted = bool(records[NUMBERS.index(ADVERSARIAL)].get("certificate"))
        combinations.append(Combination(name, *_NAMES[name], numbers, theirs, state, tuple(by), doubted))
    return combinations


def _gains(values: Values) -> dict[str, tuple[float, ...]]:
    """The four numbers of each combination that has them all, so that more is better in each."""
    there = [name for name in _NAMES if all((name, number) in values for number in NUMBERS)]
    return {name: tuple(-values[name, n] if n == CALIBRATION else values[name, n] for n in NUMBERS) for name in there}


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """At least as good in all numbers and better in one."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def apart(one: Sequence[float], other: Sequence[float], error: Sequence[float], theirs: Sequence[float]) -> bool:
    """Better in a number by more than two standard errors of the difference, taken as of independent numbers."""
    pairs = zip(one, other, error, theirs, strict=True)
    return any(a - b > APART * math.hypot(e, f) for a, b, e, f in pairs)


@awaiting_values
def _dominated(values: Values, *names: str) -> Verdict:
    """How many of these another combination dominates."""
    known = _gains(values)
    lost = {n: [o for o in known if dominates(known[o], known[n])] for n in names if n in known}
    return sum(map(bool, lost.values())), len(lost), "; ".join(f"{name}: {_by(by)}" for name, by in lost.items())


def _by(names: Sequence[str]) -> str:
    if not names:
        return "not dominated"
    return f"dominated by {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _one_wins(values: Values) -> Verdict:
    """One combination is the best in all four numbers."""
    known = _gains(values)
    if not known:
        return 0, 0, ""
    best = {number: max(known, key=lambda name: known[name][i]) for i, number in enumerate(NUMBERS)}
    return int(len(set(best.values())) == 1), 1, "; ".join(f"{number}: {name}" for number, name in best.items())


def _save(_: Store, folder: Path, found: Found) -> None:
    save_list(folder, FRONT, combinations(found))


def _study() -> Study:
    models = {name: Tuned(start, KEPT[kept], alpha=alpha) for name, (start, kept, alpha) in _NAMES.items()}
    pieces = (URRL, HARDENED, f"{MOCO}, SR", f"{MOCO}, Tikhonov", f"{MOCO}, alpha 0.7")
    cells = {
        (name, number): partial(Models.number, model=model, **settings)
        for name, model in models.items()
        for number, settings in _COLUMNS.items()
    }
    claims = (
        Claim("plain fine-tuning of the plain encoder is dominated", _dominated(MOCO)),
        Claim("so is each piece alone", _dominated(*pieces)),
        Claim("one combination is the best in all four numbers", _one_wins),
    )
    note = (
        "Rows: how the encoder was made (MoCo v2, URRL, or MoCo v2's hardened against Gaussian noise), what "
        "fine-tuning had beside cross-entropy (SR: similarity regularization, its weight chosen on validation images; "
        f"Tikhonov: `{TIKHONOV}`), and alpha: the encoder is start + alpha (fine-tuned - start), with batch norm's "
        "statistics taken anew and a linear classifier fitted anew on clean training images; without alpha it is the "
        "fine-tuned one with its own classifier, 'frozen' is the start with a fitted one. Corrupted: mean accuracy "
        f"over the common corruptions; adversarial: at {ROBUST}; calibration error: mean over their sets. The checks "
        "are expectations of ours, not of a paper. "
        f"{ATTACK_NOTE}"
    )
    title = "The front: clean, corrupted and adversarial accuracy and calibration, together (CIFAR-10)"
    return study(NAME, title, cells, models.values(), claims, note, ours=True, after=(_save,))


STUDIES = {NAME: _study()}
