"""Every verb from beginning to end: Python, the command line and a recipe say the same."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import weatherproof as wp
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.reports.hardened.curve import CURVE
from weatherproof.reports.parts import read_list

from .conftest import ALONE, PLAIN, Command, class_folders, results, start

QUICK = {"epochs": 2, "batch_size": 8, "realizations": 2, "workers": 0}
MASKS = (*PLAIN, "--operator", "RandomMask((0.5, 0.95))")
QUICK_OPTIONS = ("--epochs", 2, "--batch-size", 8, "--realizations", 2, "--workers", 0)
CONTRACT = {
    "recipe.yaml", "log.jsonl", "checkpoint.pt", "encoder.safetensors", "encoder.json", "results.json", "report.html",
}  # fmt: skip
RECORD = {
    "metric", "value", "stderr", "realizations", "seeds", "images", "model", "readout", "data", "label_fraction",
    "operator", "corruption", "severity", "attack", "trained_on", "protocol",
}  # fmt: skip


@pytest.fixture(scope="module")
def hardened(teacher: str, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "hardened"
    wp.harden(teacher, photos, operator="RandomMask((0.5, 0.95))", **QUICK, **ALONE, out=out)
    return out


def test_a_run_folder_holds_what_the_contract_says(hardened: Path) -> None:
    assert {f.name for f in hardened.iterdir()} >= CONTRACT | {"gallery.json"}
    assert not [f for f in hardened.rglob("*") if "tmp" in f.name or "part" in f.name]
    records = results(hardened)
    assert all(record.keys() == RECORD for record in records)
    assert {r["model"] for r in records} == {"teacher", "hardened"}
    assert {r["metric"] for r in records} == {"cosine", "recall@1", "recall@5", "top1"}
    assert {r["operator"] for r in records} >= {None, "RandomMask((0.5, 0.95))", "RandomMask(0.75)", "RandomMask(0.99)"}
    assert {r["trained_on"] for r in records if r["model"] == "hardened"} == {"RandomMask((0.5, 0.95))"}
    lines = [json.loads(line) for line in (hardened / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 6 and lines[-1].keys() >= {"epoch", "loss", "lr", "images_per_second"}
    recipe = yaml.safe_load((hardened / "recipe.yaml").read_text())
    assert recipe.keys() >= {"verb", "encoder", "images", "operator", "seed", "versions", "hardware"}


def test_harden_from_python_the_command_line_and_a_recipe(
    teacher: str, photos: Path, hardened: Path, tmp_path: Path, weatherproof: Command
) -> None:
    line, again = tmp_path / "line", tmp_path / "again"
    assert weatherproof("harden", teacher, photos, *MASKS, *QUICK_OPTIONS, "--out", line)[0] == 0
    assert weatherproof("harden", "--config", hardened / "recipe.yaml", "--out", again)[0] == 0
    for folder in (line, again):
        assert results(folder) == results(hardened)
        assert (folder / "encoder.safetensors").read_bytes() == (hardened / "encoder.safetensors").read_bytes()


def test_objects_and_their_texts_make_the_same_run(teacher: str, photos: Path, hardened: Path, tmp_path: Path) -> None:
    run = wp.harden(
        teacher, photos, operator=wp.operators.RandomMask((0.5, 0.95)), objective=wp.objectives.StudentTeacher(),
        **QUICK, **ALONE, out=str(tmp_path / "objects"),
    )  # fmt: skip
    assert list(run.records) == results(hardened)
    texts = {"operator": "RandomMask((0.5, 0.95))", "objective": "StudentTeacher()"}
    assert (
        wp.harden(teacher, photos, **texts, **QUICK, **ALONE, out=run.folder).records == run.records
    )  # the same recipe


def test_an_encoder_and_images_in_memory(teacher: str, photos: Path, tmp_path: Path) -> None:
    encoder, images = wp.load_encoder(teacher), wp.load_images(photos)
    with pytest.warns(UserWarning, match="^4 of the 4 test images are training images too"):  # one set for both
        run = wp.harden(encoder, images, **QUICK, test_images=4, **ALONE, out=tmp_path / "run")
    recipe = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    assert (recipe["encoder"], recipe["images"]) == ("small", "photos/train")
    assert run.encoder(images.read(images.index[:2]).float() / 255).shape == (2, encoder.feature_dim)


def test_a_finished_run_is_not_done_again(teacher: str, photos: Path, hardened: Path, weatherproof: Command) -> None:
    before = (hardened / "results.json").stat().st_mtime_ns
    status, out, _ = weatherproof("harden", teacher, photos, *MASKS, *QUICK_OPTIONS, "--out", hardened)
    assert status == 0 and "finished already" in out
    assert (hardened / "results.json").stat().st_mtime_ns == before


def test_a_run_goes_on_with_its_own_weights_and_images_alone(teacher: str, photos: Path, tmp_path: Path) -> None:
    """Numbers of others are never handed out as theirs."""

    def audit(model: object, images: object) -> float:
        run = wp.audit(model, images, operator="RandomMask(0.5)", workers=0, out=tmp_path / "audit")  # type: ignore[arg-type]
        return next(float(r["value"]) for r in run.records if r["metric"] == "cosine")

    whole = wp.load_images(str(photos), "test", size=8)
    pixels = whole.read(torch.arange(len(whole)))
    encoder, images = wp.load_encoder(teacher), MemoryImages(pixels, whole.labels, whole.classes)
    value = audit(encoder, images)
    assert audit(encoder, MemoryImages(pixels.clone(), whole.labels, whole.classes)) == value
    for other, labels in ((pixels.flip(0), whole.labels), (pixels, whole.labels.flip(0))):
        others = MemoryImages(other, labels, whole.classes)
        with pytest.raises(InputError, match="the set memory has changed since the run in .*audit began"):
            audit(encoder, others)
    with torch.no_grad():
        next(iter(encoder.parameters())).add_(1.0)
    with pytest.raises(InputError, match="the encoder small has changed since the run in .*audit began"):
        audit(encoder, images)


def test_a_runs_encoder_answers_as_it_was_measured(hardened: Path, teacher: str, photos: Path) -> None:
    """In evaluation mode: an image's embedding does not depend on the others, and looking changes no statistics."""
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    again = wp.harden(teacher, photos, operator="RandomMask((0.5, 0.95))", **QUICK, **ALONE, out=hardened)
    for encoder in (again.encoder, wp.load_encoder(hardened)):
        before = {name: value.clone() for name, value in encoder.state().items()}
        with torch.no_grad():
            whole, first = encoder(images), encoder(images[:1])
        torch.testing.assert_close(whole[:1], first, rtol=1e-5, atol=1e-6)
        assert all(torch.equal(value, encoder.state()[name]) for name, value in before.items())


def test_another_recipe_is_refused(teacher: str, photos: Path, hardened: Path, here: Path, refused) -> None:
    said = refused("harden", teacher, photos, *MASKS, *QUICK_OPTIONS, "--lr", 1e-2, "--out", hardened)
    assert "'lr' is 0.0003 there and 0.01 here" in said
    said = refused("probe", hardened, photos, "--out", hardened)
    assert "'verb' is 'harden' there and 'probe' here" in said


def test_train_with_augmix(
    teacher: str, photos: Path, tmp_path: Path, weatherproof: Command, refused: Callable[..., str]
) -> None:
    words = ("train", "augmix", photos, "--encoder", teacher, *QUICK_OPTIONS, "--out", tmp_path)
    assert "leave operator out" in refused(*words, "--operator", "RandomMask(0.5)")
    assert weatherproof(*words)[0] == 0
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert first.keys() >= {"loss", "divergence", "accuracy"}
    assert {r["trained_on"] for r in results(tmp_path)} == {repr(wp.views.AugMix())}
    assert json.loads((tmp_path / "encoder.json").read_text())["provenance"]["trained_on"] == repr(wp.views.AugMix())


def test_train(teacher: str, photos: Path, tmp_path: Path, weatherproof: Command) -> None:
    python, line = tmp_path / "python", tmp_path / "line"
    run = wp.train("supervised", photos, encoder=teacher, operator="GaussianNoise(0.1)", **QUICK, out=python)
    status, out, _ = weatherproof(
        "train", "supervised", photos, "--encoder", teacher, "--operator", "GaussianNoise(0.1)", *QUICK_OPTIONS,
        "--out", line, "--json",
    )  # fmt: skip
    assert status == 0 and json.loads(out)["records"] == list(run.records) == results(line)
    assert {f.name for f in line.iterdir()} >= CONTRACT | {"readout.safetensors", "readout.json"}
    assert {(r["model"], r["readout"]) for r in run.records} == {("supervised", "end-to-end")}
    assert weatherproof("train", "--config", python / "recipe.yaml", "--out", tmp_path / "again")[0] == 0
    assert results(tmp_path / "again") == results(python)


@pytest.mark.parametrize("mode", ["cached", "paper"])
def test_probe(hardened: Path, photos: Path, tmp_path: Path, weatherproof: Command, mode: str) -> None:
    python, line = tmp_path / "python", tmp_path / "line"
    run = wp.probe(hardened, photos, labels=0.5, operator="RandomMask(0.5)", mode=mode, workers=0, out=python)
    status, out, _ = weatherproof(
        "probe", hardened, photos, "--labels", 0.5, "--operator", "RandomMask(0.5)", "--mode", mode, "--workers", 0,
        "--out", line, "--json",
    )  # fmt: skip
    assert status == 0 and json.loads(out)["records"] == list(run.records) == results(line)
    assert {(r["model"], r["readout"], r["label_fraction"]) for r in run.records} == {("hardened", "probe", 0.5)}
    assert weatherproof("probe", "--config", python / "recipe.yaml", "--out", tmp_path / "again")[0] == 0
    assert results(tmp_path / "again") == results(python)


def test_probe_and_audit_agree(hardened: Path, photos: Path, tmp_path: Path) -> None:
    fitted = wp.probe(hardened, photos, operator="RandomMask(0.5)", workers=0, out=tmp_path / "probe")
    audited = wp.audit(fitted.folder, photos, operator="RandomMask(0.5)", workers=0, out=tmp_path / "audit")

    def accuracies(records) -> dict:
        return {(r["operator"], r["protocol"]): r["value"] for r in records if r["metric"] == "top1"}

    assert accuracies(audited.records) == accuracies(fitted.records)


def test_audit(hardened: Path, teacher: str, photos: Path, tmp_path: Path, weatherproof: Command) -> None:
    python, line = tmp_path / "python", tmp_path / "line"
    options = ("--operator", "RandomMask(0.5)", "--teacher", teacher, "--workers", 0)
    run = wp.audit(hardened, photos, operator="RandomMask(0.5)", teacher=teacher, workers=0, out=python)
    status, out, _ = weatherproof("audit", hardened, photos, *options, "--out", line, "--json")
    assert status == 0 and json.loads(out)["records"] == list(run.records) == results(line)
    assert {(r["model"], r["metric"]) for r in run.records} == {
        ("hardened", m) for m in ("cosine", "recall@1", "recall@5")
    }
    assert (line / "report.html").is_file() and (line / "recipe.yaml").is_file()


def test_fail_under(teacher: str, photos: Path, tmp_path: Path, weatherproof: Command, here: Path, refused) -> None:
    audit = ("audit", teacher, photos, "--operator", "RandomMask(0.9)", "--workers", 0, "--out", tmp_path / "run")
    assert weatherproof(*audit, "--fail-under", "cosine=-1", "--fail-under", "recall@1=0")[0] == 0
    status, out, _ = weatherproof(*audit, "--fail-under", "cosine=-1", "--fail-under", "cosine=1.01", "--json")
    assert status == 1  # the same run: another limit is another check, not another measurement
    assert [(c["claim"], c["passed"]) for c in json.loads(out)["checks"]] == [
        ("cosine at least -1", True), ("cosine at least 1.01", False),
    ]  # fmt: skip
    assert "this audit measured cosine, recall@1, recall@5 only" in refused(*audit, "--fail-under", "top1=0.5")
    fresh = (*audit[:-1], tmp_path / "fresh")
    assert "this audit measures cosine, recall@1, recall@5 only" in refused(*fresh, "--fail-under", "top1=0.5")
    assert not (tmp_path / "fresh").exists()
    for wrong in ("top1", "top1=", "=0.5", "top1=much", "top1=nan"):
        assert "METRIC=VALUE" in refused(
            "audit", "nothing", "nowhere", "--operator", "Nonsense(", "--fail-under", wrong
        ), wrong
    assert not any(here.iterdir())


def test_a_level_that_is_a_whole_number_is_the_one_of_its_ladder(teacher: str, photos: Path, tmp_path: Path) -> None:
    """JPEG(50) is measured as JPEG(50.0), with which records of other runs can be compared."""
    run = wp.harden(teacher, photos, operator="JPEG(50)", **QUICK, **ALONE, out=tmp_path / "run")
    assert "JPEG(50.0)" in {r["operator"] for r in run.records} and read_list(run.folder, CURVE)
    assert "JPEG(50)" in run.report.read_text()
    for _ in range(2):
        audited = wp.audit(
            run.folder, photos, operator="JPEG(50)", fail_under=["cosine=-1"], workers=0, out=tmp_path / "audit"
        )
        assert [check["passed"] for check in audited.checks] == [True]


def test_fail_under_in_a_recipe(teacher: str, photos: Path, tmp_path: Path, weatherproof: Command) -> None:
    recipe = {"model": teacher, "images": str(photos), "fail_under": ["cosine=1.01", "cosine=-1"], "workers": 0}
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(recipe))
    assert weatherproof("audit", "--config", tmp_path / "audit.yaml", "--out", tmp_path / "run")[0] == 1


def test_compare(
    teacher: str, photos: Path, hardened: Path, tmp_path: Path, weatherproof: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    audits = [tmp_path / "before", tmp_path / "after"]
    for model, out in zip((teacher, hardened), audits, strict=True):
        wp.audit(model, photos, operator="RandomMask(0.5)", teacher=teacher, workers=0, out=out)
    run = wp.compare(*audits, out=tmp_path / "python")
    status, out, _ = weatherproof("compare", *audits, "--out", tmp_path / "line", "--json")
    assert status == 0 and json.loads(out)["records"] == list(run.records)
    assert {r["model"] for r in run.records} == {"before: small", "after: hardened"}
    page = run.report.read_text()
    assert "before" in page and "after" in page
    elsewhere = shutil.copytree(audits[0], tmp_path / "elsewhere/before")
    again = wp.compare(audits[0], elsewhere, out=tmp_path / "again")
    assert {r["model"] for r in again.records} == {"before (1): small", "before (2): small"}
    monkeypatch.chdir(audits[0])
    here = wp.compare(".", audits[1], out=tmp_path / "here")
    assert {r["model"] for r in here.records} == {"before: small", "after: hardened"}
    monkeypatch.setenv("HOME", str(tmp_path))
    at_home = wp.compare("~/before", "~/after", out="~/page")
    assert at_home.records == here.records and at_home.report == tmp_path / "page/comparison.html"
    assert run.report.is_file() and json.loads(out)["report"].endswith(run.report.name)


@pytest.mark.parametrize(("limit", "status"), [("cosine=-1", 0), ("cosine=1.01", 1)])
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_limit_counts_whether_somebody_reads_or_not(
    limit: str, status: int, words: tuple[str, ...], teacher: str, photos: Path, tmp_path: Path
) -> None:
    process = start("audit", teacher, photos, "--fail-under", limit, *words, "--workers", 0, "--out", tmp_path / "run")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read()
    assert process.wait() == status, err
    assert "Traceback" not in err and "Broken" not in err


def test_closed_standard_output_is_no_error() -> None:
    program = "import os; os.close(1)\nfrom subprocess import run; import sys\n"
    program += "sys.exit(run([sys.executable, '-m', 'weatherproof', '--version']).returncode)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_json_alone_on_standard_output(teacher: str, photos: Path, tmp_path: Path, weatherproof: Command) -> None:
    status, out, _ = weatherproof(
        "harden", teacher, photos, *PLAIN, *QUICK_OPTIONS, "--out", tmp_path / "run", "--json"
    )
    assert status == 0
    said = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert said.keys() == {"folder", "report", "records", "checks", "status", "notes"}
    assert said["records"] == results(tmp_path / "run")


def test_the_default_output_is_a_table_and_the_places(
    teacher: str, photos: Path, tmp_path: Path, weatherproof: Command
) -> None:
    out = tmp_path / "a folder"
    status, said, _ = weatherproof("harden", teacher, photos, *PLAIN, *QUICK_OPTIONS, "--out", out)
    assert status == 0
    for place in (out / "report.html", out / "encoder.safetensors"):
        assert str(place) in said
    assert f"weatherproof probe '{out}'" in said  # ready for a shell


def test_tensorboard(teacher: str, photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = wp.harden(teacher, photos, **QUICK, tensorboard=True, **ALONE, out=tmp_path / "run")
    assert list((run.folder / "tensorboard").glob("events.out.tfevents*"))


def test_digits(teacher: str, tmp_path: Path, weatherproof: Command) -> None:
    """The images that come with the installation, their clean probe and the gallery."""
    status, _, _ = weatherproof(
        "harden",
        teacher,
        "digits",
        "--epochs",
        0.2,
        "--test-images",
        20,
        "--realizations",
        1,
        *PLAIN,
        "--out",
        tmp_path,
    )
    assert status == 0
    gallery = json.loads((tmp_path / "gallery.json").read_text())
    assert gallery[0]["truth"] in "0123456789" and gallery[0]["predictions"].keys() == {"teacher", "hardened"}
    assert {r["images"] for r in results(tmp_path)} == {20}


@pytest.mark.filterwarnings("ignore:1 of 36 images:UserWarning")
def test_images_that_stay_in_their_files(teacher: str, tmp_path: Path) -> None:
    """... and of which the last one, which the gallery would show, cannot be read."""
    folder = class_folders(tmp_path / "photos", train=12) / "train"
    sorted(folder.glob("*/*.png"))[-1].write_bytes(b"no picture")
    images = wp.load_images(folder, "all", memory_budget=0)
    with pytest.warns(UserWarning, match="^36 of the 36 test images are training images too"):  # one set for both
        run = wp.harden(teacher, images, **QUICK, **ALONE, out=tmp_path / "run")
    assert {r["images"] for r in run.records} == {35}
    assert len(json.loads((run.folder / "gallery.json").read_text())) == 11
