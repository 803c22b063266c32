"""What a classifier needs of images, and what its embedding reacts to, over a data set (feature contrastive learning).

Every number is of the modules in evaluation mode, so that an image's do not depend on its batch.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weatherproof import methods
from weatherproof.data import ImageSet, at_most, batches
from weatherproof.errors import InputError
from weatherproof.pixel_utility import ClassUtility
from weatherproof.progress import phase
from weatherproof.readouts import Classifier, evaluating

AnyClassifier = nn.Module | tuple[nn.Module, nn.Module]  # images -> logits, or the encoder and the head on it
_WORK = 4e7  # elements x embedding dimensions of all images whose sensitivity is taken: a minute of one CPU core
_FASTER = 100  # a GPU than that
_TOGETHER = 8  # images whose sensitivity is taken at once


def class_utility(
    classifier: AnyClassifier,
    images: ImageSet,
    *,
    most: int = 20,
    limit: int | None = 2000,
    device: str | torch.device = "cpu",
    batch_size: int = 256,
    workers: int = 0,
) -> ClassUtility:
    """Mean image and mean utility by class.

    Args:
        classifier: moved to `device`, used in evaluation mode.
        images: labelled; images without a label are left out.
        most: classes; where there are more, those with most images.
        limit: at most so many images, evenly spaced.

    Raises:
        InputError: no image has a label, or the images differ in size.
    """
    model, _ = model_and_encoder(classifier, device)
    images = at_most(labelled(images), limit)
    counts = torch.bincount(images.labels, minlength=len(images.classes))
    found = int((counts > 0).sum())
    frequent = counts.argsort(descending=True, stable=True)[: min(most, found)]
    shown = frequent.sort().values
    places = torch.full((len(counts),), -1)
    places[shown] = torch.arange(len(shown))
    images = images.subset((places[images.labels] >= 0).nonzero()[:, 0])
    if images.image_size is None:
        raise InputError(f"a mean image needs images of one size: read {images.name!r} with a size")
    height, width = images.image_size
    means = torch.zeros(len(shown), images.channels, height, width, dtype=torch.float64)
    utility = torch.zeros(len(shown), height, width, dtype=torch.float64)
    seen = torch.zeros(len(shown), dtype=torch.int64)
    with phase("utility by class", len(images)) as meter:
        for batch in batches(images, batch_size, device=device, workers=workers):
            with evaluating(model):
                found_here = methods.utility(model, batch.images, batch.labels)
            own = places[batch.labels.cpu()]
            means.index_add_(0, own, batch.images.double().cpu())
            utility.index_add_(0, own, found_here.sum(dim=1).double().cpu())
            seen.index_add_(0, own, torch.ones_like(own))
            meter.advance(len(own))
    present = seen > 0  # files that could not be read may have been all of a class
    each = seen[present, None, None].double()
    return ClassUtility(
        classes=tuple(images.classes[c] for c in shown[present].tolist()),
        counts=seen[present],
        images=(means[present] / each[:, None]).float(),
        utility=(utility[present] / each).float(),
        left_out=found - len(shown),
        data=images.name,
    )


def utility_and_sensitivity(
    classifier: AnyClassifier,
    images: ImageSet,
    *,
    limit: int = 32,
    device: str | torch.device = "cpu",
    workers: int = 0,
) -> tuple[Float[Tensor, "n elements"], Float[Tensor, "n elements"]]:
    """Contextual utility and contextual sensitivity of every element of a few images, on the CPU.

    Sensitivity is of the encoder's embedding, exact: as many backward passes as it has dimensions.

    Args:
        classifier: (encoder, head), or a module with these two names; moved to `device`, used in evaluation mode.
        images: labelled; images without a label are left out.
        limit: at most so many images, evenly spaced.

    Raises:
        InputError: no image has a label, or the classifier's encoder is not known.
    """
    model, encoder = model_and_encoder(classifier, device)
    if encoder is None:
        raise InputError(
            f"sensitivity is that of an embedding, and {type(model).__name__} does not say which part is the encoder: "
            "give (encoder, head)"
        )
    utility, sensitivity = [], []
    chosen = at_most(labelled(images), limit)
    with phase("utility and sensitivity", len(chosen)) as meter:
        for batch in batches(chosen, _TOGETHER, device=device, workers=workers):
            with evaluating(model, encoder):
                utility.append(methods.utility(model, batch.images, batch.labels).flatten(1).cpu())
                sensitivity.append(methods.sensitivity(encoder, batch.images).flatten(1).cpu())
            meter.advance(len(batch.index))
    return torch.cat(utility), torch.cat(sensitivity)


def affordable(encoder: nn.Module, images: ImageSet, device: str | torch.device = "cpu", most: int = 16) -> int:
    """Of how many images the sensitivity is taken in about a minute; 0 where one image takes longer, or its
    size or the encoder's `feature_dim` is not known."""
    features = getattr(encoder, "feature_dim", None)
    if images.image_size is None or not isinstance(features, int):
        return 0
    height, width = images.image_size
    speed = _FASTER if torch.device(device).type == "cuda" else 1
    return min(most, int(speed * _WORK / (features * images.channels * height * width)))


def model_and_encoder(
    classifier: AnyClassifier, device: str | torch.device = "cpu"
) -> tuple[nn.Module, nn.Module | None]:
    """The module from images to logits, and its encoder where that is known; both on the device."""
    model = classifier if isinstance(classifier, nn.Module) else Classifier(*classifier)
    model.to(device)
    encoder = getattr(model, "encoder", None)
    return model, encoder if isinstance(encoder, nn.Module) else None


def labelled(images: ImageSet) -> ImageSet:
    places = (images.labels >= 0).nonzero()[:, 0]
    if len(places) == 0:
        raise InputError(f"utility is that of a loss, and no image of {images.name!r} has a label")
    return images if len(places) == len(images) else images.subset(places)
