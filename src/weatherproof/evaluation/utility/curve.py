"""Sensitivity against utility: does the embedding react to what the classifier needs?"""

import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.evaluation.metrics.ranking import rank_correlation
from weatherproof.pixel_utility import UtilityCurve
from weatherproof.ranks import fractional_ranks


def utility_curve(
    utility: Float[Tensor, "n elements"], sensitivity: Float[Tensor, "n_2 elements_2"], bins: int = 20
) -> UtilityCurve:
    """The elements of all images in bins of equal size by the rank of their utility; ties share a rank, and a bin.

    Images all of whose utilities or sensitivities are equal have no order and are left out.

    Args:
        utility, sensitivity: of the same elements, a row an image.
        bins: at most so many; one that no rank falls into is left out.

    Raises:
        InputError: sides of unlike shapes, no images, images of one element, or a value that is not finite.
    """
    if utility.shape != sensitivity.shape or utility.shape[0] < 1 or utility.shape[1] < 2 or bins < 1:
        raise InputError(
            f"expected utility and sensitivity of the same elements, two or more of one or more images, and bins >= 1; "
            f"got {list(utility.shape)}, {list(sensitivity.shape)} and {bins} bins"
        )
    if not bool((utility.isfinite() & sensitivity.isfinite()).all()):
        raise InputError("a utility or a sensitivity is not finite: the encoder has diverged, or its input has")
    rho = rank_correlation(utility, sensitivity)
    ordered = rho.isfinite()
    across, up = (_fractions(values[ordered]).flatten() for values in (utility, sensitivity))
    place = (across * bins).long().clamp(max=bins - 1)
    order = (place + up).argsort()  # by bin, and in a bin by sensitivity: that is below 1
    sizes = torch.bincount(place, minlength=bins)
    filled = sizes > 0
    starts = (sizes.cumsum(0) - sizes)[filled]
    wanted = starts[:, None] + (sizes[filled, None] - 1) * torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    left, right = (up[order[edge.long()]] for edge in (wanted.floor(), wanted.ceil()))
    return UtilityCurve(
        utility=(torch.zeros(bins, dtype=torch.float64).index_add_(0, place, across)[filled] / sizes[filled]).float(),
        quartiles=(left + (right - left) * wanted.frac()).float(),
        correlation=float(rho[ordered].mean()),
        images=int(ordered.sum()),
        elements=utility.shape[1],
    )


def _fractions(values: Float[Tensor, "n elements"]) -> Float[Tensor, "n elements"]:
    """The middle of each rank's share of [0, 1]."""
    return (fractional_ranks(values) - 0.5) / values.shape[1]
