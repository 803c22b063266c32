"""Input-gradient regularization under attack: cells, claims and panels, and what the smallest scale measures, against
attacks made by hand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from weatherproof import random, studies
from weatherproof.attacks.described import GRIDS
from weatherproof.data import batches
from weatherproof.errors import InputError
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.evaluation.record import Record
from weatherproof.objectives import InputGradient
from weatherproof.reports import save_certificates, write_report
from weatherproof.reports.attack.panels import Panel, panel_curves, read_panels, save_panels
from weatherproof.studies import PretrainingCell
from weatherproof.studies.attack_cells import AttackCell, CertifiedRecord, certificate_lines
from weatherproof.studies.attack_scales import ATTACKED, BARRIER, PGD_L2, PGD_LINF, SMOKE
from weatherproof.studies.attack_workshop import AttackWorkshop
from weatherproof.studies.attacks import MEDIAN, NAME, STUDIES, column, panels, row
from weatherproof.studies.pretraining import CONTRASTIVE, LAMBDAS, SUPERVISED, regularized
from weatherproof.studies.pretraining_scales import PRETRAINING
from weatherproof.studies.pretraining_workshop import PretrainingWorkshop, model_name
from weatherproof.studies.run import table
from weatherproof.studies.scales import scale_of
from weatherproof.studies.study import Key
from weatherproof.training import Plan
from weatherproof.verbs.reproduce import reproduce

STUDY = STUDIES[NAME]
CPU = torch.device("cpu")


def test_every_panel_has_every_size() -> None:
    assert studies.STUDIES[NAME] is STUDY
    columns = {column(kind, weight) for kind in ("supervised", "contrastive") for weight in (0.0, *LAMBDAS)}
    for attack, metric in ((PGD_L2, "error"), (BARRIER, "error"), (PGD_LINF, "top1")):
        for size in GRIDS["linf" if attack == PGD_LINF else "l2"]:
            found = {name: STUDY.cells[row(attack, size), name] for name in columns}
            assert {(cell.metric, cell.size) for cell in found.values()} == {(metric, size)}
            assert len({cell.model for cell in found.values()}) == 8
    assert row(PGD_LINF, GRIDS["linf"][3]) == "PGD Linf, 4/255" and row(PGD_L2, 0.25) == "PGD, 0.25"


@pytest.mark.parametrize("scale", ["smoke", "desk", "paper"])
def test_the_models_are_those_of_table_2(scale: str) -> None:
    """So both studies of a scale share their trainings."""
    attacked, trained = ATTACKED[NAME][scale], PRETRAINING["tikhonov-table-2"][scale]
    assert scale_of(NAME, scale) is attacked and attacked.name == scale and attacked.note
    assert attacked.models == trained
    table_2 = {replace(cell, metric="top1") for cell in studies.STUDIES["tikhonov-table-2"].cells.values()}
    assert {cell.model for cell in STUDY.cells.values()} == table_2
    assert set(attacked.attacks) == set(attacked.images) == {cell.attack for cell in STUDY.cells.values()}
    plans = [Plan(**trained.supervised_plan), Plan(**trained.plans["simclr"])]
    assert {plan.precision for plan in plans} == {"32-true"}  # a penalty is computed in it: lambda 0 too


# claims


def _published_order() -> dict[Key, float | None]:
    """Contrastive below regularized supervised below supervised, both together lowest."""
    level = {"supervised": 0.9, "contrastive": 0.5}
    level |= {column("supervised", weight): 0.8 - 0.01 * weight for weight in LAMBDAS}
    level |= {column("contrastive", weight): 0.4 - 0.01 * weight for weight in LAMBDAS}
    values: dict[Key, float | None] = {}
    for name, error in level.items():
        for attack in (PGD_L2, BARRIER):
            values |= {(row(attack, size), name): error for size in GRIDS["l2"]}
            values[row(attack, MEDIAN), name] = 1 - error
    return values


def _lost(values: dict[Key, float | None]) -> list[str]:
    return [claim.text for claim in STUDY.claims if not claim.check(values)["passed"]]


def test_the_claims_hold_in_the_published_order() -> None:
    assert _lost(_published_order()) == []


def test_the_claims_that_fail_are_those_of_the_curve_that_is_out_of_order() -> None:
    values = _published_order()
    values[row(BARRIER, 0.5), column("contrastive", 1.0)] = 0.55  # above contrastive alone, and nothing else
    lost = _lost(values)
    adds, best = "(d) PLB, lambda 1: regularization adds to the contrastive model", "(d) PLB, lambda 1: both together"
    assert lost == [adds, f"{best} resist best"]
    (claim,) = [claim for claim in STUDY.claims if claim.text == lost[0]]
    assert claim.check(values)["detail"] == "6 of 7: not at 0.5 against contrastive"


def test_sizes_at_which_nobody_is_left_tell_nothing() -> None:
    values = _published_order()
    values |= {key: 1.0 for key in values if key[0] == row(PGD_L2, 2.0)}
    assert _lost(values) == []


def test_a_median_beyond_all_sizes_is_the_largest() -> None:
    values = _published_order()
    values[row(PGD_L2, MEDIAN), "contrastive"] = None  # as a resumed study reads it
    assert [text for text in _lost(values) if text.endswith("by the median")] == [
        f"({letter}) PGD, lambda {weight:g}: both together resist best, by the median"
        for letter, weight in zip("ace", LAMBDAS, strict=True)
    ]


# the penalty


def _workshop(folder: Path) -> PretrainingWorkshop:
    return PretrainingWorkshop(SMOKE.models, folder, data=None, seed=0, device=CPU)


def test_the_penalty_is_that_of_the_cell() -> None:
    scale = replace(SMOKE.models, penalty=InputGradient(0.0, "finite", 0.002))
    for kind in (SUPERVISED, CONTRASTIVE):
        assert scale.penalty_of(regularized(kind, 0.0)) is None
        assert scale.penalty_of(regularized(kind, 0.1)) == InputGradient(0.1, "finite", 0.002)
    told = scale.facts([regularized(SUPERVISED, 0.1)])["Tikhonov regularization"]
    assert "a step of 0.002" in told and "as printed in eq. 3" in told
    assert "Tikhonov regularization" not in scale.facts([regularized(SUPERVISED, 0.0)])


def test_names_of_records() -> None:
    assert model_name(regularized(SUPERVISED, 10.0)) == "supervised, Tikhonov 10"
    assert model_name(regularized(CONTRASTIVE, 0.0)) == "simclr, SimCLR"


# at the smallest scale


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def folder(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the whole study."""
    path = tmp_path_factory.mktemp("run")
    reproduce(NAME, store=store, out=path, device="cpu")
    return path


def _records(folder: Path) -> dict[Key, dict[str, object]]:
    records = json.loads((folder / "results.json").read_text())["records"]
    return dict(zip(STUDY.cells, records, strict=True))


def test_every_training_is_another(folder: Path, store: Path) -> None:
    made = _workshop(store)
    kept = {path.parent for path in store.glob("*/encoder.safetensors")}
    weights = [
        made.classifier(regularized(kind, w)).state_dict() for kind in (SUPERVISED, CONTRASTIVE) for w in LAMBDAS
    ]
    heads = [torch.cat([tensor.flatten() for tensor in own.values()]) for own in weights]
    assert all(not torch.equal(a, b) for i, a in enumerate(heads) for b in heads[:i])
    assert {path.parent for path in store.glob("*/encoder.safetensors")} == kept and len(kept) == 8


def test_without_a_penalty_the_encoder_is_that_of_the_other_studies(folder: Path, store: Path) -> None:
    made = _workshop(store)
    assert made.home(PretrainingCell("supervised")) == made.home(regularized(SUPERVISED, 0.0))
    assert made.home(regularized(SUPERVISED, 0.0)) != made.home(regularized(SUPERVISED, 0.1))


def test_pgd_is_what_it_is_by_hand(folder: Path, store: Path) -> None:
    model = AttackWorkshop(SMOKE, store, data=None, seed=0, device=CPU).models.classifier(regularized(CONTRASTIVE, 1.0))
    images = AttackWorkshop(SMOKE, store, data=None, seed=0, device=CPU)._images(PGD_L2)
    (batch,) = batches(images, len(images))
    found = _records(folder)
    for attack, size in ((PGD_L2, 0.25), (PGD_LINF, GRIDS["linf"][3])):
        own = SMOKE.attacks[attack]
        sized = replace(own, ball=replace(own.ball, eps=size))  # type: ignore[type-var, attr-defined]
        attacked = sized(model, batch.images, batch.labels, random.keys(0, batch.index))
        right = (model.eval()(attacked).argmax(dim=1) == batch.labels).double().mean().item()
        record = found[row(attack, size), column("contrastive", 1.0)]
        assert record["value"] == pytest.approx(right if attack == PGD_LINF else 1 - right)
        assert record["images"] == len(images) == SMOKE.images[attack] and record["attack"] == repr(sized)


def test_the_log_barriers_curve_is_that_of_its_distances(folder: Path, store: Path) -> None:
    made = AttackWorkshop(SMOKE, store, data=None, seed=0, device=CPU)
    model, images = made.models.classifier(regularized(CONTRASTIVE, 0.0)), made._images(BARRIER)
    (batch,) = batches(images, len(images))
    keys = random.fold(random.keys(0, batch.index), EVAL_STREAM, 0)
    _, distances = SMOKE.attacks[BARRIER].minimal(model, batch.images, batch.labels, keys)  # type: ignore[attr-defined]
    found = _records(folder)
    for size in GRIDS["l2"]:
        share = sum(distance <= size for distance in distances.tolist()) / len(distances)
        assert found[row(BARRIER, size), "contrastive"]["value"] == pytest.approx(share)
    assert found[row(BARRIER, MEDIAN), "contrastive"]["value"] == pytest.approx(distances.double().quantile(0.5).item())


def test_every_number_has_its_certificate_and_an_error(folder: Path) -> None:
    entries = json.loads((folder / "certificate.json").read_text())
    assert len({(entry["attack"], entry["model"]) for entry in entries}) == len(entries) == 24
    lost = {
        (entry["model"], entry["attack"].partition("(")[0]): {c["claim"] for c in entry["checks"] if not c["passed"]}
        for entry in entries
        if "Linf" not in entry["attack"]
    }
    for key, record in _records(folder).items():
        assert isinstance(record["stderr"], float) or record["metric"] == "median_perturbation", key
        assert isinstance(record["certificate"], list)
        if "Linf" not in key[0]:
            told = {str(point).partition(": ")[2].partition(" (")[0] for point in record["certificate"]}
            assert told == lost[str(record["model"]), str(record["attack"]).partition("(")[0]], key
    assert ("†" in (folder / "table.md").read_text()) == any(
        record["certificate"] for record in _records(folder).values()
    )


def test_the_page_has_six_panels_of_four_curves(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for panel in panels(SMOKE.attacks):
        assert f"{panel.title}: supervised, supervised + Tikhonov, contrastive, contrastive + Tikhonov" in page
    errors = [record for record in _records(folder).values() if record["metric"] == "error"]
    shown = panel_curves(errors, read_panels(folder))
    assert len(shown.charts) == 6 and len(shown.legend) == 4
    for chart, weight in zip(shown.charts[1::2], LAMBDAS, strict=True):
        for series, own in zip(chart.series, ("supervised", "supervised", "contrastive", "contrastive"), strict=True):
            name = column(own, weight if "Tikhonov" in series.name else 0.0)
            values = [_records(folder)[row(BARRIER, size), name]["value"] for size in GRIDS["l2"]]
            assert [value for _, value, _ in sorted(series.points)] == values


def test_a_killed_study_takes_up_what_was_attacked(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("attacked again")

    monkeypatch.setattr(type(SMOKE.attacks[PGD_L2]), "__call__", never)
    cell = STUDY.cells[row(PGD_L2, 0.5), "supervised"]
    found = AttackWorkshop(SMOKE, store, data=None, seed=0, device=CPU).measure(cell)
    assert found.value == _records(folder)[row(PGD_L2, 0.5), "supervised"]["value"]


# what is told


def _record(**changed: object) -> Record:
    facts: dict[str, object] = {
        "metric": "error", "value": 0.5, "stderr": 0.1, "images": 8, "model": "m", "data": "d", "protocol": "p",
    }  # fmt: skip
    return Record(**facts | changed)  # type: ignore[arg-type]


def test_failed_points_stand_in_the_table() -> None:
    doubted = CertifiedRecord(_record(), ("PGD(L2(0.25)) on m: gradients are not masked (slope 0.01)",)).to_dict()
    sure = CertifiedRecord(_record(metric="median_perturbation", value=torch.inf, stderr=None), ()).to_dict()
    found = {(row(PGD_L2, 0.5), "supervised"): doubted, (row(PGD_L2, MEDIAN), "supervised"): sure}
    text = table(STUDY, SMOKE, found, [], {})
    assert "| PGD, 0.5 | 50.00 ± 10.00 † |" in text and "| PGD, median | ∞ |" in text
    assert "- PGD(L2(0.25)) on m: gradients are not masked (slope 0.01)" in text
    assert certificate_lines([sure])[-1] == "All points of all certificates hold."
    assert certificate_lines([_record().to_dict()]) == []


def test_the_page_says_which_of_several_models_have_doubts(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "run")
    entries = json.loads((folder / "certificate.json").read_text())
    for entry in entries:
        for check in entry["checks"]:
            check["passed"] = not (entry["model"] == "supervised" and "Linf" in entry["attack"])
    save_certificates(tmp_path / "run", entries)
    page = write_report(tmp_path / "run").read_text()
    assert "1 of 24 certificates has doubts: PGD (L∞, ε 2/255, steps=2) on supervised." in page
    assert "Half of the images" not in page  # eight models: the table of medians says it


def test_panels_that_are_no_panels(tmp_path: Path) -> None:
    given = (Panel("(a)", "PGD(L2(0.25))", {"m": "supervised"}),)
    save_panels(tmp_path, given)
    assert read_panels(tmp_path) == given and read_panels(tmp_path / "none") == ()
    (tmp_path / "panels.json").write_text('[{"title": "(a)"}]')
    with pytest.raises(InputError, match="no list of panels"):
        read_panels(tmp_path)


def test_cells_without_a_size_are_found() -> None:
    cell = AttackCell(regularized(SUPERVISED, 0.0), BARRIER, "attack_failures")
    assert STUDY.cells["PLB, failures", "supervised"] == cell
