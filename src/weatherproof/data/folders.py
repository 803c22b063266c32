"""Folders of images: which files there are, which class each belongs to, and which split.

    DIR/train/CLASS/*.jpg, DIR/test/CLASS/*.jpg     split folders (val, validation for test), with class folders
    DIR/train/*.jpg, DIR/test/*.jpg                 ... or flat: no labels
    DIR/CLASS/*.jpg                                 class folders alone: a fifth is held out as the test split
    DIR/*.jpg                                       flat: no labels, a fifth held out

Files are in sorted order, links are followed, hidden files and other kinds of files are passed over.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from warnings import warn

import torch
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.names import printable

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
HELD_OUT = 0.2  # of a folder without split folders: the share of scikit-learn's digits that is held out, too
SPLIT_FOLDERS = {  # which folders may hold a split, the best first
    "train": ("train",),
    "test": ("test", "val", "validation"),
    "val": ("val", "validation", "test"),
    "validation": ("validation", "val", "test"),
    "unlabeled": ("unlabeled",),
}


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of one split: int64 labels (-1 for none) and index, and the split's name as the folder has it. Paths
    keep the bytes of their names, classes are `printable`."""

    paths: list[str]
    labels: Tensor
    index: Tensor
    classes: tuple[str, ...]
    split: str


def list_folder(root: Path, split: str, classes: Sequence[str] | None = None) -> Listing:
    """The images of one split of a folder.

    A class is a folder that holds an image in any split, so that a label means the same in all of them. Without split
    folders, a file is held out when the hash of its relative path says so: a new file never moves another one.

    Args:
        split: "train", "test" ("val"), "unlabeled", or "all" for a whole folder that has no split folders.
        classes: read these class folders only; the label is the position here. None: all, sorted.

    Raises:
        InputError: no such folder, no such split, no image, or a class of `classes` is missing.
    """
    parts = _split_folders(check_folder(root))
    if not parts:
        if split not in ("train", "test", "val", "validation", "all"):
            raise InputError(
                f"{root} has no split {split!r}: it has no split folders, so there are train, test and all"
            )
        listing = _list(root, [root], split, classes)
        if split == "all":
            return listing
        held = torch.tensor([_is_held_out(os.path.relpath(path, root)) for path in listing.paths])
        return _select(listing, held if split != "train" else ~held, root)
    chosen = next((name for name in SPLIT_FOLDERS.get(split, ()) if name in parts), None)
    if chosen is None:
        wanted = " or ".join(f"{name}/" for name in SPLIT_FOLDERS.get(split, ())) or "train, test or val"
        raise InputError(f"{root} has no split {split!r}: expected {wanted}, found {', '.join(f'{n}/' for n in parts)}")
    labelled = [path for name, path in parts.items() if name != "unlabeled"]
    return _list(parts[chosen], labelled, chosen, classes)


def check_folder(root: Path) -> Path:
    """The folder itself. Raises `InputError` where there is none."""
    if not root.exists():
        raise InputError(f"no folder {str(root)!r}: expected a folder of images")
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is a file: expected a folder of images")
    return root


def _select(listing: Listing, chosen: Tensor, root: Path) -> Listing:
    positions = chosen.nonzero().flatten()
    if not len(positions):
        raise InputError(
            f"the {listing.split} split of {root} is empty: all {len(listing.paths)} images fell into the other one; "
            "add images, or make train/ and test/ folders"
        )
    paths = [listing.paths[i] for i in positions.tolist()]
    return Listing(paths, listing.labels[positions], listing.index[positions], listing.classes, listing.split)


def _list(folder: Path, siblings: list[Path], split: str, only: Sequence[str] | None) -> Listing:
    """The files of `folder`, with the classes that any of its siblings has, and itself if it has labels."""
    found = {entry.name for part in siblings for entry in _entries(part) if entry.is_dir()}
    names = sorted(found if only is None else (name for name in found if printable(name) in only))
    classes = tuple(name for name in names if any(_has_image(part / name) for part in siblings))
    if only is not None:
        by_text = {printable(name): name for name in classes}
        missing = [name for name in only if name not in by_text]
        if missing:
            raise InputError(
                f"{folder} lacks {len(missing)} of {len(only)} classes: no images in a folder {missing[0]}/ ..."
            )
        classes = tuple(by_text[name] for name in only)
    elif len(classes) < len(names):
        empty = [name for name in names if name not in classes]
        some = ", ".join(map(printable, empty[:3]))
        warn(f"no images in {len(empty)} folders of {folder}, no classes then: {some}", stacklevel=2)
    shown = tuple(map(printable, classes))
    if split == "unlabeled":
        members = list(_images(folder))
        if not members:
            raise _no_images(folder)
        return Listing(members, torch.full((len(members),), -1), torch.arange(len(members)), shown, split)
    loose = [entry.path for entry in _entries(folder) if not entry.is_dir() and _is_image(entry.name)]
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        members = list(_images(folder / name))
        paths += members
        labels += [label] * len(members)
    if not paths:
        paths, labels = loose, [-1] * len(loose)
    elif loose:
        warn(f"{len(loose)} images lie beside the class folders of {folder} and are left out", stacklevel=2)
    if not paths:
        raise _no_images(folder)
    return Listing(paths, torch.tensor(labels), torch.arange(len(paths)), shown, split)


def _split_folders(root: Path) -> dict[str, Path]:
    """The split folders by name. A lone "train" among other folders is a class of vehicles."""
    folders = {entry.name.lower(): Path(entry.path) for entry in _entries(root) if entry.is_dir()}
    parts = {name: path for name, path in folders.items() if name in SPLIT_FOLDERS}
    complete = "train" in parts and any(name in parts for name in SPLIT_FOLDERS["test"])
    return parts if complete or len(parts) == len(folders) else {}


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return []  # a class that only another split has
    except OSError as error:
        raise InputError(f"cannot list {folder}: {error.strerror}") from None


def _images(folder: Path | str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """All images in a folder and its subfolders, sorted."""
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder above would never end
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _images(entry.path, (*above, real))
        elif _is_image(entry.name):
            yield entry.path


def _has_image(folder: Path) -> bool:
    return next(_images(folder), None) is not None


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _is_held_out(relative: str) -> bool:
    digest = hashlib.sha256(os.fsencode(Path(relative).as_posix())).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


def _no_images(folder: Path) -> InputError:
    names = [entry.name + "/" * entry.is_dir() for entry in _entries(folder)]
    there = f"{len(names)} entries ({', '.join(names[:3])}{', ...' * (len(names) > 3)})" if names else "nothing"
    return InputError(f"no images in {folder}: looked for {' '.join(EXTENSIONS)}, found {there}")
