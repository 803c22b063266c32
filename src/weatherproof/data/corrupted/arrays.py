"""Corrupted images as arrays, the layout of CIFAR-10-C and CIFAR-100-C.

    fog.npy, ...      uint8 [5 n, H, W, C], severity 1 first; n images of the test set, in the same order every time
    labels.npy        n labels, or 5 n: the same n for each severity
    index.npy         int64 [n], positions in the clean test set where they are not 0 .. n - 1 (`corrupt` writes it)

The files are mapped, never read as a whole, and nothing in them is ever unpickled.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from weatherproof.benchmark import COMMON_19, SEVERITIES
from weatherproof.data.corrupted.sets import Corrupted
from weatherproof.data.decoding import Decoder
from weatherproof.errors import InputError
from weatherproof.npy import Header, read_header
from weatherproof.sizes import sides


def _header(path: Path) -> Header:
    """The header of an .npy file. Raises `InputError` where there is none, it holds objects or is not whole."""
    if not path.is_file():
        raise InputError(f"no {path}: expected an .npy file of the corrupted images' folder")
    try:
        header = read_header(path)
    except (OSError, ValueError, EOFError) as error:
        size = path.stat().st_size
        raise InputError(f"{path} is not an .npy file ({size:,} bytes): {' '.join(str(error).split())}") from None
    if header.dtype.hasobject:
        raise InputError(f"{path} holds Python objects, which are never read: expected whole numbers")
    expected, size = header.size, path.stat().st_size
    if size != expected:
        wrong = "is not whole" if size < expected else "goes on behind its array"
        raise InputError(f"{path} {wrong}: expected {expected:,} bytes for {list(header.shape)}, found {size:,}")
    return header


def read_arrays(
    folder: Path,
    classes: tuple[str, ...],
    decoder_for: Callable[[int], Decoder],
    *,
    channels: tuple[int, ...] = (1, 3),
) -> Corrupted:
    """The corrupted images of a folder of arrays, as many of the 19 corruptions as there are.

    Args:
        folder: holds the files.
        classes: the names behind the labels.
        decoder_for: how images of so many stored channels are read.
        channels: numbers of them that the images may have.

    Raises:
        InputError: a file that is missing, short, or does not fit the others; labels that do not fit.
    """
    names = [name for name in COMMON_19 if (folder / f"{name}.npy").is_file()]
    if not names:
        there = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
        found = f"{', '.join(there[:3])}{', ...' * (len(there) > 3)}" if there else "nothing"
        raise InputError(f"no corrupted images in {folder}: expected files such as fog.npy, found {found}")
    headers = [_header(folder / f"{name}.npy") for name in names]
    shape = Counter(header.shape for header in headers).most_common(1)[0][0]
    levels = len(SEVERITIES)
    if len(shape) != 4 or shape[3] not in channels or 0 in shape or shape[0] % levels:
        wanted = " or ".join(map(str, channels))
        expected = f"expected [{levels} n, H, W, {wanted}], {levels} severities of n images"
        raise InputError(f"{headers[0].path}: {expected}; found {list(headers[0].shape)}")
    for header in headers:
        if header.dtype != np.uint8:
            raise InputError(f"{header.path} holds no pixels of 8 bits: expected uint8, found {header.dtype}")
        if header.shape != shape:
            got = f"expected {list(shape)}, found {list(header.shape)}"
            raise InputError(f"{header.path} does not fit the others: {got}")
    count = shape[0] // levels
    labels = _labels(folder / "labels.npy", count, len(classes))
    places = folder / "index.npy"
    index = _numbers(places, (count,)) if places.exists() else torch.arange(count)
    parts = tuple((name, severity) for name in names for severity in SEVERITIES)
    return Corrupted(MappedArrays(headers, decoder_for(shape[3])), parts, labels, index, classes)


def _labels(path: Path, count: int, classes: int) -> Int64[Tensor, "n"]:
    """The labels of one severity."""
    levels = len(SEVERITIES)
    labels = _numbers(path, (count, levels * count))
    if len(labels) != count:
        rows = labels.view(levels, count)
        if not bool((rows == rows[0]).all()):
            raise InputError(f"{path}: expected the same {count:,} labels {levels} times, found other ones")
        labels = rows[0].clone()
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InputError(
            f"{path}: expected labels from 0 to {classes - 1}, found {int(labels.min())} to {int(labels.max())}"
        )
    return labels


def _numbers(path: Path, lengths: Sequence[int]) -> Int64[Tensor, "n"]:
    header = _header(path)
    if header.dtype.kind not in "iu" or len(header.shape) != 1 or header.shape[0] not in lengths:
        wanted = " or ".join(f"{length:,}" for length in lengths)
        got = f"{header.dtype} {list(header.shape)}"
        raise InputError(f"{path} does not fit the images: expected {wanted} whole numbers, found {got}")
    return torch.from_numpy(np.asarray(header.map()).astype(np.int64))


class MappedArrays:
    """A `Store` of mapped arrays [rows, H, W, C] of one shape.

    Args:
        headers: the files.
        decoder: how the stored images are resized; None: as they are.
    """

    def __init__(self, headers: Sequence[Header], decoder: Decoder | None = None) -> None:
        self._headers = tuple(headers)
        self._arrays = [header.map() for header in self._headers]
        self._rows, height, width, channels = self._headers[0].shape
        self._shape = (channels, height, width)
        self._decoder = None if decoder is None or decoder.keeps(self._shape) else decoder

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedArrays, (self._headers, self._decoder)  # another process maps the files itself

    @property
    def channels(self) -> int:
        return self._shape[0] if self._decoder is None else self._decoder.channels

    @property
    def image_size(self) -> tuple[int, int]:
        if self._decoder is None or self._decoder.size is None:
            return self._shape[1:]
        return sides(self._decoder.size)

    @property
    def takes_work(self) -> bool:
        return self._decoder is not None

    def decode(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[UInt8[Tensor, "b channels height width"], Int64[Tensor, "b"], dict[str, str], dict[str, str]]:
        """See `Store`. A stored image is never bad."""
        channels, height, width = self._shape
        stored = np.empty((len(positions), height, width, channels), np.uint8)
        files, rows = np.divmod(positions.numpy(), self._rows)
        for file in np.unique(files):
            mine = files == file
            stored[mine] = self._arrays[file][rows[mine]]
        pixels = stored.transpose(0, 3, 1, 2)
        if self._decoder is not None and len(pixels):
            pixels = np.stack([self._decoder.array(image) for image in pixels])
        return torch.from_numpy(np.ascontiguousarray(pixels)), torch.arange(len(positions)), {}, {}
