"""Folders of images: which files there are, which class each belongs to, and which split.

    DIR/train/CLASS/*.jpg, DIR/test/CLASS/*.jpg     split folders (val, validation for test), with class folders
    DIR/train/*.jpg, DIR/test/*.jpg                 ... or flat: no labels
    DIR/CLASS/*.jpg                                 class folders alone: a fifth is held out as the test split
    DIR/*.jpg                                       flat: no labels, a fifth held out

Split "every" is another view of any of these: all images in the folder and below it, without labels.

Split folders may have any of their usual names (see `layout`), and all of it may lie one folder deeper, as in
DIR/images/train. One line says how a folder was understood where it is not one of the four above as it stands.

Files are in sorted order, classes too unless their names are numbers. Links are followed, hidden files and what systems
make are passed over; other kinds of files are left out and counted.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from warnings import warn

import torch
from torch import Tensor

from weatherproof.data.layout import (
    COMPANIONS,
    IMAGE_FOLDERS,
    SPLIT_FOLDERS,
    Splits,
    by_number,
    find_splits,
    in_order,
    is_hidden,
)
from weatherproof.errors import InputError
from weatherproof.names import printable

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".png", ".apng", ".bmp", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".avif",
)  # fmt: skip
# What stands beside images and is none. Of anything else that is left out, there is a word.
NO_IMAGES = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".md", ".rst", ".html", ".htm", ".css", ".js", ".yaml", ".yml",
    ".toml", ".ini", ".cfg", ".log", ".pdf", ".doc", ".docx", ".xlsx", ".py", ".ipynb", ".sh", ".url", ".lnk", ".db",
    ".sha256", ".md5", ".license", ".bib", ".names", ".cache",
)  # fmt: skip
NAMES_OF_NO_IMAGES = ("readme", "license", "licence", "copying", "notice", "checksums", "makefile", "icon\r")
_LOOK = 10_000  # files of a folder beside the split folders, to see whether it holds images, too
_DEPTH = 3  # folders that an archive may have been unpacked into, one in the other
EVERY = "every"  # the split that is all of a folder, however it is laid out
HELD_OUT = 0.2  # of a folder without split folders: the share of scikit-learn's digits that is held out, too


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of one split: int64 labels (-1 for none) and index, and the split's name as the folder has it. Paths
    keep the bytes of their names, classes are `printable`."""

    paths: list[str]
    labels: Tensor
    index: Tensor
    classes: tuple[str, ...]
    split: str


def list_folder(root: Path, split: str, classes: Sequence[str] | None = None) -> Listing:
    """The images of one split of a folder.

    A class is a folder that holds an image in any split, so that a label means the same in all of them. Without split
    folders, a file is held out when the hash of its relative path says so: a new file never moves another one.

    Args:
        split: "train", "test" ("val"), "unlabeled", "all" for a whole folder that has no split folders, or "every".
        classes: read these class folders only; the label is the position here. None: all, sorted as text, or by their
            numbers where all are numbered (see `layout.in_order`).

    Raises:
        InputError: no such folder, no such split, no image, a class of `classes` is missing, or a folder that can be
            understood in two ways.
    """
    listing, notes = find_images(root, split, classes)
    for note in notes:
        _say(note)
    return listing


def find_images(root: Path, split: str, classes: Sequence[str] | None = None) -> tuple[Listing, list[str]]:
    """The images of `list_folder`, and what there is to say of them: a line each."""
    if split == EVERY:
        return _every(check_folder(root))
    layout = _understand(check_folder(root))
    if not layout.parts:
        if split not in ("train", "test", "val", "validation", "all"):
            raise InputError(
                f"{root} has no split {split!r}: it has no split folders, so there are train, test and all"
            )
        _refuse_splits_below(layout.home)
        listing, notes = _list(layout, layout.home, [layout.home], split, classes)
        if split != "all":
            held = torch.tensor([_is_held_out(below(path, str(root))) for path in listing.paths])
            listing = _select(listing, held if split != "train" else ~held, root)
        return listing, notes
    chosen = _serving(split, layout)
    if chosen is None:
        wanted = " or ".join(f"{name}/" for name in SPLIT_FOLDERS.get(split, ())) or "train, test or val"
        found = ", ".join(f"{path.relative_to(root)}/" for path in layout.parts.values())
        raise InputError(f"{root} has no split {split!r}: expected {wanted}, found {found}")
    labelled = [path for name, path in layout.parts.items() if name != "unlabeled"]
    folder, name = layout.parts[chosen], layout.names[chosen].lower()
    return _list(layout, folder, labelled, "unlabeled" if chosen == "unlabeled" else name, classes)


def below(path: str, folder: str) -> str:
    """`os.path.relpath`, which asks for the working folder each time, of many files below one folder."""
    rest = path.removeprefix(folder.rstrip(os.sep) + os.sep)
    return rest if rest != path and os.path.normpath(rest) == rest else os.path.relpath(path, folder)


def has_folders(root: Path) -> bool:
    """Whether it holds folders, such as those of classes or splits."""
    with suppress(OSError), os.scandir(root) as entries:
        return any(entry.is_dir() for entry in entries)
    return False


def has_splits(root: Path) -> bool:
    """Whether a folder has split folders, under any of their usual names. Looks at a few names only."""
    return bool(_understand(root).parts)


def class_folders(root: Path) -> list[str]:
    """The folders that may be classes, in any split, whether or not they hold images: a few names, nothing is read."""
    layout = _understand(root)
    parts = [path for name, path in layout.parts.items() if name != "unlabeled"] or [layout.home]
    return in_order({name for part in parts for name in _folders(part)})


@dataclass(frozen=True)
class _Layout:
    """How a folder is understood.

    Args:
        root: the folder that was named.
        home: where its images lie: `root`, or one folder in it that holds everything.
        names: of the split folders, by split; none where there are none.
        parts: the folders themselves, or the one folder in each that holds its images.
        left: folders with images that are neither.
        odd: a class that may be meant for a split, if any.
    """

    root: Path
    home: Path
    names: dict[str, str]
    parts: dict[str, Path]
    left: tuple[Path, ...] = ()
    odd: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it is one of those at the top of this file as they stand."""
        return (
            self.home == self.root
            and not self.left
            and all(split == name.lower() for split, name in self.names.items())
            and all(path.parent == self.root for path in self.parts.values())
        )


def _understand(root: Path) -> _Layout:
    home, splits = root, _splits(root)
    if not splits.folders:
        deeper: Path | None = root
        for _ in range(_DEPTH):
            deeper = deeper and _wrapped(deeper)
            if deeper and (found := _splits(deeper)).is_whole:
                home, splits = deeper, found
                break
    left = [name for name in splits.others if splits.folders and _has_image(home / name, _LOOK)]
    names = {split: splits.folders[split] for split in SPLIT_FOLDERS if split in splits.folders}
    if splits.is_whole and splits.weak and left:
        several = " and ".join(f"{name}/" for name in names.values())
        raise InputError(
            f"{home} can be understood in two ways: {several} may be splits, {left[0]}/ a class beside them; call the "
            "splits train/, val/ and test/, or give a folder that holds the classes alone"
        )
    if not names or (left and not splits.is_whole):  # "train" alone among other folders is a class of vehicles
        odd = next((name for name in names.values() if _folders(home / name)), "")
        inner, beside = _peeled([home])
        return _Layout(root, inner[0], {}, {}, beside, odd)
    folders = [home / name for name in names.values()]
    labelled = [folder for split, folder in zip(names, folders, strict=True) if split != "unlabeled"]
    inner, beside = _peeled(labelled)
    inner_of = dict(zip(labelled, inner, strict=True))
    parts = {split: inner_of.get(folder, folder) for split, folder in zip(names, folders, strict=True)}
    return _Layout(root, home, names, parts, (*(home / name for name in left), *beside))


def _splits(folder: Path) -> Splits:
    return find_splits(_folders(folder), str(folder))


def _folders(folder: Path) -> list[str]:
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


def _is_mixed(folder: Path) -> bool:
    """Whether images lie in the folder itself."""
    return any(_is_image(entry.name) and not entry.is_dir() for entry in _entries(folder))


def _wrapped(folder: Path) -> Path | None:
    """The one folder in it that may hold everything: by the names alone, no other is looked into."""
    names = _folders(folder)
    if len(names) != 1:
        names = _image_folder(names)
    return folder / names[0] if len(names) == 1 and not _is_mixed(folder) else None


def _image_folder(names: Sequence[str]) -> list[str]:
    """images/ alone or beside labels/ or masks/; nothing where there are other folders."""
    images = [name for name in names if name.lower() in IMAGE_FOLDERS]
    return images if all(name in images or name.lower() in COMPANIONS for name in names) else []


def _peeled(parts: list[Path]) -> tuple[list[Path], tuple[Path, ...]]:
    """Each folder, or the one in it that holds its images: train/images/ beside train/labels/, train/train/. And the
    folders with images beside those."""
    names = {part: _folders(part) for part in parts}
    found = {name for inner in names.values() for name in inner}
    if not found or any(map(_is_mixed, parts)):
        return parts, ()
    if len(parts) > 1 and all(inner == [part.name] for part, inner in names.items()):
        return [part / part.name for part in parts], ()
    images = _image_folder(sorted(found))
    if len(images) != 1:
        return parts, ()
    beside = [part / name for part in parts for name in names[part] if name not in images]
    return [part / images[0] for part in parts], tuple(path for path in beside if _has_image(path, _LOOK))


def _refuse_splits_below(home: Path) -> None:
    """Raise `InputError` for cat/train/, cat/test/, dog/train/ ...: as classes they would mix what is to be apart."""
    within = [name for name in _folders(home) if _splits(home / name).is_whole]
    if len(within) > 1:
        raise InputError(
            f"{home} has splits below its class folders ({within[0]}/train/ ...): make it train/{within[0]}/ ..., the "
            "classes below the splits"
        )


def _serving(split: str, layout: _Layout) -> str | None:
    """The split whose folder serves for the one that is asked for."""
    return next((name for name in SPLIT_FOLDERS.get(split, ()) if name in layout.parts), None)


def _understood(layout: _Layout, classes: Sequence[str], *, given: bool) -> list[str]:
    """One line where something was decided: which folder is which split, what is left out, classes and their order.

    Args:
        given: whether the caller knows the classes and their order.
    """
    numbered = not given and by_number(classes)
    said = []
    if not layout.is_plain:
        if layout.parts:
            served = [(split, _serving(split, layout)) for split in ("train", "test", "val", "unlabeled")]
            for chosen, path in layout.parts.items():
                use = " and ".join(split for split, name in served if name == chosen)
                said.append(f"{_relative(path, layout.root)} is {use or 'not used'} ({_counted(path)})")
        else:
            said.append(f"{_relative(layout.home, layout.root)} holds the images ({_counted(layout.home)})")
        said += [f"{_relative(path, layout.root)} is left out ({_counted(path)})" for path in layout.left]
    if said or numbered:
        said.append(f"{len(classes):,} classes ({_few(classes)})" if classes else "no class folders, so no labels")
    if numbered:
        last = len(classes) - 1
        said.append(f"in the order of their numbers: label 0 is {classes[0]}/ and label {last} is {classes[last]}/")
    notes = [f"how {layout.root} is understood: {', '.join(said)}"] if said else []
    if layout.odd:
        notes.append(
            f"{layout.odd}/ in {layout.root} is read as a class beside {len(classes) - 1} others, though it holds "
            "folders itself: splits need both a train/ and a test/ or val/ folder"
        )
    return notes


def _relative(path: Path, root: Path) -> str:
    return f"{path.relative_to(root).as_posix()}/"


def _counted(folder: Path) -> str:
    return f"{sum(1 for _ in _images(folder)):,} images"


def _few(names: Sequence[str]) -> str:
    return ", ".join([*names[:4], *["..."] * (len(names) > 4)])


@lru_cache(maxsize=256)  # so that each line is said once, though a run asks for two splits
def _say(note: str) -> None:
    warn(note, UserWarning, stacklevel=3)


def check_folder(root: Path) -> Path:
    """The folder itself. Raises `InputError` where there is none."""
    if not root.exists():
        raise InputError(f"no folder {str(root)!r}: expected a folder of images")
    if not root.is_dir():
        raise InputError(f"{str(root)!r} is a file: expected a folder of images")
    return root


def _select(listing: Listing, chosen: Tensor, root: Path) -> Listing:
    positions = chosen.nonzero().flatten()
    if not len(positions):
        raise InputError(
            f"the {listing.split} split of {root} is empty: all {len(listing.paths)} images fell into the other one; "
            "add images, or make train/ and test/ folders"
        )
    paths = [listing.paths[i] for i in positions.tolist()]
    return Listing(paths, listing.labels[positions], listing.index[positions], listing.classes, listing.split)


def _list(
    layout: _Layout, folder: Path, siblings: list[Path], split: str, only: Sequence[str] | None
) -> tuple[Listing, list[str]]:
    """The files of `folder`, with the classes that any of its siblings has, and itself if it has labels."""
    found = {name for part in siblings for name in _folders(part)}
    names = sorted(found if only is None else (name for name in found if printable(name) in only))
    classes = tuple(in_order(name for name in names if any(_has_image(part / name) for part in siblings)))
    notes: list[str] = []
    others: Counter[str] = Counter()
    if only is not None:
        by_text = {printable(name): name for name in classes}
        missing = [name for name in only if name not in by_text]
        if missing:
            raise InputError(
                f"{folder} lacks {len(missing)} of {len(only)} classes: no images in a folder {missing[0]}/ ..."
            )
        classes = tuple(by_text[name] for name in only)
    elif len(classes) < len(names):
        empty = [name for name in names if name not in classes]
        notes.append(
            f"no images in {len(empty)} folders of {folder}, no classes then: {', '.join(map(printable, empty[:3]))}"
        )
    if split == "unlabeled":
        paths = list(_images(folder, others))
        labels = [-1] * len(paths)
    else:
        loose = [entry.path for entry in _entries(folder) if not entry.is_dir() and _counts(entry.name, others)]
        paths, labels = [], []
        for label, name in enumerate(classes):
            members = list(_images(folder / name, others))
            paths += members
            labels += [label] * len(members)
        if not paths:
            paths, labels = loose, [-1] * len(loose)
        elif loose:
            notes.append(f"{len(loose)} images lie beside the class folders of {folder} and are left out")
    if not paths:
        raise _no_images(folder)
    if others:
        notes.append(f"{_kinds(others)} in {folder} are left out")
    notes = _understood(layout, classes, given=only is not None) + notes
    return Listing(paths, torch.tensor(labels), torch.arange(len(paths)), tuple(map(printable, classes)), split), notes


def _every(root: Path) -> tuple[Listing, list[str]]:
    others: Counter[str] = Counter()
    paths = list(_images(root, others))
    if not paths:
        raise _no_images(root)
    notes = [f"{_kinds(others)} in {root} are left out"] if others else []
    return Listing(paths, torch.full((len(paths),), -1), torch.arange(len(paths)), (), EVERY), notes


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not is_hidden(e.name)), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return []  # a class that only another split has
    except OSError as error:
        raise InputError(f"cannot list {folder}: {error.strerror}") from None


def _files(folder: Path | str, above: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
    """All files in a folder and its subfolders, sorted."""
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder above would never end
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _files(entry.path, (*above, real))
        else:
            yield entry


def _images(folder: Path | str, others: Counter[str] | None = None) -> Iterator[str]:
    """All images in a folder and its subfolders, sorted; `others` gets the endings of files that may be images, too."""
    return (entry.path for entry in _files(folder) if _counts(entry.name, others))


def _has_image(folder: Path, most: int | None = None) -> bool:
    """Whether there is one, among the first files."""
    return any(_is_image(entry.name) for entry in islice(_files(folder), most))


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS)


def _counts(name: str, others: Counter[str] | None) -> bool:
    """Whether a file is an image; where not, its ending is counted, unless it stands for no image."""
    if _is_image(name):
        return True
    stem, ending = Path(name.lower()).stem, Path(name.lower()).suffix
    if others is not None and ending not in NO_IMAGES and stem not in NAMES_OF_NO_IMAGES:
        others[ending or "no ending"] += 1
    return False


def _kinds(others: Counter[str]) -> str:
    """54 files of other kinds (.jxl 50, .heic 4)."""
    kinds = [f"{ending} {count:,}" for ending, count in sorted(others.items(), key=lambda item: (-item[1], item[0]))]
    return f"{others.total():,} files of other kinds ({_few(kinds)})"


def _is_held_out(relative: str) -> bool:
    digest = hashlib.sha256(os.fsencode(Path(relative).as_posix())).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT * 2**64


def _no_images(folder: Path) -> InputError:
    names = [entry.name + "/" * entry.is_dir() for entry in _entries(folder)]
    there = (
        f"{len(names)} {'entry' if len(names) == 1 else 'entries'} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
        if names
        else "nothing"
    )
    others: Counter[str] = Counter()
    for _ in _images(folder, others):
        pass
    kinds = f", with {_kinds(others)}" if others else ""
    return InputError(f"no images in {folder}: looked for {' '.join(EXTENSIONS)}, found {there}{kinds}")
