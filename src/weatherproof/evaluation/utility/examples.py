"""What feature contrastive learning does to single images: their utility, and the two noisy copies."""

import torch

from weatherproof import methods, random
from weatherproof.data import ImageSet, batches, evenly_spaced
from weatherproof.evaluation.utility.means import AnyClassifier, labelled, model_and_encoder
from weatherproof.pixel_utility import UtilityExamples
from weatherproof.readouts import evaluating

_STREAM = 0x666374  # "fct": the noise is that of no training


def utility_examples(
    classifier: AnyClassifier,
    images: ImageSet,
    *,
    k: int,
    sigma: float,
    count: int = 6,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> UtilityExamples:
    """Images spread evenly over the classes, with what `methods.UtilityNoise(k, sigma)` makes of them.

    Args:
        classifier: moved to `device`, used in evaluation mode.
        images: labelled; images without a label are left out.
        count: at most so many.
        seed: of the noise.

    Raises:
        InputError: no image has a label, or the images have fewer than k elements.
    """
    model, _ = model_and_encoder(classifier, device)
    images = labelled(images)
    by_class = images.labels.argsort(stable=True)
    chosen = by_class[evenly_spaced(len(images), count)]
    batch = next(batches(images, len(chosen), order=chosen, device=device))  # without files that cannot be read
    with evaluating(model):
        probabilities = model(batch.images).float().softmax(dim=1).cpu()
        useful = methods.utility(model, batch.images, batch.labels)
    keys = random.fold(random.keys(seed, batch.index), _STREAM)
    partners = methods.UtilityNoise(k, sigma)(batch.images, keys, useful)
    assert partners.high is not None and partners.keep is not None
    confidence, answers = probabilities.clone().max(dim=1)
    return UtilityExamples(
        classes=images.classes, data=images.name, k=k, sigma=sigma, images=batch.images.cpu(), utility=useful.cpu(),
        top=methods.most_useful(useful, k).cpu(), bottom=methods.least_useful(useful, k).cpu(),
        high=partners.high.cpu(), low=partners.low.cpu(), keep=partners.keep.cpu(), labels=batch.labels.cpu(),
        answers=answers, confidence=confidence,
    )  # fmt: skip
