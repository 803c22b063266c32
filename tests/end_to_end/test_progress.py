"""That no verb is silent for long: every phase that can take its time tells of itself, on standard error."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import weatherproof as wp
from weatherproof.cli import main
from weatherproof.verbs.demo import tasks as demo_tasks

from .conftest import ALONE

ProgressLines = Callable[[], list[str]]
OPERATOR = "RandomMask(0.5)"


@pytest.fixture
def progress_lines(every_phase: None, capfd: pytest.CaptureFixture[str]) -> ProgressLines:
    """The lines on standard error, once the work is done; nothing is on standard output."""

    def read() -> list[str]:
        out, err = capfd.readouterr()
        assert out == ""
        return err.splitlines()

    return read


def assert_phases(lines: list[str], *phases: str) -> None:
    for phase in phases:
        assert any(phase in line for line in lines), (phase, lines)


def test_harden_tells_of_every_phase(teacher: str, photos: Path, tmp_path: Path, progress_lines: ProgressLines) -> None:
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 8, "realizations": 1, "augment": "none", "device": "cpu"}
    wp.harden(teacher, photos, operator=OPERATOR, **ALONE, out=tmp_path, **settings)
    assert_phases(
        progress_lines(),
        f"looking for images in {photos}", "reading photos/train: 24 of 24 images", "reading photos/test",
        "the teacher's embeddings: 24 of 24 images", "hardening: 6 of 6 steps, ", ", loss ",
        "features for a probe: 0 of 1 draws; embedding photos/train: 24 of 24 images", "fitting a linear layer: ",
        "measuring teacher, hardened on clean images: 12 of 12 images",
        "measuring teacher, hardened under damage: 24 of 84 images", "; RandomMask(0.5)",
        "pictures for the gallery", "drawing the page",
    )  # fmt: skip


def test_probe_and_audit_tell_of_every_phase(
    teacher: str, photos: Path, tmp_path: Path, progress_lines: ProgressLines
) -> None:
    settings: dict[str, Any] = {"device": "cpu", "realizations": 2}
    run = wp.probe(teacher, photos, operator=OPERATOR, out=tmp_path / "probe", **settings).folder
    assert_phases(
        progress_lines(),
        "features for a probe: 3 of 4 draws; embedding photos/train: 24 of 24 images", "fitting a linear layer: ",
        "measuring small on clean images: 12 of 12 images", "measuring small under damage: 24 of 168 images",
        "; RandomMask(0.5)", "drawing the page",
    )  # fmt: skip
    wp.probe(teacher, photos, mode="paper", out=tmp_path / "paper", **settings)
    assert_phases(progress_lines(), "fitting a probe: 10 of 10 epochs")
    wp.probe(teacher, photos, mode="simclr", out=tmp_path / "simclr", **settings)
    assert_phases(progress_lines(), "linear evaluation: 100 of 100 steps")

    wp.audit(run, photos, operator=OPERATOR, out=tmp_path / "operator", **settings)
    assert_phases(
        progress_lines(),
        "measuring probe on clean images: 12 of 12 images",
        "measuring probe under damage: 24 of 168 images",
    )
    wp.audit(run, photos, suite="noisy", out=tmp_path / "suite", **settings)
    assert_phases(
        progress_lines(),
        "statistics of the pixels of photos/train: 24 of 24 images", "noisy on probe: 24 of 36 images",
        "; uniform_noise: ", "standard errors", "pictures for the page", "drawing the page",
    )  # fmt: skip
    wp.audit(run, photos, attack=["PGD(L2(0.5), steps=2)"], out=tmp_path / "attack", batch_size=4, **settings)
    assert_phases(
        progress_lines(),
        "attacks: 12 of 24 images", "; clean images on probe: ", "; PGD(L2(0.5), steps=2) on probe: ",
        "certificate of PGD(L2(0.5), steps=2): 9 of 9 checks", "pictures for the page", "drawing the page",
    )  # fmt: skip


def test_corrupt_tells_what_it_writes(photos: Path, tmp_path: Path, progress_lines: ProgressLines) -> None:
    wp.corrupt(photos, corruptions=["fog"], severities=[1, 2], layout="imagenet-c", out=tmp_path)
    assert_phases(
        progress_lines(), "comparing the sizes of the images", "a copy of photos/test: 24 of 24 images", ", fog, about "
    )


def test_on_the_command_line_the_verb_is_told_of_too_and_json_stays_json(
    teacher: str, photos: Path, tmp_path: Path, every_phase: None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", teacher, str(photos), "--out", str(tmp_path), "--device", "cpu", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["records"]
    assert err.splitlines()[-1].startswith("audit: for 0:")


@pytest.mark.parametrize("name", ["ours", "rival"])
def test_the_demo_says_what_it_begins_and_counts_all_parts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = demo_tasks.fresh(0)
    for training in ("pretrain_encoder", "harden_encoder"):
        monkeypatch.setattr(demo_tasks, training, lambda *_, **__: encoder)
    monkeypatch.setattr(demo_tasks, "behind_a_gate", lambda *_: encoder)
    monkeypatch.setattr(demo_tasks, "train_classifier", lambda *_, **__: (encoder, None))
    monkeypatch.setattr(demo_tasks, "fit_probe", lambda *_, **__: None)
    monkeypatch.setattr(demo_tasks, "_measure", lambda *_, **__: [])
    monkeypatch.setattr(demo_tasks, "Classifier", lambda *_: None)
    calls: list[tuple[int, str]] = []
    getattr(demo_tasks, name)(1, tmp_path, lambda done, doing: calls.append((done, doing)))
    assert calls[0][0] == 0 and calls[0][1]  # before the first training
    assert sum(done for done, _ in calls) == demo_tasks.COUNTS[name]
