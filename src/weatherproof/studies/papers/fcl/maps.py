"""Numbers of the utility and the sensitivity of single elements (feature contrastive learning, Figures 2 and 4 and
Appendix A)."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from weatherproof import methods
from weatherproof.data import ImageSet, batches
from weatherproof.evaluation import ClassUtility, class_utility, rank_correlation
from weatherproof.evaluation.record import make_record, protocol_facts
from weatherproof.readouts import evaluating
from weatherproof.spec import component
from weatherproof.studies.lab.store import Bench, Measured
from weatherproof.types import Embeddings, Images, Labels

Output = Literal["embedding", "probabilities", "right"]  # the last: the probability of the right class
_TOGETHER = 8  # images whose sensitivity is taken at once


def corner_share(found: ClassUtility, side: int) -> float:
    """The share of all utility that lies in the four corner boxes, over all images of all classes together."""
    whole = (found.utility.double() * found.counts.view(-1, 1, 1)).sum(dim=0)
    ends = torch.zeros(whole.shape[0], dtype=torch.bool), torch.zeros(whole.shape[1], dtype=torch.bool)
    for end in ends:
        end[:side] = end[-side:] = True
    return float(whole[ends[0]][:, ends[1]].sum() / whole.sum())


def mean_correlation(classifier: nn.Module, images: ImageSet, of: Output, device: torch.device) -> float:
    """The mean over images of Spearman's rho of utility and sensitivity over an image's elements.

    Images with a constant side, such as a utility that is 0 everywhere, are left out; NaN where all are.

    Args:
        of: what the sensitivity is that of.
    """
    found: list[Tensor] = []
    for batch in batches(images, _TOGETHER, device=device):
        with evaluating(classifier):
            useful = methods.utility(classifier, batch.images, batch.labels)
            reacts = methods.sensitivity(_output(classifier, of, batch.labels), batch.images)
        found.append(rank_correlation(useful.flatten(1), reacts.flatten(1)).cpu())
    return float(torch.cat(found).nanmean())


def identity_error(classifier: nn.Module, images: ImageSet, device: torch.device) -> float:
    """||u - |d f_y / d x| / f_y|| / ||u|| over all elements of all images together, f the softmax probabilities.

    NaN where the utility is 0 everywhere: the network has died.
    """
    gap, size = 0.0, 0.0
    for batch in batches(images, _TOGETHER, device=device):
        right = _output(classifier, "right", batch.labels)
        with evaluating(classifier):
            useful = methods.utility(classifier, batch.images, batch.labels).double()
            probability = right(batch.images).double().view(-1, 1, 1, 1)
            other = methods.sensitivity(right, batch.images).double() / probability
        gap += float((useful - other).square().sum())
        size += float(useful.square().sum())
    return (gap / size) ** 0.5 if size else math.nan


def _output(classifier: nn.Module, of: Output, labels: Labels) -> Callable[[Images], Embeddings]:
    """What the sensitivity is that of."""
    match of:
        case "embedding":
            return classifier.get_submodule("encoder")
        case "probabilities":
            return lambda images: classifier(images).float().softmax(dim=1)
    return lambda images: classifier(images).float().softmax(dim=1).gather(1, labels[:, None])


# as measures of a study


@component
class CornerUtility:
    """The share of all utility that lies in the four corner boxes, over all images together.

    Attributes:
        side: of a box in pixels.
    """

    side: int

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        found = class_utility(model, images, limit=None, device=bench.store.device)
        return _measured("corner_utility", corner_share(found, self.side), images, bench, corner=self.side)


@component
class RankCorrelation:
    """`mean_correlation` of utility and sensitivity.

    Attributes:
        of: what the sensitivity is that of.
    """

    of: Output = "embedding"

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        found = mean_correlation(model, images, self.of, bench.store.device)
        return _measured("rank_correlation", found, images, bench, of=self.of)


@component
class IdentityError:
    """`identity_error` of the utility."""

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        return _measured("identity_error", identity_error(model, images, bench.store.device), images, bench)


def _measured(metric: str, value: float, images: ImageSet, bench: Bench, **how: Any) -> Measured:
    facts = protocol_facts(images, None, (), bench.data.called(images), **how)
    return Measured((make_record(metric, [value], len(images), bench.name, 0, facts, readout=None),))
