"""The tables of two papers on pretraining: "Transferable Unsupervised Robust Representation Learning" (URRL, ICLR 2021
submission), Tables 1 and 4, and "Robustness of Contrastive Learning Models" (2020), Tables 1 and 2 and its equations 4
and 5.

Methods are named as `methods.build` does, families of views as the tables do.
"""

from collections.abc import Mapping, Sequence

from weatherproof.studies.claims import Test, above, below, falls, falls_less
from weatherproof.studies.pretraining_cells import Metric, PretrainingCell
from weatherproof.studies.published import published
from weatherproof.studies.study import Claim, Key, Study

TOP1, ERROR, CALIBRATION = "top-1", "corruption error", "calibration error"
POOLED = "calibration error, pooled"  # not in the paper, which does not say how it puts its sets together
METRICS: Mapping[str, Metric] = {
    TOP1: "top1",
    ERROR: "corruption_error",
    CALIBRATION: "calibration_error",
    POOLED: "pooled_calibration_error",
}
SUPERVISED, CONTRASTIVE, TUNED = "Supervised Model", "Contrastive Model", "Fine-Tuned"
LAMBDAS = (0.1, 1.0, 10.0)
MOCO, AUGMIX, ALL_OPS, AUGMIX_MOCO, URRL = "MoCo v2", "AugMix", "AugMix (AllOp)", "AugMix (MoCo)", "URRL"
ROBUSTNESS_NOTE = (
    "Linear evaluation on clean images. Corruption error: the mean top-1 error over the 15 common corruptions at five "
    "severities; on ImageNet (paper scale) in units of AlexNet's, the mCE as published; with other classes these units "
    "mean nothing, so elsewhere it is the error itself. Calibration error: RMS with bins of 100 images, the mean of "
    "the 75 sets; pooled: of all their images together (the paper does not say which). Frost is synthetic."
)


def _urrl_table_1() -> Study:
    columns = (MOCO, AUGMIX, ALL_OPS, AUGMIX_MOCO, URRL)
    cells = {
        (row, column): PretrainingCell("probe", "mocov2", column, metric=metric)
        for column in columns
        for row, metric in METRICS.items()
    }
    claims = (
        Claim("URRL beats MoCo v2 on clean accuracy", above(URRL, MOCO, (TOP1,))),
        Claim("URRL beats MoCo v2 on corruption error", below(URRL, MOCO, (ERROR,))),
        Claim("URRL beats MoCo v2 on calibration", below(URRL, MOCO, (CALIBRATION,))),
        *(
            Claim(f"{column} alone is behind MoCo v2 on clean accuracy", above(MOCO, column, (TOP1,)))
            for column in columns[1:4]
        ),
        *(
            Claim(f"{column} alone is behind MoCo v2 on corruption error", below(MOCO, column, (ERROR,)))
            for column in columns[1:4]
        ),
        Claim("more colour distortion helps: AllOp above AugMix", above(ALL_OPS, AUGMIX, (TOP1,))),
        Claim("more colour distortion helps: AugMix (MoCo) above AllOp", above(AUGMIX_MOCO, ALL_OPS, (TOP1,))),
        Claim("AllOp has a lower corruption error than AugMix", below(ALL_OPS, AUGMIX, (ERROR,))),
        Claim("AugMix (MoCo) has a lower corruption error than AllOp", below(AUGMIX_MOCO, ALL_OPS, (ERROR,))),
    )
    title = "URRL, Table 1: robust augmentation as the pretext task of MoCo v2"
    return Study("urrl-table-1", title, cells, claims, published("pretraining", "urrl-table-1"), ROBUSTNESS_NOTE)


def _urrl_table_4() -> Study:
    cells, claims = {}, []
    for name, method in (("InstDis", "instdis"), ("PIRL", "pirl")):
        mixed = f"{name} w/ URRL"
        for row, views in ((name, "InstDis"), (mixed, "InstDis w/ URRL")):
            for column, metric in METRICS.items():
                cells[row, column] = PretrainingCell("probe", method, views, metric=metric)
        for words, test, column in (
            ("clean accuracy", above, TOP1), ("corruption error", below, ERROR), ("calibration", below, CALIBRATION),
        ):  # fmt: skip
            claims.append(Claim(f"URRL improves {name} on {words}", test(mixed, name, (column,), rows_are_models=True)))
    title = "URRL, Table 4: its views for other methods"
    note = f"{ROBUSTNESS_NOTE} PIRL's puzzle keeps its own views; only the image branch mixes families."
    return Study("urrl-table-4", title, cells, tuple(claims), published("pretraining", "urrl-table-4"), note)


def _label_efficiency() -> Study:
    fractions = {"100%": 1.0, "10%": 0.1, "1%": 0.01}
    supervised, contrastive, tuned = SUPERVISED, CONTRASTIVE, TUNED
    cells = {}
    for row, labels in fractions.items():
        cells[row, supervised] = PretrainingCell("supervised", labels=labels)
        cells[row, contrastive] = PretrainingCell("probe", "simclr", "SimCLR", labels)
        cells[row, tuned] = PretrainingCell("fine-tuned", "simclr", "SimCLR", labels)
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
    numbers = published("pretraining", "label-efficiency-table-1")
    return Study("label-efficiency-table-1", title, cells, claims, numbers, note)


def _layer_wise() -> Study:
    plain, every = "at the end (eq. 1)", "contrastive at every layer (eq. 4)"
    smooth, both = "Tikhonov at the end (eq. 3)", "both at every layer (eq. 5)"
    columns = {plain: None, every: "contrastive", smooth: "tikhonov-end", both: "contrastive and tikhonov"}
    cells = {
        (row, column): PretrainingCell("probe", "simclr", "SimCLR", metric=metric, layers=layers)
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
    note = f"{ROBUSTNESS_NOTE} The checks are the authors' hopes, not results of theirs, but for the second."
    return Study("layer-wise", title, cells, claims, note=note)


def regularized(kind: str, weight: float, metric: Metric = "top1") -> PretrainingCell:
    """The supervised or the contrastive model of `tikhonov-table-2`, with a lambda."""
    if kind == SUPERVISED:
        return PretrainingCell("supervised", metric=metric, tikhonov=weight)
    return PretrainingCell("probe", "simclr", "SimCLR", metric=metric, tikhonov=weight)


def _all_below(column: str, high: str, rows: Sequence[str]) -> Test:
    """Row `high` of a column above each of the others."""

    def test(values: Mapping[Key, float]) -> tuple[int, int, str]:
        there = [row for row in rows if (row, column) in values and (high, column) in values]
        gains = {row: values[row, column] - values[high, column] for row in there}
        told = ", ".join(f"{row} {gain:+.1%}" for row, gain in gains.items())
        return sum(gain < 0 for gain in gains.values()), len(gains), told

    return test


def _tikhonov() -> Study:
    metrics: dict[str, Metric] = {
        "": "top1", ", calibration error": "clean_calibration_error", ", corruption error": "corruption_error",
        ", calibration error when corrupted": "calibration_error",
    }  # fmt: skip
    names = {weight: f"lambda {weight:g}" for weight in (0.0, *LAMBDAS)}
    cells = {
        (name + words, column): regularized(column, weight, metric)
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
    return Study("tikhonov-table-2", title, cells, claims, published("pretraining", "tikhonov-table-2"), note)


STUDIES = {
    study.name: study
    for study in (_urrl_table_1(), _urrl_table_4(), _label_efficiency(), _layer_wise(), _tikhonov())
}  # fmt: skip
