"""One image through a suite: clean, and under every corruption at every severity, as one file of a run folder."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from weatherproof.benchmark import SEVERITIES
from weatherproof.errors import InputError
from weatherproof.reports.drawing.pictures import (
    AnyPicture,
    Picture,
    data_address,
    for_page,
    is_small,
    require_pictures,
)
from weatherproof.reports.parts import PartFile, save_tensors
from weatherproof.reports.suite.records import in_order
from weatherproof.reports.words import records as words

SHOWN = 96  # pixels of the longer side on the page


@dataclass(frozen=True)
class StripRow:
    """One corruption: a data address for each severity, None where it was not drawn."""

    name: str
    images: tuple[str | None, ...]


@dataclass(frozen=True)
class StripFile:
    """What the file holds, as large as the page shows it: "clean", and `corrupted`, where "fog/3" is at severity 3."""

    clean: Picture
    corrupted: Mapping[str, Picture]
    limit: ClassVar[int] = SHOWN

    def __post_init__(self) -> None:
        require_pictures(self.clean, *self.corrupted.values())
        for name in self.corrupted:
            _place(name)

    @property
    def severities(self) -> tuple[int, ...]:
        return tuple(sorted({*SEVERITIES, *(severity for _, severity in map(_place, self.corrupted))}))

    @property
    def rows(self) -> Iterator[StripRow]:
        places = {_place(name): data_address(image) for name, image in self.corrupted.items()}
        for name in in_order({name for name, _ in places}):
            images = tuple(places.get((name, severity)) for severity in self.severities)
            yield StripRow(words.corruption_words(name), images)

    @property
    def pixelated(self) -> bool:
        return is_small(self.clean)


STRIP = PartFile(
    "strip.safetensors",
    "a strip of images",
    StripFile,
    lambda tensors, _: {
        "clean": tensors["clean"],
        "corrupted": {name: image for name, image in tensors.items() if name != "clean"},
    },
)


def save_strip(folder: Path | str, clean: Picture, parts: Mapping[tuple[str, int], AnyPicture]) -> Path:
    """Write the strip of a run; returns the file. Images larger than the page shows them are made smaller.

    Args:
        folder: the run folder.
        clean: the image, 8 bits; of more than three channels the page shows the first three.
        parts: by (corruption, severity), the same image corrupted; all of one shape.

    Raises:
        InputError: no parts, or a part of another shape.
    """
    if not parts:
        raise InputError("a strip needs at least one corrupted image, got none")
    for (name, severity), image in parts.items():
        if image.shape != clean.shape:
            raise InputError(f"{name} at severity {severity} is {tuple(image.shape)}, expected {tuple(clean.shape)}")
    named = {f"{name}/{severity}": image for (name, severity), image in parts.items()}
    tensors = {name: for_page(image, SHOWN) for name, image in {"clean": clean, **named}.items()}
    return save_tensors(Path(folder) / STRIP.name, tensors)


def _place(name: str) -> tuple[str, int]:
    corruption, _, severity = name.rpartition("/")
    if not corruption or not severity.isdecimal():
        raise ValueError(f"{name!r} names no corruption with a severity")
    return corruption, int(severity)
