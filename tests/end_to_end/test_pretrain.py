"""Pretraining from beginning to end: every method and its views, what comes out, going on, and what is refused."""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from html_page import Strict

import weatherproof as wp
from weatherproof.evaluation import Watch
from weatherproof.evaluation.suites.contamination import trained_on

from .conftest import Command, class_folders, results, save_images

SMALL = "small(width=4, channels=3)"
QUICK: dict[str, Any] = {"encoder": SMALL, "epochs": 2, "batch_size": 8, "workers": 0, "device": "cpu"}
OPTIONS = ("--encoder", SMALL, "--epochs", 2, "--batch-size", 8, "--workers", 0, "--device", "cpu")
PAIRS = [
    ("simclr", "auto"), ("mocov2", "urrl"),
    *(
        pytest.param(method, views, marks=pytest.mark.slow)
        for method, views in (
            ("simclr", "urrl"), ("mocov2", "auto"), ("instdis", "auto"), ("instdis", "urrl"), ("pirl", "auto"),
            ("pirl", "urrl"),
        )
    ),
]  # fmt: skip
RunFolderOf = Callable[[str, str], Path]
FILES = {
    "recipe.yaml", "log.jsonl", "checkpoint.pt", "encoder.safetensors", "encoder.json", "results.json", "report.html",
    "views.safetensors", "neighbours.safetensors", "map.safetensors",
}  # fmt: skip


def rows(folder: Path) -> list[dict[str, Any]]:
    """The log's lines without what depends on the machine's speed."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


@pytest.fixture(scope="module")
def run_folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolderOf:
    """The run of a method with its own views or with URRL's, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("pretrain")

    @cache
    def run(method: str, views: str) -> Path:
        out = folder / f"{method}-{views}"
        wp.pretrain(method, photos, views=views, out=out, **QUICK)
        return out

    return run


@pytest.mark.parametrize(("method", "views"), PAIRS)
def test_every_method_with_its_own_views_and_with_urrls(run_folder: RunFolderOf, method: str, views: str) -> None:
    run = run_folder(method, views)
    assert {file.name for file in run.iterdir()} >= FILES
    log = rows(run)
    assert log[-1]["step"] == 6 and all(math.isfinite(value) for row in log for value in row.values())
    looked = [row["epoch"] for row in log if row.keys() >= {"knn_accuracy", "alignment", "uniformity"}]
    assert looked == [1.0, 2.0]
    settings = json.loads((run / "encoder.json").read_text())
    assert settings["name"] == "small" and settings["provenance"]["pretrained_by"] == method
    own = settings["provenance"]["trained_on"]
    assert own.startswith("URRL(") == (views == "urrl") and ("AugMix(ops='all'" in own) == (views == "urrl")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert (recipe["method"], recipe["views"], recipe["lr"]) == (method, views, 2e-3)
    Strict((run / "report.html").read_text())


def test_what_is_measured(run_folder: RunFolderOf) -> None:
    records = results(run_folder("simclr", "auto"))
    assert {r["model"] for r in records} == {"start", "pretrained"}
    found = {(r["metric"], r["readout"], r["label_fraction"]) for r in records if r["model"] == "pretrained"}
    assert found == {
        ("top1", "probe", 1.0), ("top1", "probe", 0.1), ("top1", "probe", 0.01), ("top1", "knn", 1.0),
        ("alignment", None, None), ("uniformity", None, None),
    }  # fmt: skip
    assert {r["protocol"] for r in records if r["metric"] == "top1"} == {records[0]["protocol"]}  # may be compared
    page = (run_folder("simclr", "auto") / "report.html").read_text()
    for words in ("Alignment", "Uniformity", "k-NN accuracy", "URRL", "before training"):
        assert words in page


def test_alignment_and_uniformity_are_those_of_the_log(run_folder: RunFolderOf) -> None:
    """The last look of the training and the results are of the same encoder, images and views."""
    records, last = results(run_folder("mocov2", "urrl")), rows(run_folder("mocov2", "urrl"))[-1]
    final = {r["metric"]: r["value"] for r in records if r["model"] == "pretrained"}
    assert final["uniformity"] == pytest.approx(last["uniformity"], abs=1e-5)
    assert final["alignment"] == pytest.approx(last["alignment"], abs=1e-5)


def test_the_run_is_an_encoder_for_probe_and_audit(run_folder: RunFolderOf, photos: Path, tmp_path: Path) -> None:
    run = run_folder("mocov2", "urrl")
    probed = wp.probe(run, photos, labels=0.1, workers=0, out=tmp_path / "probe")
    value = [r["value"] for r in probed.records if r["metric"] == "top1"]
    same = [r for r in results(run) if r["readout"] == "probe" and r["label_fraction"] == 0.1]
    assert value == [r["value"] for r in same if r["model"] == "pretrained"]
    wp.audit(probed.folder, photos, operator="GaussianNoise(0.1)", workers=0, out=tmp_path / "audit")
    assert trained_on(probed.folder).startswith("URRL(MoCoV2(16)")  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore:.*is taken as its classifier")
@pytest.mark.parametrize("ours", [True, False], ids=["an encoder", "a network in the hand"])
def test_a_classifier_that_the_encoder_brings_is_left_out(ours: bool, photos: Path, tmp_path: Path) -> None:
    """It was made for other embeddings: no verb may call it the run's own."""
    classes = len(wp.data.load_images(photos).classes)
    start = wp.load_encoder(f"{SMALL}@random", num_classes=classes, size=16)
    assert start.head is not None
    network = torch.nn.Sequential(start.body, start.head)
    encoder = start if ours else wp.load_encoder(network, mean=0, std=1, size=16)
    assert encoder.head is not None
    run = wp.pretrain("simclr", photos, **{**QUICK, "encoder": encoder, "out": tmp_path / "run"})
    assert encoder.head is not None and run.encoder is not None and run.encoder.head is None
    again = wp.pretrain("simclr", photos, **{**QUICK, "encoder": encoder, "out": tmp_path / "run"})
    assert again.encoder is not None and again.encoder.head is None
    audited = wp.audit(run.encoder, photos, operator="GaussianNoise(0.1)", workers=0, out=tmp_path / "audit")
    assert "own-head" not in {record["readout"] for record in audited.records}


@pytest.mark.slow
def test_python_the_command_line_and_a_recipe(
    run_folder: RunFolderOf, photos: Path, tmp_path: Path, weatherproof: Command
) -> None:
    done, line, again = run_folder("mocov2", "urrl"), tmp_path / "line", tmp_path / "again"
    status, out, err = weatherproof("pretrain", "mocov2", photos, "--views", "urrl", *OPTIONS, "--out", line, "--json")
    assert (status, err) == (0, "") and json.loads(out)["records"] == results(line)
    assert weatherproof("pretrain", "--config", done / "recipe.yaml", "--out", again)[0] == 0
    for folder in (line, again):
        assert (folder / "encoder.safetensors").read_bytes() == (done / "encoder.safetensors").read_bytes()
        assert rows(folder) == rows(done)


def test_a_finished_run_is_not_done_again(run_folder: RunFolderOf, photos: Path, weatherproof: Command) -> None:
    run = run_folder("simclr", "auto")
    before = (run / "checkpoint.pt").stat().st_mtime_ns
    status, out, _ = weatherproof("pretrain", "simclr", photos, *OPTIONS, "--out", run)
    assert status == 0 and "finished already" in out
    assert (run / "checkpoint.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("method", "views"), [("mocov2", "urrl"), pytest.param("pirl", "auto", marks=pytest.mark.slow)]
)
def test_a_stopped_run_goes_on(
    run_folder: RunFolderOf, photos: Path, tmp_path: Path, method: str, views: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queue, key encoder and bank are as they were."""
    run, whole = tmp_path / "run", run_folder(method, views)
    look = Watch.__call__

    def stop(self: Watch, learner: Any, epoch: float = 0) -> dict[str, float]:
        if epoch == 2:
            raise KeyboardInterrupt
        return look(self, learner, epoch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Watch, "__call__", stop)
        wp.pretrain(method, photos, views=views, out=run, **QUICK, checkpoint_seconds=0.0)
    assert not (run / "encoder.safetensors").exists()
    wp.pretrain(method, photos, views=views, out=run, **QUICK, checkpoint_seconds=0.0)
    assert (run / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()
    assert rows(run) == rows(whole) and results(run) == results(whole)


def test_other_views_are_refused(run_folder: RunFolderOf, photos: Path, refused) -> None:
    said = refused("pretrain", "simclr", photos, "--views", "urrl", *OPTIONS, "--out", run_folder("simclr", "auto"))
    assert "setting 'views' is 'auto' there and 'urrl' here" in said


@pytest.mark.slow
def test_images_without_labels(tmp_path: Path) -> None:
    save_images(tmp_path / "plain", 24)
    run = wp.pretrain("simclr", tmp_path / "plain", out=tmp_path / "run", **QUICK)
    assert {(r["model"], r["metric"]) for r in run.records} == {
        (model, metric) for model in ("start", "pretrained") for metric in ("alignment", "uniformity")
    }
    assert "knn_accuracy" not in rows(run.folder)[-1]
    assert {file.name for file in run.folder.iterdir()} >= FILES
    assert not any("probe" in step for step in run.next_steps)
    Strict(run.report.read_text())


@pytest.mark.slow
def test_bf16(photos: Path, tmp_path: Path) -> None:
    run = wp.pretrain("mocov2", photos, precision="bf16-mixed", lr=0.1, temperature=0.01, out=tmp_path, **QUICK)
    assert all(math.isfinite(row["loss"]) for row in rows(run.folder))
    assert all(math.isfinite(r["value"]) for r in run.records)


@pytest.mark.slow
def test_larger_views_a_single_augmentation_and_the_papers_settings(photos: Path, tmp_path: Path) -> None:
    """The crop enlarges; one look is drawn twice; the published plan goes with batch and epochs."""
    run = wp.pretrain(
        "mocov2", photos, views=wp.views.RandomResizedCrop(24),
        preset="paper", queue=16, labels=[0.5], watch_every=2, map_by="tsne", out=tmp_path, **QUICK,
    )  # fmt: skip
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert recipe["lr"] == pytest.approx(0.06 * 8 / 512)
    assert (recipe["optimizer"], recipe["schedule"], recipe["queue"]) == ("sgd", "cosine_epoch", 16)
    assert "RandomResizedCrop(24)" in recipe["views"]
    assert [row["epoch"] for row in rows(run.folder) if "knn_accuracy" in row] == [2.0]
    assert {r["label_fraction"] for r in run.records if r["readout"] == "probe"} == {0.5}


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("simcrl", (), "unknown pretraining method 'simcrl': did you mean simclr or pirl?"),
        ("simclr", ("--batch-size", 1), "needs two or more: got batch_size 1"),
        ("mocov2", ("--queue", 12), "the queue must be a multiple of the batch of 8, got 12: try 16"),
        ("instdis", ("--negatives", 25), "25 negatives cannot be drawn from a bank of 24 images"),
        ("pirl", ("--negatives", 25), "expected negatives from 1 to 24"),
        ("simclr", ("--queue", 16), "simclr has no setting 'queue': it has temperature"),
        ("simclr", ("--views", "SimCRL(16)"), "unknown view 'SimCRL': did you mean SimCLR"),
        ("simclr", ("--views", "Jigsaw(16)"), "compares two looks"),
        ("simclr", ("--encoder", "smal"), "unknown encoder 'smal': did you mean small"),
        ("simclr", ("--labels", 2), "the fraction of labels lies in (0, 1]; got 2.0"),
        ("simclr", ("--schedule", "step"), "schedule 'step' needs milestones"),
        ("simclr", ("--temperature", 0), "temperature must be a positive number, got 0.0"),
        ("simclr", ("--precision", "bf16"), "precision cannot be 'bf16'"),
        ("simclr", ("--watch-every", 0), "watch_every must be at least 1, got 0"),
        ("simclr", ("--devices", 8), "needs two or more on each of 8 devices"),
    ],
)  # fmt: skip
def test_refused(method: str, options: tuple[Any, ...], said: str, photos: Path, here: Path, refused) -> None:
    assert said in refused("pretrain", method, photos, *OPTIONS, *options)
    assert not list(here.iterdir())


def test_images_that_cannot_be_told_apart(tmp_path: Path, here: Path, refused) -> None:
    save_images(tmp_path / "one" / "train", 1)
    save_images(tmp_path / "one" / "test", 1)
    assert "needs two or more: got batch_size 8 and 1 images" in refused(
        "pretrain", "simclr", tmp_path / "one", *OPTIONS
    )
    unlike = class_folders(tmp_path / "unlike")
    save_images(unlike / "train" / "ant", 1, side=20)
    assert "differ in size: give --size N" in refused("pretrain", "simclr", unlike, *OPTIONS)
    assert not list(here.iterdir())


@pytest.mark.parametrize(("split", "said"), [("train", "has no image of class 'bee'"), ("test", "is of 1 class")])
def test_accuracies_that_would_mean_nothing_are_not_measured(
    photos: Path, tmp_path: Path, split: str, said: str
) -> None:
    """Of images of one class alone every classifier is right: that must not look like a result."""
    folder = class_folders(tmp_path / "photos")
    for name in ("bee", "cat"):
        for file in (folder / split / name).iterdir():
            file.unlink()
    with pytest.warns(UserWarning, match=said):
        run = wp.pretrain("simclr", folder, out=tmp_path / "run", **QUICK)
    assert {r["metric"] for r in run.records} == {"alignment", "uniformity"}
    assert "knn_accuracy" not in rows(run.folder)[-1]
