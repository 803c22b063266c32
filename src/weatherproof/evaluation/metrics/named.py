"""The metrics of classification by name, each a function of answers with its standard error over images.

They read the columns "top1" and "top5", whether the label was the first guess or among the first five, and
"confidence", the softmax probability of the first guess.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.metrics.calibration import expected_calibration_error, rms_calibration_error
from weatherproof.evaluation.metrics.standard_errors import binomial_error, jackknife_error


@dataclass(frozen=True)
class Share:
    """The share of images of which a column is true, or its complement."""

    column: str
    complement: bool = False

    def __call__(self, answers: Answers) -> float:
        share = answers[self.column].double().mean().item()
        return 1 - share if self.complement else share

    def stderr(self, answers: Answers) -> float | None:
        """Binomial."""
        return binomial_error(self(answers), len(answers))


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy are apart."""

    measure: Callable[..., float]

    def __call__(self, *answers: Answers) -> float:
        """Over all of the answers together; NaN where a confidence is no number."""
        confidence, correct = (torch.cat([found[name] for found in answers]) for name in ("confidence", "top1"))
        return math.nan if bool(confidence.isnan().any()) else self.measure(confidence, correct)

    def stderr(self, *answers: Answers) -> float | None:
        """By the jackknife."""
        return jackknife_error(self.measure, answers, pooled=True)

    def mean_stderr(self, answers: Sequence[Answers]) -> float | None:
        """That of the mean over several conditions, by the jackknife."""
        return jackknife_error(self.measure, answers)


accuracy = Share("top1")
SHARES: Mapping[str, Share] = {"top1": accuracy, "error": Share("top1", complement=True), "top5": Share("top5")}
CALIBRATION: Mapping[str, Calibration] = {
    "rms_calibration_error": Calibration(rms_calibration_error),
    "ece": Calibration(expected_calibration_error),
}
METRICS: Mapping[str, Share | Calibration] = {**SHARES, **CALIBRATION}
