"""How big a study under attack runs: smoke (seconds), desk (two CPU cores), paper (as published)."""

from collections.abc import Mapping

from weatherproof.attacks import L2, PGD, Linf, LogBarrier
from weatherproof.protocols import Attack
from weatherproof.studies.attack_cells import AttackScale
from weatherproof.studies.pretraining_scales import DESK_TIKHONOV, PAPER_LABELS
from weatherproof.studies.pretraining_scales import SMOKE as SMOKE_MODELS

PGD_L2, BARRIER, PGD_LINF = "PGD", "PLB", "PGD Linf"
ATTACKS: Mapping[str, Attack] = {PGD_L2: PGD(L2(0.5)), BARRIER: LogBarrier("l2"), PGD_LINF: PGD(Linf(4 / 255))}

SMOKE = AttackScale(
    name="smoke",
    note="A tiny network, a handful of digits and attacks of a few steps: the numbers mean nothing.",
    models=SMOKE_MODELS,
    attacks={
        PGD_L2: PGD(L2(0.25), steps=2),
        BARRIER: LogBarrier("l2", outer=2, inner=2),
        PGD_LINF: PGD(Linf(2 / 255), steps=2),
    },
    images=dict.fromkeys(ATTACKS, 8),
    certificate_images=dict.fromkeys(ATTACKS, 4),
)
DESK = AttackScale(
    name="desk",
    note=f"The models of tikhonov-table-2, trained first if its store does not hold them. {DESK_TIKHONOV.note} "
    "Attacks: PGD 5.6 ms an image and size, 12 sizes; PLB 0.76 s an image, its certificate four times that: 37 minutes "
    "on one busy core, about 26 on two.",
    models=DESK_TIKHONOV,
    attacks=ATTACKS,
    images={PGD_L2: 1000, BARRIER: 200, PGD_LINF: 1000},
    certificate_images={PGD_L2: 100, BARRIER: 16, PGD_LINF: 100},
)
PAPER = AttackScale(
    name="paper",
    note="The models as published. Norm, steps and number of images of the attacks are not stated: L2, 20 steps of "
    "PGD, the authors' own settings of the log-barrier, 1,000 images each.",
    models=PAPER_LABELS,
    attacks=ATTACKS,
    images=dict.fromkeys(ATTACKS, 1000),
    certificate_images=dict.fromkeys(ATTACKS, 100),
)

ATTACKED: Mapping[str, Mapping[str, AttackScale]] = {"attacks-figure-2": {"smoke": SMOKE, "desk": DESK, "paper": PAPER}}
