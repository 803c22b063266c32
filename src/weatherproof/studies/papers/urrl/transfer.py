"""Fine-tuning in "Transferable Unsupervised Robust Representation Learning" (URRL, ICLR 2021 submission): its Tables 2
and 3 and its Appendix A.

The paper attacks with L2 and eps 0.5 at 256 px. The smaller eps and the attack of 100 steps are not in it.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from weatherproof.studies.lab.claims import Values, Verdict, above, awaiting_values, below
from weatherproof.studies.lab.study import Claim, Study
from weatherproof.studies.papers.transfer.models import EVERY, MOCO, RANDOM, URRL, Metric, Models, Tuned, study
from weatherproof.studies.papers.transfer.scales import PAPER_DATA, SUPERVISED

CLEAN, ROBUST = "clean", "eps 0.5"
ATTACKS = {  # a step is an eighth of eps, as in the paper's 20 steps
    ROBUST: "PGD(L2(0.5), steps=20, step_size=0.0625)",
    "eps 0.5, 100 steps": "PGD(L2(0.5), steps=100, step_size=0.0625)",
    "eps 0.25": "PGD(L2(0.25), steps=20, step_size=0.03125)",
    "eps 0.1": "PGD(L2(0.1), steps=20, step_size=0.0125)",
}
SIMILARITY, SP = "SimilarityMatrix(1.0)", "L2SP(0.01, 0.001)"
URRL_SP, MOCO_SR, URRL_SR, ADVERSARIAL_ROW = "URRL-L2SP", "MoCo-SR", "URRL-SR", "Adv. Training"
MODELS = {
    SUPERVISED: Tuned(SUPERVISED),
    MOCO: Tuned(MOCO),
    URRL: Tuned(URRL),
    URRL_SP: Tuned(URRL, (SP,)),
    MOCO_SR: Tuned(MOCO, (SIMILARITY,)),
    URRL_SR: Tuned(URRL, (SIMILARITY,)),
    ADVERSARIAL_ROW: Tuned(RANDOM, adversarial=True),
}
DATA = (*PAPER_DATA, "MNIST", "X-ray", "Imagenette")  # the last three stand in for others at desk scale

NOTHING_LEFT = 0.02  # where neither model keeps more accuracy under attack, it says nothing of which one resists
LITTLE = 0.05  # of clean accuracy: the paper's own loss is 3.8 (MoCo v2) and 3.4 points (URRL)
PROMISED = 0.10  # "over 10 %", in points
HALF = 0.55
ALPHAS, BETAS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), (1e-3, 1e-2)

ATTACK_NOTE = (
    "eps: PGD in the L2 ball of that size, pixels from 0 to 1, 20 steps of eps / 8 from the clean image, the iterate "
    "of highest loss. eps holds for the image as the network sees it: the paper's 0.5 at 256 px is per pixel what 0.06 "
    "is at 32 px. The smaller eps and the 100 steps are not in the paper. † marks an attack with a point of its "
    "certificate that fails."
)


def row(what: str, model: str) -> str:
    """ "clean: URRL-SR", "eps 0.5: MoCo v2"."""
    return f"{what}: {model}"


@awaiting_values
def ahead(values: Values, high: str, low: str, whats: Sequence[str], points: float = 0.0) -> Verdict:
    """Model `high` above model `low`, or more than `points` above, in the mean over the data sets that both have, for
    each of `whats`; attacks that leave nothing of both are left out."""
    held, of, details = 0, 0, []
    for what in whats:
        rows = row(what, high), row(what, low)
        data = [d for d in DATA if all((r, d) in values for r in rows)]
        if not data:
            continue
        first, second = (sum(values[r, d] for d in data) / len(data) for r in rows)
        if what != CLEAN and max(first, second) <= NOTHING_LEFT:
            continue
        held, of = held + (first - second > points), of + 1
        details.append(f"{what} {first:.1%} against {second:.1%} over {len(data)}")
    return held, of, "; ".join(details)


@awaiting_values
def below_all(values: Values, own: str, whats: Sequence[str], points: float = 0.0) -> Verdict:
    """All other models above model `own`, or more than `points` above, as in `ahead`."""
    return _of_each({name: ahead(name, own, whats, points)(values) for name in MODELS if name != own})


@awaiting_values
def _best_clean(values: Values, own: str) -> Verdict:
    """Model `own` above all others on clean images, as in `ahead`."""
    return _of_each({name: ahead(own, name, (CLEAN,))(values) for name in MODELS if name != own})


def _of_each(results: Mapping[str, Verdict]) -> Verdict:
    """All comparisons with each model; those that are lost in words."""
    detail = "; ".join(f"{name}: {words}" for name, (held, of, words) in results.items() if held < of)
    return sum(held for held, _, _ in results.values()), sum(of for _, of, _ in results.values()), detail


@awaiting_values
def _highest_on_most(values: Values, own: str, among: Sequence[str]) -> Verdict:
    """Model `own` above all others at eps 0.5 on more than half of the data sets that it has, those apart that leave
    nothing of any."""
    won, lost = list[str](), list[str]()
    for data in DATA:
        found = {name: values[key, data] for name in among if (key := row(ROBUST, name), data) in values}
        if own in found and len(found) > 1 and max(found.values()) > NOTHING_LEFT:
            best = max(found, key=lambda name: found[name])
            (won if best == own else lost).append(data if best == own else f"{data} ({best})")
    if not won + lost:
        return 0, 0, ""
    detail = f"on {len(won)} of {len(won + lost)}" + (f", not on {', '.join(lost)}" if lost else "")
    return int(len(won) > len(lost)), 1, detail


def _table_2() -> Study:
    cells = {
        (row(what, name), data): partial(Models.number, model=model, data=data, attack=ATTACKS.get(what))
        for what in (CLEAN, *ATTACKS)
        for name, model in MODELS.items()
        for data in (*DATA, EVERY)
    }
    attacks = tuple(ATTACKS)
    claims = (
        *(
            Claim(f"similarity regularization raises the robust accuracy of {plain}", ahead(regular, plain, attacks))
            for plain, regular in ((MOCO, MOCO_SR), (URRL, URRL_SR))
        ),
        *(
            Claim(f"of {plain} by over 10 points at eps 0.5", ahead(regular, plain, (ROBUST,), PROMISED))
            for plain, regular in ((MOCO, MOCO_SR), (URRL, URRL_SR))
        ),
        *(
            Claim(f"it costs {plain} less than 5 points of clean accuracy", ahead(regular, plain, (CLEAN,), -LITTLE))
            for plain, regular in ((MOCO, MOCO_SR), (URRL, URRL_SR))
        ),
        Claim("it costs much less clean accuracy than adversarial training", ahead(URRL_SR, ADVERSARIAL_ROW, (CLEAN,))),
        Claim("adversarial training is the most robust", ahead(ADVERSARIAL_ROW, URRL_SR, attacks)),
        Claim("L2-SP raises the robust accuracy of URRL", ahead(URRL_SP, URRL, attacks)),
        Claim("L2-SP raises it less than similarity regularization", ahead(URRL_SR, URRL_SP, attacks)),
        Claim("URRL's start is more robust than MoCo v2's", ahead(URRL, MOCO, attacks)),
        Claim("so it is with similarity regularization", ahead(URRL_SR, MOCO_SR, attacks)),
        Claim("MoCo v2's start is more robust than the supervised one", ahead(MOCO, SUPERVISED, attacks)),
        Claim("the supervised start is the least robust of all rows", below_all(SUPERVISED, attacks)),
        Claim("and by a large margin, over 10 points at eps 0.5", below_all(SUPERVISED, (ROBUST,), PROMISED)),
        Claim("URRL's start has a higher clean accuracy than MoCo v2's", ahead(URRL, MOCO, (CLEAN,))),
        Claim(
            "URRL-SR has the highest robust accuracy of all learnt representations on most data sets",
            _highest_on_most(URRL_SR, tuple(name for name in MODELS if name != ADVERSARIAL_ROW)),
        ),
        Claim("the supervised start has the best clean accuracy of all rows", _best_clean(SUPERVISED)),
    )
    title = "URRL, Table 2: adversarial robustness after fine-tuning"
    note = f"{ATTACK_NOTE} Claims are about means over the data sets that both models have."
    return study("urrl-table-2", title, cells, MODELS.values(), claims, note, sets=DATA)


def _table_3() -> Study:
    columns, sets = (MOCO, URRL, URRL_SP, MOCO_SR, URRL_SR), ("CIFAR-10", "CIFAR-100")
    numbers: dict[str, Metric] = {
        "": "calibration_error", ", pooled": "pooled_calibration_error", ", accuracy": "corrupted",
    }  # fmt: skip
    cells = {
        (f"{data}-C{words}", column): partial(Models.number, model=MODELS[column], data=data, metric=metric)
        for data in sets
        for words, metric in numbers.items()
        for column in columns
    }
    rows = ("CIFAR-10-C", "CIFAR-100-C")
    claims = (
        Claim("similarity regularization lowers the calibration error of MoCo v2", below(MOCO_SR, MOCO, rows)),
        Claim("similarity regularization lowers that of URRL", below(URRL_SR, URRL, rows)),
        Claim("it halves that of URRL on CIFAR-10-C", _halved(URRL_SR, URRL, rows[:1])),
        Claim("URRL-SR is better calibrated than MoCo-SR", below(URRL_SR, MOCO_SR, rows)),
        Claim("L2-SP lowers it less (not in the paper's table)", below(URRL_SR, URRL_SP, rows)),
    )
    title = "URRL, Table 3: RMS calibration errors on CIFAR-10-C and CIFAR-100-C after fine-tuning"
    note = (
        "RMS calibration error with bins of 100 images, the mean of the 75 sets; pooled: of all their images together "
        "(the paper does not say which). ± is the standard error over the images, by the jackknife for calibration. "
        "'Halves' is a quotient of at most 0.55. Frost is synthetic where corruptions are made on the fly."
    )
    models = [MODELS[column] for column in columns]
    return study("urrl-table-3", title, cells, models, claims, note, sets=sets)


@awaiting_values
def _halved(values: Values, low: str, high: str, rows: Sequence[str]) -> Verdict:
    there = [r for r in rows if (r, low) in values and (r, high) in values]
    shares = [values[r, low] / values[r, high] if values[r, high] else 1.0 for r in there]
    detail = ", ".join(f"{r}: to {share:.2f} of it" for r, share in zip(there, shares, strict=True))
    return sum(share <= HALF for share in shares), len(shares), detail


def _appendix_a() -> Study:
    settings: dict[str, tuple[str, ...]] = {"no L2-SP": ()}
    settings |= {f"alpha {a:g}, beta {b:g}": (f"L2SP({a!r}, {b!r})",) for a in ALPHAS for b in BETAS}
    models = {name: Tuned(URRL, texts, as_written=True) for name, texts in settings.items()}
    whats = (CLEAN, *(what for what in ATTACKS if "100" not in what))
    cells = {
        (name, what): partial(Models.number, model=model, attack=ATTACKS.get(what))
        for name, model in models.items()
        for what in whats
    }
    plain, recommended, others = "no L2-SP", f"alpha {ALPHAS[-1]:g}, beta {BETAS[-1]:g}", tuple(settings)[1:-1]
    claims = (
        Claim(
            "the authors' alpha 0.1, beta 0.01 hurts clean accuracy",
            above(plain, recommended, (CLEAN,), rows_are_models=True),
        ),
        Claim("it hurts robust accuracy", above(plain, recommended, (ROBUST,), rows_are_models=True)),
        Claim("another setting raises robust accuracy, as in Table 2", _some_above(plain, others), among=len(others)),
    )
    title = "URRL, Appendix A: alpha and beta of L2-SP on CIFAR-10"
    note = (
        "URRL's encoder. L2-SP takes the place of weight decay; the learning rate is that of fine-tuning without it. "
        f"The paper draws Figure 2 without printing its numbers. {ATTACK_NOTE}"
    )
    return study("urrl-appendix-a", title, cells, models.values(), claims, note)


@awaiting_values
def _some_above(values: Values, low: str, highs: Sequence[str]) -> Verdict:
    """One of the rows `highs` above row `low` at eps 0.5."""
    found = {high: values[high, ROBUST] for high in highs if (high, ROBUST) in values}
    if not found or (low, ROBUST) not in values:
        return 0, 0, ""
    best = max(found, key=lambda name: found[name])
    return int(found[best] > values[low, ROBUST]), 1, f"{best}: {found[best]:.1%}, {low}: {values[low, ROBUST]:.1%}"


STUDIES = {study.name: study for study in (_table_2(), _table_3(), _appendix_a())}
