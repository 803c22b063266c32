"""What counts in images, as data: `evaluation` measures it, `reports` draws it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.types import Images, Labels


@dataclass(frozen=True)
class ClassUtility:
    """Mean image and mean utility of each class, as in Figure 4.

    Attributes:
        classes: their names.
        counts: how many images each mean is of.
        images: pixels in [0, 1].
        utility: |d loss / d x|, summed over channels: per unit of pixel value.
        left_out: how many classes with images are not here.
        data: what the images are called.
    """

    classes: tuple[str, ...]
    counts: Int64[Tensor, "classes"]
    images: Float[Tensor, "classes channels height width"]
    utility: Float[Tensor, "classes height width"]
    left_out: int = 0
    data: str = ""

    def grouped(self, groups: Mapping[str, Sequence[str]]) -> "ClassUtility":
        """The means over groups of classes, every image counting once: Figure 4 has the classes modulo 10.

        Args:
            groups: by name, the classes of each; a class may be in several.

        Raises:
            InputError: an empty group, or a class that is not here.
        """
        member = torch.tensor([[name in group for name in self.classes] for group in groups.values()])
        if not groups or [*map(len, groups.values())] != member.sum(dim=1).tolist() or not member.any(dim=1).all():
            raise InputError(f"expected groups of one or more of the classes {self.classes}, got {dict(groups)}")
        counts = member * self.counts
        share = counts.double() / counts.sum(dim=1, keepdim=True)
        images, utility = (
            torch.tensordot(share, part.double(), dims=1).float() for part in (self.images, self.utility)
        )
        return ClassUtility(tuple(groups), counts.sum(dim=1), images, utility, self.left_out, self.data)


@dataclass(frozen=True)
class UtilityExamples:
    """A few labelled images, all on the CPU.

    Attributes:
        classes: the names behind `labels` and `answers`.
        images: pixels in [0, 1].
        utility: |d loss / d x| of every element, per unit of pixel value.
        top, bottom: the k elements of most and of least utility, in C x H x W as one row.
        high, low: the images with noise on these; outside [0, 1] too.
        keep: whether the utility is large enough for `high` to count in training.
        answers, confidence: the most likely class and its probability.
    """

    classes: tuple[str, ...]
    data: str
    k: int
    sigma: float
    images: Images
    utility: Images
    top: Int64[Tensor, "batch k"]
    bottom: Int64[Tensor, "batch k"]
    high: Images
    low: Images
    keep: Bool[Tensor, "batch"]
    labels: Labels
    answers: Labels
    confidence: Float[Tensor, "batch"]


@dataclass(frozen=True)
class UtilityCurve:
    """The sensitivity of elements by their utility, both as ranks in their own image: utilities of different images
    differ by orders of magnitude, sensitivities of different encoders by the scale of their embeddings.

    Attributes:
        utility: for each bin, the mean rank of its elements' utility, as a fraction: 0 least, 1 most.
        quartiles: for each bin, the quartiles of the rank of their sensitivity, likewise.
        correlation: Spearman's rank correlation in an image, mean over the images; NaN where no image has one.
        images: how many have one.
        elements: of an image.
    """

    utility: Float[Tensor, "bins"]
    quartiles: Float[Tensor, "bins 3"]
    correlation: float
    images: int
    elements: int
