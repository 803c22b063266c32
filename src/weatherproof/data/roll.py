"""The images of a folder as a roll of film: one after the other, by name or by time."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch

from weatherproof.data.decoding import opened
from weatherproof.data.files import FileImages
from weatherproof.data.folders import below
from weatherproof.data.hearing import listening, speaking_of
from weatherproof.data.images import ImageSet, MemoryImages, evenly_spaced
from weatherproof.errors import InputError
from weatherproof.names import printable
from weatherproof.progress import phase

By = Literal["name", "time"]
_EXIF, _DATE_TAKEN, _FRACTION = 0x8769, 0x9003, 0x9291  # EXIF 2.3: the Exif IFD, DateTimeOriginal, SubSecTimeOriginal
_WRITTEN = re.compile("([0-9]{4}):([0-9]{2}):([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})")


@dataclass(frozen=True)
class Moment:
    """When an image was made.

    Attributes:
        time: without a zone. The camera's own clock where the file has it, else UTC.
        by_camera: whether it is EXIF's DateTimeOriginal; else the file was last changed then.
    """

    time: datetime
    by_camera: bool


@dataclass(frozen=True, eq=False)
class Roll:
    """Images in an order that means something.

    Attributes:
        names: one an image, as text: its path below the folder of all, or the number of an image without a file.
        moments: one an image, where the order is that of time.
        digest: changes where a file is added, removed, renamed or written to; "" where there are no files.
    """

    images: ImageSet
    names: tuple[str, ...]
    moments: tuple[Moment, ...] | None
    digest: str

    def at_most(self, limit: int | None) -> "Roll":
        """At most so many of the images, `evenly_spaced`. None: all."""
        chosen = evenly_spaced(len(self.images), len(self.images) if limit is None else limit)
        places = chosen.tolist()
        moments = None if self.moments is None else tuple(self.moments[i] for i in places)
        return Roll(self.images.subset(chosen), tuple(self.names[i] for i in places), moments, self.digest)


def rolled(images: ImageSet, by: By) -> Roll:
    """The images in the order of their files' names, in which numbers count as numbers, or of their time stamps, the
    names where these are the same. Those without files stay in their own order.

    Raises:
        InputError: the order of time of images without files, or a file that has gone.
    """
    paths = images.paths if isinstance(images, FileImages | MemoryImages) else None
    if paths is None:
        if by == "time":
            raise InputError(f"{images.name!r} has no files with a time: leave out --order, or give a folder of images")
        return Roll(images, tuple(map(str, images.index.tolist())), None, "")
    above = os.path.commonpath({path.rpartition(os.sep)[0] or str(Path(path).parent) for path in paths})
    names = [below(path, above) for path in paths]
    keys: list[tuple[object, ...]] = [(_by_numbers(name), name) for name in names]
    moments = None
    if by == "time":
        moments = _moments(paths)
        keys = [(moment.time, *key) for moment, key in zip(moments, keys, strict=True)]
    order = sorted(range(len(paths)), key=keys.__getitem__)
    return Roll(
        images=images.subset(torch.tensor(order)),
        names=tuple(printable(names[i]) for i in order),
        moments=None if moments is None else tuple(moments[i] for i in order),
        digest=_digest(sorted(zip(names, paths, strict=True))),
    )


def _by_numbers(name: str) -> tuple[tuple[int, str], ...]:
    """A key by which IMG_9 comes before IMG_10."""
    parts = re.split(r"([0-9]+)", name)  # texts and numbers in turn
    return tuple((int(part), "") if place % 2 else (0, part) for place, part in enumerate(parts))


def _moments(paths: Sequence[str]) -> list[Moment]:
    moments = []
    with phase("reading time stamps", len(paths)) as meter, listening(*paths):
        for path in paths:
            moments.append(moment_of(path))
            meter.advance(1)
    return moments


def moment_of(path: str) -> Moment:
    """EXIF's DateTimeOriginal where the file has one that is a date, else when it was last changed.

    Raises:
        InputError: there is no such file any more.
    """
    taken = _time_taken(path)
    if taken is not None:
        return Moment(taken, by_camera=True)
    changed = datetime.fromtimestamp(_state(path).st_mtime_ns / 1e9, UTC)
    return Moment(datetime.combine(changed.date(), changed.time()), by_camera=False)


def _time_taken(path: str) -> datetime | None:
    try:
        with speaking_of(path), opened(path) as image:
            own = image.getexif().get_ifd(_EXIF)
        match = _WRITTEN.match(str(own.get(_DATE_TAKEN, "")))
        if match is None:
            return None
        fraction = re.match(r"[0-9]{1,6}", str(own.get(_FRACTION, "")))
        micro = f"{fraction[0] if fraction else '0':0<6}"
        return datetime.fromisoformat("{}-{}-{} {}:{}:{}.{}".format(*match.groups(), micro))
    except Exception:  # broken metadata of a readable image; a camera without a clock writes 0000:00:00
        return None


def _state(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - of many files
    except OSError as error:
        raise InputError(f"{printable(path)} has gone while it was being looked at: {error.strerror}") from None


def _digest(files: Sequence[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for name, path in files:
        state = _state(path)
        digest.update(os.fsencode(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0"))
    return digest.hexdigest()
