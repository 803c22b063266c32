"""Images that stay in their files until a batch needs them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable
from warnings import warn

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from weatherproof.canvas import Sizes, padded
from weatherproof.data.decoding import BadImage, Decoder, Pixels
from weatherproof.data.hearing import listening
from weatherproof.errors import InputError
from weatherproof.names import printable


class BadFiles:
    """The files of one source that could not be read: counted, and too many are an error. Those that were read, though
    Pillow had something to say of them, are counted, too.

    Args:
        name: of the source, for messages.
        total: how many files the source has.
        most: the share of them that may be bad.
    """

    def __init__(self, name: str, total: int, most: float) -> None:
        self.name, self.total, self.most = name, total, most
        self.reasons: dict[str, str] = {}
        self.warned: dict[str, str] = {}
        self._warned_of = (0, 0)

    def record(self, reasons: Mapping[str, str], warned: Mapping[str, str] = MappingProxyType({})) -> None:
        """Remember them. Raises `InputError` once more than the allowed share is bad, or all are."""
        self.warned.update(warned)
        self.reasons.update(reasons)
        if len(self.reasons) > self.most * self.total or (self.reasons and len(self.reasons) == self.total):
            raise InputError(
                f"{self._summary()}, more than the {self.most:.1%} that are left out: {self._first()}; "
                "repair them or take them out (in Python, load_images(..., max_bad=) takes more)"
            )

    def warn(self) -> None:
        """One line for all of the bad, and one for all that Pillow warned of, where there are new ones."""
        bad, warned = self._warned_of
        self._warned_of = len(self.reasons), len(self.warned)
        if len(self.reasons) > bad:
            warn(f"{self._summary()} and are left out: {self._first()}", UserWarning, stacklevel=3)
        if len(self.warned) > warned:
            path = min(self.warned)
            text = f"Pillow warned of {len(self.warned)} of {self.total} images in {self.name!r}, which are used"
            warn(f"{text}: first {path}: {self.warned[path]}", UserWarning, stacklevel=3)

    def _summary(self) -> str:
        count = len(self.reasons)
        return f"{count} of {self.total} images ({count / self.total:.1%}) in {self.name!r} cannot be read"

    def _first(self) -> str:
        path = min(self.reasons)
        return f"first {printable(path)}: {self.reasons[path]}"


class FileImages:
    """Images in files, decoded on demand.

    A file that turns out to be bad is dropped from its batch and recorded in `bad`, which all subsets share.

    Args:
        paths: the files.
        labels: int64 [n], -1 for none.
        classes: the names behind the labels.
        name: what records call it.
        index: position of each file in its whole source.
        decoder: how they are read.
        image_size: (height, width) of all images; None where they differ.
        bad_files: where the bad ones are recorded.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: Int64[Tensor, "n"],
        classes: Sequence[str],
        *,
        name: str,
        index: Int64[Tensor, "n"],
        decoder: Decoder,
        image_size: tuple[int, int] | None,
        bad_files: BadFiles,
    ) -> None:
        self.paths, self.labels, self.classes, self.name, self.index = tuple(paths), labels, tuple(classes), name, index
        self.decoder, self.image_size, self.bad_files = decoder, image_size, bad_files

    @property
    def bad(self) -> Mapping[str, str]:
        return MappingProxyType(self.bad_files.reasons)

    @property
    def channels(self) -> int:
        return self.decoder.channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[UInt8[Tensor, "channels height width"], int, int]:
        at = range(len(self))[i]  # an IndexError past the end stops a for loop
        return self.read(torch.tensor([at]))[0], int(self.labels[at]), int(self.index[at])

    def __repr__(self) -> str:
        return f"<{len(self)} images of {self.name!r} in files>"

    def subset(self, positions: Int64[Tensor, "m"]) -> "FileImages":
        """The images at these positions, in this order."""
        return FileImages(
            [self.paths[i] for i in positions.tolist()],
            self.labels[positions],
            self.classes,
            name=self.name,
            index=self.index[positions],
            decoder=self.decoder,
            image_size=self.image_size,
            bad_files=self.bad_files,
        )

    def read(self, positions: Int64[Tensor, "b"]) -> UInt8[Tensor, "b channels height width"]:
        """The pixels at these positions. Raises `InputError` where one of the files is bad."""
        return all_good(self, positions)

    def decode(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[UInt8[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str]]:
        """The pixels of the good files at these positions, their positions, the reasons of the bad ones, and what
        Pillow warned of in the good ones.

        Raises:
            InputError: the images differ in size.
        """
        images, places, bad, heard = self._decoded(positions)
        return stacked(images, (self.channels, *(self.image_size or (0, 0)))), places, bad, heard

    def decode_whole(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[
        UInt8[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str], Sizes
    ]:
        """`decode` for images of unlike sizes: each in the upper left corner of a common canvas; last their sizes."""
        images, places, bad, heard = self._decoded(positions)
        if not images:
            return torch.empty(0, self.channels, 0, 0, dtype=torch.uint8), places, bad, heard, torch.empty(0, 2).long()
        pixels, sizes = padded([torch.from_numpy(np.ascontiguousarray(image)) for _, image in images])
        return pixels, places, bad, heard, sizes

    def _decoded(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[list[tuple[str, Pixels]], Int64[Tensor, "kept"], dict[str, str], dict[str, str]]:
        images: list[tuple[str, Pixels]] = []
        places, bad = [], {}
        with listening(*(self.paths[i] for i in positions.tolist())) as heard:
            for position in positions.tolist():
                path = self.paths[position]
                try:
                    images.append((path, self.decoder.file(path)))
                    places.append(position)
                except BadImage as error:
                    bad[path] = str(error)
        left = {path: text for path, text in heard.items() if path not in bad}
        return images, torch.tensor(places, dtype=torch.int64), bad, left


def stacked(images: Sequence[tuple[str, Pixels]], empty: tuple[int, int, int]) -> UInt8[Tensor, "b c h w"]:
    """Images, each with its name, as one batch; of none, an empty one of this shape.

    Raises:
        InputError: they differ in size.
    """
    for name, pixels in images:
        if pixels.shape != images[0][1].shape:
            sizes = " and ".join(
                f"{i.shape[2]}x{i.shape[1]} ({printable(called)})" for called, i in (images[0], (name, pixels))
            )
            raise InputError(f"images of different sizes cannot share a batch: {sizes}; give a size to resize them to")
    return torch.from_numpy(np.stack([i for _, i in images]) if images else np.empty((0, *empty), np.uint8))


def all_good(images: "Decoded", positions: Int64[Tensor, "b"]) -> UInt8[Tensor, "b channels height width"]:
    """The pixels at these positions. Raises `InputError` where one of the images is bad."""
    pixels, _, bad, _ = images.decode(positions)
    for name, reason in bad.items():
        raise InputError(f"cannot read {printable(name)}: {reason}")
    return pixels


@runtime_checkable
class Decoded(Protocol):
    """A set whose images are decoded when a batch needs them, so that some may turn out to be bad."""

    bad_files: BadFiles

    def decode(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[UInt8[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str]]:
        """The pixels of the good ones at these positions, their positions, the reasons of the bad ones, and what Pillow
        warned of in the good ones."""
