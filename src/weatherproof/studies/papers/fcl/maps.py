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


@component
class CornerUtility:
    """The share of all utility that lies in the four corner boxes, over all images together.

    Attributes:
        side: of a box in pixels.
    """

    side: int

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        found = class_utility(model, images, limit=None, device=bench.store.device)
        return _measured("corner_utility", self.share(found), images, bench, corner=self.side)

    def share(self, found: ClassUtility) -> float:
        """The share in the corners, over all images of all classes together."""
        whole = (found.utility.double() * found.counts.view(-1, 1, 1)).sum(dim=0)
        ends = torch.zeros(whole.shape[0], dtype=torch.bool), torch.zeros(whole.shape[1], dtype=torch.bool)
        for end in ends:
            end[: self.side] = end[-self.side :] = True
        return float(whole[ends[0]][:, ends[1]].sum() / whole.sum())


@component
class RankCorrelation:
    """The mean over images of Spearman's rho of utility and sensitivity over an image's elements.

    Images with a constant side, such as a utility that is 0 everywhere, are left out; NaN where all are.

    Attributes:
        of: what the sensitivity is that of.
    """

    of: Output = "embedding"

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        found: list[Tensor] = []
        for batch in batches(images, _TOGETHER, device=bench.store.device):
            with evaluating(model):
                useful = methods.utility(model, batch.images, batch.labels)
                reacts = methods.sensitivity(_output(model, self.of, batch.labels), batch.images)
            found.append(rank_correlation(useful.flatten(1), reacts.flatten(1)).cpu())
        return _measured("rank_correlation", float(torch.cat(found).nanmean()), images, bench, of=self.of)


@component
class IdentityError:
    """||u - |d f_y / d x| / f_y|| / ||u|| over all elements of all images together, f the softmax probabilities.

    NaN where the utility is 0 everywhere: the network has died.
    """

    def __call__(self, model: nn.Module, images: ImageSet, bench: Bench) -> Measured:
        gap, size = 0.0, 0.0
        for batch in batches(images, _TOGETHER, device=bench.store.device):
            right = _output(model, "right", batch.labels)
            with evaluating(model):
                useful = methods.utility(model, batch.images, batch.labels).double()
                probability = right(batch.images).double().view(-1, 1, 1, 1)
                other = methods.sensitivity(right, batch.images).double() / probability
            gap += float((useful - other).square().sum())
            size += float(useful.square().sum())
        found = (gap / size) ** 0.5 if size else math.nan
        return _measured("identity_error", found, images, bench)


def _output(classifier: nn.Module, of: Output, labels: Labels) -> Callable[[Images], Embeddings]:
    """What the sensitivity is that of."""
    match of:
        case "embedding":
            return classifier.get_submodule("encoder")
        case "probabilities":
            return lambda images: classifier(images).float().softmax(dim=1)
    return lambda images: classifier(images).float().softmax(dim=1).gather(1, labels[:, None])


def _measured(metric: str, value: float, images: ImageSet, bench: Bench, **how: Any) -> Measured:
    facts = protocol_facts(images, None, (), bench.data.called(images), **how)
    return Measured((make_record(metric, [value], len(images), bench.name, 0, facts, readout=None),))
