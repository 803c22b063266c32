"""Test images that are training images too, found by what they hold, whatever they are called."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from weatherproof.data.files import FileImages
from weatherproof.data.images import ImageSet, MemoryImages, evenly_spaced
from weatherproof.data.packed.images import PackedImages
from weatherproof.errors import InputError
from weatherproof.names import printable

MOST_READ = 50_000  # training images that are decoded to be compared: of more, so many, evenly spaced
_TAIL = 1024  # bytes at the end of a file, which tell most files of one size apart
_CHUNK = 1024  # images in memory at once

Pairs = Int64[Tensor, "d 2"]
Look = Callable[[int], object]


def duplicates(train: ImageSet, test: ImageSet) -> Pairs:
    """(position in test, position in train) of every test image that is a training image, with the first that it is.

    Where both are files, or packed ones, that do not lie in memory, they are compared byte by byte: by size, then among
    files of the size of a test file by their last 1,024 bytes, then by a hash (BLAKE2b) of all. So every training
    file's size is looked up, and few are read. Images in memory are compared by a hash of their pixels as a
    model sees them, so that two files of one picture count too. Other sets are read for it, of the
    training images at most 50,000.
    """
    looks = _looks(train), _looks(test)
    if looks[0] is not None and looks[1] is not None and not (_in_memory(train) and _in_memory(test)):
        return _same_bytes(len(train), looks[0], len(test), looks[1])
    if isinstance(train, MemoryImages) and isinstance(test, MemoryImages) and train.decoder == test.decoder:
        known, queries = _stored(train), _stored(test)
    else:
        places = evenly_spaced(len(train), len(train) if _in_memory(train) else MOST_READ)
        known, queries = _as_read(train, places), _as_read(test, torch.arange(len(test)))
    return _matches(known, queries)


def called(images: ImageSet, position: int) -> str:
    """What a message calls an image: its file, or its place in its source."""
    if isinstance(images, PackedImages):
        return printable(images.called(position))
    files = _files(images)
    return f"image {int(images.index[position])} of {images.name}" if files is None else printable(files[position])


def _files(images: ImageSet) -> Sequence[str] | None:
    return images.paths if isinstance(images, FileImages | MemoryImages) else None


def _in_memory(images: ImageSet) -> bool:
    return isinstance(images, MemoryImages) and images.decoder is None


def _matches(known: Iterable[tuple[int, Any]], queries: Iterable[tuple[int, Any]]) -> Pairs:
    """The asked whose value is known, each with the first that has it."""
    first: dict[Any, int] = {}
    for position, value in known:
        first.setdefault(value, position)
    pairs = [(position, first[value]) for position, value in queries if value in first]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def _looks(images: ImageSet) -> tuple[Look, Look, Look] | None:
    """Size, last bytes and a hash of what is stored of the image at a position; None where nothing is."""
    if isinstance(images, PackedImages):
        packed = images
        return packed.encoded_size, lambda i: packed.encoded(i)[1][-_TAIL:], lambda i: _digest(packed.encoded(i)[1])
    if (files := _files(images)) is None:
        return None
    return lambda i: _size(files[i]), lambda i: _tail(files[i]), lambda i: _content(files[i])


def _same_bytes(trained: int, known_by: Sequence[Look], tested: int, asked_by: Sequence[Look]) -> Pairs:
    """Each look narrows both sides down to those that still have a partner, and costs more than the one before."""
    known: list[tuple[int, Any]] = [(i, ()) for i in range(trained)]
    queries: list[tuple[int, Any]] = [(i, ()) for i in range(tested)]
    for look, other in zip(known_by, asked_by, strict=True):
        queries = _looked(queries, other)
        values = {value for _, value in queries}
        known = [(i, value) for i, value in _looked(known, look) if value in values]
        values = {value for _, value in known}
        queries = [(i, value) for i, value in queries if value in values]
    return _matches(known, queries)


def _looked(rows: list[tuple[int, Any]], look: Look) -> list[tuple[int, tuple[object, ...]]]:
    """The rows with one more value; without those whose file has gone, or is none."""
    found = []
    for i, before in rows:
        try:
            value = look(i)
        except (OSError, InputError):
            continue
        if value is not None:
            found.append((i, (*before, value)))
    return found


def _size(path: str) -> int | None:
    about = os.stat(path)  # noqa: PTH116 - of a million paths
    return about.st_size if stat.S_ISREG(about.st_mode) else None


def _tail(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - of a million paths
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        return file.read(_TAIL)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _stored(images: MemoryImages) -> Iterator[tuple[int, bytes]]:
    """Hashes of the pixels as they lie in memory."""
    positions = count()
    for chunk in images.pixels.split(_CHUNK):
        yield from zip(positions, map(_hash, np.ascontiguousarray(chunk.numpy())), strict=False)


def _as_read(images: ImageSet, places: Tensor) -> Iterator[tuple[int, bytes]]:
    """Hashes of the pixels as a model sees them; without the images that cannot be read."""
    for position in places.tolist():
        try:
            pixels = images.read(torch.tensor([position]))[0].numpy()
        except InputError:
            continue
        yield position, _hash(np.ascontiguousarray(pixels))


def _hash(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(pixels.data, digest_size=16, salt=str(pixels.shape).encode()[:16]).digest()
