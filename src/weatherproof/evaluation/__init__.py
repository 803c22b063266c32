"""Named numbers, each with how it was measured: accuracy, AUC, agreement, embedding similarity and recall, corruption
errors, calibration errors, accuracy under attack."""

from weatherproof.evaluation.attacks.perturbation import perturbation_curve
from weatherproof.evaluation.attacks.robust import Attacks, robust_accuracy, run_attacks
from weatherproof.evaluation.attacks.samples import save_samples
from weatherproof.evaluation.embeddings import evaluate_embeddings
from weatherproof.evaluation.engine.conditions import Case, cases_of_parts, cases_on_the_fly
from weatherproof.evaluation.engine.run import Settings
from weatherproof.evaluation.engine.trials import EVAL_STREAM
from weatherproof.evaluation.evaluate import agreement, evaluate
from weatherproof.evaluation.maps import PlaneMap, plane_map
from weatherproof.evaluation.metrics.calibration import expected_calibration_error, rms_calibration_error
from weatherproof.evaluation.metrics.corruption_error import (
    ALEXNET,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from weatherproof.evaluation.metrics.geometry import alignment, effective_rank, embedding_deviation, uniformity
from weatherproof.evaluation.metrics.ranking import auc, hits, rank_correlation
from weatherproof.evaluation.metrics.standard_errors import standard_error
from weatherproof.evaluation.record import Record, protocol_hash
from weatherproof.evaluation.sanity.certificate import sanity_certificate
from weatherproof.evaluation.shift import relabel
from weatherproof.evaluation.suites.contamination import history
from weatherproof.evaluation.suites.evaluate import SuiteResult, evaluate_suite
from weatherproof.evaluation.utility.curve import utility_curve
from weatherproof.evaluation.utility.examples import utility_examples
from weatherproof.evaluation.utility.means import class_utility, utility_and_sensitivity
from weatherproof.evaluation.watch import Watch
from weatherproof.pixel_utility import ClassUtility, UtilityCurve, UtilityExamples
from weatherproof.views.contamination import corruptions_in

__all__ = [
    "ALEXNET",
    "EVAL_STREAM",
    "Attacks",
    "Case",
    "ClassUtility",
    "PlaneMap",
    "Record",
    "Settings",
    "SuiteResult",
    "UtilityCurve",
    "UtilityExamples",
    "Watch",
    "agreement",
    "alignment",
    "auc",
    "cases_of_parts",
    "cases_on_the_fly",
    "class_utility",
    "corruptions_in",
    "effective_rank",
    "embedding_deviation",
    "evaluate",
    "evaluate_embeddings",
    "evaluate_suite",
    "expected_calibration_error",
    "history",
    "hits",
    "mean_corruption_error",
    "perturbation_curve",
    "plane_map",
    "protocol_hash",
    "rank_correlation",
    "relabel",
    "relative_mean_corruption_error",
    "rms_calibration_error",
    "robust_accuracy",
    "run_attacks",
    "sanity_certificate",
    "save_samples",
    "standard_error",
    "uniformity",
    "utility_and_sensitivity",
    "utility_curve",
    "utility_examples",
]
