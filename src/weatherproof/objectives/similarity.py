"""Similarity regularization: images that the representation found alike stay so in fine-tuning (URRL, eq. 4)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weatherproof.objectives.alignment import alignment
from weatherproof.objectives.embeddings import check_weights
from weatherproof.spec import component
from weatherproof.types import Embeddings

SMALLEST = 1e-12  # under the root, which has no derivative at 0: the student starts as the teacher


def similarities(features: Embeddings, normalize: bool = True) -> Float[Tensor, "batch batch"]:
    """S_ij = f_i . f_j in float32, of features brought to unit length unless `normalize` is False."""
    with torch.autocast(features.device.type, enabled=False):
        rows = features if features.dtype == torch.float64 else features.float()
        rows = nn.functional.normalize(rows, dim=1) if normalize else rows
        return rows @ rows.T


def similarity_distance(
    student: Embeddings, teacher: Embeddings, normalize: bool = True, squared: bool = False
) -> Float[Tensor, ""]:
    """|S - S*| / N, the Frobenius norm of the difference of both similarity matrices over the batch size N.

    With 1/N it does not grow with the batch: it is the root mean square of the N^2 differences. The norm is taken as
    sqrt(sum + 1e-12).

    Args:
        normalize: False: raw dot products.
        squared: the mean square instead, |S - S*|^2 / N^2.
    """
    total = (similarities(student, normalize) - similarities(teacher, normalize)).square().sum()
    return total / len(student) ** 2 if squared else (total + SMALLEST).sqrt() / len(student)


def anchored(
    now: Embeddings, before: Embeddings, similarity: float = 0.0
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """How far a network is from what it was: D + v |S - S*|^2 / N^2, and D alone, the mean of 1 - cos.

    Args:
        now, before: embeddings of the same N images, now and as they were.
        similarity: v, the weight of the distance of their similarity matrices.
    """
    apart = 1 + alignment(now, before)
    if not similarity:
        return apart, apart
    return apart + similarity * similarity_distance(now, before, squared=True), apart


@component
class SimilarityMatrix:
    """Similarity regularization of weight w, to be added as L + w |S - S*| / N (URRL, eq. 4; the paper states neither
    the norm, nor the features, nor w).

    Called with the features of the network that is fine-tuned and those of the frozen network it started from, of the
    same images: [batch, features] each. The frozen one is in evaluation mode, so the term is 0 at the start only where
    the other one's batch normalisation is too.

    Args:
        weight: w; the grid for a validation split is 0.01, 0.1, 1, 10, 100.
        normalize: features of unit length, as in the contrastive loss; False: raw dot products.
        squared: the squared norm over N^2.

    Raises:
        InputError: a weight that is no number of 0 or more.
    """

    weight: float = 1.0
    normalize: bool = True
    squared: bool = False

    def __post_init__(self) -> None:
        check_weights(self, "weight")

    def __call__(self, student: Embeddings, teacher: Embeddings) -> Float[Tensor, ""]:
        return similarity_distance(student, teacher, self.normalize, self.squared)
