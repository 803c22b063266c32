"""Pictures of single images: clean, damaged, and what each model makes of the damaged one (as in Figure 1)."""

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from weatherproof.errors import InputError, shown
from weatherproof.files import write_atomically
from weatherproof.reports.drawing.pictures import address, as_picture, bytes_of, in_colours
from weatherproof.reports.parts import PartFile, read_list, save_list
from weatherproof.reports.words import records as words

SMALL = 128  # pixels; images up to here are shown as blocks, not smoothed
SHOWN = 24  # examples on a page; the folder keeps all
TOP = 3  # guesses per model, as in Figure 1


@dataclass(frozen=True)
class GalleryEntry:
    """One example. Pixels in [0, 1] (outside is cut off), 1 or 3 channels; guesses (label, probability), best first."""

    clean: Float[Tensor, "channels height width"]
    damaged: Float[Tensor, "channels height width"]
    operator: str
    predictions: Mapping[str, Sequence[tuple[str, float]]]
    truth: str | None = None


@dataclass(frozen=True)
class GalleryRow:
    """One example in the file: its images are files of the run folder; a probability may be no number."""

    clean: str
    damaged: str
    truth: str | None = None
    operator: str | None = None
    predictions: Mapping[str, tuple[tuple[str, float | None], ...]] = field(default_factory=dict)


GALLERY = PartFile("gallery.json", "a list of examples", GalleryRow)


@dataclass(frozen=True)
class Guess:
    label: str
    text: str
    fraction: float
    right: bool | None  # None where the truth is not known


@dataclass(frozen=True)
class Example:
    """One example as the page shows it: images as data addresses, guesses with their bars."""

    truth: str | None
    condition: str
    clean: str
    damaged: str
    pixelated: bool
    models: tuple[tuple[str, tuple[Guess, ...]], ...]


def save_gallery(folder: Path | str, entries: Sequence[GalleryEntry]) -> Path:
    """Write `gallery/000-clean.png`, `gallery/000-damaged.png`, ... and, last, `gallery.json`; returns the latter."""
    path = Path(folder)
    listed = []
    for i, entry in enumerate(entries):
        names = {kind: f"gallery/{i:03d}-{kind}.png" for kind in ("clean", "damaged")}
        write_atomically(path / names["clean"], _png(entry.clean))
        write_atomically(path / names["damaged"], _png(entry.damaged))
        predictions = {
            model: tuple((str(label), float(probability)) for label, probability in guesses[:TOP])
            for model, guesses in entry.predictions.items()
        }
        listed.append(GalleryRow(**names, truth=entry.truth, operator=entry.operator, predictions=predictions))
    return save_list(path, GALLERY, listed)


def _png(image: Tensor) -> bytes:
    file = io.BytesIO()
    as_picture(bytes_of(in_colours(image))).save(file, "PNG")
    return file.getvalue()


def read_examples(folder: Path) -> tuple[Example, ...]:
    """The first examples of a run folder with their images inside; none where it has none.

    Raises:
        InputError: the file holds something else, or names a file that is not a PNG inside the run folder.
    """
    return tuple(_example(folder, row) for row in read_list(folder, GALLERY)[:SHOWN])


def _example(folder: Path, row: GalleryRow) -> Example:
    clean, damaged = _read_png(folder, row.clean), _read_png(folder, row.damaged)
    models = row.predictions
    order = [*(m for m in words.MODEL_ORDER if m in models), *(m for m in models if m not in words.MODEL_ORDER)]
    return Example(
        truth=row.truth,
        condition=words.condition_words({"operator": row.operator}),
        clean=address(clean, "png"),
        damaged=address(damaged, "png"),
        pixelated=max(struct.unpack(">II", clean[16:24])) <= SMALL,  # width and height in a PNG's header
        models=tuple((model, tuple(_guess(*guess, row.truth) for guess in models[model][:TOP])) for model in order),
    )


def _guess(label: str, probability: float | None, truth: str | None) -> Guess:
    known = 0.0 if probability is None else min(1.0, max(0.0, probability))
    text = "n/a" if probability is None else f"{100 * known:.0f} %"
    return Guess(label, text, known, None if truth is None else label == truth)


def _read_png(folder: Path, name: str) -> bytes:
    file = _inside(folder, name)
    if file is None:
        raise InputError(
            f"gallery.json names {shown(name)}, which is no file in {str(folder)!r}: remove it, or make the run again"
        )
    content = file.read_bytes()
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 24:
        raise InputError(f"{str(file)!r} is not a PNG image: make the run again in a new folder")
    return content


def _inside(folder: Path, name: str) -> Path | None:
    """The file of the run folder that is called so; None where there is none, or where it is outside."""
    try:
        file = (folder / name).resolve()
        return file if file.is_relative_to(folder.resolve()) and file.is_file() else None
    except (OSError, ValueError):  # a name that no file can have
        return None
