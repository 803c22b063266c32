"""What stands on a finished encoder: linear probe, nearest neighbours, the pretrained model's own head."""

from weatherproof.readouts.classifier import Classifier, OwnHead, UnitLength
from weatherproof.readouts.embedding import embed, evaluating
from weatherproof.readouts.logistic import L2_GRID, fit_linear
from weatherproof.readouts.neighbours import knn
from weatherproof.readouts.probe import fit_probe
from weatherproof.readouts.store import Readout, load_readout, save_readout

__all__ = [
    "L2_GRID",
    "Classifier",
    "OwnHead",
    "Readout",
    "UnitLength",
    "embed",
    "evaluating",
    "fit_linear",
    "fit_probe",
    "knn",
    "load_readout",
    "save_readout",
]
