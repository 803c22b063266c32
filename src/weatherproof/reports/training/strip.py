"""One image through a suite: clean, and under every corruption at every severity, as one file of a run folder.

`strip.safetensors` holds uint8 tensors, channels x height x width with 1 or 3 channels: "clean", and "fog/3" for fog at
severity 3. They are stored at the size at which the page shows them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weatherproof.benchmark import SEVERITIES
from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.reports.drawing.pictures import (
    SMALL,
    AnyPicture,
    Picture,
    data_address,
    is_picture,
    read_tensors,
    smaller,
)
from weatherproof.reports.suite.records import in_order
from weatherproof.reports.words import records as words

FILE = "strip.safetensors"
SHOWN = 96  # pixels of the longer side on the page


@dataclass(frozen=True)
class StripRow:
    """One corruption: a data address for each severity, None where it was not drawn."""

    name: str
    images: tuple[str | None, ...]


@dataclass(frozen=True)
class Strip:
    """What the page shows."""

    clean: str
    severities: tuple[int, ...]
    rows: tuple[StripRow, ...]
    pixelated: bool
    stored: tuple[int, int]  # height and width
    limit: int = SHOWN


def save_strip(folder: Path | str, clean: Picture, parts: Mapping[tuple[str, int], AnyPicture]) -> Path:
    """Write the strip of a run; returns the file. Images larger than the page shows them are made smaller.

    Args:
        folder: the run folder.
        clean: the image, 8 bits, 1 or 3 channels.
        parts: by (corruption, severity), the same image corrupted; all of one shape.

    Raises:
        InputError: no parts, or a part of another shape.
    """
    from safetensors.torch import save

    if not parts:
        raise InputError("a strip needs at least one corrupted image, got none")
    for (name, severity), image in parts.items():
        if image.shape != clean.shape:
            raise InputError(f"{name} at severity {severity} is {tuple(image.shape)}, expected {tuple(clean.shape)}")
    named = {f"{name}/{severity}": image for (name, severity), image in parts.items()}
    tensors = {name: smaller(image, SHOWN) for name, image in {"clean": clean, **named}.items()}
    return write_atomically(Path(folder) / FILE, save(tensors))


def read_strip(folder: Path) -> Strip | None:
    """The strip of a run folder; None where it has none.

    Raises:
        InputError: the file is not what `save_strip` writes.
    """
    read = read_tensors(folder / FILE)
    if read is None:
        return None
    tensors, _ = read
    found = {name: _place(name) for name in tensors if name != "clean"}
    if "clean" not in tensors or not all(map(is_picture, tensors.values())) or None in found.values():
        raise InputError(f"{str(folder / FILE)!r} is not a strip of images: remove it, or make the run again")
    places = {place: data_address(tensors[name]) for name, place in found.items() if place is not None}
    severities = tuple(sorted({*SEVERITIES, *(severity for _, severity in places)}))
    height, width = tensors["clean"].shape[1:]
    return Strip(
        clean=data_address(tensors["clean"]),
        severities=severities,
        rows=tuple(
            StripRow(words.corruption_words(name), tuple(places.get((name, severity)) for severity in severities))
            for name in in_order({name for name, _ in places})
        ),
        pixelated=max(height, width) <= SMALL,
        stored=(height, width),
    )


def _place(name: str) -> tuple[str, int] | None:
    corruption, _, severity = name.rpartition("/")
    return (corruption, int(severity)) if corruption and severity.isdecimal() else None
