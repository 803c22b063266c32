"""What `corrupt` calls the files that it writes."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from weatherproof.data import FileImages, ImageSet
from weatherproof.errors import InputError
from weatherproof.names import original, printable
from weatherproof.verbs.inputs import has_labels

JPEG_ENDINGS = (".jpg", ".jpeg")
LONGEST = 255  # bytes of a file's name, of nearly every file system


def file_names(images: ImageSet) -> list[str]:
    """CLASS/file.JPEG of every image: its own name where it comes from a file, else its index in the data set.

    JPEG files keep their names, others become .JPEG; two that would then have one name (a.png, a.bmp) keep their old
    ending in front of it (a.png.JPEG). Names on the disk keep their bytes, whatever the classes show of them.

    Raises:
        InputError: a class name that cannot be a folder's, or that two classes have; or a file name that is too long.
    """
    labelled = has_labels(images)
    if labelled and len({*images.classes}) < len(images.classes):
        raise InputError(f"two classes have one name: choose --layout cifar-c for {images.name!r}")
    shown = [images.classes[label] + "/" if labelled else "" for label in images.labels.tolist()]
    stored = _relative(images.paths, shown) if isinstance(images, FileImages) else None
    if stored is None:
        folders = _folders(images) if labelled else shown
        if isinstance(images, FileImages):
            files = [Path(path).name for path in images.paths]
        else:
            digits = len(str(int(images.index.max())))
            files = [f"{index:0{digits}}.JPEG" for index in images.index.tolist()]
        stored = [f"{folder}{file}" for folder, file in zip(folders, files, strict=True)]
    names = {place: name for place, name in enumerate(stored) if name.lower().endswith(JPEG_ENDINGS)}
    taken = {name.casefold() for name in names.values()}  # some file systems know no case
    for place, name in enumerate(stored):
        if place not in names:
            new = str(Path(name).with_suffix(".JPEG"))
            while new.casefold() in taken:
                name = new = f"{name}.JPEG"
            taken.add(new.casefold())
            names[place] = new
    long = [name for name in names.values() if len(os.fsencode(Path(name).name)) > LONGEST]
    if long:
        raise InputError(f"a file name of more than {LONGEST} bytes: {long[0]}; shorten it, or choose --layout cifar-c")
    return [names[place] for place in range(len(stored))]


def hidden_name(name: str) -> str:
    """What a file is called until it is whole: hidden, so that no reader takes it for an image."""
    hidden = f".{name}.tmp"
    if len(os.fsencode(hidden)) <= LONGEST:
        return hidden
    return f".{hashlib.sha256(os.fsencode(name)).hexdigest()}.tmp"


def _folders(images: ImageSet) -> list[str]:
    """CLASS/ of every image, with the bytes that its class's name shows."""
    names = [original(name) for name in images.classes]
    for name, text in zip(names, images.classes, strict=True):
        if not name or name.startswith(".") or {*"/\\\0"} & {*name} or printable(name) != text:
            raise InputError(f"class {text!r} cannot be a folder: choose --layout cifar-c for {images.name!r}")
    return [f"{names[label]}/" for label in images.labels.tolist()]


def _relative(paths: Sequence[str], folders: Sequence[str]) -> list[str] | None:
    """The paths from the folder on that holds all class folders; None where they lie in other folders."""
    top = Path(os.path.commonpath([str(Path(path).parent) for path in paths]))
    for base in (top, *top.parents):
        names = [Path(path).relative_to(base).as_posix() for path in paths]
        if all(printable(name).startswith(folder) for name, folder in zip(names, folders, strict=True)):
            return names
    return None
