"""A test set under the common corruptions (Hendrycks & Dietterich 2019), downloaded or written by `corrupt`.

DIR/fog.npy, ..., DIR/labels.npy                 CIFAR-10-C, CIFAR-100-C: see `arrays`
DIR/fog/3/n01440764/*.JPEG, ...                  ImageNet-C: see `folders`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from weatherproof.benchmark import COMMON_19, SEVERITIES
from weatherproof.data.files import BadFiles, all_good
from weatherproof.errors import InputError, unknown

Part = tuple[str, int]  # corruption and severity


@runtime_checkable
class Store(Protocol):
    """Where the pixels of all parts lie: image i of part p is at p * n + i."""

    @property
    def channels(self) -> int: ...

    @property
    def image_size(self) -> tuple[int, int] | None: ...

    @property
    def takes_work(self) -> bool:
        """Whether reading decodes or resizes, so that other processes should do it."""

    def decode(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[UInt8[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str]]:
        """The pixels of the good ones among these, which of `positions` they are (0 .. b - 1), the bad files and why,
        and the good ones that Pillow warned of."""


@dataclass(frozen=True, eq=False)
class Corrupted:
    """What lies in a folder: the parts in canonical order, and int64 labels (-1 for none) and index of the n images
    that each of them holds."""

    store: Store
    parts: tuple[Part, ...]
    labels: Tensor
    index: Tensor
    classes: tuple[str, ...]


class CorruptedImages:
    """An `ImageSet` of all parts one after the other: corruption by corruption, severity by severity.

    Args:
        corrupted: what lies in the folder.
        name: what records call it.
        bad_files: where files that cannot be read are recorded; all subsets share it.
        places: of its images among all of `corrupted`; None: all of them.
    """

    def __init__(
        self, corrupted: Corrupted, *, name: str, bad_files: BadFiles, places: Int64[Tensor, "m"] | None = None
    ) -> None:
        self.corrupted, self.name, self.bad_files = corrupted, name, bad_files
        self.places = torch.arange(len(corrupted.parts) * len(corrupted.labels)) if places is None else places

    @property
    def classes(self) -> tuple[str, ...]:
        return self.corrupted.classes

    @cached_property
    def labels(self) -> Int64[Tensor, "m"]:
        """Class of every image; -1 where it has none."""
        return self.corrupted.labels[self.places % len(self.corrupted.labels)]

    @cached_property
    def index(self) -> Int64[Tensor, "m"]:
        """Position of every image in the clean test set: the same in all parts."""
        return self.corrupted.index[self.places % len(self.corrupted.labels)]

    @cached_property
    def parts(self) -> dict[Part, Int64[Tensor, "k"]]:
        """Positions of the images of each (corruption, severity) that is here."""
        part = self.places // len(self.corrupted.labels)
        order = part.argsort(stable=True)
        counts = part.bincount(minlength=len(self.corrupted.parts)).tolist()
        found = zip(self.corrupted.parts, order.split(counts), strict=True)
        return {key: positions for key, positions in found if len(positions)}

    @property
    def bad(self) -> Mapping[str, str]:
        return MappingProxyType(self.bad_files.reasons)

    @property
    def image_size(self) -> tuple[int, int] | None:
        return self.corrupted.store.image_size

    @property
    def channels(self) -> int:
        return self.corrupted.store.channels

    @property
    def takes_work(self) -> bool:
        """Whether reading decodes or resizes."""
        return self.corrupted.store.takes_work

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> tuple[UInt8[Tensor, "channels height width"], int, int]:
        at = range(len(self))[i]  # an IndexError past the end stops a for loop
        return self.read(torch.tensor([at]))[0], int(self.labels[at]), int(self.index[at])

    def __repr__(self) -> str:
        return f"<{len(self)} images of {self.name!r} in {len(self.parts)} parts>"

    def __getstate__(self) -> dict[str, object]:
        names = ("corrupted", "name", "bad_files", "places")  # the rest can be made again
        return {name: self.__dict__[name] for name in names}

    def subset(self, positions: Int64[Tensor, "k"]) -> "CorruptedImages":
        """The images at these positions, in this order."""
        return CorruptedImages(self.corrupted, name=self.name, bad_files=self.bad_files, places=self.places[positions])

    def select(self, corruption: str, severity: int | None = None) -> "CorruptedImages":
        """One part, or all severities of one corruption, under a name of its own.

        Raises:
            InputError: it is not here.
        """
        here = sorted({name for name, _ in self.parts})
        if corruption not in here:
            raise unknown(f"corruption in {self.name}", corruption, here)
        chosen = [p for (name, level), p in self.parts.items() if name == corruption and severity in (None, level)]
        if not chosen:
            levels = ", ".join(str(level) for name, level in self.parts if name == corruption)
            raise InputError(f"{self.name} has no severity {severity} of {corruption}: there are {levels}")
        name = f"{self.name}/{corruption}" + ("" if severity is None else f"/{severity}")
        places = self.places[torch.cat(chosen)]
        return CorruptedImages(self.corrupted, name=name, bad_files=self.bad_files, places=places)

    def read(self, positions: Int64[Tensor, "b"]) -> UInt8[Tensor, "b channels height width"]:
        """The pixels at these positions. Raises `InputError` where one of the files is bad."""
        return all_good(self, positions)

    def decode(
        self, positions: Int64[Tensor, "b"]
    ) -> tuple[UInt8[Tensor, "kept channels height width"], Int64[Tensor, "kept"], dict[str, str], dict[str, str]]:
        """The pixels of the good files at these positions, their positions, the reasons of the bad ones, and what
        Pillow warned of in the good ones."""
        pixels, places, bad, warned = self.corrupted.store.decode(self.places[positions])
        return pixels, positions[places], bad, warned


def chosen_part(text: str) -> tuple[str, int | None]:
    """Corruption and severity out of "fog" or "fog/3". Raises `InputError` for anything else."""
    corruption, slash, level = text.partition("/")
    if corruption not in COMMON_19:
        raise unknown("corruption", corruption, COMMON_19)
    if not slash:
        return corruption, None
    return corruption, check_severity(int(level) if level.isdecimal() else level)


def check_severity(severity: int | str) -> int:
    """The severity itself. Raises `InputError` unless it is one of 1 to 5."""
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise InputError(f"a severity is a whole number from 1 (mild) to 5 (harsh), got {severity!r}")
    return int(severity)
