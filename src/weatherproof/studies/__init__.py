"""The papers' tables and figures as data, with their published numbers and claims."""

from weatherproof.studies import contrastive_inversion, fcl, fcl_looks, pretraining
from weatherproof.studies.fcl_cells import CountCell, FclCell, FclScale, MapCell
from weatherproof.studies.paired import PairedClaim
from weatherproof.studies.pretraining_cells import PretrainingCell, PretrainingScale
from weatherproof.studies.run import run_study
from weatherproof.studies.study import Cell, Claim, Scale, Source, Study

STUDIES = {**contrastive_inversion.STUDIES, **pretraining.STUDIES, **fcl.STUDIES, **fcl_looks.STUDIES}

__all__ = [
    "STUDIES",
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
    "run_study",
]
