"""The rows of a file of embeddings: what stands in each column, group by group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from weatherproof.data import CorruptedImages, FileImages, ImageSet, MemoryImages
from weatherproof.data.folders import find_images, has_folders
from weatherproof.embedded.columns import EMBEDDING, GAUGED, LOGITS, PATCHES
from weatherproof.embedded.parts import Parts
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.names import printable
from weatherproof.texts import path_of

Texts = Sequence[str | None]
Column = Texts | np.ndarray
GROUP_BYTES, GROUP_ROWS = 1 << 26, 1 << 16  # of a group of rows: what a writer or a reader holds at a time
VECTORS = (EMBEDDING, PATCHES, LOGITS)


@dataclass(frozen=True, eq=False)
class Origin:
    """Where the images of a file come from.

    Args:
        images: the set that was embedded.
        classes: by path, of a folder that was read without its classes; else those of the set are taken.
    """

    images: ImageSet
    classes: Mapping[str, str] | None = None

    @property
    def paths(self) -> Sequence[str] | None:
        """The files, one an image, where there are any."""
        return self.images.paths if isinstance(self.images, FileImages | MemoryImages) else None

    def names(self, places: Sequence[int]) -> list[str]:
        """What a table calls the images: their paths, or the source and the position in it."""
        index = self.images.index[list(places)].tolist()
        return [path or f"{self.images.name} {i}" for path, i in zip(self._files(places), index, strict=True)]

    def labels(self, places: Sequence[int]) -> list[str | None]:
        """The names of their classes; None where there is none."""
        if self.classes is not None and self.paths is not None:
            return [self.classes.get(self.paths[place]) for place in places]
        labels, classes = self.images.labels[list(places)].tolist(), self.images.classes
        return [classes[label] if label >= 0 else None for label in labels]

    def columns(self, places: Sequence[int]) -> dict[str, Column]:
        """What a file says of the images beside what was seen. Names are `printable`."""
        found: dict[str, Column] = {
            "path": [None if path is None else printable(path) for path in self._files(places)],
            "position": self.images.index[list(places)].numpy(),
            "label": self.labels(places),
        }
        if isinstance(self.images, CorruptedImages):
            parts, each = self.images.corrupted.parts, len(self.images.corrupted.labels)
            own = [parts[place // each] for place in self.images.places[list(places)].tolist()]
            found["corruption"] = [name for name, _ in own]
            found["severity"] = np.array([level for _, level in own], np.int64)
        return found

    def _files(self, places: Sequence[int]) -> Texts:
        return [None] * len(places) if self.paths is None else [self.paths[place] for place in places]


def class_names(source: object, paths: Sequence[str]) -> dict[str, str] | None:
    """By path, the class of each image in a folder, as `load_images` understands its split and class folders. None
    where there are no class folders, or images beside them.

    Args:
        paths: of all images in the folder.
    """
    root = path_of(str(source).removeprefix("folder:"))
    if not has_folders(root):
        return None
    whole = _classes_of(root, "all")
    if whole:
        return whole if whole.keys() == {*paths} else None
    return {path: name for split in ("train", "test", "val") for path, name in _classes_of(root, split).items()} or None


def _classes_of(root: Path, split: str) -> dict[str, str]:
    try:
        listing, _ = find_images(root, split)
    except InputError:  # there is no such split, or the folder can be understood in two ways
        return {}
    labels = listing.labels.tolist()
    return {path: listing.classes[label] for path, label in zip(listing.paths, labels, strict=True) if label >= 0}


@dataclass(frozen=True, eq=False)
class Rows:
    """All rows that are to be written, as often as they are asked for.

    Args:
        kinds: names of the gauge's kinds, where it was asked.
    """

    parts: Parts
    origin: Origin
    kinds: Sequence[str] | None

    def group_rows(self) -> int:
        """How many rows a group has: the same however the parts were made."""
        return max(1, min(GROUP_ROWS, GROUP_BYTES // self.row_bytes))

    @property
    def row_bytes(self) -> int:
        """Of what was seen of an image."""
        return sum(rows[0].numel() * rows.element_size() for rows in self._first.columns.values())

    @property
    def _first(self) -> Answers:
        """Raises `InputError` where no image could be read."""
        first = next((part for part in self.parts if len(part)), None)
        if first is None:
            raise InputError(f"no image of {self.origin.images.name!r} could be read")
        return first

    def vectors(self) -> list[str]:
        """The columns of `VECTORS` that there are."""
        return [name for name in VECTORS if name in self._first.columns]

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an image's row of a column of `VECTORS`."""
        return tuple(self._first[name].shape[1:])

    def __iter__(self) -> Iterator[dict[str, Column]]:
        """Group by group, by column: texts, or an array with a row an image."""
        for own in self.parts.groups(self.group_rows()):
            yield self.origin.columns(own.place.tolist()) | self.answer_columns(own)

    def answer_columns(self, own: Answers) -> dict[str, Column]:
        """What was seen of some images."""
        found: dict[str, Column] = {name: own[name].numpy() for name in VECTORS if name in own.columns}
        if self.kinds is not None:
            found |= {f"gauge_{name}": own[name].numpy() for name in GAUGED if name != "kind"}
            found["gauge_kind"] = [self.kinds[kind] for kind in own["kind"].tolist()]
        return found


def chunks(places: Int64[Tensor, "n"], rows: int) -> Iterator[list[int]]:
    """Places in groups of so many."""
    for some in places.split(rows) if len(places) else ():
        yield some.tolist()
