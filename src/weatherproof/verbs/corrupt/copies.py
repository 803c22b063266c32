"""Where `corrupt` puts its images: arrays as CIFAR-10-C has them, or folders as ImageNet-C.

Nothing half-written ever has its final name: an array is NAME.npy.part until it is whole, a picture gets its name when
its last byte is there. What a killed run wrote is written again, byte for byte, from its last note of progress on.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from weatherproof.data import SEVERITIES, ImageSet
from weatherproof.errors import InputError
from weatherproof.files import disk_errors, replacing
from weatherproof.verbs.corrupt.names import hidden_name

Pixels = UInt8[Tensor, "batch channels height width"]


@runtime_checkable
class Copy(Protocol):
    """One corruption at a time: `begin`, `write` in the order of the images, `settle` now and then, `finish`."""

    def begin(self, corruption: str, done: int) -> int:
        """Go on after `done` images. Returns how many really are there: 0 where their file has gone."""

    def write(self, severity: int, positions: Int64[Tensor, "batch"], pixels: Pixels) -> None: ...

    def settle(self) -> None:
        """Wait until everything written is on the disk."""

    def finish(self) -> dict[str, Any]:
        """Give the corruption its final name. Returns what the manifest says of it, by file or folder."""

    def labels(self) -> dict[str, Any]:
        """Write what stands beside all corruptions. Returns what the manifest says of it, by file."""

    def close(self) -> None:
        """Let go of open files and threads."""


class ArrayCopy:
    """NAME.npy, uint8 [5 n, H, W, C], severity 1 first, beside labels.npy.

    Args:
        folder: where they go.
        images: the clean ones, of one size and with labels.
    """

    def __init__(self, folder: Path, images: ImageSet) -> None:
        assert images.image_size is not None
        self._folder, self._images, self._count = folder, images, len(images)
        self._row = (*images.image_size, images.channels)
        self._file: BinaryIO | None = None
        self._path = folder
        self._start = self._size = 0  # bytes before the first row, and altogether
        self._next = dict.fromkeys(SEVERITIES, 0)

    def begin(self, corruption: str, done: int) -> int:
        """See `Copy`."""
        self._path = self._folder / f"{corruption}.npy.part"
        header = io.BytesIO()
        shape = (len(SEVERITIES) * self._count, *self._row)
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        self._start = len(header.getvalue())
        self._size = self._start + int(np.prod(shape))
        with disk_errors(self._path, self._size):
            whole = self._path.is_file() and self._path.stat().st_size == self._size
            self._file = self._path.open("r+b" if whole else "w+b")
            if not whole:
                self._file.write(header.getvalue())
                self._file.truncate(self._size)  # no room is taken yet
        done = done if whole else 0
        self._next = dict.fromkeys(SEVERITIES, done)
        return done

    def write(self, severity: int, positions: Int64[Tensor, "batch"], pixels: Pixels) -> None:
        """See `Copy`. Raises `InputError` where an image is missing: every row of the array is one."""
        assert self._file is not None
        first = self._next[severity]
        if not torch.equal(positions, torch.arange(first, first + len(positions))):
            raise self._gap()
        self._next[severity] += len(positions)
        rows = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        place = (severity - 1) * self._count + first
        with disk_errors(self._path, self._size):
            self._file.seek(self._start + place * rows[0].nbytes)
            self._file.write(rows.data)

    def settle(self) -> None:
        """See `Copy`."""
        assert self._file is not None
        with disk_errors(self._path, self._size):
            self._file.flush()
            os.fsync(self._file.fileno())

    def finish(self) -> dict[str, Any]:
        """See `Copy`. Raises `InputError` where an image is missing."""
        if any(place < self._count for place in self._next.values()):
            raise self._gap()
        self.settle()
        self.close()
        final = self._path.with_suffix("")
        with disk_errors(final):
            self._path.replace(final)
        return {final.name: described(final, len(SEVERITIES) * self._count)}

    def close(self) -> None:
        """See `Copy`."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written has been said by then
                self._file.close()
            self._file = None

    def _gap(self) -> InputError:
        first = min(self._images.bad, default="")
        return InputError(
            f"images that cannot be read have no row in an array: remove them, or choose --layout imagenet-c ({first})"
        )

    def labels(self) -> dict[str, Any]:
        """labels.npy (five times the same, as published), and index.npy where it is not 0 .. n - 1."""
        found = {"labels.npy": self._images.labels.repeat(len(SEVERITIES))}
        if not torch.equal(self._images.index, torch.arange(self._count)):
            found["index.npy"] = self._images.index
        for name, numbers in found.items():
            with replacing(self._folder / name, numbers.nbytes) as file:
                np.save(file, numbers.numpy(), allow_pickle=False)
        return {name: described(self._folder / name, len(numbers)) for name, numbers in found.items()}


class FolderCopy:
    """NAME/SEVERITY/CLASS/file.JPEG.

    Args:
        folder: where they go.
        names: CLASS/file.JPEG of each image.
        severities: the parts of each corruption.
        quality: of the JPEG files; colours at half the resolution (4:2:0), as in the published set.
    """

    def __init__(self, folder: Path, names: Sequence[str], severities: Sequence[int], quality: int) -> None:
        self._folder, self._names, self._severities, self._quality = folder, names, severities, quality
        self._made: set[Path] = set()
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count())
        self._waiting: list[Future[None]] = []
        self._home = folder

    def begin(self, corruption: str, done: int) -> int:
        """See `Copy`."""
        self._home = self._folder / corruption
        return done if self._home.is_dir() else 0

    def write(self, severity: int, positions: Int64[Tensor, "batch"], pixels: Pixels) -> None:
        """See `Copy`. One batch is encoded while the next is corrupted."""
        self._wait()
        for position, image in zip(positions.tolist(), pixels.permute(0, 2, 3, 1).contiguous().numpy(), strict=True):
            path = self._home / str(severity) / self._names[position]
            if path.parent not in self._made:
                with disk_errors(path.parent):
                    path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            self._waiting.append(self._pool.submit(self._save, path, image))

    def _save(self, path: Path, image: np.ndarray) -> None:
        data = io.BytesIO()
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture.save(data, "JPEG", quality=self._quality)
        temporary = path.with_name(hidden_name(path.name))
        with disk_errors(path):
            temporary.write_bytes(data.getbuffer())
            temporary.replace(path)

    def _wait(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.result()

    def settle(self) -> None:
        """See `Copy`."""
        self._wait()
        if hasattr(os, "sync"):
            os.sync()  # once for thousands of files, where an fsync of each would take longer than corrupting it

    def finish(self) -> dict[str, Any]:
        """See `Copy`."""
        self.settle()
        parts = {f"{self._home.name}/{severity}": self._home / str(severity) for severity in self._severities}
        return {name: {"images": _count(part)} for name, part in parts.items()}

    def labels(self) -> dict[str, Any]:
        """See `Copy`: nothing, the folders are named by the classes."""
        return {}

    def close(self) -> None:
        """See `Copy`."""
        self._pool.shutdown(cancel_futures=True)


def described(path: Path, images: int) -> dict[str, Any]:
    """What the manifest says of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"images": images, "bytes": path.stat().st_size, "sha256": digest}


def _count(folder: Path) -> int:
    return sum(not name.startswith(".") for _, _, names in os.walk(folder) for name in names)
