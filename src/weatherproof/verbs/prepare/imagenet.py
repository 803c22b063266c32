"""ImageNet (ILSVRC 2012) into folders by WordNet id, as `imagenet:DIR` reads it."""

import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from weatherproof.errors import InputError
from weatherproof.files import disk_errors
from weatherproof.progress import phase
from weatherproof.verbs.prepare.archives import opened, take

IMAGES = 50_000
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_WORDNET = re.compile(r"n\d{8}")
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_CLASSES = 1000


def wordnet_ids(labels: Path) -> list[str]:
    """The class of each validation image, in the order of their numbers.

    Args:
        labels: the development kit (the folder, or its data/), or a text file with one WordNet id a line.

    Raises:
        InputError: nothing of the kind, or another number of lines or classes.
    """
    if labels.is_file() and labels.name != _TRUTH:
        found = labels.read_text("utf-8", "replace").split()
    else:
        folder = labels.parent if labels.is_file() else labels
        folder = folder if (folder / _TRUTH).is_file() else folder / "data"
        if not (folder / _TRUTH).is_file() or not (folder / "meta.mat").is_file():
            raise InputError(
                f"no {_TRUTH} and meta.mat in {labels}: --labels is the development kit ILSVRC2012_devkit_t12, or a "
                "text file with the WordNet id of each validation image, one a line"
            )
        names = _synsets(folder / "meta.mat")
        numbers = (folder / _TRUTH).read_text("utf-8", "replace").split()
        found = [names.get(number, number) for number in numbers]
    strange = next((name for name in found if not _WORDNET.fullmatch(name)), None)
    if strange is not None or len(found) != IMAGES:
        told = f"{strange!r} is no WordNet id" if strange is not None else f"it has {len(found):,} lines"
        raise InputError(f"{labels}: expected the classes of {IMAGES:,} validation images, and {told}")
    if len(set(found)) != _CLASSES:
        raise InputError(f"{labels}: expected {_CLASSES:,} classes, found {len(set(found)):,}")
    return found


def _synsets(file: Path) -> dict[str, str]:
    """WordNet ids by ILSVRC2012_ID, from the development kit's meta.mat (numbers and texts, nothing that runs)."""
    from scipy.io import loadmat

    try:
        rows: Any = loadmat(str(file), squeeze_me=True)["synsets"]
        return {str(int(row["ILSVRC2012_ID"])): str(row["WNID"]) for row in rows}
    except Exception as error:  # of whatever a damaged file makes of the reader
        raise InputError(
            f"{file} is not the development kit's meta.mat: {' '.join(str(error).split())[:120]}"
        ) from None


def validation(source: Path, labels: Path, out: Path) -> int:
    """The validation images, of a folder or of ILSVRC2012_img_val.tar, into folders by class; those of a folder are
    linked where the disk can, else copied. Goes on where it was stopped. Returns how many are there.

    Raises:
        InputError: labels as in `wordnet_ids`; no such images, or not all of them.
    """
    wanted = wordnet_ids(labels)

    def place(name: PurePosixPath | Path) -> Path | None:
        found = _NAME.fullmatch(name.name)
        number = int(found.group(1)) if found else 0
        return Path(wanted[number - 1]) / name.name if 1 <= number <= IMAGES else None

    if source.is_dir():
        count = _linked(source, out, place)
    else:
        with opened(source) as archive:
            count = take(archive, out, place)
    if count != IMAGES:
        raise InputError(
            f"{source} has {count:,} of the {IMAGES:,} validation images (ILSVRC2012_val_00000001.JPEG ...): {out} has "
            "these; the same command adds others"
        )
    return count


def _linked(source: Path, out: Path, place: Any) -> int:
    count = 0
    with phase(f"sorting {source}", None, "images") as meter:
        for file in sorted(source.rglob("*.JPEG")):
            where = place(file)
            if where is None:
                continue
            count += 1
            target = out / where
            if not target.is_file():
                with disk_errors(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _same(file, target)
            meter.advance()
    return count


def _same(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another disk, or one without links
        from weatherproof.files import write_atomically

        write_atomically(target, file.read_bytes())


def training(source: Path, out: Path) -> int:
    """The images of ILSVRC2012_img_train.tar, a tar file of one tar file for each class, into folders by class.
    Returns how many are there.

    Raises:
        InputError: it is another archive.
    """
    count = 0
    with opened(source) as archive:
        for member in archive:
            wordnet = PurePosixPath(member.name).stem
            if not (member.isfile() and member.name.endswith(".tar") and _WORDNET.fullmatch(wordnet)):
                continue
            stream = archive.extractfile(member)
            assert stream is not None
            with tarfile.open(fileobj=stream) as images:
                count += take(images, out / wordnet, _jpeg)
    if not count:
        raise InputError(
            f"{source} is not ILSVRC2012_img_train.tar: expected a tar file for each class (n01440764.tar ...)"
        )
    return count


def _jpeg(name: PurePosixPath) -> Path | None:
    return Path(name.name) if name.suffix == ".JPEG" else None


def corruptions(sources: Sequence[Path], out: Path) -> int:
    """ImageNet-C's tar files (noise, blur, weather, digital, extra), each NAME/SEVERITY/WORDNET_ID/image, into one
    folder. Returns how many images are there."""
    count = 0
    for source in sources:
        with opened(source) as archive:
            count += take(archive, out, _corrupted)
    if not count:
        raise InputError(f"no images such as fog/3/n01440764/NAME.JPEG in {', '.join(map(str, sources))}")
    return count


def _corrupted(name: PurePosixPath) -> Path | None:
    own = name.parts[-4:]
    whole = len(own) == 4 and own[1].isdigit() and _WORDNET.fullmatch(own[2]) and name.suffix == ".JPEG"
    return Path(*own) if whole else None
