"""Label shift: unseen classes under the names of known ones."""

import copy
from collections.abc import Mapping, Sequence

import torch

from weatherproof.data import ImageSet
from weatherproof.errors import InputError, unknown


def relabel(images: ImageSet, mapping: Mapping[str, str], classes: Sequence[str] | None = None) -> ImageSet:
    """The images of the mapped classes alone, with the labels that a classifier should give them.

    Contrastive Inversion, Figure 5: validation images of five classes that the classifier never saw count as right
    where it answers the nearest class that it knows (cup: cocktail shaker; French bulldog: Staffordshire terrier).

    Args:
        mapping: {class of the images: class of the classifier}, by name.
        classes: the classifier's classes, in the order of its outputs; None: the images' own.

    Raises:
        InputError: a name that is in neither list, or no image of a mapped class.
    """
    target = tuple(images.classes if classes is None else classes)
    table = torch.full((len(images.classes) + 1,), -1)  # the last row is for images without a label (-1)
    for old, new in mapping.items():
        if old not in images.classes:
            raise unknown(f"class of {images.name!r}", old, images.classes)
        if new not in target:
            raise unknown("class of the classifier", new, target)
        table[images.classes.index(old)] = target.index(new)
    labels = table[images.labels]
    labelled = (labels >= 0).nonzero().flatten()
    if len(labelled) == 0:
        raise InputError(f"no image of {images.name!r} belongs to a class of the mapping: {', '.join(mapping)}")
    shifted = copy.copy(images.subset(labelled))  # however they are stored, only their names change
    for name, value in (("labels", labels[labelled]), ("classes", target), ("name", f"{images.name} relabelled")):
        setattr(shifted, name, value)
    return shifted
