"""What `corrupt` calls the files that it writes."""

import os
from collections.abc import Sequence
from pathlib import Path

from weatherproof.data import FileImages, ImageSet
from weatherproof.errors import InputError
from weatherproof.verbs.inputs import has_labels

JPEG_ENDINGS = (".jpg", ".jpeg")


def file_names(images: ImageSet) -> list[str]:
    """CLASS/file.JPEG of every image: its own name where it comes from a file, else its index in the data set.

    JPEG files keep their names, others become .JPEG; two that would then have one name (a.png, a.bmp) keep their old
    ending in front of it (a.png.JPEG).

    Raises:
        InputError: a class name that cannot be a folder's, or that two classes have.
    """
    labelled = has_labels(images)
    if labelled:
        strange = [n for n in images.classes if not n or n.startswith(".") or "/" in n or "\\" in n]
        if strange or len({*images.classes}) < len(images.classes):
            what = f"class {strange[0]!r} cannot be a folder" if strange else "two classes have one name"
            raise InputError(f"{what}: choose --layout cifar-c for {images.name!r}")
    folders = [images.classes[label] + "/" if labelled else "" for label in images.labels.tolist()]
    if isinstance(images, FileImages):
        stored = _relative(images.paths, folders)
    else:
        digits = len(str(int(images.index.max())))
        stored = [
            f"{folder}{index:0{digits}}.JPEG" for folder, index in zip(folders, images.index.tolist(), strict=True)
        ]
    names = {place: name for place, name in enumerate(stored) if name.lower().endswith(JPEG_ENDINGS)}
    taken = {name.casefold() for name in names.values()}  # some file systems know no case
    for place, name in enumerate(stored):
        if place not in names:
            new = str(Path(name).with_suffix(".JPEG"))
            while new.casefold() in taken:
                name = new = f"{name}.JPEG"
            taken.add(new.casefold())
            names[place] = new
    return [names[place] for place in range(len(stored))]


def _relative(paths: Sequence[str], folders: Sequence[str]) -> list[str]:
    """The paths from the folder on that holds all class folders."""
    top = Path(os.path.commonpath([str(Path(path).parent) for path in paths]))
    for base in (top, *top.parents):
        found = [Path(path).relative_to(base).as_posix() for path in paths]
        if all(name.startswith(folder) for name, folder in zip(found, folders, strict=True)):
            return found
    return [f"{folder}{Path(path).name}" for path, folder in zip(paths, folders, strict=True)]
