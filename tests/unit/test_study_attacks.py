"""Input-gradient regularization under attack: claims and panels, and what the smallest scale measures, against attacks
made by hand."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from weatherproof import random
from weatherproof.attacks.described import GRIDS
from weatherproof.data import ImageSet, batches
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.objectives import InputGradient
from weatherproof.reports import save_certificates, write_report
from weatherproof.reports.attack.panels import PANELS, panel_curves
from weatherproof.reports.parts import read_list
from weatherproof.studies import STUDIES, Store
from weatherproof.studies.lab.study import Key
from weatherproof.studies.papers.pretraining.scales import Network
from weatherproof.studies.papers.robustness.attacks import (
    BARRIER,
    MEDIAN,
    NAME,
    PGD_L2,
    PGD_LINF,
    SMOKE_ATTACKS,
    column,
    panels,
    row,
)
from weatherproof.studies.papers.robustness.tables import CONTRASTIVE, LAMBDAS, SUPERVISED, regularized
from weatherproof.training import Plan

STUDY = STUDIES[NAME]
GRID = STUDY.at("smoke").cells
CPU = torch.device("cpu")


def test_every_panel_has_every_size() -> None:
    columns = {column(kind, weight) for kind in ("supervised", "contrastive") for weight in (0.0, *LAMBDAS)}
    for attack, metric in ((PGD_L2, "error"), (BARRIER, "error"), (PGD_LINF, "top1")):
        for size in GRIDS["linf" if attack == PGD_LINF else "l2"]:
            found = [GRID[row(attack, size), name].cells[0] for name in columns]
            assert {(cell.wanted.metric, cell.wanted.severity) for cell in found} == {(metric, size)}
            assert len({cell.model for cell in found}) == 8
    assert GRID["PLB, failures", "supervised"].cells[0].wanted.severity is None
    assert row(PGD_LINF, GRIDS["linf"][3]) == "PGD Linf, 4/255" and row(PGD_L2, 0.25) == "PGD, 0.25"


@pytest.mark.parametrize("scale", ["smoke", "desk", "paper"])
def test_the_models_are_those_of_table_2(scale: str) -> None:
    """So both studies of a scale share their trainings."""
    attacked, trained = (
        {cell.model for own in STUDIES[name].at(scale).cells.values() for cell in own.cells}
        for name in (NAME, "tikhonov-table-2")
    )
    assert attacked == trained and len(trained) == 8
    plans = [getattr(model, "plan", None) or model.start.plan for model in trained]
    assert {plan.precision for plan in plans if isinstance(plan, Plan)} == {"32-true"}  # lambda 0 too


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


def _found(values: dict[Key, float | None]) -> dict[Key, dict[str, Any]]:
    metric = {True: "median_perturbation", False: "error"}
    return {key: {"value": value, "metric": metric[key[0].endswith(MEDIAN)]} for key, value in values.items()}


def _lost(values: dict[Key, float | None]) -> list[str]:
    return [claim.text for claim in STUDY.claims if not claim.check(_found(values))["passed"]]


def test_the_claims_hold_in_the_published_order() -> None:
    assert _lost(_published_order()) == []


def test_the_claims_that_fail_are_those_of_the_curve_that_is_out_of_order() -> None:
    values = _published_order()
    values[row(BARRIER, 0.5), column("contrastive", 1.0)] = 0.55  # above contrastive alone, and nothing else
    lost = _lost(values)
    adds, best = "(d) PLB, lambda 1: regularization adds to the contrastive model", "(d) PLB, lambda 1: both together"
    assert lost == [adds, f"{best} resist best"]
    (claim,) = [claim for claim in STUDY.claims if claim.text == lost[0]]
    assert claim.check(_found(values))["detail"] == "6 of 7: not at 0.5 against contrastive"


def test_sizes_at_which_nobody_is_left_tell_nothing() -> None:
    values = _published_order()
    values |= {key: 1.0 for key in values if key[0] == row(PGD_L2, 2.0)}
    assert _lost(values) == []


def test_a_median_beyond_all_sizes_is_the_largest() -> None:
    values = _published_order()
    values[row(PGD_L2, MEDIAN), "contrastive"] = None  # infinite, as JSON has it
    assert [text for text in _lost(values) if text.endswith("by the median")] == [
        f"({letter}) PGD, lambda {weight:g}: both together resist best, by the median"
        for letter, weight in zip("ace", LAMBDAS, strict=True)
    ]


# the penalty


def test_the_penalty_is_that_of_the_network() -> None:
    scale = replace(SMOKE_ATTACKS.models, penalty=InputGradient(0.0, "finite", 0.002))
    for kind in (SUPERVISED, CONTRASTIVE):
        assert scale.penalty_of(regularized(kind, 0.0)) is None
        assert scale.penalty_of(regularized(kind, 0.1)) == InputGradient(0.1, "finite", 0.002)
    told = scale.facts([regularized(SUPERVISED, 0.1)])["Tikhonov regularization"]
    assert "a step of 0.002" in told and "as printed in eq. 3" in told
    assert "Tikhonov regularization" not in scale.facts([regularized(SUPERVISED, 0.0)])
    assert regularized(SUPERVISED, 10.0).name == "supervised, Tikhonov 10"
    assert Network("probe", "simclr", "SimCLR").name == regularized(CONTRASTIVE, 0.0).name == "simclr, SimCLR"


# at the smallest scale, which attacks eight models


@pytest.fixture(scope="module")
def folder(smoke_run: Callable[[str], Path]) -> Path:
    """The run folder of the whole study."""
    return smoke_run(NAME)


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store(folder.parent / "store", data=None, device=CPU)


def _records(folder: Path) -> dict[Key, dict[str, object]]:
    records = json.loads((folder / "results.json").read_text())["records"]
    return dict(zip(GRID, records, strict=True))


def _attacked(store: Store, attack: str, weight: float) -> tuple[nn.Module, ImageSet]:
    """A contrastive model of the study and the images that it is attacked on."""
    (cell,) = GRID[row(attack, 0.25 if attack != PGD_LINF else 4 / 255), column("contrastive", weight)].cells
    return store.get(cell.model).eval(), store.images(cell.data)


@pytest.mark.slow
def test_every_training_is_another(store: Store, folder: Path) -> None:
    names = [column(kind, weight) for kind in ("supervised", "contrastive") for weight in (0.0, *LAMBDAS)]
    models = [store.get(GRID[row(PGD_L2, 0.25), name].cells[0].model).state_dict() for name in names]
    heads = [torch.cat([tensor.flatten() for tensor in own.values()]) for own in models]
    assert all(not torch.equal(a, b) for i, a in enumerate(heads) for b in heads[:i])


@pytest.mark.slow
def test_pgd_is_what_it_is_by_hand(folder: Path, store: Store) -> None:
    model, images = _attacked(store, PGD_L2, 1.0)
    (batch,) = batches(images, len(images))
    for attack, size in ((PGD_L2, 0.25), (PGD_LINF, GRIDS["linf"][3])):
        own = SMOKE_ATTACKS.attacks[attack]
        sized = replace(own, ball=replace(own.ball, eps=size))  # type: ignore[type-var, attr-defined]
        attacked = sized(model, batch.images, batch.labels, random.keys(0, batch.index))
        right = (model(attacked).argmax(dim=1) == batch.labels).double().mean().item()
        record = _records(folder)[row(attack, size), column("contrastive", 1.0)]
        assert record["value"] == pytest.approx(right if attack == PGD_LINF else 1 - right)
        assert record["images"] == len(images) == SMOKE_ATTACKS.images[attack] and record["attack"] == repr(sized)


@pytest.mark.slow
def test_the_log_barriers_curve_is_that_of_its_distances(folder: Path, store: Store) -> None:
    model, images = _attacked(store, BARRIER, 0.0)
    (batch,) = batches(images, len(images))
    keys = random.fold(random.keys(0, batch.index), EVAL_STREAM, 0)
    barrier = SMOKE_ATTACKS.attacks[BARRIER]
    _, distances = barrier.minimal(model, batch.images, batch.labels, keys)  # type: ignore[attr-defined]
    found = _records(folder)
    for size in GRIDS["l2"]:
        share = sum(distance <= size for distance in distances.tolist()) / len(distances)
        assert found[row(BARRIER, size), "contrastive"]["value"] == pytest.approx(share)
    assert found[row(BARRIER, MEDIAN), "contrastive"]["value"] == pytest.approx(distances.double().quantile(0.5).item())


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_page_has_six_panels_of_four_curves(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for panel in panels(SMOKE_ATTACKS.attacks):
        assert f"{panel.title}: supervised, supervised + Tikhonov, contrastive, contrastive + Tikhonov" in page
    errors = [record for record in _records(folder).values() if record["metric"] == "error"]
    shown = panel_curves(errors, read_list(folder, PANELS))
    assert len(shown.charts) == 6 and len(shown.legend) == 4
    for chart, weight in zip(shown.charts[1::2], LAMBDAS, strict=True):
        for series, own in zip(chart.series, ("supervised", "supervised", "contrastive", "contrastive"), strict=True):
            name = column(own, weight if "Tikhonov" in series.name else 0.0)
            values = [_records(folder)[row(BARRIER, size), name]["value"] for size in GRIDS["l2"]]
            assert [value for _, value, _ in sorted(series.points)] == values


@pytest.mark.slow
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
