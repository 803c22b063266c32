"""Embeddings as Parquet: fixed-size lists, a group of rows at a time."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from weatherproof.embedded.about import KEY, About
from weatherproof.embedded.rows import VECTORS, Column, Rows
from weatherproof.errors import InputError
from weatherproof.names import utf8

ELEMENT = "list.element"  # what Parquet calls the numbers in a list


def arrow() -> tuple[Any, Any]:
    """pyarrow, and its Parquet. Raises `InputError` where it is not there."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise InputError(
            "pyarrow is not installed: pip install 'weatherproof[embed]', or write a .npz, which needs nothing more"
        ) from None
    return pa, pq


def write_parquet(file: BinaryIO, rows: Rows, about: About) -> None:
    """Write a whole file, group of rows by group of rows."""
    write_table(file, rows, {KEY: about.to_json()})


def write_table(file: BinaryIO, groups: "Rows | Iterator[Mapping[str, Column]]", notes: Mapping[str, str]) -> None:
    """A Parquet file of groups of rows, with this metadata. Vectors are not compressed, which gains nothing."""
    pa, pq = arrow()
    writer = None
    metadata = {name: utf8(text) for name, text in notes.items()}
    try:
        for columns in groups:
            table = pa.table({name: _array(pa, column) for name, column in columns.items()})
            if writer is None:
                texts = [name for name, column in columns.items() if not isinstance(column, np.ndarray)]
                pressed = {n: "SNAPPY" for n in columns if n not in VECTORS}
                pressed |= {f"{n}.{ELEMENT}": "NONE" for n in VECTORS if n in columns}
                writer = pq.ParquetWriter(
                    file, table.schema.with_metadata(metadata), compression=pressed, use_dictionary=texts,
                    write_page_checksum=True,
                )  # fmt: skip
            writer.write_table(table.cast(writer.schema.remove_metadata()), row_group_size=max(1, len(table)))
    finally:
        if writer is not None:
            writer.close()


def _array(pa: Any, column: Column) -> Any:
    if not isinstance(column, np.ndarray):
        return pa.array(column, pa.string())
    if column.ndim == 1:
        return pa.array(column)
    return pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), math.prod(column.shape[1:]))


class ParquetFile:
    """Reads rows of columns; of each column that is asked for, one group of rows is held.

    Raises:
        InputError: it is no Parquet file, is cut off, or was not written by `embed`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _, pq = arrow()
        with self._errors():
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            metadata = self._file.schema_arrow.metadata or {}
            count = self._file.metadata.num_row_groups
            sizes = [self._file.metadata.row_group(i).num_rows for i in range(count)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.about = metadata.get(KEY.encode(), b"").decode(errors="replace")
        self.columns = tuple(self._file.schema_arrow.names)
        self._kept: dict[str, tuple[int, Any]] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, column: str, start: int, stop: int) -> np.ndarray | list[Any]:
        """Rows start .. stop - 1: an array, of a vector [n, numbers]; texts as a list."""
        groups = range(
            int(np.searchsorted(self._starts, start, "right")) - 1, int(np.searchsorted(self._starts, stop, "left"))
        )
        found = []
        for number in groups:
            first = int(self._starts[number])
            found.append(self._group(column, number)[max(0, start - first) : stop - first])
        if found and isinstance(found[0], np.ndarray):
            return found[0] if len(found) == 1 else np.concatenate(found)
        return [text for part in found for text in part]

    def _group(self, column: str, number: int) -> Any:
        if self._kept.get(column, (None,))[0] != number:
            self._kept.pop(column, None)
            with self._errors():
                own = self._file.read_row_group(number, columns=[column], use_threads=False)[column].combine_chunks()
            if len(own) != self._starts[number + 1] - self._starts[number]:
                raise InputError(f"{self.path} cannot be read as Parquet, is it cut off? Embed the images again")
            self._kept[column] = (number, self._plain(column, own))
        return self._kept[column][1]

    def _plain(self, column: str, own: Any) -> Any:
        pa, _ = arrow()
        if pa.types.is_fixed_size_list(own.type):
            numbers = own.flatten()
            if numbers.null_count or len(numbers) != len(own) * own.type.list_size:
                raise InputError(f"{self.path} holds no numbers in some rows of {column!r}: write it again")
            return numbers.to_numpy(zero_copy_only=False).reshape(len(own), own.type.list_size)
        if pa.types.is_dictionary(own.type):
            own = own.dictionary_decode()
        if pa.types.is_string(own.type) or pa.types.is_large_string(own.type) or pa.types.is_string_view(own.type):
            return own.to_pylist()
        return own.to_numpy(zero_copy_only=False)

    def _errors(self) -> "_Errors":
        return _Errors(self.path)


class _Errors:
    """Inside, what Arrow says of a damaged file is an `InputError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        pa, _ = arrow()
        if isinstance(error, pa.ArrowException | OSError) and not isinstance(error, InputError):
            raise InputError(
                f"{self.path} cannot be read as Parquet, is it cut off? Embed the images again ({error})"
            ) from None
