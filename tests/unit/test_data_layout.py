"""How a folder is understood: its splits under all their names, classes in order, what is left out and what is said."""

import os
import warnings
from pathlib import Path

import pytest
from PIL import Image

from weatherproof.data import FileImages, MemoryImages, load_images
from weatherproof.data.layout import find_splits, in_order
from weatherproof.errors import InputError


def put(root: Path, *names: str) -> Path:
    """One small image for each name, of any ending; its grey level is its place in the list."""
    for level, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), level).save(path, format="PNG")
    return root


def level(images: MemoryImages | FileImages) -> list[int]:
    return [int(image[0, 0, 0]) for image, _, _ in images]


def loaded(root: Path, split: str = "train") -> tuple[MemoryImages, str]:
    """The images, and all that was said of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = load_images(root, split)
    return images, "\n".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize(
    "train, test",
    [
        ("train", "valid"), ("training", "testing"), ("Train", "Validation"), ("TRAINING", "TEST"), ("trn", "tst"),
        ("tr", "te"), ("train_set", "test_set"), ("trainset", "testset"), ("TrainSet", "DevSet"), ("train", "dev"),
        ("train", "eval"), ("train_images", "test_images"), ("train-images", "val-images"), ("imagesTr", "imagesTs"),
        ("seg_train", "seg_test"), ("train2017", "val2017"), ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
        ("train", "test1"), ("train_val", "test"), ("01_train", "02_test"), ("train_512", "test_512"),
        ("training data", "validation data"), ("cars_train", "cars_test"), ("train", "holdout"),
    ],
)  # fmt: skip
def test_splits_have_many_names(tmp_path: Path, train: str, test: str) -> None:
    root = put(tmp_path, *[f"{split}/{name}/1.png" for split in (train, test) for name in ("cat", "dog")])
    images, _ = loaded(root)
    assert (images.classes, level(images)) == (("cat", "dog"), [0, 1])
    assert images.name == f"{root.name}/{train.lower()}"
    assert level(loaded(root, "test")[0]) == level(loaded(root, "val")[0]) == [2, 3]


def test_one_line_says_how_a_folder_was_understood(tmp_path: Path) -> None:
    root = put(tmp_path, "train/cat/1.png", "train/dog/1.png", "train/dog/2.png", "valid/cat/1.png", "extra/eel/1.png")
    images, said = loaded(root)
    assert images.classes == ("cat", "dog")
    assert said == (
        f"how {root} is understood: train/ is train (3 images), valid/ is test and val (1 images), extra/ is left out "
        "(1 images), 2 classes (cat, dog)"
    )
    assert loaded(root, "test")[1] == ""  # once is enough


@pytest.mark.parametrize("test", ["test", "val", "validation", "Val"])
def test_a_plain_layout_needs_no_word(tmp_path: Path, test: str) -> None:
    put(tmp_path, "train/cat/1.png", f"{test}/cat/1.png", "unlabeled/1.png")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/a.xml").write_text("")
    for split in ("train", "test", "unlabeled"):
        load_images(tmp_path, split)  # a warning is an error here


@pytest.mark.parametrize(
    "names",
    [
        ("train", "bus", "car"), ("valid", "invalid"), ("bullet_train", "steam_train", "bus"), ("test_tube", "flask"),
        ("training_shoe", "boot"), ("tr", "de", "en"), ("positive", "negative", "unlabeled"), ("dev", "val", "ops"),
    ],
)  # fmt: skip
def test_classes_that_sound_like_splits_stay_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    put(tmp_path, *[f"{name}/1.png" for name in names])
    assert load_images(tmp_path, "all").classes == tuple(sorted(names))


def test_a_lone_split_with_classes_of_its_own_among_classes_is_said(tmp_path: Path) -> None:
    images, said = loaded(put(tmp_path, "cat/1.png", "dog/1.png", "test/cat/1.png", "test/dog/1.png"), "all")
    assert images.classes == ("cat", "dog", "test")
    assert "test/ in" in said and "read as a class beside 2 others" in said


@pytest.mark.parametrize(
    "names, message",
    [
        (("tr", "te", "cat"), r"two ways: tr/ and te/ may be splits, cat/ a class beside them"),
        (("trainA", "testA", "trainB", "testB"), "more than one set of split folders"),
        (("train.X1", "train.X2", "val.X"), r"train.X1/ and train.X2/ in .* may both be the train split"),
        (("train", "valid", "dev"), r"dev/ and valid/ in .* may both be the val split"),
    ],
)
def test_what_can_be_understood_in_two_ways_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    put(tmp_path, *[f"{name}/1.png" for name in names])
    with pytest.raises(InputError, match=message) as caught:
        load_images(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_plain_name_wins() -> None:
    for names in (("train", "train_v2", "test"), ("train", "trainval", "test"), ("train", "Train", "test")):
        found = find_splits(names, "x")
        assert (found.folders["train"], found.folders["test"]) == ("train", "test")
        assert found.others == names[1:2]
    both = find_splits(("train", "val", "validation"), "x")
    assert dict(both.folders) == {"train": "train", "val": "val", "validation": "validation"}


@pytest.mark.parametrize(
    "place", ["images/{split}", "{split}/images", "pets/{split}", "a/b/{split}", "{split}/{split}"]
)
def test_splits_may_lie_one_folder_deeper_or_hold_one_more(tmp_path: Path, place: str) -> None:
    names = [f"{place.format(split=split)}/{name}/1.png" for split in ("train", "val") for name in ("cat", "dog")]
    images, said = loaded(put(tmp_path, *names))
    assert (images.classes, level(images)) == (("cat", "dog"), [0, 1])
    assert f"{place.format(split='train')}/ is train (2 images)" in said
    assert level(loaded(tmp_path, "test")[0]) == [2, 3]


def test_labels_and_masks_beside_images_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path, *[f"{split}/{kind}/1.png" for split in ("train", "valid") for kind in ("images", "masks")])
    images, said = loaded(tmp_path)
    assert (images.classes, images.labels.tolist(), level(images)) == ((), [-1], [0])
    assert "train/masks/ is left out (1 images)" in said and "no class folders, so no labels" in said


def test_the_held_out_fifth_does_not_depend_on_a_folder_around_it(tmp_path: Path) -> None:
    names = [f"images/{name}/{i}.png" for name in ("a", "b") for i in range(30)]
    held = loaded(put(tmp_path, *names), "test")[0]
    flat = put(tmp_path / "beside", *names, "c/1.png")
    assert 0 < len(held) < 30 and level(held) == [x for x in level(loaded(flat, "test")[0]) if x < 60]


# --- the order of classes


def test_folders_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    put(tmp_path, *[f"{split}/{i}/1.png" for split in ("train", "test") for i in range(120)])
    images, said = loaded(tmp_path)
    assert images.classes == tuple(map(str, range(120)))
    assert images.labels.tolist() == level(images)[:120] == list(range(120))
    assert "120 classes (0, 1, 2, 3, ...), in the order of their numbers: label 0 is 0/ and label 119 is 119/" in said


@pytest.mark.parametrize(
    "names",
    [
        ["1", "2", "10", "102"], ["0", "1", "5", "30"], ["08", "9", "010"], ["class_1", "class_2", "class_10"],
        ["c8", "c9", "c10"],
    ],
)  # fmt: skip
def test_numbers_count_from_anywhere_and_may_have_a_common_beginning(names: list[str]) -> None:
    assert in_order(reversed(names)) == names


@pytest.mark.parametrize(
    "names",
    [
        ["0", "1", "10", "2", "x"], ["a1", "a10", "b2"], ["1.cat", "10.dog", "2.eel"], ["n01440764", "n01443537"],
        ["cat", "dog"], ["A", "a"], ["1", "10", "²"], ["-1", "1", "10"],
    ],
)  # fmt: skip
def test_other_names_stay_in_the_order_of_text(names: list[str]) -> None:
    assert in_order(reversed(names)) == sorted(names)


def test_numbers_that_text_has_in_order_need_no_word(tmp_path: Path) -> None:
    put(tmp_path, *[f"{split}/{i:02}/1.png" for split in ("train", "test") for i in range(12)])
    assert load_images(tmp_path).classes[-1] == "11"  # a warning is an error here


def test_a_folder_without_images_does_not_change_the_order(tmp_path: Path) -> None:
    put(tmp_path, "2/1.png", "10/1.png")
    (tmp_path / "notes").mkdir()
    assert loaded(tmp_path, "all")[0].classes == ("2", "10")


# --- what is left out


def test_files_of_other_kinds_are_counted_by_their_endings(tmp_path: Path) -> None:
    put(tmp_path, *[f"{s}/a/{i}.{e}" for s in ("train", "test") for i in range(4) for e in ("png", "HEIC")])
    put(tmp_path, "train/a/raw/x.dng", "train/b.heic", "train/a/0123abcd")
    for companion in ("a/notes.txt", "a/1.json", "a/README", "a/Thumbs.db", "a/.DS_Store", "desktop.ini", "a/1.xml"):
        (tmp_path / "train" / companion).write_text("")
    images, said = loaded(tmp_path)
    assert len(images) == 4
    assert said == f"7 files of other kinds (.heic 5, .dng 1, no ending 1) in {tmp_path}/train are left out"


def test_only_files_of_other_kinds(tmp_path: Path) -> None:
    put(tmp_path, "a/1.heic", "a/2.heic", "b/1.heic")
    with pytest.raises(InputError, match=r"found 2 entries \(a/, b/\), with 3 files of other kinds \(.heic 3\)"):
        load_images(tmp_path)


def test_folders_that_systems_make_are_neither_classes_nor_images(tmp_path: Path) -> None:
    made = (
        "@eaDir", "__MACOSX", ".ipynb_checkpoints", ".Trash-1000", "$RECYCLE.BIN", "lost+found", ".thumbnails",
        "System Volume Information", "__pycache__", "#recycle",
    )  # fmt: skip
    put(tmp_path, *[f"{split}/{name}/1.png" for split in ("train", "test") for name in ("cat", "dog")])
    for place in ("", "train/", "train/cat/"):
        put(tmp_path, *[f"{place}{name}/1.png" for name in made])
    images = load_images(tmp_path)  # a warning is an error here
    assert (images.classes, len(images)) == (("cat", "dog"), 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_one_of_the_files_that_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path, *[f"{split}/{i:02}.png" for split in ("train", "test") for i in range(40)])
    os.mkfifo(tmp_path / "train/00.jpg")
    images, said = loaded(tmp_path)
    assert len(images) == 40 and [*images.bad.values()] == ["it is a named pipe, no regular file"]
    assert "1 of 41 images" in said


# --- other data sets than the text says


@pytest.mark.parametrize(
    "name", ["covid-xray", "cifar10", "stl10", "imagenet", "imagenet100", "dtd", "pets", "birdsnap"]
)
def test_another_data_set_is_refused_before_its_files_are_listed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, *[f"big/{split}/{i}/1.png" for split in ("train", "test") for i in range(600)])
    put(tmp_path, *[f"loose/{i}/a/b/1.png" for i in range(50)])
    listed: list[str] = []
    scandir = os.scandir

    def counted(folder: str | Path) -> object:
        listed.append(str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted)
    for folder, message in (("big", "600 class folders|expected ImageNet's"), ("loose", "nothing to read in")):
        listed.clear()
        with pytest.raises(InputError, match=message):
            load_images(f"{name}:{tmp_path / folder}")
        assert len(listed) < 30


def test_splits_below_the_classes_are_refused(tmp_path: Path) -> None:
    root = put(tmp_path, *(f"{name}/{split}/1.png" for name in ("cat", "dog") for split in ("train", "test")))
    with pytest.raises(InputError, match=r"has splits below its class folders \(cat/train/ ...\): make it train/cat/"):
        load_images(root)
