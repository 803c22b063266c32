"""The papers' tables and figures as data, with their published numbers and claims."""

from weatherproof.studies.lab.run import run_study
from weatherproof.studies.papers.contrastive_inversion import tables as contrastive_inversion

STUDIES = {**contrastive_inversion.STUDIES}
