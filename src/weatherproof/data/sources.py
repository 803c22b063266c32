"""The text that names a source of images, and what becomes of it: `load_images`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weatherproof.data import arrays
from weatherproof.data.arrays import Arrays
from weatherproof.data.class_lists import IMAGENET_100, IMAGENET_100B
from weatherproof.data.corrupted.sets import Part
from weatherproof.data.corrupted.sources import CORRUPTED_SOURCES, load_corrupted
from weatherproof.data.decoding import BadImage, Decoder, Pixels, PlaneDecoder, decode_all, header_size
from weatherproof.data.files import BadFiles, FileImages
from weatherproof.data.folders import Listing, check_folder, class_folders, has_splits, list_folder
from weatherproof.data.hearing import listening
from weatherproof.data.images import ImageSet, MemoryImages
from weatherproof.data.packed.images import Pack, Packed, PackedImages, decoded
from weatherproof.data.packed.shards import find_shards
from weatherproof.data.packed.tables import find_hf, find_parquet
from weatherproof.data.synthetic import synthetic_digits, synthetic_mnist
from weatherproof.data.transfer import TRANSFER_SOURCES
from weatherproof.errors import InputError, unknown
from weatherproof.names import printable
from weatherproof.progress import phase
from weatherproof.sizes import GivenSize, Size, sides, size_of
from weatherproof.texts import path_of

RawSet = Arrays | Listing
COVID_CLASSES = 20  # there are two or three; a set of one's own may tell more findings apart, no chest has hundreds


def load_images(
    source: str | Path | ImageSet,
    split: str | None = None,
    size: GivenSize | None = None,
    *,
    crop_fraction: float = 1.0,
    memory_budget: int = 2**30,
    max_bad: float = 0.05,
    channels: int | None = None,
    longest: int | None = None,
) -> ImageSet:
    """The images of one split of a source: a data set of (uint8 image [C, H, W], label, index).

    Args:
        source: "digits", "synthetic-digits", "NAME:DIR" with one of `SOURCES` or `CORRUPTED_SOURCES`, "npz:FILE" with
            arrays of any number of channels and 8 or 16 bits, "shards:PATTERN" (see `packed.shards`), a folder (see
            `folders`), or an `ImageSet`, returned as it is.
        split: "train" or "test" ("val" is accepted: the validation split where the source has one); "unlabeled" where
            the source has it; "all" for a whole folder without split folders, "every" for all images in a folder and
            below it, without labels. None: "train", but of corrupted images all there are, which are a test set.
        size: the shorter side is resized to round(size / crop_fraction), then a centred square of this size is cut
            out. (rows, columns) or "224x288": the image is resized until it covers that, over crop_fraction, and the
            middle is cut out. None: the images as they are.
        memory_budget: bytes; images of one size that need no more are read now, others when a batch needs them.
        max_bad: the share of files that may be unreadable. They are left out, named in `bad`, with one warning.
        channels: 1 for grey, 3 for RGB; None: 1 for digits and MNIST, those of an npz file, 3 for everything else.
        longest: instead of a size: whole images, the longer side of a larger one shrunk to so many pixels. They may
            differ in size: a batch of such is a `Canvas`, for views that begin with a crop.

    Raises:
        InputError: unknown source, nothing there, a missing split, a setting out of range, or too many bad files.
    """
    if not isinstance(source, str | Path):
        if isinstance(source, ImageSet):
            return source
        raise InputError(f"expected the text of a source, a folder or an ImageSet; got {type(source).__name__}")
    if not 0 <= max_bad <= 1:
        raise InputError(f"max_bad is a share, 0 to 1; got {max_bad}")
    size = _size(size)
    Decoder(size, crop_fraction, channels or 3, longest)  # a wrong setting shows before any long reading
    name, colon, rest = str(source).partition(":")
    if isinstance(source, str) and colon and name in CORRUPTED_SOURCES:
        if longest is not None:
            raise InputError(f"{name} is for testing: longest is for images that views crop, give a size")
        with phase(f"looking for images in {source}"):
            return load_corrupted(
                name,
                rest,
                split,
                lambda stored: _decoder_of(stored, True, size, crop_fraction, channels, None),
                max_bad,
            )
    if isinstance(source, str) and colon and name in PACKED_SOURCES:
        if not rest:
            raise InputError(f"{source!r} names nothing: write {name}:PATTERN")
        if longest is not None:
            raise InputError(f"{name} reads images of one size: longest is for folders and arrays, give a size")
        with phase(f"looking for images in {source}"):
            packed = PACKED_SOURCES[name](rest, split or "train")
        decoder = Decoder(size, crop_fraction, channels or packed.channels or 3)
        return _from_packs(f"{packed.name}/{packed.split}", packed, decoder, memory_budget, max_bad)
    with phase(f"looking for images in {source}"):
        name, found = _find(source, split or "train")
    if isinstance(found, Arrays):
        stored, plain = found.pixels.shape[1], found.pixels.dtype == torch.uint8
        decoder = _decoder_of(stored, plain, size, crop_fraction, channels, longest)
        return _from_arrays(f"{name}/{found.split}", found, decoder, memory_budget)
    return _from_files(
        f"{name}/{found.split}", found, Decoder(size, crop_fraction, channels or 3, longest), memory_budget, max_bad
    )


def _size(size: GivenSize | None) -> Size | None:
    return size if isinstance(size, int) else size_of(size)  # of a number, the decoder says what is wrong with it


def _decoder_of(
    stored: int, plain: bool, size: Size | None, crop_fraction: float, channels: int | None, longest: int | None
) -> Decoder:
    """How stored pixels of so many channels are read. `plain`: of 8 bits."""
    if plain and stored in (1, 3):
        return Decoder(size, crop_fraction, channels or stored, longest)
    if channels not in (None, stored):
        kind = "8 bits" if plain else "16 bits"
        raise InputError(f"pixels of {kind} in {stored} channels stay as they are: leave out channels={channels}")
    return PlaneDecoder(size, crop_fraction, stored, longest)


@dataclass(frozen=True)
class Contents:
    """What a split of a source holds, before a single image is decoded.

    Attributes:
        classes: their names, in the order of the labels.
        labels: of every image.
        side: of all images, where their pixels lie there as they are.
        parts: of corrupted images: which corruptions there are, at which severities.
    """

    classes: tuple[str, ...]
    labels: Tensor
    side: int | None = None
    channels: int | None = None
    parts: tuple[Part, ...] = ()


def contents(source: str, split: str) -> Contents:
    """What `load_images` would find: no image is decoded, so that it takes seconds for a million of them.

    Raises:
        InputError: as `load_images` does.
    """
    name, colon, rest = source.partition(":")
    if colon and name in CORRUPTED_SOURCES:
        whole = load_corrupted(name, rest, split, lambda stored: Decoder(None, 1.0, stored), 1.0)
        return Contents(tuple(whole.classes), whole.labels, parts=tuple(whole.parts))
    if colon and name in PACKED_SOURCES:
        packed = PACKED_SOURCES[name](rest, split)
        return Contents(tuple(packed.classes), packed.labels)
    found = _find(source, split)[1]
    if isinstance(found, Arrays):
        return Contents(tuple(found.classes), found.labels, found.pixels.shape[-1], found.pixels.shape[1])
    return Contents(tuple(found.classes), found.labels)


def names_a_folder(source: str | Path | ImageSet) -> bool:
    """Whether `load_images` would read the source as a folder of images, and not as a set of its own form."""
    if not isinstance(source, str | Path):
        return False
    text = str(source)
    return text not in BUILT_IN and (text.startswith("folder:") or path_of(text).is_dir())


def _find(source: str | Path, split: str) -> tuple[str, RawSet]:
    text = str(source)
    if not text.strip():
        raise InputError("no images: an empty text was given in place of a folder, which would mean the one you are in")
    if text in BUILT_IN:
        return text, BUILT_IN[text](split)
    name, colon, rest = text.partition(":")
    if isinstance(source, str) and colon and name in SOURCES:
        if not rest:
            raise InputError(f"{text!r} names no folder: write {name}:DIR")
        folder = path_of(rest)
        shown = printable(folder.resolve().name) if name == "folder" else name
        if name == "npz":
            return printable(folder.stem), arrays.npz(folder, split)
        return shown, SOURCES[name](check_folder(folder), split)
    folder = path_of(text)
    if folder.exists():
        return printable(folder.resolve().name), list_folder(folder, split)
    if re.fullmatch(r"[\w-]{2,}", name) and colon:  # one letter is a drive
        raise unknown("image source", name, [*BUILT_IN, *SOURCES, *CORRUPTED_SOURCES, *PACKED_SOURCES])
    known = ", ".join([*SOURCES, *CORRUPTED_SOURCES, *PACKED_SOURCES])
    raise InputError(
        f"no folder {text!r}: expected a folder of images, {', '.join(BUILT_IN)}, or NAME:DIR with NAME one of {known}"
    )


def _from_arrays(name: str, found: Arrays, decoder: Decoder, budget: int) -> MemoryImages:
    whole = MemoryImages(found.pixels, found.labels, found.classes, name=name, index=found.index, decoder=decoder)
    if whole.decoder is None:
        return whole
    resized = decode_all(lambda i: decoder.array(found.pixels[i].numpy()), len(whole), budget, name)
    if resized is None:
        return whole
    pixels = torch.from_numpy(resized[0])
    return MemoryImages(pixels, found.labels, found.classes, name=name, index=found.index)


def _from_files(name: str, found: Listing, decoder: Decoder, budget: int, max_bad: float) -> MemoryImages | FileImages:
    bad_files = BadFiles(name, len(found.paths), max_bad)
    with listening(*found.paths) as heard:
        read = decode_all(lambda i: decoder.file(found.paths[i]), len(found.paths), budget, name)
    if read is None:
        return FileImages(
            found.paths,
            found.labels,
            found.classes,
            name=name,
            index=found.index,
            decoder=decoder,
            image_size=None
            if decoder.longest
            else _common_size(found.paths)
            if decoder.size is None
            else sides(decoder.size),
            bad_files=bad_files,
        )
    pixels, bad = read
    reasons = {found.paths[i]: reason for i, reason in bad.items()}
    bad_files.record(reasons, {path: text for path, text in heard.items() if path not in reasons})
    bad_files.warn()
    good = torch.from_numpy(np.delete(np.arange(len(found.paths)), list(bad)))
    return MemoryImages(
        torch.from_numpy(pixels),
        found.labels[good],
        found.classes,
        name=name,
        index=found.index[good],
        bad=bad_files.reasons,
        paths=[found.paths[i] for i in good.tolist()],
    )


def _from_packs(name: str, found: Packed, decoder: Decoder, budget: int, max_bad: float) -> MemoryImages | PackedImages:
    pack, places = found.pack, torch.arange(len(found.labels)) if found.places is None else found.places
    bad_files = BadFiles(name, len(places) + len(found.faulty), max_bad)
    bad_files.record({pack.name(place): reason for place, reason in found.faulty.items()})
    warned: dict[str, str] = {}
    bad: dict[str, str] = {}

    def pixels_of(position: int) -> Pixels:
        called, pixels, said = decoded(pack, int(places[position]), decoder)
        if isinstance(pixels, BadImage):
            bad[called] = str(pixels)
            raise pixels
        warned.update(said)
        return pixels

    with listening():  # so that each image costs little
        read = decode_all(pixels_of, len(places), budget, name)
    if read is None:
        size = sides(decoder.size) if decoder.size is not None else _size_in_common(pack, places)
        bad_files.warn()
        return PackedImages(
            found, name=name, decoder=decoder, bad_files=bad_files, image_size=size, places=found.places
        )  # fmt: skip
    bad_files.record(bad, warned)
    bad_files.warn()
    good = places[torch.from_numpy(np.delete(np.arange(len(places)), list(read[1])))]
    return MemoryImages(
        torch.from_numpy(read[0]),
        found.labels[good],
        found.classes,
        name=name,
        index=found.index[good],
        bad=bad_files.reasons,
    )


@phase("comparing the sizes of the images")
def _size_in_common(pack: Pack, places: Tensor) -> tuple[int, int] | None:
    """(height, width) of all packed images, from their headers; None where they differ."""
    common = None
    with listening():  # decoding them will tell
        for place in places.tolist():
            size = header_size(*pack.read(place))
            if common is not None and size is not None and size != common:
                return None
            common = size or common
    return common


@phase("comparing the sizes of the images")
def _common_size(paths: list[str]) -> tuple[int, int] | None:
    """(height, width) of all images, from their headers; None where they differ."""
    common = None
    with listening(*paths):  # decoding them will tell
        for size in filter(None, map(header_size, paths)):
            if common is not None and size != common:
                return None
            common = size
    return common


def _cifar(folder: Path, split: str, *, fine: bool) -> RawSet:
    batches = "cifar-100-python" if fine else "cifar-10-batches-py"
    folder = folder.parent if folder.name == batches else folder
    if (folder / batches).is_dir():
        return arrays.cifar(folder, split, fine=fine)
    otherwise = f"or the folder {batches} of the published python version"
    return _split_folder(folder, split, otherwise, most=100 if fine else 10)


def _stl10(folder: Path, split: str) -> RawSet:
    folder = folder.parent if folder.name == "stl10_binary" else folder
    if (folder / "stl10_binary").is_dir():
        return arrays.stl10(folder, split)
    return _split_folder(folder, split, "or the folder stl10_binary of the published binary version", most=10)


def _imagenet(folder: Path, split: str, *, classes: tuple[str, ...] | None = None) -> Listing:
    _require_splits(folder, "with one folder of images for each WordNet id", test="val/")
    named = class_folders(folder)
    if not any(re.fullmatch(r"n\d{8}", name) for name in named):  # before a walk through all that is there
        raise _no_wordnet(folder, named)
    found = list_folder(folder, split, classes)
    strangers = [name for name in found.classes if not re.fullmatch(r"n\d{8}", name)]
    if strangers or not found.classes:
        raise _no_wordnet(folder / found.split, strangers)
    return found


def _no_wordnet(folder: Path, strangers: list[str]) -> InputError:
    got = f"a folder {strangers[0]}/" if strangers else "no class folders"
    return InputError(f"expected ImageNet's class folders (n01440764/ ...) in {folder}; got {got}")


def _covid_xray(folder: Path, split: str) -> Listing:
    folder = folder / "binary" if (folder / "binary").is_dir() else folder
    found = _split_folder(folder, split, "with class folders, or binary/ that holds them", most=COVID_CLASSES)
    return replace(found, split=f"{printable(folder.resolve().name)}/{found.split}")  # its two tasks are two data sets


def _split_folder(folder: Path, split: str, otherwise: str, *, most: int) -> Listing:
    """Split folders with class folders, `most` of them at most: another data set is refused by its first names."""
    _require_splits(folder, otherwise)
    if len(named := class_folders(folder)) > most:
        raise InputError(
            f"{folder} has {len(named):,} class folders ({named[0]}/, {named[1]}/, ...), and this data set has at most "
            f"{most}: read it as folder:{folder}"
        )
    return list_folder(folder, split)


def _require_splits(folder: Path, otherwise: str, *, test: str = "test/") -> None:
    if not has_splits(folder):
        raise InputError(
            f"nothing to read in {folder}: put train/ and {test} there, {otherwise} (nothing is downloaded)"
        )


BUILT_IN: dict[str, Callable[[str], Arrays]] = {"digits": arrays.digits, "synthetic-digits": synthetic_digits}
SOURCES: dict[str, Callable[[Path, str], RawSet]] = {
    "folder": list_folder,
    "npz": arrays.npz,
    "mnist": arrays.mnist,
    "synthetic-mnist": synthetic_mnist,
    "cifar10": partial(_cifar, fine=False),
    "cifar100": partial(_cifar, fine=True),
    "stl10": _stl10,
    "imagenet": _imagenet,
    "imagenet100": partial(_imagenet, classes=IMAGENET_100),
    "imagenet100b": partial(_imagenet, classes=IMAGENET_100B),
    "covid-xray": _covid_xray,
    **TRANSFER_SOURCES,
}
PACKED_SOURCES: dict[str, Callable[[str, str], Packed]] = {
    "shards": find_shards,
    "hf": find_hf,
    "parquet": find_parquet,
}
