"""Embeddings on a plane: two numbers for each image, to look at."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from weatherproof.errors import InputError, unknown
from weatherproof.progress import phase
from weatherproof.types import Embeddings

MapBy = Literal["pca", "tsne"]
_MOST = 2000  # points of a t-SNE map: about ten seconds on one core
_PERPLEXITY = 30.0  # scikit-learn's, and the middle of what van der Maaten & Hinton recommend


@dataclass(frozen=True)
class PlaneMap:
    """Points in the plane. `shares`: of the variance along each axis; empty where the axes mean nothing (t-SNE)."""

    points: Float[Tensor, "n 2"]
    shares: tuple[float, ...] = ()


@phase("laying out a map")
def plane_map(embeddings: Embeddings, by: MapBy = "pca") -> PlaneMap:
    """The map of embeddings at unit length, the same every time.

    Raises:
        InputError: fewer than three images, embeddings that are not finite, or too many for t-SNE (2,000).
    """
    if len(embeddings) < 3 or not bool(embeddings.isfinite().all()):
        raise InputError(f"a map needs at least three embeddings, all finite; got {list(embeddings.shape)}")
    units = normalize(embeddings.double(), dim=1)
    match by:
        case "pca":
            return principal_plane(units)
        case "tsne":
            return neighbour_plane(units)
    raise unknown("map", str(by), ("pca", "tsne"))


def principal_plane(features: Float[Tensor, "n features"]) -> PlaneMap:
    """The two directions of largest variance, from the eigenvectors of the smaller of X^T X and X X^T (X centred).

    Every axis points to where its largest coordinate is.
    """
    centred = features - features.mean(dim=0)
    n, width = centred.shape
    wide = width > n
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    count = min(2, len(values))
    values, vectors = values.flip(0)[:count].clamp(min=0), vectors.flip(1)[:, :count]
    points = vectors * values.sqrt() if wide else centred @ vectors
    points = points * points.gather(0, points.abs().argmax(dim=0, keepdim=True)).sign()
    if count < 2:
        points = torch.cat([points, torch.zeros_like(points)], dim=1)
    total = centred.square().sum().clamp(min=torch.finfo(centred.dtype).tiny)
    return PlaneMap(points.float(), tuple((values / total).tolist()))


def neighbour_plane(features: Float[Tensor, "n features"], seed: int = 0) -> PlaneMap:
    """t-SNE (van der Maaten & Hinton 2008) by scikit-learn, started from the principal components.

    Near points are near embeddings; distances between groups, and how wide they are, mean nothing.

    Raises:
        InputError: more than 2,000 points.
    """
    from sklearn.manifold import TSNE

    if len(features) > _MOST:
        raise InputError(f"a t-SNE map holds at most {_MOST:,} images, got {len(features):,}: use fewer, or 'pca'")
    model = TSNE(perplexity=min(_PERPLEXITY, (len(features) - 1) / 3), init="pca", random_state=seed)
    return PlaneMap(torch.from_numpy(model.fit_transform(features.numpy())).float())
