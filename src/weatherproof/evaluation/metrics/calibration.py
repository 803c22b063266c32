"""How well a classifier's confidence matches its accuracy."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.evaluation.metrics.standard_errors import cautious_error

BIN_SIZE = 100  # images a bin, in the code of Hendrycks et al. 2019 (outlier exposure) that published numbers come from
ECE_BINS = 15  # Guo et al. 2017
RELIABILITY_BINS = 10  # of a diagram


def rms_calibration_error(
    confidence: Shaped[Tensor, "n"],
    correct: Shaped[Tensor, "n"],
    bin_size: int = BIN_SIZE,
    drop_last_bin: bool = False,
) -> float:
    """Root mean square gap of confidence and accuracy over adaptive bins (Hendrycks et al. 2019), in [0, 1].

        sqrt( sum_b n_b / N (mean confidence_b - accuracy_b)^2 )

    The images, by rising confidence, are cut into bins of `bin_size`; what is left over joins the last one. Fewer
    images than that are one bin.

    Args:
        confidence: the probability of the class that was answered, in [0, 1].
        correct: whether the answer was right: booleans, or 0 and 1.
        drop_last_bin: leave out the bin of the most confident images and still divide by all N, as the reference code
            does, for parity with published numbers; with a single bin nothing is left and the value is 0.

    Raises:
        InputError: no images, not as many answers as confidences, or a confidence outside [0, 1].
    """
    if bin_size < 1:
        raise InputError(f"a bin holds at least 1 image, got bin_size={bin_size}")
    confidence, correct = _checked(confidence, correct)
    order = confidence.argsort(stable=True)
    total = len(order)
    edges = torch.arange(max(1, total // bin_size) + 1) * bin_size
    edges[-1] = total
    gaps = torch.cat([torch.zeros(1, dtype=torch.float64), (confidence - correct)[order].cumsum(0)])[edges].diff()
    parts = gaps.square() / edges.diff()  # n_b times the squared gap of the means
    return float((parts[: len(parts) - int(drop_last_bin)].sum() / total).sqrt())


def expected_calibration_error(
    confidence: Shaped[Tensor, "n"], correct: Shaped[Tensor, "n"], bins: int = ECE_BINS
) -> float:
    """Mean gap of confidence and accuracy over bins of equal width (Guo et al. 2017), in [0, 1].

        sum_b n_b / N |mean confidence_b - accuracy_b|

    Bin b holds the confidences in [b / bins, (b + 1) / bins); exactly 1 belongs to the last one.

    Args:
        confidence: the probability of the class that was answered, in [0, 1].
        correct: whether the answer was right: booleans, or 0 and 1.

    Raises:
        InputError: no images, not as many answers as confidences, or a confidence outside [0, 1].
    """
    if bins < 1:
        raise InputError(f"expected at least 1 bin, got bins={bins}")
    confidence, correct = _checked(confidence, correct)
    place = (confidence * bins).long().clamp_(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, confidence - correct)
    return float(gaps.abs().sum() / len(confidence))


@dataclass(frozen=True)
class Bin:
    """The images of about the same confidence: its mean, the share that is answered rightly with its standard error,
    and how many answers and images there are."""

    confidence: float
    accuracy: float
    stderr: float
    answers: int
    images: int


def reliability(
    confidence: Shaped[Tensor, "n"],
    correct: Shaped[Tensor, "n"],
    place: Int64[Tensor, "n"] | None = None,
    bins: int = RELIABILITY_BINS,
) -> tuple[Bin, ...]:
    """A reliability diagram: accuracy against confidence in bins of equal width, those that are not empty.

    The standard error is that of a share of the bin's images, one hit and one miss added, so that it is never 0: the
    answers to one image under several conditions count as one.

    Args:
        confidence: the probability of the class that was answered, in [0, 1].
        correct: whether the answer was right: booleans, or 0 and 1.
        place: which image each answer is about; None: every one about another.

    Raises:
        InputError: no images, not as many answers as confidences, or a confidence outside [0, 1].
    """
    if bins < 1:
        raise InputError(f"expected at least 1 bin, got bins={bins}")
    confidence, correct = _checked(confidence, correct)
    place = torch.arange(len(confidence)) if place is None else place
    number = (confidence * bins).long().clamp_(max=bins - 1)
    found = []
    for own in number.unique():
        here = number == own
        share, images = correct[here].mean().item(), len(place[here].unique())
        error = cautious_error(share, images)
        found.append(Bin(confidence[here].mean().item(), share, error, int(here.sum()), images))
    return tuple(found)


def _checked(
    confidence: Shaped[Tensor, "n"], correct: Shaped[Tensor, "m"]
) -> tuple[Float64[Tensor, "n"], Float64[Tensor, "n"]]:
    if len(confidence) == 0 or len(confidence) != len(correct):
        raise InputError(
            f"calibration needs one answer for each confidence; got {len(confidence)} confidences and "
            f"{len(correct)} answers"
        )
    confidence, correct = confidence.detach().cpu().double(), correct.detach().cpu().double()
    if not bool(((confidence >= 0) & (confidence <= 1)).all()):
        wrong = confidence[~((confidence >= 0) & (confidence <= 1))][0].item()
        raise InputError(f"a confidence is a probability in [0, 1], got {wrong:g}: take the softmax of the logits")
    return confidence, correct
