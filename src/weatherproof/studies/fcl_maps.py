"""Numbers of the utility and the sensitivity of single elements (feature contrastive learning, Figures 2 and 4 and
Appendix A)."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof import methods
from weatherproof.data import ImageSet, at_most, batches
from weatherproof.evaluation import ClassUtility, Record, class_utility, rank_correlation
from weatherproof.evaluation.record import make_record, protocol_facts
from weatherproof.readouts import evaluating
from weatherproof.studies.fcl_cases import of_classes
from weatherproof.studies.fcl_cells import CountCell, FclScale, MapCell
from weatherproof.types import Embeddings, Images, Labels

CORNER, CORRELATION, IDENTITY, COUNT = "corner_utility", "rank_correlation", "identity_error", "images_of_a_class"
_TOGETHER = 8  # images whose sensitivity is taken at once


def measured(
    cell: MapCell, classifier: nn.Module, test: ImageSet, scale: FclScale, *, model: str, device: torch.device
) -> Record:
    """The cell's number for one classifier."""
    if cell.measure == "corner_utility":
        images = at_most(of_classes(test, cell.classes), scale.map_images)
        found = class_utility(classifier, images, limit=None, device=device)
        return _record(CORNER, corner_share(found, scale.corner), images, cell.classes, model, corner=scale.corner)
    images = at_most(test, scale.sensitivity_images)
    if cell.measure == "rank_correlation":
        return _record(CORRELATION, mean_correlation(classifier, images, cell, device), images, (), model, of=cell.of)
    return _record(IDENTITY, identity_error(classifier, images, device), images, (), model)


def count(images: ImageSet, cell: CountCell) -> Record:
    """How many images each of the classes has, on average."""
    own = of_classes(images, cell.classes)
    return _record(COUNT, len(own) / len(cell.classes), own, cell.classes, cell.split)


def corner_share(found: ClassUtility, side: int) -> float:
    """The share of all utility that lies in the four corner boxes, over all images of all classes together."""
    whole = (found.utility.double() * found.counts.view(-1, 1, 1)).sum(dim=0)
    ends = torch.zeros(whole.shape[0], dtype=torch.bool), torch.zeros(whole.shape[1], dtype=torch.bool)
    for end in ends:
        end[:side] = end[-side:] = True
    return float(whole[ends[0]][:, ends[1]].sum() / whole.sum())


def mean_correlation(classifier: nn.Module, images: ImageSet, cell: MapCell, device: torch.device) -> float:
    """The mean over images of Spearman's rho of utility and sensitivity over an image's elements.

    Images with a constant side, such as a utility that is 0 everywhere, are left out; NaN where all are.
    """
    found: list[Tensor] = []
    for batch in batches(images, _TOGETHER, device=device):
        with evaluating(classifier):
            useful = methods.utility(classifier, batch.images, batch.labels)
            reacts = methods.sensitivity(_output(classifier, cell.of, batch.labels), batch.images)
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


def class_words(classes: tuple[int, ...]) -> str:
    """
    >>> class_words((10, 11, 12))
    '10-12'
    """
    return f"{classes[0]}-{classes[-1]}"


def _output(classifier: nn.Module, of: str, labels: Labels) -> Callable[[Images], Embeddings]:
    """What the sensitivity is that of."""
    if of == "embedding":
        encoder = classifier.encoder
        assert isinstance(encoder, nn.Module)
        return encoder
    if of == "probabilities":
        return lambda images: classifier(images).float().softmax(dim=1)
    return lambda images: classifier(images).float().softmax(dim=1).gather(1, labels[:, None])


def _record(metric: str, value: float, images: ImageSet, classes: tuple[int, ...], model: str, **more: Any) -> Record:
    name = f"{images.name} (classes {class_words(classes)})" if classes else images.name
    facts = protocol_facts(images, None, (), name, **more)
    return make_record(metric, [value], len(images), model, 0, facts, readout=None)
