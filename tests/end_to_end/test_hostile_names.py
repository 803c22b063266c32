"""Whole verbs on folders and files whose names are no text."""

import json
import os
import warnings
from pathlib import Path

import pytest
from hostile_names import HOSTILE, hostile_folders
from html_page import Strict

from weatherproof.data import load_images
from weatherproof.names import printable
from weatherproof.readouts import load_readout

from .conftest import PLAIN, Command, results

QUICK = ("--realizations", 1, "--workers", 0, "--batch-size", 64)
CLASSES = tuple(map(printable, sorted(map(os.fsdecode, HOSTILE))))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every hostile name a class, in a folder that has one too."""
    return hostile_folders(tmp_path_factory.mktemp("odd") / os.fsdecode(HOSTILE[0]), "train", "test")


def files(folder: Path) -> None:
    """All that is written is UTF-8, and the page is whole."""
    written = [file for file in folder.rglob("*") if file.suffix in (".html", ".json", ".jsonl", ".yaml")]
    assert {"report.html", "results.json", "recipe.yaml"} <= {file.name for file in written}
    for file in written:
        text = file.read_text("utf-8")
        if file.suffix == ".html":
            Strict(text)
            assert "<script>" not in text and "onerror=alert(1)>" not in text


@pytest.mark.slow
def test_probe_and_what_comes_after_it(teacher: str, odd: Path, tmp_path: Path, weatherproof: Command) -> None:
    out = tmp_path / os.fsdecode(HOSTILE[1])
    status, _, err = weatherproof("probe", teacher, odd, *QUICK, "--operator", "GaussianNoise(0.1)", "--out", out)
    assert (status, err) == (0, "")
    files(out)
    readout = load_readout(out)
    assert readout is not None and readout.classes == CLASSES == load_images(odd, "test").classes
    assert {record["data"] for record in results(out)} == {r"caf\xe9/test"}
    assert {entry["truth"] for entry in json.loads((out / "gallery.json").read_text("utf-8"))} <= {*CLASSES}
    again = tmp_path / "again"
    assert weatherproof("probe", "--config", out / "recipe.yaml", "--out", again)[0] == 0
    assert results(again) == results(out)
    audit = tmp_path / "audit"
    status, said, err = weatherproof("audit", out, odd, *QUICK, "--out", audit)  # the classes are the same again
    assert (status, err) == (0, "") and printable(out.name) in said
    files(audit)
    assert weatherproof("compare", out, again, "--out", tmp_path / "side by side")[0] == 0


def test_harden(teacher: str, odd: Path, tmp_path: Path, weatherproof: Command) -> None:
    pytest.importorskip("tensorboard")
    out = tmp_path / os.fsdecode(HOSTILE[4])
    status, _, err = weatherproof("harden", teacher, odd, *PLAIN, *QUICK, "--epochs", 1, "--tensorboard", "--out", out)
    assert (status, err) == (0, "")
    files(out)
    assert list((out / "tensorboard").iterdir())


@pytest.mark.parametrize("layout", ["cifar-c", "imagenet-c"])
def test_corrupt(odd: Path, tmp_path: Path, weatherproof: Command, layout: str) -> None:
    out = tmp_path / os.fsdecode(HOSTILE[6])
    words = ("--corruptions", "brightness", "--layout", layout, "--workers", 0)
    status, said, err = weatherproof("corrupt", odd, *words, "--out", out)
    assert (status, err) == (0, "") and printable(out / "manifest.json") in said
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert tuple(manifest["classes"]) == CLASSES and manifest["images"] == 2 * len(HOSTILE)
    if layout == "imagenet-c":
        assert {*os.listdir(os.fsencode(out / "brightness/1"))} == {*HOSTILE}  # noqa: PTH208 - as bytes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy, clean = load_images(f"corrupted:{out}"), load_images(odd, "test")
    assert copy.classes == clean.classes and copy.labels.bincount().tolist() == [10] * len(HOSTILE)
    assert len(copy.read(copy.index[:10])) == 10
