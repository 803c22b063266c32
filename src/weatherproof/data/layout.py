"""What the names of folders say: which split, in which order, and which are a system's own.

Data sets in the wild call their splits train, Training, train_set, imagesTr, seg_train, TRAIN or train2017. A name
speaks of a split where one of its words does and the rest are words for images, numbers, or a stem that all the split
folders of the data set share ("seg"); bullet_train and test_tube are classes.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from weatherproof.errors import InputError

MANIFEST = "manifest.json"  # what `corrupt` and `shard` write last, of a folder that they have made
SPLIT_FOLDERS = {  # which splits may serve for one that is asked for, the best first
    "train": ("train",),
    "test": ("test", "val", "validation"),
    "val": ("val", "validation", "test"),
    "validation": ("validation", "val", "test"),
    "unlabeled": ("unlabeled",),
}
_WORDS = {
    "train": ("train", "training", "trainval", "trn", "tr"),
    "test": ("test", "testing", "tests", "eval", "evaluation", "holdout", "tst", "ts", "te"),
    "val": ("val", "valid", "validation", "validate", "dev", "devel", "va"),
    "unlabeled": ("unlabeled", "unlabelled", "unlabel", "unsup", "unsupervised", "unannotated"),
}
_ROLES = {word: role for role, words in _WORDS.items() for word in words}
# Words that are classes, too, or codes of languages: they count only where no other folder holds images.
_WEAK = ("trn", "tr", "eval", "evaluation", "holdout", "tst", "ts", "te", "dev", "devel", "va")

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "pictures", "photos", "jpegimages", "jpg", "jpeg", "png")
COMPANIONS = (  # what stands beside a folder of images and is none: read only where the folder has no "images"
    "labels", "label", "labelstxt", "annotations", "annotation", "anns", "masks", "mask", "groundtruth", "ground_truth",
    "gt", "segmentations", "segmentation", "trimaps", "bboxes", "boxes", "depth", "meta", "metadata", "xml", "xmls",
    "json", "csv",
)  # fmt: skip
_FILLERS = (
    *IMAGE_FOLDERS, "set", "data", "dataset", "datasets", "pics", "pic", "photo", "files", "folder", "folders", "split",
    "samples", "all", "part", "the", "v",
)  # fmt: skip

SYSTEM_FOLDERS = (  # thumbnails, trash, checkpoints, the left-overs of archives and of disk checks
    "@eadir", "@__thumb", "@recycle", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "recycler", "recycled",
    "system volume information", "lost+found", "found.000", "__pycache__", "temporary items", "network trash folder",
)  # fmt: skip


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system makes: .ipynb_checkpoints, @eaDir, __MACOSX, ..."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


class _Named(NamedTuple):
    """What a folder's name says: the split, the word that says so, and the rest."""

    role: str
    word: str
    stem: tuple[str, ...]


def role_of(name: str) -> str | None:
    """The split that the name of a file speaks of ("imagenet-train-000.tar", "val2017.tar"): "train", "test", "val" or
    "unlabeled"; None where no word does, or two do that differ."""
    words = re.split(r"[^a-z]+", name.lower())
    roles = {_ROLES[word] for word in words if word in _ROLES and word not in _WEAK}
    return roles.pop() if len(roles) == 1 else None


@dataclass(frozen=True)
class Splits:
    """Split folders by split ("train", "test", "val", "validation", "unlabeled"): the names of the folders.

    Args:
        folders: the folder of each split.
        others: folders whose names speak of no split, or of one that another folder already is.
        weak: whether a name may as well be a class's.
    """

    folders: Mapping[str, str]
    others: tuple[str, ...]
    weak: bool

    @property
    def is_whole(self) -> bool:
        """Whether there is something to train and something to test on."""
        return "train" in self.folders and any(name in self.folders for name in SPLIT_FOLDERS["test"])

    @property
    def is_plain(self) -> bool:
        """Whether every folder has the split's own name, in any case."""
        return all(name.lower() == split for split, name in self.folders.items())


def find_splits(names: Sequence[str], where: str) -> Splits:
    """The split folders among the folders `names` of `where`, none where no name speaks of a split.

    Raises:
        InputError: two folders claim the same split, and neither has its plain name.
    """
    read = {name: named for name in names if (named := _read(name)) is not None}
    groups: dict[tuple[str, ...], dict[str, _Named]] = {}
    for name, named in read.items():
        groups.setdefault(named.stem, {})[name] = named
    whole = [stem for stem, group in groups.items() if _is_whole(group.values())]
    if len(whole) > 1 and () not in whole:
        first, second = (next(n for n in groups[stem]) for stem in whole[:2])
        raise InputError(
            f"{where} has more than one set of split folders ({first}/, {second}/, ...): give the folder of one of them"
        )
    chosen = groups.get(() if () in whole or not whole else whole[0], {})
    folders: dict[str, str] = {}
    for name in sorted(chosen, key=lambda n: (*_rank(n, chosen[n]), n)):
        plain = name.lower() in SPLIT_FOLDERS
        split = name.lower() if plain else chosen[name].role
        rival = folders.get(split) or ("" if plain or split != "val" else folders.get("validation", ""))
        if not rival:
            folders[split] = name
        elif whole and _rank(name, chosen[name]) == _rank(rival, chosen[rival]):
            raise InputError(
                f"{rival}/ and {name}/ in {where} may both be the {split} split: call one of them {split}/, or move one"
            )
    others = tuple(name for name in names if name not in folders.values())
    return Splits(folders, others, any(chosen[name].word in _WEAK for name in folders.values()))


def _is_whole(group: Iterable[_Named]) -> bool:
    roles = {named.role for named in group}
    return "train" in roles and bool(roles & {"test", "val"})


def _rank(name: str, named: _Named) -> tuple[int, ...]:
    """Smaller for the plainer of two folders that claim the same split."""
    lower = name.lower()
    return (name not in SPLIT_FOLDERS, lower not in SPLIT_FOLDERS, lower != named.word, named.word == "trainval")


def _read(name: str) -> _Named | None:
    words = [word.lower() for part in re.split(r"[\W_]+", name) for word in _TOKENS.findall(part)]
    found: dict[str, str] = {}
    stem = []
    for word in words:
        plain = _without_filler(word)
        if plain in _ROLES:
            found[_ROLES[plain]] = plain
        elif word not in _FILLERS and not word.isdecimal():
            stem.append(word)
    if "unlabeled" in found:  # train_unlabeled
        return _Named("unlabeled", found["unlabeled"], tuple(stem))
    if {*found} == {"train", "val"}:  # train_val
        return _Named("train", "trainval", tuple(stem))
    if len(found) != 1:
        return None
    return _Named(*next(iter(found.items())), tuple(stem))


_TOKENS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^A-Z\d]+|[A-Z]+|\d+")  # imagesTr, ILSVRC2012, trainA


def _without_filler(word: str) -> str:
    """trainset, testdata, trainimages."""
    for filler in _FILLERS:
        if word.endswith(filler) and word[: -len(filler)] in _ROLES and word not in _ROLES:
            return word[: -len(filler)]
    return word


_NUMBERED = re.compile(r"(\D*)(\d+)", re.ASCII)


def in_order(names: Iterable[str]) -> list[str]:
    """Sorted as text; by their numbers where all names are a number, or one common beginning and a number."""
    ordered = sorted(names)
    read = [_NUMBERED.fullmatch(name) for name in ordered]
    if not all(read) or len({match[1] for match in read if match}) > 1:
        return ordered
    return sorted(ordered, key=lambda name: int(_NUMBERED.fullmatch(name)[2]))  # type: ignore[index]  # all match


def by_number(names: Sequence[str]) -> bool:
    """Whether `in_order` has put these names into another order than that of text."""
    return list(names) != sorted(names)
