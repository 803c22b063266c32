"""Fewer labels: which images keep theirs."""

import math

import torch
from jaxtyping import Int64
from torch import Tensor

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.types import Labels

STREAM = 0x6C61626C  # "labl": the draw of labelled images is independent of every other use of the seed
VALIDATION = 0x76616C64  # "vald"


def label_fraction(labels: Labels, fraction: float, seed: int) -> Int64[Tensor, "m"]:
    """Positions of the images that keep their label: as many of every class, drawn at random, in rising order.

        per class = min(ceil(n * fraction / classes), size of the class)

    with n the number of labelled images ("Inverse Problems Leveraging Pre-trained Contrastive Representations", label
    subsets as its code draws them). A smaller fraction's images are among a larger one's of the same seed. Fraction 1
    keeps every labelled image, also where classes differ in size.

    Raises:
        InputError: fraction outside (0, 1], or a class without a labelled image.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"the fraction of labels lies in (0, 1]; got {fraction}")
    labels = labels.cpu()
    sizes = labels[labels >= 0].bincount()
    if len(sizes) == 0 or int(sizes.min()) == 0:
        empty = ", ".join(map(str, (sizes == 0).nonzero().flatten().tolist())) or "any"
        raise InputError(f"no labelled image of class {empty}: every class needs at least one")
    if fraction == 1:
        return (labels >= 0).nonzero().flatten()
    # The small number keeps 1000 * 0.07 / 10 = 7.000000000000001 from becoming 8.
    wanted = math.ceil(int(sizes.sum()) * fraction / len(sizes) - 1e-9)
    keys = random.fold(random.keys(seed, torch.arange(len(sizes))), STREAM)
    chosen = []
    for label, size in enumerate(sizes.tolist()):
        members = (labels == label).nonzero().flatten()
        chosen.append(members[random.permutations(keys[label : label + 1], size)[0][:wanted]])
    return torch.cat(chosen).sort().values


def validation_split(
    labels: Labels, fraction: float = 0.1, seed: int = 0
) -> tuple[Int64[Tensor, "m"], Int64[Tensor, "v"]]:
    """Positions of the images to train on and of those held out to choose settings by, each in rising order.

    Stratified: of every class that share of its images, rounded, at least one; images without a label train.

    Raises:
        InputError: fraction outside (0, 1), or a class that has no two images.
    """
    if not 0 < fraction < 1:
        raise InputError(f"a validation split is a share of the images, above 0 and below 1; got {fraction}")
    labels = labels.cpu()
    sizes = labels[labels >= 0].bincount()
    fewest = int(sizes.min()) if len(sizes) else 0
    if fewest < 2:
        where = f"class {int(sizes.argmin())} has {fewest}" if len(sizes) else "no image has a label"
        raise InputError(f"too few images for a validation split: every class needs at least two, and {where}")
    keys = random.fold(random.keys(seed, torch.arange(len(sizes))), VALIDATION)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, size in enumerate(sizes.tolist()):
        wanted = min(size - 1, max(1, round(size * fraction)))
        members = (labels == label).nonzero().flatten()
        held[members[random.permutations(keys[label : label + 1], size)[0][:wanted]]] = True
    return (~held).nonzero().flatten(), held.nonzero().flatten()
