"""Nearest neighbours: a readout without training."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from weatherproof.errors import InputError

_CHUNK = 1024  # test rows at once: with 50,000 training rows the similarities take 200 MB


def knn(
    train_features: Float[Tensor, "n features"],
    train_labels: Int64[Tensor, "n"],
    test_features: Float[Tensor, "m features"],
    k: int = 20,
    *,
    num_classes: int,
    temperature: float | None = 0.07,
) -> Float[Tensor, "m classes"]:
    """Class scores from the k training images with the largest cosine similarity s.

    score[c] = sum over the k neighbours of class c of exp(s / temperature), the weighted vote of InstDis (Wu et al.
    2018, section 3.4, temperature 0.07). With `temperature=None` each neighbour counts 1: the majority vote.
    Training images without a label (-1) are left out; k is at most the number of training images.

    Raises:
        InputError: no labelled training image, or k < 1.
    """
    known = train_labels >= 0
    if k < 1 or not known.any():
        raise InputError(f"k-NN needs k >= 1 and labelled training images, got k={k}, {int(known.sum())} labelled")
    index = normalize(train_features[known], dim=1)
    labels = train_labels[known]
    k = min(k, len(index))
    scores = torch.zeros(len(test_features), num_classes, dtype=test_features.dtype, device=test_features.device)
    for rows, out in zip(test_features.split(_CHUNK), scores.split(_CHUNK), strict=True):
        similarity, nearest = (normalize(rows, dim=1) @ index.T).topk(k, dim=1)
        votes = torch.ones_like(similarity) if temperature is None else (similarity / temperature).exp()
        out.scatter_add_(1, labels[nearest], votes)
    return scores
