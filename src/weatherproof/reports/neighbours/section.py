"""Test images and the training images that lie nearest to them, as one file of a run folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from weatherproof.reports.drawing.pictures import data_address, for_page, is_small, require_pictures
from weatherproof.reports.parts import PartFile, require_classes, save_part

SHOWN = 96  # pixels of the longer side in the file


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
class Neighbours:
    """What the file holds; labels are places in `classes`, -1 for none. `bank` and `images`: how many images of what
    the neighbours were looked for in."""

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
        require_classes(self.classes, self.query_labels, self.labels, unknown=True)

    @property
    def labelled(self) -> bool:
        return bool(((self.query_labels[:, None] >= 0) & (self.labels >= 0)).any())

    @property
    def pixelated(self) -> bool:
        return is_small(self.queries)

    @property
    def rows(self) -> Iterator[Query]:
        for i, (image, label) in enumerate(zip(self.queries, self.query_labels.tolist(), strict=True)):
            rows = zip(self.neighbours[i], self.labels[i].tolist(), self.similarity[i].tolist(), strict=True)
            near = tuple(
                Near(data_address(own), self._name(of), f"{how:.2f}", self._right(label, of)) for own, of, how in rows
            )
            yield Query(data_address(image), self._name(label), near)

    def _name(self, label: int) -> str:
        return self.classes[label] if label >= 0 else ""

    @staticmethod
    def _right(truth: int, label: int) -> bool | None:
        return None if truth < 0 or label < 0 else label == truth


NEIGHBOURS = PartFile("neighbours.safetensors", "a file of neighbours", Neighbours)


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
    found = Neighbours(
        queries=for_page(queries, SHOWN),
        neighbours=for_page(neighbours, SHOWN),
        similarity=similarity.float(),
        query_labels=query_labels,
        labels=labels,
        classes=tuple(classes),
        bank=bank,
        images=images,
    )
    return save_part(folder, NEIGHBOURS, found)
