"""The papers' tables and figures as data, with their published numbers and claims."""

from weatherproof.studies.lab.run import run_study
from weatherproof.studies.papers.contrastive_inversion import tables as contrastive_inversion
from weatherproof.studies.papers.fcl import tables as fcl
from weatherproof.studies.papers.robustness import attacks
from weatherproof.studies.papers.robustness import tables as robustness
from weatherproof.studies.papers.transfer import front
from weatherproof.studies.papers.urrl import tables as urrl
from weatherproof.studies.papers.urrl import transfer

STUDIES = {
    **contrastive_inversion.STUDIES,
    **urrl.STUDIES,
    **robustness.STUDIES,
    **fcl.STUDIES,
    **attacks.STUDIES,
    **transfer.STUDIES,
    **front.STUDIES,
}

__all__ = ["STUDIES", "run_study"]
