"""Corrupted images as files, the layout of ImageNet-C.

    DIR/fog/3/n01440764/*.JPEG                the files of every part have the same names
    DIR/weather/fog/3/...                     ... or one folder deeper, as the released archives are unpacked: noise,
    DIR/extra/saturate/3/...                      blur, weather, digital, extra, or any other name

The index of an image is its place in the sorted list of names, which is that of the clean test set's folder.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from weatherproof.benchmark import COMMON_19, SEVERITIES
from weatherproof.data.corrupted.sets import Corrupted, Part
from weatherproof.data.decoding import Decoder, header_size
from weatherproof.data.files import BadFiles, FileImages
from weatherproof.data.folders import Listing, find_images, list_folder
from weatherproof.data.hearing import listening
from weatherproof.errors import InputError
from weatherproof.sizes import sides


def read_folders(
    folder: Path,
    decoder: Decoder,
    *,
    classes: tuple[str, ...] | None = None,
    wordnet: bool = True,
    wanted: Callable[[Part], bool] = lambda _: True,
) -> Corrupted:
    """The corrupted images of a folder of files, as many of the corruptions and severities as there are.

    Args:
        folder: holds the corruptions' folders.
        decoder: how files are read.
        classes: the class folders to read; the label is the position here. None: all, sorted.
        wordnet: whether the class folders must have WordNet ids for names, as ImageNet's.
        wanted: which parts to list, where some of them are there; the 3.75 million names of all take minutes.

    Raises:
        InputError: nothing there, a severity that only some corruptions have, or parts whose files differ.
    """
    there = _parts(folder)
    roots = {part: root for part, root in there.items() if wanted(part)} or there
    first: Listing | None = None
    names: list[str] = []
    reference = ""
    for (corruption, severity), root in roots.items():
        # What there is to say of one part is so of them all.
        listing = list_folder(root, "all", classes) if first is None else find_images(root, "all", classes)[0]
        strangers = [name for name in listing.classes if not re.fullmatch(r"n\d{8}", name)]
        if wordnet and (strangers or not listing.classes):
            got = f"a folder {strangers[0]}/" if strangers else "images without class folders"
            raise InputError(f"expected ImageNet's class folders (n01440764/ ...) in {root}; got {got}")
        found = [path[len(str(root)) + 1 :] for path in listing.paths]
        if first is None:
            first, names, reference = listing, found, f"{corruption}/{severity}"
        elif found != names:
            raise _unlike(root, found, reference, names)
    assert first is not None
    store = PartFiles([str(root) for root in roots.values()], names, decoder)
    return Corrupted(store, tuple(roots), first.labels, torch.arange(len(names)), first.classes)


def _parts(folder: Path) -> dict[Part, Path]:
    """The folder of each part. Every corruption has the same severities."""
    groups = [folder, *sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))]
    homes: dict[str, Path] = {}
    for name in COMMON_19:
        places = [group / name for group in groups if (group / name).is_dir()]
        if len(places) > 1:
            raise InputError(f"{name} is there twice, as {places[0]} and {places[1]}: remove one")
        if places:
            homes[name] = places[0]
    levels = [s for s in SEVERITIES if any((home / str(s)).is_dir() for home in homes.values())]
    if not levels:
        there = ", ".join(f"{path.name}/" for path in groups[1:4]) or "no folders"
        raise InputError(
            f"no corrupted images in {folder}: expected folders such as fog/3 or weather/fog/3, found {there}"
        )
    parts = {(name, level): home / str(level) for name, home in homes.items() for level in levels}
    for path in parts.values():
        if not path.is_dir():
            raise InputError(f"no folder {path}: every corruption needs severities {', '.join(map(str, levels))}")
    return parts


def _unlike(root: Path, found: list[str], reference: str, names: list[str]) -> InputError:
    lacks, has = sorted({*names} - {*found}), sorted({*found} - {*names})
    which = f"it lacks {lacks[0]}" if lacks else f"it has {has[0]}, which the other lacks" if has else "in other order"
    return InputError(f"{root} holds {len(found):,} images, expected the {len(names):,} of {reference}: {which}")


class PartFiles:
    """A `Store` of files with the same names in every part; a path is made when it is read.

    Args:
        roots: the folder of each part.
        names: of the files, relative to it.
        decoder: how they are read.
    """

    def __init__(self, roots: Sequence[str], names: Sequence[str], decoder: Decoder) -> None:
        self._roots, self._names, self._decoder = tuple(roots), tuple(names), decoder
        firsts = [self.path(part * len(self._names)) for part in range(len(self._roots))]
        with listening(*firsts):  # decoding them will tell
            sizes = {*map(header_size, firsts)}
        common = sizes.pop() if len(sizes) == 1 else None
        self._size = sides(decoder.size) if decoder.size is not None else common

    def path(self, place: int) -> str:
        """The file of an image."""
        part, image = divmod(place, len(self._names))
        return f"{self._roots[part]}/{self._names[image]}"

    @property
    def channels(self) -> int:
        return self._decoder.channels

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width), without a size of the decoder's that of the first file of each part; None if they differ."""
        return self._size

    @property
    def takes_work(self) -> bool:
        return True

    def decode(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[UInt8[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str]]:
        """See `Store`. Raises `InputError` where images differ in size."""
        paths = [self.path(place) for place in positions.tolist()]
        batch = FileImages(
            paths, torch.full((len(paths),), -1), (), name="", index=torch.arange(len(paths)), decoder=self._decoder,
            image_size=self._size, bad_files=BadFiles("", len(paths), 1.0),
        )  # fmt: skip
        return batch.decode(batch.index)
