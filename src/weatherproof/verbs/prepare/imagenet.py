"""ImageNet (ILSVRC 2012) into folders by WordNet id, as `imagenet:DIR` reads it."""

import os
import re
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from weatherproof.errors import InputError, shown
from weatherproof.files import disk_errors
from weatherproof.progress import phase
from weatherproof.verbs.prepare.archives import opened, take

IMAGES = 50_000
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_WORDNET = re.compile(r"n\d{8}")
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"
_KAGGLE = "ImageId,PredictionString"
_CLASSES = 1000
_MOST = 1 << 26  # bytes of a file of the development kit, which has one of 10 MB at most
_WANTED = (
    "--labels is the development kit, ILSVRC2012_devkit_t12.tar.gz or its folder, Kaggle's LOC_val_solution.csv, or a "
    "text file with the WordNet id of each validation image, one a line"
)


def wordnet_ids(labels: Path) -> list[str]:
    """The class of each validation image, in the order of their numbers.

    Args:
        labels: the development kit (ILSVRC2012_devkit_t12.tar.gz, its folder, or its data/), Kaggle's
            LOC_val_solution.csv, or a text file with one WordNet id a line.

    Raises:
        InputError: nothing of the kind, or another number of lines or classes.
    """
    found = _of_kit(labels) if _is_kit(labels) else _of_text(labels)
    strange = next((name for name in found if not _WORDNET.fullmatch(name)), None)
    if strange is not None or len(found) != IMAGES:
        why = f"{shown(strange)} is no WordNet id" if strange is not None else f"it has {len(found):,} lines"
        raise InputError(f"{labels}: expected the classes of {IMAGES:,} validation images, and {why}")
    if len(set(found)) != _CLASSES:
        raise InputError(f"{labels}: expected {_CLASSES:,} classes, found {len(set(found)):,}")
    return found


def _is_kit(labels: Path) -> bool:
    return not labels.is_file() or labels.name == _TRUTH or tarfile.is_tarfile(labels)


def _of_kit(labels: Path) -> list[str]:
    """Of the development kit, packed or not."""
    files = _packed(labels) if labels.is_file() and labels.name != _TRUTH else _unpacked(labels)
    if files.keys() != {_TRUTH, _META}:
        raise InputError(f"no {_TRUTH} and {_META} in {labels}: {_WANTED}")
    names = _synsets(files[_META], labels)
    return [names.get(number, number) for number in files[_TRUTH].decode("utf-8", "replace").split()]


def _packed(labels: Path) -> dict[str, bytes]:
    found = dict[str, bytes]()
    with opened(labels) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if member.isfile() and name in (_TRUTH, _META) and member.size <= _MOST:
                stream = archive.extractfile(member)
                assert stream is not None
                found[name] = stream.read()
    return found


def _unpacked(labels: Path) -> dict[str, bytes]:
    folder = labels.parent if labels.is_file() else labels
    folder = folder if (folder / _TRUTH).is_file() else folder / "data"
    return {name: (folder / name).read_bytes() for name in (_TRUTH, _META) if (folder / name).is_file()}


def _of_text(labels: Path) -> list[str]:
    """Of a text file: a line for each image, or Kaggle's table of images and boxes, in whatever order."""
    try:
        text = labels.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{labels} is no text: {_WANTED}") from None
    head, _, rows = text.partition("\n")
    if head.strip() != _KAGGLE:
        return text.split()
    found = dict[int, str]()
    for row in rows.splitlines():
        image, _, boxes = row.partition(",")
        number, names = _NAME.fullmatch(f"{image}.JPEG"), {*boxes.split()[::5]}
        if number is None or len(names) != 1:
            raise InputError(
                f"{labels}: expected rows such as ILSVRC2012_val_00000001,n01751748 1 2 3 4, got {shown(row)}"
            )
        found[int(number.group(1))] = names.pop()
    if missing := IMAGES - len(found.keys() & range(1, IMAGES + 1)):
        raise InputError(f"{labels}: expected the classes of {IMAGES:,} validation images, and {missing:,} have no row")
    return [found[number] for number in range(1, IMAGES + 1)]


def _synsets(content: bytes, of: Path) -> dict[str, str]:
    """WordNet ids by ILSVRC2012_ID, from the development kit's meta.mat (numbers and texts, nothing that runs)."""
    from scipy.io import loadmat

    try:
        rows: Any = loadmat(BytesIO(content), squeeze_me=True)["synsets"]
        return {str(int(row["ILSVRC2012_ID"])): str(row["WNID"]) for row in rows}
    except Exception as error:  # of whatever a damaged file makes of the reader
        raise InputError(
            f"{_META} in {of} is not that of the development kit: {' '.join(str(error).split())[:120]}"
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
    """The images of ILSVRC2012_img_train.tar, a tar file of one tar file for each class, or of a folder of these, into
    folders by class. Returns how many are there.

    Raises:
        InputError: it is another archive, or unpacked already.
    """
    count, classes = 0, _unpacked_classes(source) if source.is_dir() else _packed_classes(source)
    for wordnet, images in classes:
        count += take(images, out / wordnet, _jpeg)
    if not count:
        if source.is_dir() and (found := _class_folder(source, "*")) is not None:
            raise _needs_nothing(found, source, out)
        raise InputError(
            f"{source} is not ILSVRC2012_img_train.tar: expected a tar file for each class (n01440764.tar ...)"
        )
    return count


def _packed_classes(source: Path) -> Iterator[tuple[str, tarfile.TarFile]]:
    with opened(source) as archive:
        for member in archive:
            wordnet = PurePosixPath(member.name).stem
            if member.isfile() and member.name.endswith(".tar") and _WORDNET.fullmatch(wordnet):
                stream = archive.extractfile(member)
                assert stream is not None
                with tarfile.open(fileobj=stream) as images:
                    yield wordnet, images


def _unpacked_classes(source: Path) -> Iterator[tuple[str, tarfile.TarFile]]:
    for file in sorted(source.glob("n*.tar")):
        if _WORDNET.fullmatch(file.stem):
            with opened(file) as images:
                yield file.stem, images


def _jpeg(name: PurePosixPath) -> Path | None:
    return Path(name.name) if name.suffix == ".JPEG" else None


def corruptions(source: Path, out: Path) -> int:
    """ImageNet-C's tar files (noise, blur, weather, digital, extra), each NAME/SEVERITY/WORDNET_ID/image, a folder of
    them or one, into one folder. Returns how many images are there.

    Raises:
        InputError: there is none, other archives, or they are unpacked already.
    """
    sources = sorted(source.glob("*.tar")) if source.is_dir() else [source]
    if not sources:
        if (found := _class_folder(source, "*/[1-5]/*", "*/*/[1-5]/*")) is not None:
            raise _needs_nothing(found, found.parents[2], out)
        raise InputError(f"no tar file in {source}: expected those of ImageNet-C (noise.tar, blur.tar ...)")
    count = 0
    for file in sources:
        with opened(file) as archive:
            count += take(archive, out, _corrupted)
    if not count:
        raise InputError(f"no images such as fog/3/n01440764/NAME.JPEG in {', '.join(map(str, sources))}")
    return count


def _class_folder(source: Path, *patterns: str) -> Path | None:
    """A folder named by a WordNet id, where a pattern leads to one."""
    places = (place for pattern in patterns for place in source.glob(pattern))
    return next((place for place in places if _WORDNET.fullmatch(place.name) and place.is_dir()), None)


def _needs_nothing(found: Path, read: Path, out: Path) -> InputError:
    there = read.resolve() == out.resolve()
    where = "it is where it should be" if there else f"make {out} that folder, or a link to it"
    return InputError(f"{read} is unpacked already ({found}), and such folders are read as they are: {where}")


def _corrupted(name: PurePosixPath) -> Path | None:
    own = name.parts[-4:]
    whole = len(own) == 4 and own[1].isdigit() and _WORDNET.fullmatch(own[2]) and name.suffix == ".JPEG"
    return Path(*own) if whole else None
