"""Measured on what was trained on: every verb that does both says so, on standard error and beside its numbers."""

import html
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import weatherproof as wp

from .conftest import ALONE, CLASSES, PLAIN, Command, class_folders

VERBS: dict[str, tuple[Any, ...]] = {
    "harden": ("TEACHER", "IMAGES", *PLAIN, "--epochs", 1),
    "train": ("supervised", "IMAGES", "--encoder", "TEACHER", "--epochs", 1),
    "finetune": ("TEACHER", "IMAGES", "--epochs", 1),
    "pretrain": ("simclr", "IMAGES", "--encoder", "TEACHER", "--epochs", 1, "--labels", 1.0),
    "probe": ("TEACHER", "IMAGES"),
}


def notes(folder: Path) -> list[str]:
    return json.loads((folder / "results.json").read_text()).get("notes", [])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of the twelve test images are training images under other names, one of them by a link."""
    root = class_folders(tmp_path_factory.mktemp("shared") / "photos")
    shutil.copy(root / "train/bee/003.png", root / "test/bee/000.png")
    (root / "test/cat/001.png").unlink()
    (root / "test/cat/001.png").symlink_to(root / "train/cat/007.png")
    return root


@pytest.mark.filterwarnings("always:.*training images too:UserWarning")
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_trains_and_measures(
    verb: str, teacher: str, shared: Path, tmp_path: Path, weatherproof: Command
) -> None:
    words = [{"TEACHER": teacher, "IMAGES": shared}.get(word, word) for word in VERBS[verb]]
    more = ("--workers", 0, "--batch-size", 8, *(() if verb == "pretrain" else ("--realizations", 1)))
    status, _, err = weatherproof(verb, *words, *more, "--out", tmp_path / "run")
    (note,) = notes(tmp_path / "run")
    assert status == 0 and err.splitlines() == [f"weatherproof: {note}"]
    assert note.startswith("2 of the 12 test images are training images too (16.7%)")
    assert note.endswith(f"{shared}/test/bee/000.png is {shared}/train/bee/003.png")
    page = html.unescape((tmp_path / "run/report.html").read_text())
    assert page.count("2 of the 12 test images") == 1


def test_a_set_that_is_trained_and_measured_on(teacher: str, photos: Path, tmp_path: Path) -> None:
    images = wp.load_images(photos)
    with pytest.warns(UserWarning, match=r"24 of the 24 test images are training images too \(100.0%\)"):
        run = wp.probe(teacher, images, workers=0, realizations=1, out=tmp_path / "run")
    assert run.records and len(notes(run.folder)) == 1


def test_apart_from_each_other(teacher: str, photos: Path, tmp_path: Path) -> None:
    run = wp.probe(teacher, photos, workers=0, realizations=1, out=tmp_path / "run")
    assert "notes" not in json.loads((run.folder / "results.json").read_text())


@pytest.fixture
def near_photos(tmp_path: Path) -> Path:
    """One test image is a training image, saved again as JPEG."""
    draws, root = np.random.default_rng(0), tmp_path / "photos"
    for split, count in (("train", 6), ("test", 3)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                coarse = Image.fromarray(draws.integers(0, 256, (5, 5, 3), np.uint8))
                coarse.resize((32, 32), Image.Resampling.BICUBIC).save(root / split / name / f"{i}.png")
    with Image.open(root / "train/bee/4.png") as image:
        image.save(root / "test/bee/again.jpg", quality=90, subsampling=0)
    return root


@pytest.mark.parametrize("verb", ["harden", "probe", "finetune"])
def test_near_duplicates(verb: str, teacher: str, near_photos: Path, tmp_path: Path) -> None:
    quick: dict[str, Any] = {"workers": 0, "realizations": 1, "out": tmp_path / "run"}
    if verb != "probe":
        quick |= {"epochs": 1, "batch_size": 8}
    if verb == "harden":
        quick |= ALONE
    with pytest.warns(UserWarning, match="^1 of the 10 test images are near duplicates of training images"):
        getattr(wp, verb)(teacher, near_photos, **quick)
    (note,) = notes(tmp_path / "run")
    assert note.endswith(f"test/bee/again.jpg is {near_photos}/train/bee/4.png")


def test_near_duplicates_beside_a_file_that_cannot_be_read(
    teacher: str, near_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe looks at several draws of the damage, and one training file is no image."""
    (near_photos / "train/ant/2.png").write_bytes(b"no image")
    monkeypatch.setitem(wp.load_images.__kwdefaults__, "memory_budget", 0)
    monkeypatch.setitem(wp.load_images.__kwdefaults__, "max_bad", 0.1)
    with pytest.warns(UserWarning) as told:
        wp.probe(teacher, near_photos, operator="GaussianNoise(0.02)", workers=0, realizations=1, out=tmp_path / "run")
    (note,) = notes(tmp_path / "run")
    assert note.startswith("1 of the 10 test images are near duplicates of training images")
    assert note in [str(one.message) for one in told]
