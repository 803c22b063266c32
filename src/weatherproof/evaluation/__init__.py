"""Named numbers: accuracy, AUC, agreement, embedding similarity and recall, each with how it was measured."""

from weatherproof.evaluation.embeddings import evaluate_embeddings
from weatherproof.evaluation.evaluate import EVAL_STREAM, agreement, evaluate, severity_curve
from weatherproof.evaluation.metrics import auc, hits, top_k
from weatherproof.evaluation.record import Record, protocol_hash, standard_error
from weatherproof.evaluation.shift import relabel

__all__ = [
    "EVAL_STREAM",
    "Record",
    "agreement",
    "auc",
    "evaluate",
    "evaluate_embeddings",
    "hits",
    "protocol_hash",
    "relabel",
    "severity_curve",
    "standard_error",
    "top_k",
]
