"""What stands on a finished encoder: linear probe, nearest neighbours, the pretrained model's own head."""

from weatherproof.readouts.classifier import Classifier, OwnHead
from weatherproof.readouts.embedding import embed, evaluating
from weatherproof.readouts.logistic import L2_GRID, fit_linear
from weatherproof.readouts.neighbours import knn
from weatherproof.readouts.probe import fit_probe

__all__ = ["L2_GRID", "Classifier", "OwnHead", "embed", "evaluating", "fit_linear", "fit_probe", "knn"]
