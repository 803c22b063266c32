"""`shards:PATTERN`: images in WebDataset tar files."""

import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from weatherproof import random
from weatherproof.data.folders import HELD_OUT
from weatherproof.data.layout import MANIFEST, SPLIT_FOLDERS, role_of
from weatherproof.data.packed.images import Packed, held_out_by
from weatherproof.data.packed.index import (
    COUNT,
    FAULTY,
    TOP,
    UNLABELLED,
    Index,
    does_not_fit,
    doubled,
    index_of,
    joined,
)  # fmt: skip
from weatherproof.data.packed.storage import Storage, above, name_in, storage_of
from weatherproof.data.packed.tar import (
    HEADER,
    LARGEST,
    LARGEST_NUMBER,
    NO_LABEL,
    ODD_LABEL,
    may_be,
    member_in,
    number_of,
)
from weatherproof.errors import InputError, shown
from weatherproof.names import printable
from weatherproof.texts import LONGEST, Malformed, parse_json

HELD_OUT_SPLITS = ("train", "test", "val", "validation")  # what a source without splits is parted into
FORMAT = "webdataset"
_MANIFEST = 1 << 26  # bytes
NO_IMAGE = "no image among its files"
NO_CLASS = "its class (cls, or label in json) is no whole number from 0 to 1,048,575"
UNNAMED = "no class (cls, or label in json), which others have"


@dataclass(frozen=True, eq=False)
class Shards:
    """The images of tar files: a `Pack`.

    Args:
        storage: where they lie.
        paths: of the files, in order.
        first: where each one's samples begin, and where the last one's end.
        offset: int64 [n], where an image's bytes begin.
        length: int64 [n], how many they are.
        number: int64 [n], of its key (`number_of`).
    """

    storage: Storage
    paths: tuple[str, ...]
    first: Tensor
    offset: Tensor
    length: Tensor
    number: Tensor

    def size(self, place: int) -> int:
        """See `Pack`."""
        return int(self.length[place])

    def read(self, place: int) -> tuple[str, bytes]:
        """See `Pack`. The header in front of the image is read with it, and must be of this image."""
        return self._read(place, max(0, int(self.length[place])))

    def name(self, place: int) -> str:
        """See `Pack`."""
        return self._read(place, 0)[0]

    def _read(self, place: int, length: int) -> tuple[str, bytes]:
        path = self.paths[int(torch.searchsorted(self.first, place, right=True)) - 1]
        start, stated = int(self.offset[place]) - HEADER, int(self.length[place])
        content = self.storage.read(path, start, HEADER + length) if start >= 0 and stated <= LARGEST else b""
        name = member_in(content, stated)
        if name is None or len(content) != HEADER + length:
            raise does_not_fit(above(path), f"{printable(name_in(path))} has no image where it should be")
        if not may_be(name, int(self.number[place])):
            raise does_not_fit(above(path), f"{printable(name_in(path))} has {printable(name)} where another image was")
        return f"{path}/{name}", content[HEADER:]


def find_shards(text: str, split: str) -> Packed:
    """The images of one split of shards.

    Args:
        text: a pattern with globs and braces, or a folder of .tar files (or of folders with them), here or at an
            address that fsspec reads.
        split: see `load_images`. Shards whose names speak of splits (train-0000.tar, val/0000.tar) are those splits; of
            others, a fifth of the images is held out.

    Raises:
        InputError: no such shards or split, or shards that cannot be read.
    """
    storage, pattern = storage_of(text)
    folder = storage.is_folder(pattern)
    paths = _in_folder(storage, pattern) if folder else storage.find(pattern)
    missing = [path for path in paths if not folder and not storage.exists(path)]
    if not paths or len(missing) == len(paths) == 1:
        there = "this folder and those in it hold no .tar file" if folder else "no file or folder is called so"
        raise InputError(
            f"no shards {shown(text)}: {there}; expected .tar files, as their folder or as a pattern such as "
            "DIR/train-{000..099}.tar or DIR/*.tar (weatherproof shard IMAGES writes such)"
        )
    if missing:
        raise InputError(f"no shard {printable(missing[0])}: {len(missing)} of the {len(paths)} named by {shown(text)}")
    chosen, served = of_split(paths, split, text, pattern if folder else None)
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        by_folder.setdefault(above(path), []).append(path)
    whole = {inner: index_of(storage, own) for inner, own in by_folder.items()}
    home = pattern if folder else above(paths[0])
    facts = _manifest_facts(storage, home)
    classes = _classes(facts, max(int(index.table[:, TOP].max()) for index in whole.values()), home)
    named = {*paths} if chosen is None else {*chosen}
    mine = {inner: [path for path in own if path in named] for inner, own in by_folder.items()}
    index = joined([whole[inner].take(list(map(name_in, own))) for inner, own in mine.items() if own])
    if not int(index.table[:, COUNT].sum()):
        raise InputError(f"no images in {shown(text)}: its {len(named)} shards hold no samples (KEY.jpg, KEY.cls)")
    pack = Shards(
        storage, tuple(path for own in mine.values() for path in own), index.first, index.columns["offset"],
        index.columns["length"], index.columns["number"],
    )  # fmt: skip
    places, faulty = _usable(index)
    found = Packed(
        pack=pack,
        labels=index.columns["label"],
        index=_numbers(index, pack.paths),
        classes=classes,
        split=served,
        name=printable(name_in(storage.where(home))) or "shards",
        channels=facts.get("channels"),
        places=places,
        faulty=faulty,
    )
    address = text if "://" in text else os.path.abspath(pattern)  # noqa: PTH100 - a pattern is no path
    found = replace(found, again=partial(_again, address, split, _digest(index, found)))
    return found if chosen is not None else held_out_split(found, split, text)


@lru_cache(maxsize=2)
def _again(text: str, split: str, digest: str) -> Packed:
    """What another process has found: by this process's own look at shards and index, which it maps itself."""
    found = find_shards(text, split)
    if not isinstance(found.again, partial) or found.again.args[2] != digest:
        raise InputError(
            f"the shards {shown(text)} are not the same on {socket.gethostname()} as at the first process: every "
            "process reads them under the same path, and none may change while a job runs"
        )
    return found


def _digest(index: Index, packed: Packed) -> str:
    """Equal where the shards have the same names, lengths, images and classes."""
    digest = hashlib.sha256(index.table.numpy().tobytes())
    digest.update(json.dumps([int(column.sum()) for column in index.columns.values()]).encode())
    digest.update(json.dumps([index.names, packed.classes, packed.split]).encode())
    return digest.hexdigest()


def _in_folder(storage: Storage, folder: str) -> list[str]:
    return [path for pattern in ("*.tar", "*/*.tar") for path in storage.find_in(folder.rstrip("/") or "/", pattern)]


def of_split(paths: Sequence[str], split: str, text: str, root: str | None) -> tuple[list[str] | None, str]:
    """The files of a split, and which it is; None: their names speak of none, and it is drawn."""
    roles = {path: role_of(name_in(path)) or _role_above(path, root) for path in paths}
    named = {*roles.values()} - {None}
    if split == "all" or not named or named == {"train"}:
        if split not in (*HELD_OUT_SPLITS, "all"):
            raise InputError(f"{shown(text)} has no split {split!r}: the names of its files speak of none but train")
        return (list(paths) if split == "all" else None), split
    chosen = next((role for role in SPLIT_FOLDERS.get(split, ()) if role in named), None)
    if chosen is None:
        there = ", ".join(sorted(role for role in named if role))
        raise InputError(f"{shown(text)} has no split {split!r}: the names of its files speak of {there}")
    return [path for path in paths if roles[path] == chosen], chosen


def _role_above(path: str, root: str | None) -> str | None:
    """The split that the folder of a shard is: below the folder that was given by any name, else by the plain one."""
    folder = above(path)
    if root is not None:
        return None if folder.rstrip("/") == root.rstrip("/") else role_of(name_in(folder))
    return role_of(name_in(folder)) if name_in(folder) in SPLIT_FOLDERS else None


def _classes(manifest: Mapping[str, Any], top: int, folder: str) -> tuple[str, ...]:
    """The names behind the labels of all splits, of which `top` is the largest."""
    classes = tuple(manifest.get("classes", ()))
    if classes and len(classes) <= top:
        raise InputError(
            f"{MANIFEST} in {printable(folder) or '.'} names {len(classes)} classes, and the shards have label {top}: "
            "make both anew, or delete it to have classes called by their numbers"
        )
    return classes or tuple(map(str, range(top + 1)))


def _usable(index: Index) -> tuple[Tensor | None, dict[int, str]]:
    """The places of samples with an image, and with a label where others have one; None: all. And the reasons of the
    others. Of shards without any, nothing but their table is read."""
    count, faulty, bare = (int(index.table[:, what].sum()) for what in (COUNT, FAULTY, UNLABELLED))
    some_lack = 0 < bare < count - faulty
    if not faulty and not some_lack:
        return None, {}
    odd, none = index.columns["label"] == ODD_LABEL, index.columns["length"] < 0
    wrong = odd | none | (index.columns["label"] == NO_LABEL) if some_lack else odd | none
    places = wrong.nonzero().flatten().tolist()
    return (~wrong).nonzero().flatten(), {
        place: NO_IMAGE if none[place] else NO_CLASS if odd[place] else UNNAMED for place in places
    }


def _numbers(index: Index, paths: Sequence[str]) -> Tensor:
    """Each image's own number: that of its key, mixed with the path of its shard where several shards have the key."""
    number, places = index.columns["number"], doubled(index)
    if not len(places):
        return number
    number, folder = number.clone(), f"{os.path.commonpath([above(path) for path in paths])}/"
    shard = torch.searchsorted(index.first, places, right=True) - 1
    for at in shard.unique().tolist():
        own = places[shard == at]
        number[own] = random.fold(number[own], number_of(paths[at].removeprefix(folder))) & LARGEST_NUMBER
    return number


def held_out_split(packed: Packed, split: str, text: str) -> Packed:
    """The training or the test images of a source without splits."""
    places = torch.arange(len(packed.labels)) if packed.places is None else packed.places
    held = held_out_by(packed.index[places], HELD_OUT)
    places = places[held if split != "train" else ~held]
    if not len(places):
        raise InputError(
            f"the {split} split of {shown(text)} is empty: all images fell into the other one; add images, or name "
            "shards train-... and test-..."
        )
    return replace(packed, places=places)


def _manifest_facts(storage: Storage, folder: str) -> Mapping[str, Any]:
    """What `shard` says of the images: classes, channels."""
    path = f"{folder}/{MANIFEST}" if folder else MANIFEST
    if not storage.exists(path):
        return {}
    try:
        if storage.size(path) > _MANIFEST:
            raise Malformed(f"more than {_MANIFEST:,} bytes")
        found = parse_json(storage.read(path, 0, storage.size(path)).decode())
    except (ValueError, InputError) as error:
        raise InputError(f"{printable(path)} cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return {}  # of another program
    classes, channels = found.get("classes", []), found.get("channels", 3)
    if not _are_names(classes) or channels not in (1, 3):
        raise InputError(f"{printable(path)} does not say classes as a list of names, and channels as 1 or 3")
    return {"classes": classes, "channels": channels}


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and len(name) <= LONGEST for name in value)
