"""The twelve data sets that robust representations are moved to (Salman et al. 2020; URRL, Table 2), each with its
metric, as `NAME:DIR`.

DIR holds train/ and test/ with class folders, or what torchvision reads; nothing is downloaded. Where the published set
has no split, it is the paper's: the first 30 (Caltech-101, without its background class) or 60 (Caltech-256) images of
each class to train on, the rest to test; of SUN397 the lists Training_01.txt and Testing_01.txt.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from weatherproof.data.folders import SPLIT_FOLDERS, Listing, class_folders, has_splits, list_folder
from weatherproof.errors import InputError
from weatherproof.names import printable


@dataclass(frozen=True)
class Transfer:
    """A transfer set: how many classes it has, and what it is measured by."""

    title: str
    classes: int
    metric: Literal["top1", "mean_per_class"] = "top1"


TRANSFER = {
    "aircraft": Transfer("FGVC Aircraft", 100, "mean_per_class"),
    "birdsnap": Transfer("Birdsnap", 500),
    "cifar10": Transfer("CIFAR-10", 10),
    "cifar100": Transfer("CIFAR-100", 100),
    "caltech101": Transfer("Caltech-101", 101, "mean_per_class"),
    "caltech256": Transfer("Caltech-256", 257, "mean_per_class"),
    "cars": Transfer("Stanford Cars", 196),
    "dtd": Transfer("DTD", 47),
    "flowers": Transfer("Oxford Flowers", 102, "mean_per_class"),
    "food101": Transfer("Food-101", 101),
    "pets": Transfer("Oxford Pets", 37, "mean_per_class"),
    "sun397": Transfer("SUN397", 397),
}
_TORCHVISION: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {  # its class, and which of its splits make ours
    "aircraft": ("FGVCAircraft", {"train": ("trainval",), "test": ("test",)}),
    "cars": ("StanfordCars", {"train": ("train",), "test": ("test",)}),
    "dtd": ("DTD", {"train": ("train", "val"), "test": ("test",)}),
    "flowers": ("Flowers102", {"train": ("train", "val"), "test": ("test",)}),
    "food101": ("Food101", {"train": ("train",), "test": ("test",)}),
    "pets": ("OxfordIIITPet", {"train": ("trainval",), "test": ("test",)}),
}
_FIRST = {  # folder of class folders, images of each class that train, classes that are none
    "caltech101": ("101_ObjectCategories", 30, ("BACKGROUND_Google",)),
    "caltech256": ("256_ObjectCategories", 60, ()),
}
_SUN = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def metric_of(source: object) -> str:
    """The metric of the images that a text names, "top1" for all that are no transfer set."""
    name, colon, _ = str(source).partition(":")
    return TRANSFER[name].metric if colon and name in TRANSFER else "top1"


def list_transfer(name: str, folder: Path, split: str) -> Listing:
    """The images of one split ("train"; "test", for which "val" is accepted) of a transfer set.

    Raises:
        InputError: neither split folders nor the published files are there.
    """
    if any((folder / part).is_dir() for parts in SPLIT_FOLDERS.values() for part in parts):
        return _in_folders(name, folder, split)
    part = "test" if split in SPLIT_FOLDERS["test"] else split
    if part not in ("train", "test"):
        raise InputError(f"{name}:{folder} has no split {split!r}: expected train or test")
    try:
        return _published(name, folder, part)
    except InputError:
        if has_splits(folder):  # under other names, such as those of the published files (cars_train)
            return _in_folders(name, folder, split)
        raise


def _in_folders(name: str, folder: Path, split: str) -> Listing:
    named, most = class_folders(folder), TRANSFER[name].classes + 1  # one for a background
    if len(named) > most:
        raise InputError(
            f"{folder} has {len(named):,} class folders ({named[0]}/, {named[1]}/, ...), and {TRANSFER[name].title} "
            f"has {TRANSFER[name].classes}: read it as folder:{folder}"
        )
    return list_folder(folder, split)


def _published(name: str, folder: Path, part: str) -> Listing:
    if name in _FIRST:
        return _first_of_each(name, folder, part)
    if name == "sun397":
        return _sun(folder, part)
    if name in _TORCHVISION:
        return _by_torchvision(name, folder, part)
    raise _nothing(name, folder)


def _by_torchvision(name: str, folder: Path, split: str) -> Listing:
    """What torchvision finds with the folder as its root, or with the folder above."""
    from torchvision import datasets

    kind, splits = _TORCHVISION[name]
    for root in (folder, folder.parent):
        try:
            parts = [getattr(datasets, kind)(root, split=own, download=False) for own in splits[split]]
        except (RuntimeError, OSError):  # not there
            continue
        files = [file for part in parts for file in _files(part)]
        classes = tuple(getattr(parts[0], "classes", map(str, range(TRANSFER[name].classes))))
        labels = torch.tensor([label for _, label in files])
        return Listing([path for path, _ in files], labels, torch.arange(len(files)), classes, split)
    raise _nothing(name, folder, f", or the files that torchvision.datasets.{kind} reads")


def _files(part: Any) -> list[tuple[str, int]]:
    """Paths and labels; torchvision has no public name for them."""
    paths = part._images if hasattr(part, "_images") else getattr(part, "_image_files", None)
    found = part._samples if paths is None else zip(paths, part._labels, strict=True)
    return [(str(path), int(label)) for path, label in found]


def _first_of_each(name: str, folder: Path, split: str) -> Listing:
    inner, most, none = _FIRST[name]
    root = next((f for f in (folder / name / inner, folder / inner, folder) if f.name == inner and f.is_dir()), None)
    if root is None:
        raise _nothing(name, folder, f", or {inner}/")
    whole = list_folder(root, "all")
    names = tuple(c for c in whole.classes if c not in none)
    whole = list_folder(root, "all", names)
    places = torch.arange(len(whole.paths))
    first = torch.tensor([int((whole.labels < label).sum()) for label in range(len(names))])
    chosen = (places - first[whole.labels] < most) == (split == "train")
    rest = places[chosen]
    return Listing([whole.paths[i] for i in rest.tolist()], whole.labels[rest], whole.index[rest], names, split)


def _sun(folder: Path, split: str) -> Listing:
    root = folder / "SUN397" if (folder / "SUN397").is_dir() else folder
    files = [root / "ClassName.txt", root / _SUN[split]]
    if missing := [file.name for file in files if not file.is_file()]:
        raise _nothing("sun397", folder, f", or SUN397/ with {' and '.join(missing)} of the published partitions")
    classes, wanted = (file.read_text("utf-8", "surrogateescape").split() for file in files)
    number = {name: i for i, name in enumerate(classes)}
    labels = torch.tensor([number[line.rpartition("/")[0]] for line in wanted])
    paths = [str(root / line.lstrip("/")) for line in wanted]
    return Listing(paths, labels, torch.arange(len(paths)), tuple(printable(name[3:]) for name in classes), split)


def _nothing(name: str, folder: Path, otherwise: str = "") -> InputError:
    return InputError(
        f"nothing to read in {folder} for {name}: put train/ and test/ with class folders there{otherwise} (nothing is "
        "downloaded)"
    )


TRANSFER_SOURCES: dict[str, Callable[[Path, str], Listing]] = {
    name: partial(list_transfer, name) for name in TRANSFER if not name.startswith("cifar")
}
