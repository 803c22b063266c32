"""The papers' tables and figures as data, with their published numbers and claims; and studies of no paper."""

from weatherproof.studies.lab.paired import PairedClaim
from weatherproof.studies.lab.run import run_study
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.store import Measure, Recipe, Store
from weatherproof.studies.lab.study import Cell, Claim, Scale, Study
from weatherproof.studies.papers.contrastive_inversion import tables as contrastive_inversion
from weatherproof.studies.papers.fcl import tables as fcl
from weatherproof.studies.papers.robustness import attacks, averaging, equal_accuracy
from weatherproof.studies.papers.robustness import tables as robustness
from weatherproof.studies.papers.transfer import front
from weatherproof.studies.papers.urrl import tables as urrl
from weatherproof.studies.papers.urrl import test_time, transfer
from weatherproof.studies.weather import all_weather, dense, moving_teacher, unseen_kinds, zero_shot

STUDIES = {
    **contrastive_inversion.STUDIES,
    **urrl.STUDIES,
    **robustness.STUDIES,
    **averaging.STUDIES,
    **fcl.STUDIES,
    **attacks.STUDIES,
    **equal_accuracy.STUDIES,
    **transfer.STUDIES,
    **test_time.STUDIES,
    **front.STUDIES,
    **all_weather.STUDIES,
    **unseen_kinds.STUDIES,
    **moving_teacher.STUDIES,
    **dense.STUDIES,
    **zero_shot.STUDIES,
}

__all__ = [
    "STUDIES",
    "Cell",
    "Claim",
    "Images",
    "Measure",
    "PairedClaim",
    "Recipe",
    "Scale",
    "Source",
    "Store",
    "Study",
    "run_study",
]
