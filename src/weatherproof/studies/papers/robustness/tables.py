"""The tables of "Robustness of Contrastive Learning Models" (2020), Tables 1 and 2 and its equations 4 and 5.

Methods are named as `methods.build` does, families of views as the tables do.
"""

from collections.abc import Sequence

from weatherproof.studies.lab.claims import Values, Verdict, above, awaiting_values, below, best, falls, falls_less
from weatherproof.studies.lab.classifiers import Begins
from weatherproof.studies.lab.study import Claim, Key, Study
from weatherproof.studies.papers.pretraining.models import ERROR, METRICS, ROBUSTNESS_NOTE, TOP1, Metric, study
from weatherproof.studies.papers.pretraining.scales import (
    DESK_LABELS,
    DESK_LAYERS,
    DESK_TIKHONOV,
    PAPER_LABELS,
    SMOKE,
    Network,
)

SUPERVISED, CONTRASTIVE, TUNED = "Supervised Model", "Contrastive Model", "Fine-Tuned"
LAMBDAS = (0.1, 1.0, 10.0)


def _label_efficiency() -> Study:
    fractions = {"100%": 1.0, "10%": 0.1, "1%": 0.01}
    supervised, contrastive, tuned = SUPERVISED, CONTRASTIVE, TUNED
    cells: dict[Key, tuple[Network, Metric]] = {}
    for row, labels in fractions.items():
        cells[row, supervised] = (Network("supervised", labels=labels), "top1")
        cells[row, contrastive] = (Network("probe", "simclr", "SimCLR", labels), "top1")
        cells[row, tuned] = (Network("fine-tuned", "simclr", "SimCLR", labels), "top1")
    claims = (
        Claim(
            "from 100 % to 1 % of the labels contrastive accuracy falls less than supervised",
            falls_less(contrastive, supervised, "100%", "1%"),
        ),
        Claim("the same for the fine-tuned model", falls_less(tuned, supervised, "100%", "1%")),
        Claim("with all labels the supervised model is ahead", above(supervised, contrastive, ("100%",))),
        Claim("with 10 % and 1 % the contrastive model is ahead", above(contrastive, supervised, ("10%", "1%"))),
        Claim("fine-tuning adds accuracy with 100 % and 10 %", above(tuned, contrastive, ("100%", "10%"))),
        Claim("fine-tuning costs accuracy with 1 %", above(contrastive, tuned, ("1%",))),
    )
    title = "Robustness of Contrastive Learning Models, Table 1: accuracy with fewer labels"
    note = "Pretraining uses all images and no label. Fine-tuning: a new two-layer ReLU classifier, encoder and all."
    scales = {"smoke": SMOKE, "desk": DESK_LABELS, "paper": PAPER_LABELS}
    return study("label-efficiency-table-1", title, cells, scales, claims, note)


def _head_initialisation() -> Study:
    begins: dict[str, Begins] = {"random": "random", "second layer 0": "zero", "from the linear readout": "probe"}
    fractions, random = {"100%": 1.0, "10%": 0.1, "1%": 0.01}, "random"
    cells: dict[Key, tuple[Network, Metric]] = {
        (row, column): (Network("fine-tuned", "simclr", "SimCLR", labels, begins=own), "top1")
        for row, labels in fractions.items()
        for column, own in begins.items()
    }
    claims = (Claim("random weights at the start of the head are best", best(random, tuple(fractions))),)
    title = "Robustness of Contrastive Learning Models: how the head begins in fine-tuning"
    note = (
        "The fine-tuned model of label-efficiency-table-1 with other weights in its two-layer head at the start. The "
        "paper says that random ones were best and not what the others were: here a second layer of zeros, and the "
        "linear classifier of stage 2, fitted on the frozen encoder with the same labels, behind a first layer that "
        "passes embeddings on (ReLU takes what is negative in them)."
    )
    scales = {"smoke": SMOKE, "desk": DESK_LABELS, "paper": PAPER_LABELS}
    return study("head-initialisation", title, cells, scales, claims, note)


def _layer_wise() -> Study:
    plain, every = "at the end (eq. 1)", "contrastive at every layer (eq. 4)"
    smooth, both = "Tikhonov at the end (eq. 3)", "both at every layer (eq. 5)"
    columns = {plain: "end", every: "contrastive", smooth: "tikhonov-end", both: "contrastive and tikhonov"}
    cells = {
        (row, column): (Network("probe", "simclr", "SimCLR", layers=layers), metric)
        for column, layers in columns.items()
        for row, metric in METRICS.items()
    }
    claims = (
        Claim("losses at every layer keep the clean accuracy or raise it", above(every, plain, (TOP1,))),
        Claim("Tikhonov at the end costs clean accuracy, as in the paper's Table 2", below(smooth, plain, (TOP1,))),
        Claim("Tikhonov at every layer lowers the corruption error", below(both, every, (ERROR,))),
        Claim("Tikhonov at every layer does so more than at the end alone", below(both, smooth, (ERROR,))),
    )
    title = "Robustness of Contrastive Learning Models, equations 4 and 5 (which its authors had not tried)"
    note = (
        "The losses alone differ: in all columns the projectors are SimCLR's of two layers, without batch norm, and R "
        f"is as printed in eq. 3. {ROBUSTNESS_NOTE} The checks are the authors' hopes, not results of theirs, but for "
        "the second."
    )
    scales = {"smoke": SMOKE, "desk": DESK_LAYERS, "paper": PAPER_LABELS}
    return study("layer-wise", title, cells, scales, claims, note)


def regularized(kind: str, weight: float) -> Network:
    """The supervised or the contrastive model of `tikhonov-table-2`, with a lambda."""
    if kind == SUPERVISED:
        return Network("supervised", tikhonov=weight)
    return Network("probe", "simclr", "SimCLR", tikhonov=weight)


@awaiting_values
def _all_below(values: Values, column: str, high: str, rows: Sequence[str]) -> Verdict:
    """Row `high` of a column above each of the others."""
    there = [row for row in rows if (row, column) in values and (high, column) in values]
    gains = {row: values[row, column] - values[high, column] for row in there}
    detail = ", ".join(f"{row} {gain:+.1%}" for row, gain in gains.items())
    return sum(gain < 0 for gain in gains.values()), len(gains), detail


def _tikhonov() -> Study:
    metrics: dict[str, Metric] = {
        "": "top1", ", calibration error": "clean_calibration_error", ", corruption error": "corruption_error",
        ", calibration error when corrupted": "calibration_error",
    }  # fmt: skip
    names = {weight: f"lambda {weight:g}" for weight in (0.0, *LAMBDAS)}
    cells = {
        (name + words, column): (regularized(column, weight), metric)
        for words, metric in metrics.items()
        for weight, name in names.items()
        for column in (SUPERVISED, CONTRASTIVE)
    }
    plain, rows = names[0.0], [names[weight] for weight in LAMBDAS]
    claims = (
        *(
            Claim(f"regularization costs the {column} clean accuracy", _all_below(column, plain, rows))
            for column in (SUPERVISED, CONTRASTIVE)
        ),
        *(
            Claim(
                f"at {row} it costs the contrastive model more than the supervised one",
                falls_less(SUPERVISED, CONTRASTIVE, plain, row),
            )
            for row in rows
        ),
        *(
            Claim(f"the {column}'s accuracy never rises with lambda", falls(column, [plain, *rows]))
            for column in (CONTRASTIVE, SUPERVISED)
        ),
    )
    title = "Robustness of Contrastive Learning Models, Table 2: input-gradient (Tikhonov) regularization"
    note = (
        "Supervised: + lambda / 2 mean |grad l_i|^2 (eq. 2). Contrastive: eq. 3, of encoder and projector, then a "
        "linear readout without penalty. R of eq. 3 is taken as printed: a sum over the views of a batch, of a loss "
        "that is a mean over them, so 1 / 4N of eq. 2's with N images in a batch. What a lambda does then depends on "
        "the batch, which the paper does not state, and one lambda does not weigh the same in both columns. Lambda 0 "
        f"is published in Table 1. {ROBUSTNESS_NOTE}"
    )
    scales = {"smoke": SMOKE, "desk": DESK_TIKHONOV, "paper": PAPER_LABELS}
    return study("tikhonov-table-2", title, cells, scales, claims, note)


STUDIES = {study.name: study for study in (_label_efficiency(), _head_initialisation(), _layer_wise(), _tikhonov())}
