"""What stands on a finished encoder: linear probe, nearest neighbours, a new head to fine-tune with, its own head."""

from weatherproof.modes import evaluating
from weatherproof.readouts.classifier import Classifier, OwnHead, Reordered, UnitLength
from weatherproof.readouts.embedding import embed, require_embeddings, require_logits, unmeasurable
from weatherproof.readouts.finetuning import HEADS, finetune_encoder, new_head, regularizers_of
from weatherproof.readouts.linear_evaluation import SCHEDULES, evaluation_views, linear_evaluation, schedule_of
from weatherproof.readouts.logistic import L2_GRID, fit_linear
from weatherproof.readouts.mlp import MLPHead
from weatherproof.readouts.neighbours import knn, knn_accuracy, nearest
from weatherproof.readouts.probe import fit_probe
from weatherproof.readouts.store import Readout, classifier_of, load_readout, save_model, save_readout

__all__ = [
    "HEADS",
    "L2_GRID",
    "SCHEDULES",
    "Classifier",
    "MLPHead",
    "OwnHead",
    "Readout",
    "Reordered",
    "UnitLength",
    "classifier_of",
    "embed",
    "evaluating",
    "evaluation_views",
    "finetune_encoder",
    "fit_linear",
    "fit_probe",
    "knn",
    "knn_accuracy",
    "linear_evaluation",
    "load_readout",
    "nearest",
    "new_head",
    "regularizers_of",
    "require_embeddings",
    "require_logits",
    "save_model",
    "save_readout",
    "schedule_of",
    "unmeasurable",
]
