"""WebDataset shards: tar files in which the files of a sample lie side by side and share a key.

    000017.jpg  000017.cls      the image and its class, a whole number as text
    000018.png  000018.json     ... or {"label": 3} (or "cls")

Key and ending part at the first dot of a file's own name, as in WebDataset (Aizman, Maltby & Breuel 2019). Nothing is
ever unpacked to a disk: a shard is walked through header by header once, and then read at the places that were found.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from weatherproof.data.folders import EXTENSIONS
from weatherproof.errors import InputError
from weatherproof.names import printable

HEADER = tarfile.BLOCKSIZE  # bytes of a header, right before what it describes
LARGEST = 1 << 30  # bytes of one image: no decoder would get through more
NO_LABEL, ODD_LABEL = -1, -2  # in the column of labels: there is none; there is one that is no class
MOST_CLASSES = 1 << 20
LARGEST_NUMBER = (1 << 63) - 1  # of an image: int64
_NAME = 100  # bytes of a name in a header
_DIGITS = 100  # of a key that is a number, in the longest name of a file
_NOTE = 1 << 20  # bytes of a cls or json that is looked into
_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
)

Column = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, eq=False)
class Samples:
    """What a shard holds, sample by sample in its order.

    Args:
        offset: where the image's bytes begin; of a sample without an image, its first file's.
        length: bytes of the image; -1 where there is none.
        label: the class, `NO_LABEL` or `ODD_LABEL`.
        number: the image's own, made of its key (`number_of`).
    """

    offset: Column
    length: Column
    label: Column
    number: Column


@dataclass
class _Sample:
    key: str
    endings: set[str]
    first: int
    image: tuple[int, int, str] | None = None
    label: int = NO_LABEL


def walk(file: BinaryIO, path: str, size: int) -> Samples:
    """Walk through a shard.

    Args:
        size: of the file, in bytes.

    Raises:
        InputError: it is no whole tar file, is compressed, or holds a key twice.
    """
    start = file.read(8)
    file.seek(0)
    for magic, kind in _PACKED:
        if start.startswith(magic):
            raise InputError(
                f"{printable(path)} is compressed ({kind}): no sample in it can be found without unpacking all before "
                "it; unpack it to a plain .tar (images are compressed by themselves)"
            )
    if size == 0:
        raise InputError(f"{printable(path)} is empty: no tar file, make it again")
    rows: list[tuple[int, int, int, int]] = []
    keys: dict[int, str] = {}
    for sample in _samples(file, path, size):
        number = number_of(sample.key)
        if number in keys:
            other = "" if keys[number] == sample.key else f" ({printable(keys[number])!r} is the same number)"
            raise InputError(
                f"{printable(path)} holds key {printable(sample.key)!r} twice{other}: the files of a sample lie side "
                "by side, under a key of its own; make it again, or leave it out"
            )
        keys[number] = sample.key
        offset, length, _ = sample.image or (sample.first, -1, "")
        rows.append((offset, length, sample.label, number))
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return Samples(*(np.ascontiguousarray(column) for column in columns))


def _samples(file: BinaryIO, path: str, size: int) -> Iterator[_Sample]:
    sample: _Sample | None = None
    for member in _members(file, path, size):
        parted = split_name(member.name)
        if parted is None:
            continue
        key, ending = parted
        if sample is None or sample.key != key or ending in sample.endings:
            if sample is not None:
                yield sample
            sample = _Sample(key, set(), member.offset_data)
        sample.endings.add(ending)
        if ending in ("cls", "json"):
            label = _label(_content(file, member), ending)
            sample.label = label if label != NO_LABEL else sample.label
        elif f".{ending.rpartition('.')[2]}" in EXTENSIONS and member.size <= LARGEST:
            found = (member.offset_data, member.size, ending)
            if sample.image is None or ("." in sample.image[2] and "." not in ending):  # 1.jpg before 1.mask.png
                sample.image = found
    if sample is not None:
        yield sample


def _members(file: BinaryIO, path: str, size: int) -> Iterator[tarfile.TarInfo]:
    """The regular files in a tar, whole ones only. Links, folders and devices are passed over."""
    last = ""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # or they would all be kept
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                last = member.name
                if member.isreg() and member.sparse is None:
                    yield member
            end = tar.offset
    except (tarfile.TarError, OverflowError, ValueError, MemoryError) as error:
        if not last:
            raise InputError(f"{printable(path)} is no tar file that can be read: {error}") from None
        raise _cut(path, last, str(error)) from None
    file.seek(end)
    rest = file.read(HEADER)
    if rest != bytes(HEADER):
        what = "no header follows" if len(rest) == HEADER else "it ends without the empty block of a whole tar file"
        raise _cut(path, last, what)


def _cut(path: str, last: str, reason: str) -> InputError:
    return InputError(
        f"{printable(path)} is cut off or damaged after {printable(last)!r} ({reason}): copy or make it again, or "
        "leave it out of the pattern"
    )


def split_name(name: str) -> tuple[str, str] | None:
    """Key and ending of a file in a shard; None where it has none, or is hidden."""
    folder, slash, own = name.removeprefix("./").rpartition("/")
    stem, dot, ending = own.partition(".")
    return (f"{folder}{slash}{stem}", ending.lower()) if stem and dot and ending else None


def _content(file: BinaryIO, member: tarfile.TarInfo) -> bytes | None:
    """What a small file holds; the place in the tar stays."""
    if member.size > _NOTE:
        return None
    here = file.tell()
    file.seek(member.offset_data)
    content = file.read(member.size)
    file.seek(here)
    return content


def _label(content: bytes | None, ending: str) -> int:
    """The class that a cls or a json names; a json may name none."""
    if content is None:
        return ODD_LABEL if ending == "cls" else NO_LABEL
    try:
        found: Any = int(content[:32]) if ending == "cls" else json.loads(content)
    except (ValueError, RecursionError):
        return ODD_LABEL
    if ending == "json":
        found = next((found[k] for k in ("label", "cls") if k in found), None) if isinstance(found, dict) else None
        if found is None:
            return NO_LABEL
    right = isinstance(found, int) and not isinstance(found, bool) and 0 <= found < MOST_CLASSES
    return found if right else ODD_LABEL


def number_of(key: str) -> int:
    """The number of an image, from 0 to 2^63 - 1: its key where that is such a number, else 63 bits of the key's hash
    (BLAKE2b).

    >>> number_of("000017"), number_of("beach/000017")
    (17, 9113085777855147443)
    """
    if key.isascii() and key.isdecimal() and len(key) <= _DIGITS and (number := int(key)) <= LARGEST_NUMBER:
        return number
    return int.from_bytes(hashlib.blake2b(os.fsencode(key), digest_size=8).digest(), "big") & LARGEST_NUMBER


def may_be(name: str, number: int) -> bool:
    """Whether the file of this name, as a header has it, may be of the sample with this number. Of a name that is only
    partly there (a hundred bytes of a longer one, "?" for what is not ASCII) nobody knows."""
    if len(os.fsencode(name)) >= _NAME or "?" in name:
        return True
    parted = split_name(name)
    return parted is not None and number_of(parted[0]) == number


def member_in(block: bytes, length: int) -> str | None:
    """The name of the file that begins after a header block and has this length (-1: any); None: there is no such
    header. A fifth of the time that `tarfile` takes to read all of it."""
    header = block[:HEADER]
    try:
        if len(header) < HEADER or _field(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
            return None
        if length >= 0 and _field(header[124:136]) != length:
            return None
    except ValueError:
        return None
    name = header[:_NAME].partition(b"\0")[0]
    if header[345] and header[257:263] == b"ustar\0":  # POSIX.1-1988: the rest of a long name
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return name.decode(errors="surrogateescape")


def _field(field: bytes) -> int:
    """A number in a header: octal, or what GNU's tar writes where that is too short."""
    return int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field.strip(b" \0") or b"0", 8)
