"""What files and weights are known by: the SHA-256 of a large file, computed once for as long as the file stays as it
is, and that of tensors."""

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.files import own_cache, write_atomically

_LARGE = 1 << 20  # bytes: smaller ones are read in less than a millisecond
_SETTLED = 2_000_000_000  # ns: file systems' clocks are no coarser (FAT), so an older file shows that it is written to


def sha256_of(path: Path) -> str:
    """What it is in hexadecimal digits.

    That of a large file is kept in `own_cache()`, with the file's size, inode and times of change, which must all be
    the same the next time.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    state = _state(path)
    note = own_cache() / "hashes" / hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    with suppress(OSError, ValueError):
        before, _, known = note.read_text("ascii").rpartition(" ")
        if before == state:
            return known
    began = time.time_ns()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stat = path.stat()
    settled = began - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED
    if stat.st_size >= _LARGE and settled and _state(path) == state:
        with suppress(InputError, OSError):  # of a disk that is full or refuses: it is computed the next time
            write_atomically(note, f"{state} {digest}")
    return digest


def add_tensors(digest: "hashlib._Hash", tensors: Mapping[str, Tensor]) -> None:
    """Names, types, shapes and bytes, in the order of the names."""
    for name, value in sorted(tensors.items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {[*plain.shape]}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)


def _state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
