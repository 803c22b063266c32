"""Audits by a suite of corruptions: on the fly, from a folder, cut short, stopped, and refused."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import weatherproof as wp
from weatherproof.errors import InputError
from weatherproof.evaluation import Record
from weatherproof.operators import COMMON_15, COMMON_19
from weatherproof.verbs.outcome import Outcome

from .conftest import CLASSES, Command, results, save_images, start

SECONDS = 120  # what a slow machine may need to load the package


def fit(photos: Path, out: Path, operator: str | None = None) -> Path:
    return wp.train(
        "supervised", photos, encoder="small", operator=operator, epochs=3, batch_size=8, workers=0, realizations=1,
        out=out,
    ).folder  # fmt: skip


@pytest.fixture(scope="module")
def audited(classifier: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return wp.audit(classifier, photos, suite="common-19", workers=0, out=tmp_path_factory.mktemp("audits") / "audit")


def value(records: list[dict], metric: str, corruption: str | None = None, severity: int | None = None) -> dict:
    (found,) = [r for r in records if (r["metric"], r["corruption"], r["severity"]) == (metric, corruption, severity)]
    return found


def test_a_whole_suite(audited, classifier: Path, photos: Path) -> None:
    records = results(audited.folder)
    assert records == list(audited.records)
    assert [*records[0], "over"] == list(Record.__dataclass_fields__)
    for name in COMMON_19:
        for severity in range(1, 6):
            for metric in ("top1", "error", "rms_calibration_error", "ece"):
                record = value(records, metric, name, severity)
                assert record["images"] == 12 and record["realizations"] == 1
            assert record["operator"] == f"Corruption({name!r}, {severity})"
    clean = wp.audit(classifier, photos, workers=0, out=audited.folder.with_name("clean"))
    (plain,) = [r for r in clean.records if r["metric"] == "top1"]
    assert value(records, "top1") == plain | {"trained_on": None, "stderr": value(records, "top1")["stderr"]}
    fog = [value(records, "top1", "fog", severity)["value"] for severity in range(1, 6)]
    assert value(records, "top1", "fog")["value"] == pytest.approx(sum(fog) / 5)
    means = [value(records, "top1", name)["value"] for name in COMMON_15]
    assert value(records, "mca", "common-15")["value"] == pytest.approx(sum(means) / 15)
    assert value(records, "unnormalised_mce", "common-15")["value"] == pytest.approx(1 - sum(means) / 15)
    assert {r["corruption"] for r in records if r["metric"] == "mca"} == {
        "noise", "blur", "weather", "digital", "common-15", "common-19",
    }  # fmt: skip
    assert {r["model"] for r in records} == {"model"} and {r["readout"] for r in records} == {"end-to-end"}


@pytest.mark.slow
def test_images_that_are_decoded_on_demand(audited, classifier: Path, photos: Path, tmp_path: Path) -> None:
    images = wp.load_images(photos, "test", memory_budget=0)
    assert not isinstance(images, wp.data.MemoryImages)
    run = wp.audit(classifier, images, suite="common-19", workers=0, out=tmp_path / "audit")
    told = [(r["metric"], r["corruption"], r["severity"], r["value"]) for r in run.records]
    assert told == [(r["metric"], r["corruption"], r["severity"], r["value"]) for r in audited.records]
    assert (run.folder / "strip.safetensors").is_file()


def test_its_files_page_and_notes(audited) -> None:
    names = {f.name for f in audited.folder.iterdir()}
    assert names >= {"recipe.yaml", "results.json", "report.html", "suite.json", "suite", "strip.safetensors"}
    state = json.loads((audited.folder / "suite.json").read_text())
    assert (state["suite"], state["complete"], state["missing"]) == ("common-19", True, [])
    page = audited.report.read_text()
    assert "elastic transform" in page and "calibration" in page
    notes = " ".join(audited.notes)
    assert "lengths scaled from 32 to 16 px" in notes and "synthetic frost, not comparable" in notes


def test_the_command_line_prints_a_table_and_checks(
    classifier: Path, photos: Path, tmp_path: Path, weatherproof: Command, audited
) -> None:
    mca = value(list(audited.records), "mca", "common-15")["value"]
    audit = ("audit", classifier, photos, "--suite", "common-15", "--workers", 0, "--out", tmp_path / "run")
    status, out, _ = weatherproof(*audit, "--fail-under", f"mca={mca - 1e-6}", "--fail-over", "ece=1")
    assert status == 0
    assert "JPEG compression" in out and "all 15 common corruptions" in out and "note     synthetic frost" in out
    rows = {line.split("  ")[1]: line.split() for line in out.splitlines() if line.startswith("   ")}
    fog = [f"{100 * value(list(audited.records), 'top1', 'fog', s)['value']:.1f}" for s in range(1, 6)]
    assert rows[" fog"][1:6] == fog
    limits = ("--fail-under", f"mca={mca + 1e-6}", "--fail-over", "unnormalised_mce=0", "--fail-under", "mca=0")
    status, out, _ = weatherproof(*audit, *limits, "--json")
    said = json.loads(out)
    assert status == 1 and "finished already" in said["notes"][-1]  # checks alone are new: nothing was done again
    claims = {check["claim"]: check["passed"] for check in said["checks"]}
    assert claims == {
        f"mca at least {mca + 1e-6:g}": False,
        "unnormalised_mce at most 0": False,
        "mca at least 0": True,
    }
    fifteen = [r for r in said["records"] if r["severity"] is not None]
    assert fifteen == [r for r in audited.records if r["severity"] is not None and r["corruption"] in COMMON_15]
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["suite"] == "common-15"


@pytest.mark.slow
def test_a_corrupted_copy_gives_the_numbers_of_the_audit_on_the_fly(
    audited, classifier: Path, photos: Path, tmp_path: Path, refused
) -> None:
    copy = wp.corrupt(photos, suite="common-15", workers=0, out=tmp_path / "copy")
    run = wp.audit(classifier, f"corrupted:{copy.folder}", workers=0, out=tmp_path / "run")
    for record in run.records:
        if record["severity"] is not None:
            here = value(list(audited.records), record["metric"], record["corruption"], record["severity"])
            assert record["value"] == pytest.approx(here["value"], abs=1e-6)
            assert record["operator"] is None and record["protocol"] != here["protocol"]
    mca = value(list(run.records), "mca", "common-15")
    assert mca["value"] == pytest.approx(value(list(audited.records), "mca", "common-15")["value"])
    assert mca["stderr"] == pytest.approx(value(list(audited.records), "mca", "common-15")["stderr"])
    assert not [r for r in run.records if r["corruption"] is None]  # a folder of corrupted images has no clean ones
    audit = ("audit", classifier, f"corrupted:{copy.folder}", "--out", tmp_path / "no")
    said = refused(*audit, "--suite", "common-19")
    assert "has no speckle_noise, gaussian_blur, spatter, saturate" in said or "have no speckle_noise" in said
    assert "--suite takes common-15 or common-19" in refused(*audit, "--suite", "noisy")
    assert "damaged already: leave out --operator" in refused(*audit, "--operator", "RandomMask(0.5)")
    assert "damaged already: no setting" in refused(*audit, "--jpeg-quality", 85)
    assert not (tmp_path / "no").exists()


def test_a_downloaded_folder_of_one_corruption(tmp_path: Path, here: Path, refused) -> None:
    """CIFAR-10-C as it is published, with the noise archive alone there."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    for name in ("gaussian_noise", "shot_noise", "impulse_noise"):
        np.save(folder / f"{name}.npy", rng.integers(0, 255, (5 * 20, 32, 32, 3), dtype=np.uint8))
    np.save(folder / "labels.npy", np.tile(np.arange(20) % 10, 5))
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder = wp.load_encoder("resnet20", num_classes=10)
    run = wp.audit(encoder, f"cifar10-c:{folder}", test_images=12, workers=0, out=tmp_path / "run")
    assert {r["corruption"] for r in run.records if r["metric"] == "mca"} == {"noise", "all"}
    assert {r["images"] for r in run.records} == {12}
    assert {r["data"] for r in run.records} == {"cifar10-c"} and {r["readout"] for r in run.records} == {"own-head"}
    weights = ("audit", "resnet20@nothing.safetensors", f"cifar10-c:{folder}")
    assert "nothing.safetensors" in refused(*weights)


def test_a_picture_that_cannot_be_read_is_not_the_one_on_the_page(classifier: Path, tmp_path: Path) -> None:
    for part in ("fog/1", "fog/2"):
        for name in CLASSES:
            save_images(tmp_path / "c" / part / name, 10)
    middle = tmp_path / "c" / "fog" / "2" / CLASSES[1] / "005.png"
    middle.write_bytes(b"no image")
    told = {"name": "photos", "layout": "imagenet-c", "channels": 3, "classes": CLASSES}
    (tmp_path / "c" / "manifest.json").write_text(json.dumps(told))
    with pytest.warns(UserWarning, match="1 of 60 images"):
        run = wp.audit(classifier, f"corrupted:{tmp_path / 'c'}", workers=0, out=tmp_path / "run")
    levels = {r["severity"]: r["images"] for r in run.records if r["metric"] == "top1" and r["severity"]}
    assert levels == {1: 30, 2: 29} and run.report.is_file()


@pytest.mark.slow
def test_a_time_budget(classifier: Path, photos: Path, tmp_path: Path, weatherproof: Command, audited, refused) -> None:
    audit = ("audit", classifier, photos, "--suite", "common-15", "--workers", 0, "--out", tmp_path / "run")
    status, out, _ = weatherproof(*audit, "--minutes", 1e-9, "--json")
    said = json.loads(out)
    assert status == 0 and {r["corruption"] for r in said["records"]} == {None}
    assert said["notes"][0] == (
        "time was up: 75 of 76 conditions were not reached (gaussian_noise/1, gaussian_noise/2, gaussian_noise/3, "
        "gaussian_noise/4, gaussian_noise/5, shot_noise/1, ...); the same command goes on from here"
    )
    assert "time was up before it was measured" in refused(*audit, "--minutes", 1e-9, "--fail-under", "mca=0.1")
    status, out, _ = weatherproof(*audit, "--json")
    said = json.loads(out)
    assert status == 0 and not [note for note in said["notes"] if "time was up" in note]
    fifteen = [r for r in audited.records if r["severity"] is not None and r["corruption"] in COMMON_15]
    assert [r for r in said["records"] if r["severity"] is not None] == fifteen


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_audit_goes_on(
    how: signal.Signals, classifier: Path, photos: Path, tmp_path: Path, weatherproof: Command, audited
) -> None:
    out = tmp_path / "run"
    audit = ("audit", classifier, photos, "--suite", "common-19", "--workers", 0, "--device", "cpu", "--out", out)
    process = start(*audit)
    give_up = time.monotonic() + SECONDS
    while not (out / "suite").exists() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    process.send_signal(how)
    said, err = process.communicate(timeout=SECONDS)
    assert not (out / "results.json").exists(), "finished before it could be stopped"
    assert said == "" and "Traceback" not in err
    if how == signal.SIGINT:
        kept = out.is_dir() and any(not file.name.startswith(".") for file in (out / "suite").iterdir())
        assert process.returncode == 130 and ("the same command goes on" in err.splitlines()[-1]) == kept
    assert weatherproof(*audit)[0] == 0
    assert results(out) == list(audited.records)


def test_the_noisy_suite(classifier: Path, photos: Path, tmp_path: Path) -> None:
    runs = [wp.audit(classifier, photos, suite="noisy", workers=0, out=tmp_path / name) for name in ("one", "two")]
    records = [list(run.records) for run in runs]
    assert records[0] == records[1]  # also the protocols: the place of the run folder is no part of them
    assert value(records[0], "top1", "uniform_noise")["operator"] == "UniformNoise()"
    assert value(records[0], "top1", "nonuniform_noise")["operator"] == "NonUniformNoise(std='pixel-std.npy')"
    both = [value(records[0], "top1", name)["value"] for name in ("uniform_noise", "nonuniform_noise")]
    assert value(records[0], "mca", "noisy")["value"] == pytest.approx(sum(both) / 2)
    std = np.load(tmp_path / "one" / "pixel-std.npy")
    train = wp.load_images(photos, "train").read(torch.arange(24)).double().div(255).std(dim=0).mean(dim=0)
    assert std == pytest.approx(train.numpy())


@pytest.mark.slow
def test_what_it_was_trained_on_is_set_apart(photos: Path, tmp_path: Path, weatherproof: Command) -> None:
    trained = fit(photos, tmp_path / "trained", "Chain(GaussianNoise(0.1), Corruption('fog', 2))")
    run = wp.audit(trained, photos, suite="common-15", workers=0, out=tmp_path / "run")
    assert {r["trained_on"] for r in run.records} == {"Chain(GaussianNoise(0.1), Corruption('fog', 2))"}
    told = [note for note in run.notes if note.startswith("trained on gaussian_noise, fog, which this suite contains")]
    seen, unseen = (value(list(run.records), "mca", name)["value"] for name in ("seen", "unseen"))
    assert len(told) == 1 and f"{seen:.1%} there, {unseen:.1%} under" in told[0]
    masked = fit(photos, tmp_path / "masked", "RandomMask(0.5)")
    run = wp.audit(masked, photos, suite="noisy", workers=0, out=tmp_path / "other")
    assert any("RandomMask(0.5), which is none of this suite's corruptions" in note for note in run.notes)
    assert not [r for r in run.records if r["corruption"] in ("seen", "unseen")]


def test_refused(classifier: Path, teacher: str, photos: Path, tmp_path: Path, here: Path, refused) -> None:
    audit = ("audit", classifier, photos, "--workers", 0)
    assert "unknown suite 'common15': did you mean common-15" in refused(*audit, "--suite", "common15")
    assert "not both" in refused(*audit, "--suite", "common-15", "--operator", "RandomMask(0.5)")
    assert "--teacher" in refused(*audit, "--suite", "common-15", "--teacher", teacher)
    assert "a time above 0" in refused(*audit, "--suite", "common-15", "--minutes", 0)
    assert "processes must be at least 1" in refused(*audit, "--suite", "common-15", "--processes", 0)
    for option in (("--frost", "photographs"), ("--jpeg-quality", 85)):
        assert "belong to --suite" in refused(*audit, *option)
    assert "jpeg quality" in refused(*audit, "--suite", "common-15", "--jpeg-quality", 0).lower()
    assert "no folder" in refused(*audit, "--suite", "common-15", "--frost", tmp_path / "nothing")
    said = refused(*audit, "--suite", "common-15", "--fail-under", "mce=0.5")
    assert said == (
        "weatherproof: --fail-under mce=0.5: common-15 as a whole measures mca, rms_calibration_error, ece, "
        "mean_rms_calibration_error, mean_ece, unnormalised_mce only"
    )
    assert "--fail-over takes METRIC=VALUE such as mce=0.8" in refused(*audit, "--fail-over", "ece")
    assert "is an encoder alone: run probe" in refused("audit", teacher, photos, "--suite", "common-15")
    save_images(tmp_path / "loose" / "test", 4)
    assert "without a label" in refused("audit", classifier, tmp_path / "loose", "--suite", "common-15")
    with pytest.raises(InputError, match="training images of the same source"):
        wp.audit(classifier, wp.load_images(photos, "test"), suite="noisy", workers=0)
    assert not any(here.iterdir())


def test_fail_over_without_a_suite(classifier: Path, photos: Path, tmp_path: Path, weatherproof: Command) -> None:
    audit = ("audit", classifier, photos, "--operator", "RandomMask(0.9)", "--workers", 0, "--out", tmp_path / "run")
    assert weatherproof(*audit, "--fail-over", "top1=1", "--fail-under", "top1=0")[0] == 0
    assert weatherproof(*audit, "--fail-over", "top1=-1")[0] == 1
