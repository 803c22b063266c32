"""A file of embeddings, read as far as it is asked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from weatherproof.embedded.about import About
from weatherproof.embedded.columns import EMBEDDING, LOGITS, PATCHES
from weatherproof.embedded.npz import NpzFile
from weatherproof.embedded.parquet import ParquetFile
from weatherproof.embedded.search import BLOCK, Neighbours, Search, search_of, searched
from weatherproof.errors import InputError, shown
from weatherproof.regular import irregular
from weatherproof.texts import path_of

ENDINGS = (".parquet", ".npz")
_EXPECTED = "expected a file that embed wrote, .parquet or .npz"


class EmbeddingFile:
    """The embeddings of a file, `[features]` an image, read when they are asked for.

        index = wp.load_embeddings("clean.parquet")
        index[0], index[10:20], index[[3, 1, 4]]        # float32 tensors [features], [10, features], [3, features]
        index.paths(10, 20), index.labels(10, 20)       # texts; None where there is none
        index.column("gauge_level", 10, 20)             # any column of the file
        index.search(queries, neighbours=5)             # the nearest by cosine

    Attributes:
        path: the file.
        about: what it says of itself: encoder, weights, preprocessing, size, images, ...
        columns: what else is in it.
    """

    def __init__(self, path: Path, store: ParquetFile | NpzFile) -> None:
        self.path, self._store = path, store
        self.about = About.from_json(store.about or "{}", str(path))
        self.columns = store.columns
        numbers = {EMBEDDING: self.about.features} | ({LOGITS: self.about.classes} if self.about.classes else {})
        if self.about.patches:
            numbers[PATCHES] = int(np.prod(self.about.patches))
        if len(store) != self.about.images:
            raise InputError(f"{path} has {len(store):,} rows and says {self.about.images:,}: embed the images again")
        for name, expected in numbers.items():
            if name in store.columns and not len(store):
                continue
            own: np.ndarray = np.asarray(store.read(name, 0, 1)) if name in store.columns else np.zeros(0)
            if own.ndim != 2 or own.shape[1] != expected or own.dtype.kind != "f":
                raise InputError(f"{path} says {expected} numbers of {name!r} an image, and has others: embed again")
        self._check_named(path)

    def _check_named(self, path: Path) -> None:
        """What names an image is text, and its position a whole number."""
        if not len(self):
            return
        for name in ("path", "label", "position"):
            if name not in self.columns:
                raise InputError(f"{path} has no column {name!r}: embed the images again")
            own = self._store.read(name, 0, 1)
            if name == "position":
                right = isinstance(own, np.ndarray) and own.ndim == 1 and own.dtype.kind in "iu"
            else:
                right = isinstance(own, list) and all(text is None or isinstance(text, str) for text in own)
            if not right:
                kind = "whole numbers" if name == "position" else "texts"
                raise InputError(f"{path} has a column {name!r} that holds no {kind}: embed the images again")

    def __len__(self) -> int:
        return self.about.images

    def __repr__(self) -> str:
        return f"<{len(self):,} embeddings of {self.about.features} numbers in {self.path}>"

    @overload
    def __getitem__(self, at: int) -> Float[Tensor, "features"]: ...
    @overload
    def __getitem__(self, at: "slice | Sequence[int] | Tensor") -> Float[Tensor, "n features"]: ...
    def __getitem__(self, at: "int | slice | Sequence[int] | Tensor") -> Tensor:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            if step != 1:
                return self[[*range(start, stop, step)]]
            return self._vectors(EMBEDDING, start, max(start, stop))
        if isinstance(at, int):
            own = range(len(self))[at]  # an IndexError past the end stops a for loop
            return self._vectors(EMBEDDING, own, own + 1)[0]
        rows = torch.as_tensor(at).tolist()
        return torch.stack([self[row] for row in rows]) if rows else torch.zeros(0, self.about.features)

    @property
    def features(self) -> int:
        """Numbers of an embedding."""
        return self.about.features

    def blocks(self, rows: int = BLOCK) -> Iterator[Float[Tensor, "n features"]]:
        """All embeddings, so many rows at a time, as float32."""
        for start in range(0, len(self), rows):
            yield self._vectors(EMBEDDING, start, min(start + rows, len(self)))

    def patches(self, start: int = 0, stop: int | None = None) -> Float[Tensor, "n rows columns channels"]:
        """The maps or patch tokens of images start .. stop - 1. Raises `InputError` where the file has none."""
        if self.about.patches is None:
            raise InputError(f"{self.path} holds no patches: embed the images with patches")
        return self._vectors(PATCHES, *self._range(start, stop)).unflatten(1, self.about.patches)

    def paths(self, start: int = 0, stop: int | None = None) -> list[str | None]:
        """Of images start .. stop - 1 the file, as it was named; None where they were no files."""
        return self.column("path", start, stop)  # type: ignore[return-value]

    def labels(self, start: int = 0, stop: int | None = None) -> list[str | None]:
        """Of images start .. stop - 1 the name of the class; None where there is none."""
        return self.column("label", start, stop)  # type: ignore[return-value]

    def names(self, rows: Sequence[int]) -> list[tuple[str, str | None]]:
        """What a table calls these images (the path, or the source and the position in it), and their classes."""
        found: dict[int, tuple[str, str | None]] = {}
        for row in sorted({*rows}):  # in the order of the file, which is read group by group
            (path,), (position,) = self.column("path", row, row + 1), self.column("position", row, row + 1)
            (label,) = self.labels(row, row + 1)
            found[row] = (path or f"{self.about.data} {int(position)}", label)
        return [found[row] for row in rows]

    def column(self, name: str, start: int = 0, stop: int | None = None) -> "np.ndarray | list[Any]":
        """Rows start .. stop - 1 of a column: an array, or a list of texts. Raises `InputError` for an unknown one."""
        if name not in self.columns:
            raise InputError(f"{self.path} has no column {shown(name)}: it has {', '.join(self.columns)}")
        return self._store.read(name, *self._range(start, stop))

    def search(
        self, queries: "EmbeddingFile | Float[Tensor, 'm features']", neighbours: int = 5,
        search: str | Search = "auto",
    ) -> Neighbours:  # fmt: skip
        """The nearest images of this file by cosine.

        Args:
            queries: embeddings of the same encoder, as a tensor or a file.
            neighbours: how many; fewer where the file has fewer.
            search: "exact", "faiss" or "Faiss(...)"; "auto": exact up to a million images.

        Raises:
            InputError: embeddings of another encoder or another size, an unknown search, or FAISS is not installed.
        """
        if isinstance(queries, EmbeddingFile):
            if (queries.about.weights, queries.about.size) != (self.about.weights, self.about.size):
                raise InputError(
                    f"{queries.path} and {self.path} hold embeddings of different encoders or sizes, "
                    f"{shown(queries.about.encoder)} and {shown(self.about.encoder)}: embed one of them again"
                )
            return searched(self, queries.blocks, neighbours, search_of(search, len(self)))
        if queries.ndim != 2 or queries.shape[1] != self.about.features:
            raise InputError(
                f"expected queries [m, {self.about.features}], embeddings of the encoder of {self.path}; got "
                f"{list(queries.shape)}"
            )
        return searched(self, queries.split, neighbours, search_of(search, len(self)), queries.device)

    def _range(self, start: int, stop: int | None) -> tuple[int, int]:
        first, last, _ = slice(start, stop).indices(len(self))
        return first, max(first, last)

    def _vectors(self, column: str, start: int, stop: int) -> Tensor:
        if stop <= start:
            return torch.zeros(0, int(np.prod(self.about.patches or 1)) if column == PATCHES else self.about.features)
        found = np.asarray(self._store.read(column, start, stop))
        return torch.from_numpy(np.array(found, np.float32))


def load_embeddings(path: str | Path) -> EmbeddingFile:
    """The file that `embed` wrote, to be read row by row.

    Args:
        path: a .parquet or .npz.

    Raises:
        InputError: there is no such file, it is damaged or cut off, or `embed` did not write it.
    """
    file = path_of(path)
    try:
        kind = irregular(file)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): {_EXPECTED}") from None
    if kind:
        raise InputError(f"{file} is {kind}: {_EXPECTED}")
    if file.suffix.lower() not in ENDINGS:
        raise InputError(f"{file} is no file of embeddings: {_EXPECTED}")
    return EmbeddingFile(file, ParquetFile(file) if file.suffix.lower() == ".parquet" else NpzFile(file))


def ending_of(file: Path, endings: Sequence[str] = ENDINGS) -> str:
    """Its ending. Raises `InputError` for another than those."""
    if file.suffix.lower() not in endings:
        raise InputError(f"{file} should end in {' or '.join(endings)}: the ending says what is written")
    return file.suffix.lower()
