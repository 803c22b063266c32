"""A file of embeddings, from beginning to end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import Any, BinaryIO

from weatherproof import __version__
from weatherproof.embedded.about import About
from weatherproof.embedded.columns import EMBEDDING, LOGITS, PATCHES
from weatherproof.embedded.npz import write_npz
from weatherproof.embedded.parquet import write_parquet
from weatherproof.embedded.parts import Parts
from weatherproof.embedded.reader import load_embeddings
from weatherproof.embedded.rows import Rows
from weatherproof.errors import InputError, shown
from weatherproof.files import disk_errors, replacing
from weatherproof.names import printable
from weatherproof.progress import phase
from weatherproof.training.run import OWN_FILES
from weatherproof.verbs.embed.outcome import EmbedOutcome
from weatherproof.verbs.embed.subject import Subject, hidden_folder
from weatherproof.verbs.outcome import command, text_of

_NAMED = 1000  # files that could not be read, which the file names


def _looked_at(subject: Subject) -> dict[str, Any]:
    """How the images were brought to the encoder, where the user said so: queries have to be brought so, too."""
    given = {name: subject.options.get(name) for name in ("size", "crop_fraction")}
    return {name: value for name, value in given.items() if value not in (None, 1.0)}


def write_file(file: Path, subject: Subject) -> EmbedOutcome:
    """Embed all images into a file. One that the same command has written is left as it is.

    Raises:
        InputError: something else is there, and what the encoder, the images or the disk refuse.
    """
    following = (command("embed", subject.model, "QUERIES", index=file, **_looked_at(subject)),)
    total = len(subject.origin.images)
    if file.exists():
        _require_own(file, subject)
        rmtree(hidden_folder(file), ignore_errors=True)  # of a kill in the last moment
        return EmbedOutcome(file, total, total, following, ("this file is there already: nothing was done",))
    with subject.at_work(file) as parts:
        notes = bad_notes(parts)
        if not parts.complete:
            return EmbedOutcome(
                file, parts.reached, total, (), [late_note(parts, "there is no file yet"), *notes], parts.bad
            )
        rows = Rows(parts, subject.origin, subject.encoder.own_gauge.kinds if subject.asked.gauge else None)
        about = _about(subject, rows)
        with placed(file, parts, about.images * rows.row_bytes) as stream, phase(f"writing {file.name}"):
            (write_parquet if file.suffix.lower() == ".parquet" else write_npz)(stream, rows, about)
    return EmbedOutcome(file, total, total, following, notes, parts.bad)


@contextmanager
def placed(file: Path, parts: Parts, size: int) -> Iterator[BinaryIO]:
    """A new file that gets its place when the block ends well. It is made in the hidden folder: a kill leaves nothing
    outside.

    Args:
        size: bytes that are about to be written, for the message of a full disk.
    """
    ready = parts.folder / file.name
    with replacing(ready, size) as stream:
        yield stream
    with disk_errors(file):
        ready.replace(file)


def late_note(parts: Parts, so: str) -> str:
    """What is said where the time did not do."""
    done = f"{parts.reached:,} of {parts.total:,} images are done"
    return f"time was up: {done} and {so}; the same command goes on from here"


def bad_notes(parts: Parts) -> list[str]:
    """What is said of files that could not be read."""
    if not parts.bad:
        return []
    many, first = len(parts.bad) > 1, min(parts.bad)
    return [
        f"{len(parts.bad):,} file{'s' * many} could not be read and {'are' if many else 'is'} left out: "
        f"{'first ' * many}{printable(first)}: {parts.bad[first]}"
    ]


def _about(subject: Subject, rows: Rows) -> About:
    shapes = {name: rows.shape(name) for name in rows.vectors()}
    preprocessing, patches = subject.encoder.preprocessing, shapes.get(PATCHES)
    return About(
        encoder=text_of(subject.model),
        weights=subject.weights,
        features=shapes[EMBEDDING][0],
        dtype="float16" if subject.asked.half else "float32",
        size=subject.size,
        crop_fraction=float(subject.options.get("crop_fraction") or 1.0),
        preprocessing=asdict(preprocessing),
        precision=subject.asked.precision,
        data=subject.origin.images.name,
        images=len(rows.parts.places()),
        left_out={printable(path): rows.parts.bad[path] for path in sorted(rows.parts.bad)[:_NAMED]},
        patches=None if patches is None else (patches[0], patches[1], patches[2]),
        kinds=None if rows.kinds is None else tuple(rows.kinds),
        classes=shapes[LOGITS][0] if LOGITS in shapes else None,
        settings=subject.recipe,
        version=__version__,
    )


def _require_own(file: Path, subject: Subject) -> None:
    """Raise `InputError` where the file is not what this command would write."""
    try:
        there = load_embeddings(file).about.settings
    except InputError as error:
        raise InputError(f"{file} is there already, and no file that this command can keep: {error}") from None
    here = subject.recipe
    for name in dict.fromkeys([*here, *there]):
        if name == OWN_FILES and isinstance(there.get(name), Mapping):
            changed = [own for own, digest in here.get(name, {}).items() if there[name].get(own, digest) != digest]
            if changed:
                raise InputError(
                    f"{printable(changed[0])} has changed since {file} was written: choose another --out or delete it"
                )
        elif there.get(name) != here.get(name):
            raise InputError(
                f"{file} holds embeddings of another command: {shown(name)} is {shown(there.get(name))} there and "
                f"{shown(here.get(name))} here; choose another --out or delete it"
            )
