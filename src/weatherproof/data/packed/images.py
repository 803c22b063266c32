"""An image set whose images lie packed in few files, read one by one where they lie."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from weatherproof import random
from weatherproof.data.decoding import BadImage, Decoder, Pixels
from weatherproof.data.files import BadFiles, all_good, stacked
from weatherproof.data.hearing import listening

WINDOW = 1 << 16  # images that an epoch mixes with each other, once the packs are shuffled


@runtime_checkable
class Pack(Protocol):
    """The encoded images of a source, by place. From any thread and process."""

    @property
    def first(self) -> Int64[Tensor, "packs_and_one"]:
        """Where the images of each file, or other stretch that is read at once, begin; and where the last one's end."""

    def size(self, place: int) -> int:
        """Bytes of an image."""

    def read(self, place: int) -> tuple[str, bytes]:
        """What an image is called, and its bytes.

        Raises:
            InputError: the file cannot be read, or is no longer what it was.
        """

    def name(self, place: int) -> str:
        """What an image is called."""


@dataclass(frozen=True, eq=False)
class Packed:
    """What a source of packed images holds.

    Args:
        pack: the images.
        labels: int64 [n], -1 for none.
        index: int64 [n], each image's own number.
        classes: the names behind the labels.
        split: which of the source's splits it is.
        name: what records call the source.
        channels: 1 or 3, of those who packed them; None: they did not say.
        places: of the images that are meant, among all in the pack; None: all.
        faulty: place and reason of those that are none, or miss their label.
        again: finds the same once more: that is what is sent to another process, in place of numbers for every image.
    """

    pack: Pack
    labels: Tensor
    index: Tensor
    classes: tuple[str, ...]
    split: str
    name: str
    channels: int | None = None
    places: Tensor | None = None
    faulty: Mapping[int, str] = field(default_factory=dict)
    again: Callable[[], "Packed"] | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return super().__reduce_ex__(protocol) if self.again is None else (self.again, ())


class PackedImages:
    """Images in packs, decoded on demand.

    One that turns out to be bad is dropped from its batch and recorded in `bad`, which all subsets share.

    Args:
        packed: what the packs hold.
        name: what records call it.
        decoder: how they are read.
        bad_files: where the bad ones are recorded.
        image_size: (height, width) of all images; None where they differ, or nobody has looked.
        places: of its images among all in the pack; None: all.
    """

    def __init__(
        self,
        packed: Packed,
        *,
        name: str,
        decoder: Decoder,
        bad_files: BadFiles,
        image_size: tuple[int, int] | None,
        places: Int64[Tensor, "n"] | None = None,
    ) -> None:
        self.packed, self.name, self.decoder, self.bad_files = packed, name, decoder, bad_files
        self.image_size, self.places = image_size, places

    @property
    def classes(self) -> tuple[str, ...]:
        return self.packed.classes

    @cached_property
    def labels(self) -> Int64[Tensor, "n"]:
        """Class of every image; -1 where it has none."""
        return self.packed.labels if self.places is None else self.packed.labels[self.places]

    @cached_property
    def index(self) -> Int64[Tensor, "n"]:
        """The number of every image in its whole source."""
        return self.packed.index if self.places is None else self.packed.index[self.places]

    @property
    def bad(self) -> Mapping[str, str]:
        return MappingProxyType(self.bad_files.reasons)

    @property
    def channels(self) -> int:
        return self.decoder.channels

    def __len__(self) -> int:
        return len(self.packed.labels) if self.places is None else len(self.places)

    def __getitem__(self, i: int) -> tuple[UInt8[Tensor, "channels height width"], int, int]:
        at = range(len(self))[i]  # an IndexError past the end stops a for loop
        return self.read(torch.tensor([at]))[0], int(self.labels[at]), int(self.index[at])

    def __repr__(self) -> str:
        return f"<{len(self)} images of {self.name!r} in packs>"

    def __getstate__(self) -> dict[str, object]:
        left_out = {"labels", "index"}  # can be made again
        if self.places is self.packed.places:
            left_out.add("places")
        state = {name: value for name, value in self.__dict__.items() if name not in left_out}
        return state | {"places": _Chosen.of(state.get("places"), len(self.packed.labels))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        chosen = state["places"]
        self.__dict__.update(state | {"places": state["packed"].places if chosen is None else chosen.places()})

    def subset(self, positions: Int64[Tensor, "m"]) -> "PackedImages":
        """The images at these positions, in this order."""
        return PackedImages(
            self.packed,
            name=self.name,
            decoder=self.decoder,
            bad_files=self.bad_files,
            image_size=self.image_size,
            places=positions if self.places is None else self.places[positions],
        )

    def order(self, seed: int, epoch: int) -> Int64[Tensor, "n"]:
        """The packs in random order, their images mixed in windows of 65,536, so that few files are read at a time.

        A function of (seed, epoch) alone, whatever the number of processes and workers.
        """
        first = self.packed.pack.first
        visit = random.order(seed, epoch, len(first) - 1)
        if self.places is None:
            ends = first.tolist()
            stream = torch.cat([torch.arange(ends[i], ends[i + 1]) for i in visit.tolist()])
        else:
            own = torch.searchsorted(first, self.places, right=True) - 1
            stream = visit.argsort()[own].argsort(stable=True)
        key = random.fold(torch.zeros(1, dtype=torch.int64), seed, epoch)
        for window, part in enumerate(stream.split(WINDOW)):
            part.copy_(part[random.permutations(random.fold(key, window), len(part))[0]])
        return stream

    def encoded(self, position: int) -> tuple[str, bytes]:
        """What an image is called, and its bytes as they are stored."""
        return self.packed.pack.read(self._place(position))

    def encoded_size(self, position: int) -> int:
        """Bytes of an image as it is stored."""
        return self.packed.pack.size(self._place(position))

    def called(self, position: int) -> str:
        """What an image is called: its file and its own name there."""
        return self.packed.pack.name(self._place(position))

    def _place(self, position: int) -> int:
        return int(position if self.places is None else self.places[position])

    def read(self, positions: Int64[Tensor, "b"]) -> UInt8[Tensor, "b channels height width"]:
        """The pixels at these positions. Raises `InputError` where one of the images is bad."""
        return all_good(self, positions)

    def decode(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[UInt8[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str]]:
        """The pixels of the good images at these positions, their positions, the reasons of the bad ones, and what
        Pillow warned of in the good ones.

        Raises:
            InputError: the images differ in size, or a file is no longer what it was.
        """
        images: list[tuple[str, Pixels]] = []
        places, bad = [], {}
        stored = [self.encoded(position) for position in positions.tolist()]
        with listening(*(name for name, _ in stored)) as heard:
            for position, (name, content) in zip(positions.tolist(), stored, strict=True):
                try:
                    images.append((name, self.decoder.file(name, content)))
                    places.append(position)
                except BadImage as error:
                    bad[name] = str(error)
        warned = {name: text for name, text in heard.items() if name not in bad}
        whole = stacked(images, (self.channels, *(self.image_size or (0, 0))))
        return whole, torch.tensor(places, dtype=torch.int64), bad, warned


@dataclass(frozen=True)
class _Chosen:
    """Some of many places as they are sent to another process: where they are many and rise, a bit for every place."""

    numbers: np.ndarray
    bits: bool

    @classmethod
    def of(cls, places: Tensor | None, total: int) -> "_Chosen | None":
        if places is None:
            return None
        if 64 * len(places) < total or not bool((places[1:] > places[:-1]).all()):
            return cls(places.numpy(), bits=False)
        mask = np.zeros(total, np.bool_)
        mask[places.numpy()] = True
        return cls(np.packbits(mask), bits=True)

    def places(self) -> Tensor:
        return torch.from_numpy(np.flatnonzero(np.unpackbits(self.numbers)) if self.bits else self.numbers)


def decoded(pack: Pack, place: int, decoder: Decoder) -> tuple[str, Pixels | BadImage, dict[str, str]]:
    """What an image is called, its pixels or why it has none, and what was said of it."""
    name, content = pack.read(place)
    with listening(name) as heard:
        try:
            pixels: Pixels | BadImage = decoder.file(name, content)
        except BadImage as error:
            pixels = error
    return name, pixels, heard


def held_out_by(index: Int64[Tensor, "n"], share: float) -> Tensor:
    """Which images are held out as the test split: bool [n], by a hash of their own number, so that new ones never
    move another."""
    held = np.zeros(len(index), np.bool_)
    for start in range(0, len(index), 1 << 20):
        part = index[start : start + (1 << 20)]
        held[start : start + len(part)] = random.uniform(random.keys(_HELD, part)).numpy() < share
    return torch.from_numpy(held)


_HELD = 0x68656C64  # "held"
