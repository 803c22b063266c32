"""The index of shards: where every sample lies, so that nobody walks through them twice.

`index.safetensors` stands beside the shards of a folder. Its columns are mapped, not read: neither the time to start
nor memory grows with the number of shards. Where none is there, shards are walked through once and it is written,
beside them or, where that is not allowed, into the user's cache folder.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from weatherproof.data.packed.storage import LocalFiles, Storage, above, name_in
from weatherproof.data.packed.tar import NO_LABEL, ODD_LABEL, Samples, walk
from weatherproof.errors import InputError
from weatherproof.files import disk_errors, own_cache, write_atomically
from weatherproof.names import printable
from weatherproof.progress import phase

NAME = "index.safetensors"
_FORMAT = "weatherproof shards 2"
_EARLIER = ("weatherproof shards 1",)  # without a number for keys that are none: counted anew
_COLUMNS = tuple(field.name for field in fields(Samples))
# What the table has of every shard: bytes of the file, samples, those without an image or with an odd label, those
# without a label, the largest label, the first and the last image's number, and whether they rise all the way.
BYTES, COUNT, FAULTY, UNLABELLED, TOP, FIRST, LAST, RISING = range(8)
_WIDTH = 8


@dataclass(frozen=True, eq=False)
class Index:
    """Samples of several shards, one shard after the other.

    Args:
        names: of the shards, sorted; without their folder.
        table: int64 [shards, 8], as above.
        columns: offset, length, label and number of every sample (see `tar.Samples`): int64 [samples] each.
        distinct: whether it is known that no two samples have the same number.
    """

    names: tuple[str, ...]
    table: Tensor
    columns: Mapping[str, Tensor]
    distinct: bool

    @property
    def first(self) -> Tensor:
        """Where the samples of each shard begin, and where the last one's end: int64 [shards + 1]."""
        return torch.cat([torch.zeros(1, dtype=torch.int64), self.table[:, COUNT].cumsum(0)])

    def take(self, names: Sequence[str]) -> "Index":
        """These shards alone, in this order. Neighbours share memory with the whole."""
        place = {name: i for i, name in enumerate(self.names)}
        rows = torch.tensor([place[name] for name in names], dtype=torch.int64)
        first, table = self.first, self.table[rows]
        if len(rows) and torch.equal(rows, torch.arange(int(rows[0]), int(rows[0]) + len(rows))):
            part = slice(int(first[rows[0]]), int(first[rows[-1] + 1]))
            own = {name: column[part] for name, column in self.columns.items()}
            return Index(tuple(names), table, own, self.distinct)
        parts = [slice(int(first[row]), int(first[row + 1])) for row in rows.tolist()] or [slice(0)]
        own = {name: torch.cat([column[part] for part in parts]) for name, column in self.columns.items()}
        return Index(tuple(names), table, own, self.distinct)


def joined(parts: Sequence[Index]) -> Index:
    """Several indices, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Index(
        tuple(name for part in parts for name in part.names),
        torch.cat([part.table for part in parts]),
        {name: torch.cat([part.columns[name] for part in parts]) for name in _COLUMNS},
        distinct=False,
    )


def _rising(table: Tensor) -> bool:
    """Whether the numbers rise within every shard, and from one shard to another: then no two are the same."""
    table = table[table[:, COUNT] > 0]
    if not bool((table[:, RISING] == 1).all()):
        return False
    table = table[table[:, FIRST].argsort()]
    return bool((table[1:, FIRST] > table[:-1, LAST]).all())


def doubled(index: Index) -> Tensor:
    """The places of the samples whose number another one has, too. All numbers are read where nobody did so before."""
    if index.distinct or _rising(index.table):
        return torch.zeros(0, dtype=torch.int64)
    number, order = index.columns["number"].sort()
    same = number[1:] == number[:-1]
    return torch.cat([order[1:][same], order[:-1][same]]).unique()


def index_of(storage: Storage, paths: Sequence[str]) -> Index:
    """The index of these shards, which lie in one folder, in this order.

    Raises:
        InputError: a shard cannot be read, or the index beside them does not fit.
    """
    folder, names = above(paths[0]), [name_in(path) for path in paths]
    sizes = {name: storage.size(path) for name, path in zip(names, paths, strict=True)}
    beside = _beside(storage, folder)
    if beside is not None:
        _require_fit(beside, sizes, folder)
    known = beside or _still_true(_read_own(_cached(storage.where(folder))), sizes)
    there = {*known.names} if known is not None else set()
    missing = [(name, path) for name, path in zip(names, paths, strict=True) if name not in there]
    if known is not None and not missing:
        return known.take(names)
    whole = joined([*([] if known is None else [known]), _counted(storage, missing, sizes)])
    whole = _looked_over(whole.take(sorted(whole.names)))
    _keep(storage, folder, whole)
    return whole.take(names)


def _still_true(index: Index | None, sizes: Mapping[str, int]) -> Index | None:
    """Without the shards that are no longer as long as the index says."""
    if index is None:
        return None
    known = zip(index.names, index.table[:, BYTES].tolist(), strict=True)
    return index.take([name for name, size in known if sizes.get(name, size) == size])


def _require_fit(index: Index, sizes: Mapping[str, int], folder: str) -> None:
    for name, expected in zip(index.names, index.table[:, BYTES].tolist(), strict=True):
        if sizes.get(name, expected) != expected:
            raise does_not_fit(folder, f"{printable(name)} has {sizes[name]:,} bytes, and {expected:,} there")


def does_not_fit(folder: str, reason: str) -> InputError:
    """The error of an index that belongs to other shards."""
    return InputError(
        f"the index of the shards in {printable(folder) or '.'} does not fit them: {reason}; they were changed since, "
        f"delete {NAME} there to have them counted anew"
    )


def _counted(storage: Storage, shards: Sequence[tuple[str, str]], sizes: Mapping[str, int]) -> Index:
    """Walk through these shards."""

    def count(shard: tuple[str, str]) -> Samples:
        name, path = shard
        with storage.open(path) as file:
            samples = walk(file, path, sizes[name])
        meter.advance()
        return samples

    with (
        phase("counting the samples of shards", len(shards), "shards") as meter,
        ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
    ):
        found = list(pool.map(count, shards))
    table = np.array([_row(part, sizes[name]) for part, (name, _) in zip(found, shards, strict=True)], np.int64)
    columns = {name: torch.from_numpy(np.concatenate([getattr(part, name) for part in found])) for name in _COLUMNS}
    names = tuple(name for name, _ in shards)
    return Index(names, torch.from_numpy(table.reshape(-1, _WIDTH)), columns, distinct=False)


def _looked_over(index: Index) -> Index:
    return replace(index, distinct=len(doubled(index)) == 0)


def _row(samples: Samples, size: int) -> list[int]:
    numbers, labels = samples.number, samples.label
    good = (samples.length >= 0) & (labels != ODD_LABEL)
    rising = bool((numbers[1:] > numbers[:-1]).all())
    ends = (int(numbers[0]), int(numbers[-1])) if len(numbers) else (0, 0)
    unlabelled, top = int((good & (labels == NO_LABEL)).sum()), int(labels.max(initial=NO_LABEL))
    return [size, len(numbers), int((~good).sum()), unlabelled, top, *ends, int(rising)]


# files


def _beside(storage: Storage, folder: str) -> Index | None:
    path = f"{folder}/{NAME}" if folder else NAME
    if isinstance(storage, LocalFiles):
        return _read(Path(path)) if Path(path).exists() else None
    if not storage.exists(path):
        return None
    copy = _cached(storage.where(path))
    content = storage.read(path, 0, storage.size(path))  # mapped from here, so that it need not lie in memory
    if not copy.is_file() or copy.read_bytes() != content:
        _write_shared(copy, content)
    return _read(copy)


def _cached(where: str) -> Path:
    """Where the index of a folder lies that cannot be written to."""
    return own_cache() / "shards" / f"{hashlib.sha256(os.fsencode(where)).hexdigest()[:32]}.safetensors"


def _keep(storage: Storage, folder: str, index: Index) -> None:
    content = _bytes(index)
    if isinstance(storage, LocalFiles) and os.access(folder or ".", os.W_OK):
        try:
            _write_shared(Path(folder) / NAME, content)
            return
        except InputError:  # a full disk, or one that only seems writable
            pass
    try:
        _write_shared(_cached(storage.where(folder)), content)
    except InputError:
        return  # then they are counted again the next time


def _write_shared(path: Path, content: bytes) -> None:
    """Write a file that several processes may be about to write."""
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_atomically(own, content)
    with disk_errors(path):
        own.replace(path)


def write_index(folder: Path, names: Sequence[str]) -> Index:
    """Walk through these shards of a folder and write their index beside them."""
    storage = LocalFiles()
    sizes = {name: storage.size(str(folder / name)) for name in names}
    index = _looked_over(_counted(storage, [(name, str(folder / name)) for name in sorted(names)], sizes))
    write_atomically(folder / NAME, _bytes(index))
    return index


def _bytes(index: Index) -> bytes:
    tensors = {name: tensor.contiguous() for name, tensor in [*index.columns.items(), ("table", index.table)]}
    about = {"format": _FORMAT, "names": json.dumps(list(index.names)), "distinct": json.dumps(index.distinct)}
    return save(tensors, about)


def _read_own(path: Path) -> Index | None:
    """An index of the cache; None where there is none that can be read."""
    try:
        return _read(path) if path.is_file() else None
    except InputError:
        return None


def _read(path: Path) -> Index | None:
    """An index file, its columns mapped; None for one of an earlier version, which is to be made anew.

    Raises:
        InputError: it is none, or its parts do not belong together.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") in _EARLIER:
                return None
            if about.get("format") != _FORMAT or {*file.keys()} != {*_COLUMNS, "table"}:
                raise ValueError("it was not written for shards")
            names, table = json.loads(about["names"]), file.get_tensor("table")
            distinct = json.loads(about["distinct"]) is True
            columns = {name: file.get_tensor(name) for name in _COLUMNS}
        _require_sound(names, table, columns)
    except Exception as error:  # whatever a damaged or foreign file makes of its readers
        raise InputError(
            f"{printable(path)} is no index of shards that can be read ({error}): delete it to have them counted anew"
        ) from None
    return Index(tuple(names), table, columns, distinct)


def _require_sound(names: Any, table: Tensor, columns: Mapping[str, Tensor]) -> None:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise ValueError("its names are no list of different names")
    if table.dtype != torch.int64 or table.shape != (len(names), _WIDTH) or bool((table[:, :FIRST] < -1).any()):
        raise ValueError(f"a table of {table.dtype} {list(table.shape)}")
    count = int(table[:, COUNT].sum())
    if bool((table[:, COUNT] < 0).any()):
        raise ValueError("a shard of fewer than no samples")
    for name, column in columns.items():
        if column.dtype != torch.int64 or column.shape != (count,):
            raise ValueError(f"a column {name} of {column.dtype} {list(column.shape)}")
