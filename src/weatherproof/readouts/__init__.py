"""What stands on a finished encoder: linear probe, nearest neighbours, words, a new head to fine-tune with, its
own head."""

from weatherproof.modes import evaluating
from weatherproof.readouts.classifier import Classifier, OwnHead, Reordered, UnitLength
from weatherproof.readouts.embedding import embed, require_embeddings, require_logits, unmeasurable
from weatherproof.readouts.finetuning import HEADS, finetune_encoder, new_head, regularizers_of
from weatherproof.readouts.fits import LOGISTIC, Adam, Fit, LinearEvaluation, Logistic
from weatherproof.readouts.linear_evaluation import SCHEDULES, evaluation_views, linear_evaluation, schedule_of
from weatherproof.readouts.logistic import L2_GRID, fit_linear
from weatherproof.readouts.mlp import MLPHead
from weatherproof.readouts.neighbours import knn, knn_accuracy, nearest
from weatherproof.readouts.probe import fit_probe
from weatherproof.readouts.spoken import WordsRequest, found_by_words, text_head, words_request, zero_shot
from weatherproof.readouts.store import (
    Readout,
    Spoken,
    classifier_of,
    load_readout,
    readout_hash,
    save_model,
    save_readout,
)
from weatherproof.readouts.words import PROMPTS, Words, words_of

__all__ = [
    "HEADS",
    "L2_GRID",
    "LOGISTIC",
    "PROMPTS",
    "SCHEDULES",
    "Adam",
    "Classifier",
    "Fit",
    "LinearEvaluation",
    "Logistic",
    "MLPHead",
    "OwnHead",
    "Readout",
    "Reordered",
    "Spoken",
    "UnitLength",
    "Words",
    "WordsRequest",
    "classifier_of",
    "embed",
    "evaluating",
    "evaluation_views",
    "finetune_encoder",
    "fit_linear",
    "fit_probe",
    "found_by_words",
    "knn",
    "knn_accuracy",
    "linear_evaluation",
    "load_readout",
    "nearest",
    "new_head",
    "readout_hash",
    "regularizers_of",
    "require_embeddings",
    "require_logits",
    "save_model",
    "save_readout",
    "schedule_of",
    "text_head",
    "unmeasurable",
    "words_of",
    "words_request",
    "zero_shot",
]
