"""Whether a network is given the pixels that it was trained with: its own classifier's accuracy tells."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from weatherproof.data import ImageSet, at_most, batches
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from weatherproof.errors import InputError
from weatherproof.modes import eval_mode

GIVEN = "as given"
_LEAST = 3.0  # standard errors of a paired difference: one in 700 checks of two others says so by chance
_FEWEST = 20  # images: of fewer, three standard errors say little
_BATCH = 32


@dataclass(frozen=True)
class PreprocessingCheck:
    """The accuracy of a network's own classifier under several normalisations of the same images.

    Attributes:
        images: how many.
        accuracies: by normalisation, that of the encoder first.
        better: the one that is more accurate than that of the encoder by over three standard errors of the paired
            difference, the best of several; None: there is none.
    """

    images: int
    accuracies: Mapping[str, float]
    better: str | None

    def __str__(self) -> str:
        width = max(map(len, self.accuracies))
        rows = [f"{name:<{width}}  {accuracy:6.1%}" for name, accuracy in self.accuracies.items()]
        return "\n".join(
            [f"{'mean and std':<{width}}  top-1 of {self.images} images", *rows, *filter(None, [self.advice])]
        )

    @property
    def advice(self) -> str | None:
        """What there is to say, in a line; None: the given ones are as good as any."""
        if self.better is None:
            return None
        return (
            f"the network's own classifier is right on {self.accuracies[GIVEN]:.0%} of {self.images} images with the "
            f"mean and std that it was given, and on {self.accuracies[self.better]:.0%} with {self.better}: look at "
            "how it was trained"
        )


@torch.no_grad()
def check_preprocessing(
    encoder: Encoder, images: ImageSet, *, outputs: Sequence[int] | None = None, most: int = 96
) -> PreprocessingCheck:
    """Measure the encoder's own classifier with its mean and std, without any, and with ImageNet's.

    Args:
        images: labelled ones, best of the training: `most` of them are looked at, evenly spaced.
        outputs: the classifier's output for each class of the images; None: the classes are the outputs, in order.

    Raises:
        InputError: an encoder without a classifier, images without labels, or labels that it has no output for.
    """
    if encoder.head is None:
        raise InputError(f"{encoder.name} has no classifier of its own: nothing tells how well it sees")
    few = at_most(images, most)
    if not len(few) or not bool((few.labels >= 0).all()):
        raise InputError(
            f"the preprocessing is checked on labelled images, and {images.name!r} has some without a label"
        )
    order = torch.arange(len(images.classes)) if outputs is None else torch.tensor(tuple(outputs))
    if int(few.labels.max()) >= len(order) or int(order.max()) >= (encoder.num_classes or math.inf):
        raise InputError(
            f"{images.name!r} has {len(images.classes)} classes, and the classifier of {encoder.name} has "
            f"{encoder.num_classes} outputs: give the output of each class, outputs=(...)"
        )
    trial, own, right = encoder.clone(), encoder.preprocessing, dict[str, Bool[Tensor, "n"]]()
    zero, one = (0.0,) * own.channels, (1.0,) * own.channels
    others = {GIVEN: (own.mean, own.std), "mean=0, std=1": (zero, one)}
    if own.channels == len(IMAGENET_MEAN):
        others["ImageNet's mean and std"] = (IMAGENET_MEAN, IMAGENET_STD)
    for name, (mean, std) in others.items():
        if name != GIVEN and (mean, std) == (own.mean, own.std):
            continue
        trial.set_preprocessing(replace(own, mean=mean, std=std))
        right[name] = _right(trial, few, order)
    gains = {name: gain for name, found in right.items() if (gain := _gain(found, right[GIVEN])) is not None}
    accuracies = {name: float(found.float().mean()) for name, found in right.items()}
    return PreprocessingCheck(len(few), accuracies, max(gains, key=gains.__getitem__) if gains else None)


def _right(encoder: Encoder, images: ImageSet, outputs: Tensor) -> Bool[Tensor, "n"]:
    device = next(encoder.parameters()).device
    with eval_mode(encoder):
        parts = [
            encoder.logits(batch.images).argmax(dim=1).cpu() == outputs[batch.labels.cpu()]
            for batch in batches(images, _BATCH, device=device)
        ]
    return torch.cat(parts)


def _gain(other: Bool[Tensor, "n"], given: Bool[Tensor, "n"]) -> float | None:
    """By how much the other is right more often, where that is more than chance."""
    differences = other.float() - given.float()
    if len(differences) < _FEWEST:
        return None
    mean, error = float(differences.mean()), float(differences.std()) / math.sqrt(len(differences))
    return mean if mean > max(_LEAST * error, 0.0) else None
