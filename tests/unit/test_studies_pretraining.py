"""The pretraining studies: every cell can be made at every scale, the published numbers are those of the file, and the
smallest scale runs."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from weatherproof.studies.pretraining import CALIBRATION, ERROR, METRICS, POOLED, STUDIES, TOP1
from weatherproof.studies.pretraining_scales import SMOKE
from weatherproof.studies.pretraining_workshop import PretrainingWorkshop
from weatherproof.studies.run import table
from weatherproof.studies.scales import scale_of

from weatherproof import methods, operators, studies, views
from weatherproof.cli import main
from weatherproof.errors import InputError
from weatherproof.methods.layers import NO_PENALTY
from weatherproof.objectives import InputGradient
from weatherproof.readouts import load_readout
from weatherproof.studies import PretrainingCell, attacks, contrastive_inversion, fcl, fcl_looks
from weatherproof.training import Plan
from weatherproof.verbs.reproduce import reproduce

SCALES = ("smoke", "desk", "paper")
PUBLISHED = json.loads(files("weatherproof.studies").joinpath("pretraining.json").read_text("utf-8"))


def test_names_are_unique() -> None:
    assert set(STUDIES) == {
        "urrl-table-1", "urrl-table-4", "label-efficiency-table-1", "layer-wise", "tikhonov-table-2"
    }  # fmt: skip
    parts = [STUDIES, contrastive_inversion.STUDIES, fcl.STUDIES, fcl_looks.STUDIES, attacks.STUDIES]
    assert len({name for part in parts for name in part}) == sum(map(len, parts))
    assert all(part.items() <= studies.STUDIES.items() for part in parts)
    assert all(study.name == name and study.cells and study.claims for name, study in STUDIES.items())


@pytest.mark.parametrize("name", STUDIES)
def test_published_numbers_are_those_of_the_file(name: str) -> None:
    study = STUDIES[name]
    entries = PUBLISHED.get(name, [])
    assert {(e["row"], e["column"]): e["value"] for e in entries} == {k: v["value"] for k, v in study.published.items()}
    assert study.published.keys() <= study.cells.keys(), "a published number without a cell beside it"


def test_published_numbers_spot_checks() -> None:
    one, four, few = (STUDIES[name].published for name in list(STUDIES)[:3])
    assert one[TOP1, "URRL"]["value"] == 0.6847 and one[ERROR, "AugMix (MoCo)"]["value"] == 0.9018
    assert four["PIRL", ERROR]["value"] == 1.0315 and four["InstDis w/ URRL", CALIBRATION]["value"] == 0.183
    assert few["1%", "Supervised Model"]["value"] == 0.3092 and few["100%", "Fine-Tuned"]["value"] == 0.7705
    tikhonov = STUDIES["tikhonov-table-2"].published
    assert tikhonov["lambda 1", "Contrastive Model"]["value"] == 0.6776 and len(tikhonov) == 8
    assert all(
        tikhonov["lambda 0", column] == few["100%", column] for column in ("Supervised Model", "Contrastive Model")
    )


@pytest.mark.parametrize("name", [name for name in STUDIES if name in PUBLISHED])
def test_the_claims_hold_for_the_published_numbers(name: str) -> None:
    """A check that the paper's own numbers fail would not be the paper's claim."""
    study = STUDIES[name]
    values = {key: entry["value"] for key, entry in study.published.items()}
    for claim in study.claims:
        assert claim.check(values)["passed"], claim.text


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_can_be_made_at_every_scale(name: str, scale: str) -> None:
    settings = scale_of(name, scale)
    assert settings.name == scale and settings.note
    for cell in STUDIES[name].cells.values():
        assert 0 < cell.labels <= 1 and cell.metric in {*METRICS.values(), "clean_calibration_error"}
        if cell.kind == "supervised":
            Plan(**settings.supervised_plan)
            continue
        assert cell.method in methods.RECIPES
        Plan(**settings.plans[cell.method])
        family = views.parse(settings.views[cell.views])
        assert repr(family) == repr(views.parse(repr(family)))
        if cell.layers:
            assert isinstance(settings.layers[cell.layers].get("penalty", NO_PENALTY), InputGradient)
        if cell.kind == "fine-tuned":
            Plan(**settings.finetuning_plan)
    for text in (settings.augment, settings.probe_augment):
        assert text is None or views.parse(text)


@pytest.mark.parametrize("name", STUDIES)
def test_columns_of_a_desk_study_share_everything_but_what_is_compared(name: str) -> None:
    """The same images, steps and linear evaluation: one scale, whose plans differ by method only where batches must."""
    scale = scale_of(name, "desk")
    used = {cell.method for cell in STUDIES[name].cells.values() if cell.method}
    plans = [Plan(**scale.plans[method]) for method in used]
    assert len({(plan.epochs, plan.batch_size, plan.precision) for plan in plans}) == 1


def test_unknown_scale() -> None:
    with pytest.raises(InputError, match="did you mean smoke"):
        scale_of("urrl-table-1", "smke")


def test_with_fewer_labels_as_many_steps_or_as_many_epochs(tmp_path: Path) -> None:
    def plan(same_steps: bool) -> Plan:
        scale = replace(SMOKE, same_steps=same_steps)
        made = PretrainingWorkshop(scale, tmp_path, data=None, seed=0, device=torch.device("cpu"))
        return made._plan_of({"epochs": 3, "batch_size": 4, "lr": 0.1}, labels=0.1)

    assert plan(same_steps=False).epochs == 3
    # of 64 images a tenth of the labels is one of every class, so 10: 2 whole batches instead of 16
    assert plan(same_steps=True).epochs == 3 * 16 / 2


def test_table_names_the_settings() -> None:
    study = STUDIES["label-efficiency-table-1"]
    record = {"value": 0.5, "stderr": 0.01, "images": 3, "data": "digits/test", "realizations": 1, "seeds": [0]}
    lines = table(study, SMOKE, {("10%", "Contrastive Model"): record}, [], {"seed": 3}).splitlines()
    assert "| 10% | 50.00 ± 1.00 (70.83) |" in lines
    assert "- views, SimCLR: `SimCLR(16)`" in lines
    assert any(line.startswith("- supervised: epochs 1, ") and line.endswith("as many steps") for line in lines)


# at the smallest scale, all of them


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders that all studies share."""
    return tmp_path_factory.mktemp("store")


@pytest.mark.parametrize("name", STUDIES)
def test_smoke(name: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, study = tmp_path / "run", STUDIES[name]
    run = reproduce(name, store=store, out=folder, device="cpu")
    assert len(run.records) == len(study.cells)
    clean = ("top1", "clean_calibration_error")
    wanted = {
        "top1": "top1", "clean_calibration_error": "rms_calibration_error", "corruption_error": "unnormalised_mce",
        "calibration_error": "mean_rms_calibration_error", "pooled_calibration_error": "rms_calibration_error",
    }  # fmt: skip
    for cell, record in zip(study.cells.values(), run.records, strict=True):
        assert record["metric"] == wanted[cell.metric] and 0 <= record["value"] <= 1
        assert record["corruption"] == (None if cell.metric in clean else "common-15")
        assert record["images"] == (SMOKE.test_images if cell.metric in clean else SMOKE.suite_images)
        assert record["label_fraction"] == cell.labels
    assert run.checks == json.loads((folder / "checks.json").read_text()) and len(run.checks) == len(study.claims)
    assert (folder / "table.md").read_text().startswith(f"# {study.title}") and (folder / "report.html").is_file()
    capsys.readouterr()
    assert main(["reproduce", name, "--store", str(store), "--out", str(folder), "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == list(run.records)


def test_a_kept_encoder_answers_as_it_did(store: Path, tmp_path: Path) -> None:
    """A second workshop finds encoders and readouts in the store and measures the same, to the last bit."""

    def measured(folder: Path) -> list[float]:
        made = PretrainingWorkshop(SMOKE, folder, data=None, seed=0, device=torch.device("cpu"))
        return [made.measure(PretrainingCell(kind, "simclr", "SimCLR", 0.5)).value for kind in ("probe", "fine-tuned")]

    first = measured(tmp_path)
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/encoder.safetensors")}
    assert len(trained) == 2
    assert measured(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/encoder.safetensors")} == trained
    tuned = next(path for path in tmp_path.iterdir() if path.name.startswith("finetuned"))
    assert load_readout(tuned).label_fraction == 0.5


def test_robustness_is_measured_under_the_whole_benchmark(store: Path) -> None:
    made = PretrainingWorkshop(SMOKE, store, data=None, seed=0, device=torch.device("cpu"))
    cell = PretrainingCell("probe", "mocov2", "MoCo v2", metric="corruption_error")
    record = made.measure(cell)
    errors = [
        r.value
        for r in made._corrupted(replace(cell, metric="top1"))
        if r.metric == "error" and r.corruption in operators.COMMON_15 and r.severity is None
    ]
    assert len(errors) == 15 and record.value == pytest.approx(sum(errors) / 15)
    assert made.measure(replace(cell, metric="pooled_calibration_error")).metric == "rms_calibration_error"
    assert POOLED in METRICS
