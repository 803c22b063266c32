"""The papers' tables and figures as data, with their published numbers and claims."""

from weatherproof.studies import contrastive_inversion, pretraining
from weatherproof.studies.pretraining_cells import PretrainingCell, PretrainingScale
from weatherproof.studies.run import run_study
from weatherproof.studies.study import Cell, Claim, Scale, Source, Study

STUDIES = {**contrastive_inversion.STUDIES, **pretraining.STUDIES}

__all__ = [
    "STUDIES",
    "Cell",
    "Claim",
    "PretrainingCell",
    "PretrainingScale",
    "Scale",
    "Source",
    "Study",
    "run_study",
]
