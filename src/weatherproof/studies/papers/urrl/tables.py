"""Tables 1 and 4 of "Transferable Unsupervised Robust Representation Learning" (URRL, ICLR 2021 submission): its views
in pretraining.

Methods are named as `methods.build` does, families of views as the tables do.
"""

from weatherproof.studies.lab.claims import above, all_of, below, best, worst
from weatherproof.studies.lab.study import Claim, Key, Study
from weatherproof.studies.papers.pretraining.models import (
    CALIBRATION,
    ERROR,
    METRICS,
    ROBUSTNESS_NOTE,
    TOP1,
    Metric,
    study,
)
from weatherproof.studies.papers.pretraining.scales import DESK, DESK_4, PAPER, PAPER_4, SMOKE, Network

MOCO, AUGMIX, ALL_OPS, AUGMIX_MOCO, URRL = "MoCo v2", "AugMix", "AugMix (AllOp)", "AugMix (MoCo)", "URRL"


def _urrl_table_1() -> Study:
    columns = (MOCO, AUGMIX, ALL_OPS, AUGMIX_MOCO, URRL)
    cells = {
        (row, column): (Network("probe", "mocov2", column), metric)
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
        Claim(
            "URRL is the best of all five on all three",
            all_of(best(URRL, (TOP1,)), worst(URRL, (ERROR, CALIBRATION))),
        ),
        Claim("AllOp has a lower corruption error than AugMix", below(ALL_OPS, AUGMIX, (ERROR,))),
        Claim("AugMix (MoCo) has a lower corruption error than AllOp", below(AUGMIX_MOCO, ALL_OPS, (ERROR,))),
    )
    title = "URRL, Table 1: robust augmentation as the pretext task of MoCo v2"
    scales = {"smoke": SMOKE, "desk": DESK, "paper": PAPER}
    return study("urrl-table-1", title, cells, scales, claims, ROBUSTNESS_NOTE)


def _urrl_table_4() -> Study:
    cells: dict[Key, tuple[Network, Metric]] = {}
    claims = []
    for name, method in (("InstDis", "instdis"), ("PIRL", "pirl")):
        mixed = f"{name} w/ URRL"
        for row, views in ((name, "InstDis"), (mixed, "InstDis w/ URRL")):
            for column, metric in METRICS.items():
                cells[row, column] = (Network("probe", method, views), metric)
        for words, test, column in (
            ("clean accuracy", above, TOP1), ("corruption error", below, ERROR), ("calibration", below, CALIBRATION),
        ):  # fmt: skip
            claims.append(Claim(f"URRL improves {name} on {words}", test(mixed, name, (column,), rows_are_models=True)))
    title = "URRL, Table 4: its views for other methods"
    note = f"{ROBUSTNESS_NOTE} PIRL's puzzle keeps its own views; only the image branch mixes families."
    scales = {"smoke": SMOKE, "desk": DESK_4, "paper": PAPER_4}
    return study("urrl-table-4", title, cells, scales, tuple(claims), note)


STUDIES = {study.name: study for study in (_urrl_table_1(), _urrl_table_4())}
