"""What is free, fetched whole or not at all: into a folder beside, from where it is moved when all of it is there."""

import hashlib
import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.request import Request, urlopen

from weatherproof.data.counts import SIZES
from weatherproof.data.origins import FREE
from weatherproof.data.sources import contents
from weatherproof.errors import InputError
from weatherproof.files import OF_THE_DISK, disk_errors
from weatherproof.progress import phase

_FOLDER = ".fetching"  # one command at a time: what a killed one left is removed by the next
_CHUNK = 1 << 20
_WAIT = 60.0  # seconds without a byte
# SUN397's archive has no splits; its authors publish ten pairs of lists beside it. As torchvision's prototype of this
# set has them.
_PARTITIONS = "https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip"
_PARTITIONS_SHA256 = "e3311ea5f812d4cc6faef194688343d1111f6cd6f70f2c62f393c2b8d6ba1ec9"
_LISTS = ("Training_01.txt", "Testing_01.txt")


def fetched(what: str, out: Path) -> str:
    """A set of `FREE` in a folder, as its source reads it there. Returns what there is to say.

    Raises:
        InputError: it is not to be had, or other images of the folder are read in its place.
    """
    free = FREE[what]
    source = free.source or what
    counts = _counts(source, out)
    if counts is not None and (what not in SIZES or counts == SIZES[what][:2]):
        return f"is there already ({_in_words(counts)}), nothing was done"
    with phase(f"fetching {what}"), beside(out) as folder:
        with to_be_had(what, free.archives, out), _lent(free.archives, out, folder / free.inside):
            from torchvision import datasets

            kind: Any = getattr(datasets, free.kind)
            kind(str(folder), download=True)
            if what == "sun397":
                _add_lists(out, folder / "SUN397")
        for name in free.archives:
            if not name.endswith(".mat"):  # which is no archive
                (folder / free.inside / name).unlink(missing_ok=True)
        home = folder / free.taken
        found = _read(source, home, out)
        placed(home, out)
    if _counts(source, out) != found:
        raise InputError(
            f"{what} is in {out} now, and other images there are read in its place: move what else is there away"
        )
    return f"{_in_words(found)}; torchvision {'has compared its MD5' if free.hashed else 'knows no MD5 of it'}"


def _read(source: str, folder: Path, out: Path) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is read: loading says it
            train, test = (len(contents(f"{source}:{folder}", split).labels) for split in ("train", "test"))
    except InputError as error:
        raise InputError(str(error).replace(str(folder), str(out))) from None
    return train, test


def _counts(source: str, folder: Path) -> tuple[int, int] | None:
    """How many images to train and to test are there; None: it cannot be read."""
    with suppress(InputError):
        return _read(source, folder, folder)
    return None


def _in_words(counts: tuple[int, int]) -> str:
    return f"{counts[0]:,} to train, {counts[1]:,} to test"


@contextmanager
def beside(out: Path) -> Iterator[Path]:
    """A folder on the same disk, gone at the end with what is still in it."""
    folder, new = out / _FOLDER, not out.exists()
    with disk_errors(out):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if new:
            with suppress(OSError):  # something is in it
                out.rmdir()


def placed(source: Path, out: Path) -> None:
    """Move all that is in a folder into another one on the same disk; what has the same name there is replaced."""
    with disk_errors(out):
        for item in sorted(source.iterdir()):
            if item.is_dir() and (out / item.name).is_dir():
                placed(item, out / item.name)
            else:
                item.replace(out / item.name)


@contextmanager
def _lent(names: tuple[str, ...], out: Path, folder: Path) -> Iterator[None]:
    """Archives that somebody has put into `out`, where torchvision looks for them. One that is not what was published
    is fetched again in its place, and is removed where that breaks off."""
    inside = folder.relative_to(out / _FOLDER)
    own = [path for name in names for path in (out / inside / name, out / name) if path.is_file()]
    with disk_errors(out):
        for path in own:
            folder.mkdir(parents=True, exist_ok=True)
            _same(path, folder / path.name)
    before = {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in own}
    try:
        yield
    except BaseException:
        for path, state in before.items():
            if (path.stat().st_size, path.stat().st_mtime_ns) != state:
                path.unlink()
        raise


def _same(path: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:  # a disk without links
        shutil.copyfile(path, target)


@contextmanager
def to_be_had(what: str, names: tuple[str, ...], out: Path) -> Iterator[None]:
    """Inside, whatever a network does becomes one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of a network that is not there, or another file than the published one
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            with disk_errors(out):
                raise
        words = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"{what} is not to be had ({words}), and nothing is left of it: run the same command again, or put its "
            f"published {' and '.join(names)} into {out} first"
        ) from None


def download(url: str, file: Path) -> None:
    """Fetch a file. Raises `OSError` where it breaks off."""
    with urlopen(Request(url, headers={"User-Agent": "weatherproof"}), timeout=_WAIT) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
        total = -(-size // _CHUNK) or None
        with phase(f"downloading {url}", total, "MB") as meter, file.open("wb") as stream:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                meter.advance()
    if size and file.stat().st_size != size:
        raise ConnectionError(f"{url} broke off after {file.stat().st_size:,} of {size:,} bytes")


def _add_lists(out: Path, folder: Path) -> None:
    """The lists of the first partition, beside the images."""
    file = out / "Partitions.zip"
    if not file.is_file():
        file = folder.parent / file.name
        download(_PARTITIONS, file)
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != _PARTITIONS_SHA256:
        raise InputError(f"{file.name} is not what was published: put that of {_PARTITIONS} into {out} and try again")
    with zipfile.ZipFile(BytesIO(content)) as archive:
        for name in archive.namelist():
            if PurePosixPath(name).name in _LISTS:
                (folder / PurePosixPath(name).name).write_bytes(archive.read(name))
    (folder.parent / file.name).unlink(missing_ok=True)
