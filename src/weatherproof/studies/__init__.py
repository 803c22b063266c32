"""The papers' tables and figures as data, with their published numbers and claims."""

from weatherproof.studies.contrastive_inversion import STUDIES
from weatherproof.studies.run import run_study
from weatherproof.studies.study import Cell, Claim, Scale, Source, Study

__all__ = ["STUDIES", "Cell", "Claim", "Scale", "Source", "Study", "run_study"]
