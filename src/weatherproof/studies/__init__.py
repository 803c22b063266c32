"""The papers' tables and figures as data, with their published numbers and claims."""

from weatherproof.studies import attacks, contrastive_inversion, fcl, fcl_looks, front, pretraining, transfer
from weatherproof.studies.attack_cells import AttackCell, AttackScale
from weatherproof.studies.fcl_cells import CountCell, FclCell, FclScale, MapCell
from weatherproof.studies.paired import PairedClaim
from weatherproof.studies.pretraining_cells import PretrainingCell, PretrainingScale
from weatherproof.studies.run import run_study
from weatherproof.studies.study import Cell, Claim, Scale, Source, Study
from weatherproof.studies.transfer_cells import TransferCell, TransferScale

STUDIES = {
    **contrastive_inversion.STUDIES,
    **pretraining.STUDIES,
    **fcl.STUDIES,
    **fcl_looks.STUDIES,
    **attacks.STUDIES,
    **transfer.STUDIES,
    **front.STUDIES,
}

__all__ = [
    "STUDIES",
    "AttackCell",
    "AttackScale",
    "Cell",
    "Claim",
    "CountCell",
    "FclCell",
    "FclScale",
    "MapCell",
    "PairedClaim",
    "PretrainingCell",
    "PretrainingScale",
    "Scale",
    "Source",
    "Study",
    "TransferCell",
    "TransferScale",
    "run_study",
]
