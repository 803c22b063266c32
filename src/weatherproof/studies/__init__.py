"""The papers' tables and figures as data, with their published numbers and claims."""

from weatherproof.studies.lab.run import run_study
from weatherproof.studies.papers.contrastive_inversion import tables as contrastive_inversion
from weatherproof.studies.papers.robustness import attacks
from weatherproof.studies.papers.robustness import tables as robustness
from weatherproof.studies.papers.urrl import tables as urrl

STUDIES = {**contrastive_inversion.STUDIES, **urrl.STUDIES, **robustness.STUDIES, **attacks.STUDIES}
