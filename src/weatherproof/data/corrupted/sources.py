"""The texts that name corrupted images: `cifar10-c:DIR`; `cifar10-c:DIR@fog`, `cifar10-c:DIR@fog/3` for a part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from weatherproof.data.cifar_classes import CIFAR_10, CIFAR_100
from weatherproof.data.class_lists import IMAGENET_100
from weatherproof.data.corrupted.arrays import read_arrays
from weatherproof.data.corrupted.folders import read_folders
from weatherproof.data.corrupted.sets import Corrupted, CorruptedImages, Part, chosen_part
from weatherproof.data.decoding import Decoder
from weatherproof.data.files import BadFiles
from weatherproof.data.folders import check_folder
from weatherproof.data.layout import MANIFEST
from weatherproof.errors import InputError, shown
from weatherproof.texts import path_of, read_json

RECIPE = "recipe.yaml"  # what `corrupt` writes first
_SPLITS = (None, "test", "val", "validation", "all")

DecoderFor = Callable[[int], Decoder]  # from the number of stored channels
Wanted = Callable[[Part], bool]  # which parts are asked for


def load_corrupted(
    source: str, text: str, split: str | None, decoder_for: DecoderFor, max_bad: float
) -> CorruptedImages:
    """The corrupted images of a folder, or one corruption or part of them.

    Args:
        source: one of `CORRUPTED_SOURCES`.
        text: DIR, DIR@CORRUPTION or DIR@CORRUPTION/SEVERITY.
        split: "test", "val", "all" or None: these are test sets.

    Raises:
        InputError: nothing there, a part that is not there, files that are missing or do not fit, or split "train".
    """
    if not text:
        raise InputError(f"{source + ':'!r} names no folder: write {source}:DIR")
    if split not in _SPLITS:
        raise InputError(f"{source} has no split {split!r}: corrupted images are for testing, split is 'test'")
    folder, chosen = path_of(text), None
    if not folder.exists() and "@" in text:
        head, _, part = text.rpartition("@")
        folder, chosen = path_of(head), chosen_part(part)

    def wanted(part: Part) -> bool:
        return chosen is None or (part[0] == chosen[0] and chosen[1] in (None, part[1]))

    if (check_folder(folder) / RECIPE).is_file() and not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} is a copy that weatherproof corrupt has not finished: run the same command again")
    name, found = CORRUPTED_SOURCES[source](source, folder, decoder_for, wanted)
    total = len(found.parts) * len(found.labels)
    images = CorruptedImages(found, name=name, bad_files=BadFiles(name, total, max_bad))
    return images if chosen is None else images.select(*chosen)


def _cifar(source: str, folder: Path, decoder_for: DecoderFor, wanted: Wanted) -> tuple[str, Corrupted]:
    classes = CIFAR_10 if source == "cifar10-c" else CIFAR_100
    if (folder / MANIFEST).is_file():
        written = tuple(_manifest(folder)["classes"])
        if written != classes:
            raise InputError(f"{folder} holds other classes ({', '.join(written[:3])}, ...): write corrupted:{folder}")
    return source, read_arrays(folder, classes, decoder_for)


def _imagenet(source: str, folder: Path, decoder_for: DecoderFor, wanted: Wanted) -> tuple[str, Corrupted]:
    classes = IMAGENET_100 if source == "imagenet100-c" else None
    return source, read_folders(folder, decoder_for(3), classes=classes, wanted=wanted)


def _copy(source: str, folder: Path, decoder_for: DecoderFor, wanted: Wanted) -> tuple[str, Corrupted]:
    """What `corrupt` wrote, in either layout, with the classes that the clean images have."""
    if not (folder / MANIFEST).is_file():
        raise InputError(
            f"no {folder / MANIFEST}: expected a folder that weatherproof corrupt has finished; "
            "a downloaded one is cifar10-c:DIR, cifar100-c:DIR, imagenet-c:DIR or imagenet100-c:DIR"
        )
    manifest = _manifest(folder)
    classes, name = tuple(manifest["classes"]), f"{manifest['name'].partition('/')[0]}-c"
    if manifest["layout"] == "cifar-c":
        return name, read_arrays(folder, classes, decoder_for, channels=(manifest["channels"],))
    if manifest["channels"] not in (1, 3):
        raise InputError(f"{folder / MANIFEST} says {shown(manifest['channels'])} channels: files hold 1 or 3")
    found = read_folders(folder, decoder_for(manifest["channels"]), wordnet=False, wanted=wanted)
    if strange := [own for own in found.classes if own not in classes]:
        raise InputError(
            f"{folder} has a class folder {shown(strange[0])} that its {MANIFEST} does not name: take it away, or let "
            "weatherproof corrupt write the copy anew"
        )
    # A class without test images has no folder, and a label is a place in the list of all classes.
    places = torch.tensor([classes.index(name) for name in found.classes] + [-1])
    return name, Corrupted(found.store, found.parts, places[found.labels], found.index, classes)


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    try:
        manifest = read_json(file)
        return {key: manifest[key] for key in ("name", "layout", "channels", "classes")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{file} is not what corrupt writes ({reason}): write the copy again") from None


CORRUPTED_SOURCES: dict[str, Callable[[str, Path, DecoderFor, Wanted], tuple[str, Corrupted]]] = {
    "cifar10-c": _cifar,
    "cifar100-c": _cifar,
    "imagenet-c": _imagenet,
    "imagenet100-c": _imagenet,
    "corrupted": _copy,
}
