"""Words and numbers that tables of pretraining share."""

from collections.abc import Mapping

from weatherproof.studies.papers.pretraining.models import Metric

TOP1, ERROR, CALIBRATION = "top-1", "corruption error", "calibration error"
POOLED = "calibration error, pooled"  # not in the paper, which does not say how it puts its sets together
METRICS: Mapping[str, Metric] = {
    TOP1: "top1",
    ERROR: "corruption_error",
    CALIBRATION: "calibration_error",
    POOLED: "pooled_calibration_error",
}
ROBUSTNESS_NOTE = (
    "Linear evaluation on clean images. Corruption error: the mean top-1 error over the 15 common corruptions at five "
    "severities; on ImageNet (paper scale) in units of AlexNet's, the mCE as published; with other classes these units "
    "mean nothing, so elsewhere it is the error itself. Calibration error: RMS with bins of 100 images, the mean of "
    "the 75 sets; pooled: of all their images together (the paper does not say which). Frost is synthetic."
)
