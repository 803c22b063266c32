"""Test images and the training images that lie nearest to them, as one file of a run folder.

`neighbours.safetensors` holds "queries" (uint8, q x channels x height x width), "neighbours" (uint8, q x k x channels x
height x width), "similarity" (float32, q x k) and, where the images have labels, "query_labels" (int64, q) and "labels"
(int64, q x k; -1 for none); beside them, as JSON, the classes and what the images are called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from weatherproof.reports.drawing.pictures import SMALL, data_address, is_picture, smaller
from weatherproof.reports.parts import read_part, save_part

FILE = "neighbours.safetensors"
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
    near = torch.stack([torch.stack([smaller(image, SHOWN) for image in row]) for row in neighbours])
    tensors = {
        "queries": torch.stack([smaller(image, SHOWN) for image in queries]),
        "neighbours": near,
        "similarity": similarity.float(),
        "query_labels": query_labels,
        "labels": labels,
    }
    about = {"classes": list(classes), "bank": bank, "images": images}
    return save_part(Path(folder) / FILE, tensors, about)


def read_neighbours(folder: Path) -> Neighbourhood | None:
    """The neighbours of a run folder; None where it has none.

    Raises:
        InputError: the file is not what `save_neighbours` writes.
    """
    return read_part(folder / FILE, "a file of neighbours", _neighbourhood)


def _neighbourhood(tensors: Mapping[str, Tensor], about: Any) -> Neighbourhood:
    queries, near = tensors["queries"], tensors["neighbours"]
    if not all(map(is_picture, [*queries, *near.flatten(0, 1)])) or near.shape[:2] != tensors["similarity"].shape:
        raise ValueError("no pictures")
    return Neighbourhood(
        queries=tuple(_query(tensors, about["classes"], i) for i in range(len(queries))),
        bank=str(about["bank"]),
        images=int(about["images"]),
        pixelated=max(queries.shape[-2:]) <= SMALL,
    )


def _query(tensors: Mapping[str, Tensor], classes: Sequence[Any], i: int) -> Query:
    truth = int(tensors["query_labels"][i])
    parts = (tensors[name][i] for name in ("neighbours", "labels", "similarity"))
    near = tuple(
        Near(
            image=data_address(image),
            label=_named(classes, int(label)),
            similarity=f"{float(similarity):.2f}",
            right=None if truth < 0 or int(label) < 0 else int(label) == truth,
        )
        for image, label, similarity in zip(*parts, strict=True)
    )
    return Query(data_address(tensors["queries"][i]), _named(classes, truth), near)


def _named(classes: Sequence[Any], label: int) -> str:
    return str(classes[label]) if label >= 0 else ""
