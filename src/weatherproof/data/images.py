"""A set of images: what every source becomes, and the one that lies in memory."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt
from torch import Tensor

from weatherproof import random
from weatherproof.data.decoding import Decoder
from weatherproof.errors import InputError
from weatherproof.sizes import sides

MOST_CHANNELS = 64  # a satellite has a dozen
IDENTITY = 1  # the version of the rules by which sources number images (`index`): another one makes other draws of all


@runtime_checkable
class ImageSet(Protocol):
    """Images with labels, read by position."""

    @property
    def name(self) -> str:
        """What records call it: "digits/test"."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names behind the labels."""

    @property
    def labels(self) -> Int64[Tensor, "n"]:
        """Class of every image; -1 where it has none."""

    @property
    def index(self) -> Int64[Tensor, "n"]:
        """The number of every image in its whole source, often its position there, at most 2^63 - 1: the same in every
        subset, so that its keys are too."""

    @property
    def bad(self) -> Mapping[str, str]:
        """The files that could not be read, and why."""

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width); None where the images differ."""

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB; others are what the images' own makers say."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[UInt[Tensor, "channels height width"], int, int]:
        """Image, label and index."""

    def subset(self, positions: Int64[Tensor, "m"]) -> "ImageSet":
        """The images at these positions, in this order."""

    def read(self, positions: Int64[Tensor, "b"]) -> UInt[Tensor, "b channels height width"]:
        """The pixels at these positions."""


@runtime_checkable
class Ordered(Protocol):
    """A set that says in which order an epoch visits it, because some orders are quicker to read."""

    def order(self, seed: int, epoch: int) -> Int64[Tensor, "n"]:
        """All positions, in an order that is a function of (seed, epoch) alone: a run that was killed goes on in it."""


def order_of(images: ImageSet, seed: int, epoch: int) -> Int64[Tensor, "n"]:
    """The order in which epoch `epoch` visits the images: the set's own, else `random.order`."""
    return images.order(seed, epoch) if isinstance(images, Ordered) else random.order(seed, epoch, len(images))


def _channels_first(shape: Sequence[int]) -> bool:
    """Whether the second number is one of channels: [n, 32, 32, 3] has them last."""
    channels, rows, columns = shape[1:]
    return channels in (1, 3) or (1 <= channels <= MOST_CHANNELS and channels <= min(rows, columns))


def evenly_spaced(images: int, count: int) -> Int64[Tensor, "m"]:
    """Positions 0 ... images - 1 of `count` images, evenly spaced, the first and the last among them; all where there
    are no more. Sources are sorted by class, so every class keeps its share.

        position of image i = round(i (images - 1) / (count - 1))

    In float64: float32 has no number for every position above 2^24, and rounds a few below it another way.
    """
    return torch.linspace(0, images - 1, min(count, images), dtype=torch.float64).round().long()


def at_most(images: ImageSet, limit: int | None) -> ImageSet:
    """At most so many of the images, `evenly_spaced`. None: all."""
    if limit is None or limit >= len(images):
        return images
    return images.subset(evenly_spaced(len(images), limit))


def mixed(images: ImageSet, seed: int) -> ImageSet:
    """The images in an order drawn once: folders come class by class, and what is made of a batch needs all classes."""
    return images.subset(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)))


def held_out(images: ImageSet, most: int = 500, share: float = 0.1) -> tuple[ImageSet, ImageSet]:
    """(the rest, some of the images, evenly spaced: at most so many and at most that share, at least one).

    Raises:
        InputError: fewer than two images.
    """
    if len(images) < 2:
        raise InputError(
            f"{images.name} holds {len(images)} image(s): some must be held out for validation, give two or more"
        )
    chosen = evenly_spaced(len(images), max(1, min(most, int(share * len(images)))))
    rest = torch.ones(len(images), dtype=torch.bool)
    rest[chosen] = False
    return images.subset(rest.nonzero().flatten()), images.subset(chosen)


def as_floats(pixels: UInt[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Pixels in [0, 1], of 8 bits or 16."""
    return pixels.float().div_(255 if pixels.dtype == torch.uint8 else 65535)


class MemoryImages:
    """Images in memory.

    Args:
        pixels: uint8 or uint16 [n, C, H, W], of 1 to 64 channels.
        labels: int64 [n], -1 for none; None: no image has one.
        classes: the names behind the labels; None: "0", "1", ...
        name: what records call it.
        index: the number of each image in its whole source; None: 0 .. n - 1.
        bad: the files that were left out, and why.
        decoder: how `read` resizes what is stored, where the resized whole would not fit into memory.
        paths: the file of each image, where they come from files.

    Raises:
        InputError: the parts do not belong together.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor | None = None,
        classes: Sequence[str] | None = None,
        *,
        name: str = "memory",
        index: Tensor | None = None,
        bad: Mapping[str, str] | None = None,
        decoder: Decoder | None = None,
        paths: Sequence[str] | None = None,
    ) -> None:
        if pixels.dtype not in (torch.uint8, torch.uint16) or pixels.ndim != 4 or not _channels_first(pixels.shape):
            raise InputError(
                "expected uint8 or uint16 pixels [n, channels, H, W], usually of 1 or 3 channels; got "
                f"{pixels.dtype} {list(pixels.shape)}"
            )
        labels = torch.full((len(pixels),), -1) if labels is None else labels
        index = torch.arange(len(pixels)) if index is None else index
        for what, numbers in (("labels", labels), ("index", index)):
            if numbers.dtype != torch.int64 or numbers.shape != (len(pixels),):
                raise InputError(
                    f"expected {what} int64 [{len(pixels)}], one an image; got {numbers.dtype} {list(numbers.shape)}"
                )
        top = int(labels.max()) if len(labels) else -1
        classes = tuple(map(str, range(top + 1)) if classes is None else classes)
        if top >= len(classes):
            raise InputError(f"label {top} has no name: there are {len(classes)} classes")
        self.pixels, self.labels, self.index, self.classes, self.name = pixels, labels, index, classes, name
        self._bad, self.paths = dict(bad or {}), None if paths is None else tuple(paths)
        self.decoder = None if decoder is None or decoder.keeps(tuple(pixels.shape)) else decoder

    @property
    def bad(self) -> Mapping[str, str]:
        return MappingProxyType(self._bad)

    @property
    def channels(self) -> int:
        return self.pixels.shape[1] if self.decoder is None else self.decoder.channels

    @property
    def image_size(self) -> tuple[int, int]:
        if self.decoder is None or self.decoder.size is None:
            stored = self.pixels.shape[2], self.pixels.shape[3]
            return stored if self.decoder is None else self.decoder.whole(stored)
        return sides(self.decoder.size)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[UInt[Tensor, "channels height width"], int, int]:
        at = range(len(self))[i]  # an IndexError past the end stops a for loop
        return self.read(torch.tensor([at]))[0], int(self.labels[at]), int(self.index[at])

    def __repr__(self) -> str:
        return f"<{len(self)} images of {self.name!r} in memory>"

    def subset(self, positions: Int64[Tensor, "m"]) -> "MemoryImages":
        """The images at these positions, in this order."""
        return MemoryImages(
            self.pixels[positions],
            self.labels[positions],
            self.classes,
            name=self.name,
            index=self.index[positions],
            bad=self.bad,
            decoder=self.decoder,
            paths=None if self.paths is None else [self.paths[i] for i in positions.tolist()],
        )

    def read(self, positions: Int64[Tensor, "b"]) -> UInt[Tensor, "b channels height width"]:
        """The pixels at these positions."""
        pixels = self.pixels[positions]
        if self.decoder is None or not len(pixels):
            return pixels
        return torch.from_numpy(np.stack([self.decoder.array(image) for image in pixels.numpy()]))
