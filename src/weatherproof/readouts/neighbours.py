"""Nearest neighbours: a readout without training. Similarities are made block by block, never all at once."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from weatherproof.errors import InputError

_ROWS, _COLUMNS = 1024, 16_384  # of a block: 64 MB of similarities, however many images there are


def knn_accuracy(
    train_features: Float[Tensor, "n features"],
    train_labels: Int64[Tensor, "n"],
    test_features: Float[Tensor, "m features"],
    test_labels: Int64[Tensor, "m"],
    k: int = 200,
    temperature: float | None = 0.1,
) -> float:
    """Share of test images whose class wins the vote of their k nearest training images, in [0, 1].

    The vote is `knn`, with the settings that MoCo's notebook for CIFAR-10 uses. Of classes with equal scores the
    smaller label wins. A test image whose embedding is not finite counts as wrong. Images without a label (-1) are
    left out on both sides.

    Raises:
        InputError: no labelled image on one of the sides, k < 1, or a temperature that is not positive.
    """
    known = test_labels >= 0
    if not known.any():
        raise InputError("k-NN accuracy needs labelled test images, got none")
    truth = test_labels[known].to(test_features.device)
    classes = int(torch.maximum(train_labels.max(), test_labels.max())) + 1
    scores = knn(train_features, train_labels, test_features[known], k, num_classes=classes, temperature=temperature)
    right = (scores.argmax(dim=1) == truth) & (scores.amax(dim=1) > 0)
    return right.double().mean().item()


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

    score[c] = sum over the neighbours of class c of exp((s - s_1) / temperature), s_1 that of the nearest: the weighted
    vote of InstDis (Wu et al. 2018, section 3.4, temperature 0.07) but for one factor per image, which keeps it finite
    at any temperature. With `temperature=None` each neighbour counts 1: the majority vote. Neighbours are chosen as in
    `nearest`. Training images without a label (-1) are left out; k is at most the number of training images. The
    scores of an image whose embedding is not finite are 0.

    Raises:
        InputError: no labelled training image, k < 1, or a temperature that is not positive.
    """
    known = train_labels >= 0
    if k < 1 or not known.any():
        raise InputError(f"k-NN needs k >= 1 and labelled training images, got k={k}, {int(known.sum())} labelled")
    if temperature is not None and not temperature > 0:
        raise InputError(f"k-NN needs a temperature above 0, or None for the majority vote; got {temperature}")
    similarity, index = nearest(train_features[known], test_features, k)
    votes = torch.ones_like(similarity)
    if temperature is not None:
        votes = ((similarity - similarity[:, :1]) / temperature).exp()
    votes = votes.where(similarity.isfinite(), 0)
    labels = train_labels[known].to(index.device)
    scores = votes.new_zeros(len(votes), num_classes)
    return scores.scatter_add_(1, labels[index], votes).to(test_features.dtype)


def nearest(
    features: Float[Tensor, "n features"], queries: Float[Tensor, "m features"], k: int
) -> tuple[Float[Tensor, "m k"], Int64[Tensor, "m k"]]:
    """(cosine similarity, position) of the min(k, n) rows of `features` nearest to each query, the nearest first.

    Of rows that are equally near, the one that comes first is taken first. A row that is not finite comes last, with
    similarity -inf. Memory does not grow with m times n. Everything happens on the queries' device.
    """
    bank = features.to(queries.device)
    k = min(k, len(bank))
    found = [_nearest(bank, normalize(_full(rows), dim=1), k) for rows in queries.split(_ROWS)]
    similarity, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    return similarity, index


def _nearest(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    found = nothing_yet(queries)
    for start in range(0, len(bank), _COLUMNS):
        found = nearer(found, queries, bank[start : start + _COLUMNS], start, k)
    return found


def nothing_yet(queries: Float[Tensor, "m features"]) -> tuple[Float[Tensor, "m 0"], Int64[Tensor, "m 0"]]:
    """What `nearer` begins with."""
    return queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)


def nearer(
    found: tuple[Float[Tensor, "m some"], Int64[Tensor, "m some"]],
    queries: Float[Tensor, "m features"],
    rows: Float[Tensor, "n features"],
    start: int,
    k: int,
) -> tuple[Float[Tensor, "m any"], Int64[Tensor, "m any"]]:
    """The k nearest of what was found and of some more rows, as `nearest` orders them.

    Args:
        queries: of unit length.
        rows: of the bank, on the queries' device, from position `start` on; all before them have been looked at.
    """
    best, where = found
    block = normalize(_full(rows), dim=1).to(queries.dtype)
    similarity, index = _largest((queries @ block.T).nan_to_num(nan=-torch.inf), k)
    # what was found before comes first, so that a stable sort leaves it in front of its equals
    best, where = torch.cat([best, similarity], dim=1), torch.cat([where, index + start], dim=1)
    best, order = best.sort(dim=1, descending=True, stable=True)
    return best[:, :k], where.gather(1, order[:, :k])


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row (all, where there are fewer), in order; equal ones by their position."""
    k = min(k, values.shape[1])
    top, index = values.topk(min(k + 1, values.shape[1]), dim=1)
    if top.shape[1] > k:  # where the last one in equals the first one out, `topk` may have kept the wrong one
        unclear = top[:, k - 1] == top[:, k]
        top, index = top[:, :k], index[:, :k]
        if unclear.any():
            top[unclear], index[unclear] = (
                part[:, :k] for part in values[unclear].sort(dim=1, descending=True, stable=True)
            )
    index, order = index.sort(dim=1)
    top, order = top.gather(1, order).sort(dim=1, descending=True, stable=True)
    return top, index.gather(1, order)


def _full(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))
