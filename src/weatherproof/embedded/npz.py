"""Embeddings as npz: NumPy's own format, uncompressed, so that a reader may take rows from the middle."""

import io
import struct
import sys
import tokenize
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from weatherproof.embedded.about import KEY, About
from weatherproof.embedded.rows import Column, Rows, chunks
from weatherproof.errors import InputError

_CHUNK = 1 << 14  # images whose names are made at a time
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip knows: the same work gives the same bytes
_LOCAL = struct.Struct("<26xHH")  # of a zip's local header: how long its name and its extra field are
_LOCAL_SIZE = 30
_OF_A_DAMAGED_FILE = (
    zipfile.BadZipFile, OSError, EOFError, ValueError, struct.error, NotImplementedError, tokenize.TokenError,
    SyntaxError,
)  # fmt: skip
_HEADER = 4096  # bytes: far more than a header of numbers has


def write_npz(file: BinaryIO, rows: Rows, about: About) -> None:
    """Write a whole file, column by column: `numpy.load` reads it, without pickles."""
    places, small = rows.parts.places(), _small(rows)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _member(archive, KEY, np.array(about.to_json()))
        for name in rows.vectors():
            _vectors(archive, rows, name, len(places))
        for name, column in small.items():
            _member(archive, name, column)
        columns = _Columns(rows)
        for name, example in columns.of(places[:1].tolist()).items():
            made = (columns.of(some)[name] for some in chunks(places, _CHUNK))
            if isinstance(example, np.ndarray):
                _member(archive, name, np.concatenate([np.asarray(part) for part in made]))
            else:
                _texts(archive, columns, name, places, made)


class _Columns:
    """What a file says of images, which is asked for column by column: the last answer is kept."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._places = rows, list[int]()
        self._last: dict[str, Column] = {}

    def of(self, places: list[int]) -> dict[str, Column]:
        if not self._last or places != self._places:
            self._places, self._last = places, self._rows.origin.columns(places)
        return self._last


def _small(rows: Rows) -> dict[str, np.ndarray]:
    """What the gauge has said: a few numbers an image, in one pass over the parts."""
    if rows.kinds is None:
        return {}
    seen = [
        {n: c for n, c in rows.answer_columns(part).items() if n.startswith("gauge_")}
        for part in rows.parts
        if len(part)
    ]
    return {name: np.concatenate([np.asarray(own[name]) for own in seen]) for name in seen[0]}


def _vectors(archive: zipfile.ZipFile, rows: Rows, name: str, count: int) -> None:
    dtype = np.dtype(np.float32)
    with archive.open(_info(name), "w", force_zip64=True) as member:
        for at, part in enumerate(part for part in rows.parts if len(part)):
            own = part[name].numpy()
            if at == 0:
                dtype = own.dtype
                _head(member, dtype, (count, *own.shape[1:]))
            member.write(np.ascontiguousarray(own, dtype).data.cast("B"))


def _texts(archive: zipfile.ZipFile, columns: "_Columns", name: str, places: Any, made: Iterator[Any]) -> None:
    """Two passes: NumPy's texts are all as wide as the widest."""
    widest = max((len(text or "") for part in made for text in part), default=0)
    dtype = np.dtype(f"<U{max(1, widest)}")
    with archive.open(_info(name), "w", force_zip64=True) as member:
        _head(member, dtype, (len(places),))
        for some in chunks(places, _CHUNK):
            texts = columns.of(some)[name]
            member.write(np.array([text or "" for text in texts], dtype).tobytes())


def _member(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(_info(name), "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


def _info(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(f"{name}.npy", _EPOCH)


def _head(member: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)


class NpzFile:
    """Reads rows of columns, each mapped into memory when it is asked for.

    Raises:
        InputError: it is no npz, is cut off, or was not written by `embed`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            found = {name: self._mapped(info) for name, info in members.items()}
        except _OF_A_DAMAGED_FILE as error:
            raise self._damaged(error) from None
        about = found.pop(KEY, np.array(""))
        if about.dtype.kind == "U":
            self._check_text(about)
        self.about = str(about) if about.shape == () and about.dtype.kind == "U" else ""
        self.columns, self._found = tuple(found), found
        lengths = {len(array) if array.ndim else -1 for array in found.values()}
        if len(lengths) > 1:
            raise self._damaged("columns of different lengths")
        self._rows = lengths.pop() if lengths else 0

    def __len__(self) -> int:
        return self._rows

    def read(self, column: str, start: int, stop: int) -> np.ndarray | list[Any]:
        """Rows start .. stop - 1: an array, of a vector [n, numbers]; texts as a list, None where there is none."""
        own = self._found[column][start:stop]
        if own.dtype.kind == "U":
            self._check_text(own)
            return [str(text) or None for text in own.tolist()]
        return np.array(own).reshape(len(own), -1) if own.ndim > 1 else np.array(own)

    def _check_text(self, texts: np.ndarray) -> None:
        letters = np.ascontiguousarray(texts).reshape(-1).view(np.uint32) if texts.dtype.itemsize else np.zeros(0)
        if letters.size and int(letters.max()) > sys.maxunicode:
            raise self._damaged("it holds a text of no letters")

    def _mapped(self, info: zipfile.ZipInfo) -> np.ndarray:
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("it is compressed")
        with self.path.open("rb") as file:
            file.seek(info.header_offset)
            name, extra = _LOCAL.unpack(file.read(_LOCAL_SIZE))
            start = info.header_offset + _LOCAL_SIZE + name + extra
            file.seek(start)
            head = io.BytesIO(file.read(min(_HEADER, info.file_size)))
            if np.lib.format.read_magic(head) != (1, 0):
                raise ValueError("an array of another version")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
            size = int(np.prod(shape, dtype=object)) * dtype.itemsize
            file.seek(0, io.SEEK_END)
            if dtype.kind not in "Ufib" or fortran or head.tell() + size != info.file_size:
                raise ValueError(f"{info.filename} is no array of numbers or texts")
            if start + info.file_size > file.tell():
                raise ValueError("it ends too early")
        if not size:
            return np.zeros(shape, dtype)
        return np.memmap(self.path, dtype, "r", start + head.tell(), shape)

    def _damaged(self, error: object) -> InputError:
        return InputError(f"{self.path} cannot be read as npz, is it cut off? Embed the images again ({error})")
