"""Test images and the training images that lie nearest to them, as one file of a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from weatherproof.reports.drawing.pictures import SMALL, data_address, require_pictures, smaller
from weatherproof.reports.parts import PartFile, read_part, save_part

SHOWN = 96  # pixels of the longer side in the file


@dataclass(frozen=True)
class NeighboursFile:
    """What the file holds; labels are places in `classes`, -1 for none."""

    queries: UInt8[Tensor, "q channels height width"]
    neighbours: UInt8[Tensor, "q k near_channels near_height near_width"]
    similarity: Float32[Tensor, "q k"]
    query_labels: Int64[Tensor, "q"]
    labels: Int64[Tensor, "q k"]
    classes: tuple[str, ...]
    bank: str
    images: int

    def __post_init__(self) -> None:
        require_pictures(self.queries, self.neighbours)
        if max(int(self.query_labels.max()), int(self.labels.max())) >= len(self.classes):
            raise ValueError("a label has no class")


NEIGHBOURS = PartFile("neighbours.safetensors", "a file of neighbours", NeighboursFile)


@dataclass(frozen=True)
class Near:
    """One neighbour as the page shows it. `right`: of the query's class; None where that is not known."""

    image: str
    label: str
    similarity: str
    right: bool | None


@dataclass(frozen=True)
class Query:
    """One test image with its neighbours, the nearest first."""

    image: str
    label: str
    near: tuple[Near, ...]

    @property
    def hits(self) -> int:
        return sum(near.right is True for near in self.near)


@dataclass(frozen=True)
class Neighbourhood:
    """What the page shows. `bank` and `images`: how many images of what the neighbours were looked for in."""

    queries: tuple[Query, ...]
    bank: str
    images: int
    pixelated: bool

    @property
    def labelled(self) -> bool:
        return any(near.right is not None for query in self.queries for near in query.near)


def save_neighbours(
    folder: Path | str,
    queries: UInt8[Tensor, "q channels height width"],
    neighbours: UInt8[Tensor, "q k channels height width"],
    similarity: Float[Tensor, "q k"],
    *,
    query_labels: Int64[Tensor, "q"],
    labels: Int64[Tensor, "q k"],
    classes: Sequence[str],
    bank: str,
    images: int,
) -> Path:
    """Write `neighbours.safetensors` and return where it is. Images larger than the page shows them are made smaller.

    Args:
        query_labels, labels: places in `classes`; -1 where an image has none.
        bank: what the images are called that the neighbours were looked for in.
        images: how many those are.
    """
    found = NeighboursFile(
        queries=torch.stack([smaller(image, SHOWN) for image in queries]),
        neighbours=torch.stack([torch.stack([smaller(image, SHOWN) for image in row]) for row in neighbours]),
        similarity=similarity.float(),
        query_labels=query_labels,
        labels=labels,
        classes=tuple(classes),
        bank=bank,
        images=images,
    )
    return save_part(folder, NEIGHBOURS, found)


def read_neighbours(folder: Path) -> Neighbourhood | None:
    """The neighbours of a run folder; None where it has none. Raises `InputError`."""
    found = read_part(folder, NEIGHBOURS)
    if found is None:
        return None
    return Neighbourhood(
        queries=tuple(_query(found, i) for i in range(len(found.queries))),
        bank=found.bank,
        images=found.images,
        pixelated=max(found.queries.shape[-2:]) <= SMALL,
    )


def _query(found: NeighboursFile, i: int) -> Query:
    truth = int(found.query_labels[i])
    near = tuple(
        Near(
            image=data_address(image),
            label=_named(found.classes, int(label)),
            similarity=f"{float(similarity):.2f}",
            right=None if truth < 0 or int(label) < 0 else int(label) == truth,
        )
        for image, label, similarity in zip(found.neighbours[i], found.labels[i], found.similarity[i], strict=True)
    )
    return Query(data_address(found.queries[i]), _named(found.classes, truth), near)


def _named(classes: Sequence[str], label: int) -> str:
    return classes[label] if label >= 0 else ""
