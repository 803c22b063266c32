"""Reliability diagrams: the file, the drawing, and the page of one run and of several."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from html_page import Strict

from weatherproof.evaluation.engine.answers import Answers
from weatherproof.reports import write_comparison, write_report
from weatherproof.reports.drawing.charts import draw
from weatherproof.reports.files import read_run
from weatherproof.reports.reliability.section import DIAGRAMS, reliability_charts
from weatherproof.verbs.audit.diagrams import save_diagrams

SURE = torch.tensor([0.95, 0.95, 0.95, 0.55])
RIGHT = torch.tensor([True, True, False, True])


def answered(kind: Any = "clean", name: str = "", confidence: torch.Tensor = SURE) -> tuple[Any, str, Answers]:
    count = len(confidence)
    return kind, name, Answers(torch.arange(count), {"confidence": confidence, "top1": RIGHT[:count]})


def folder(path: Path, *found: tuple[Any, str, Answers]) -> Path:
    path.mkdir()
    record = {
        "metric": "top1", "value": 0.75, "stderr": 0.1, "realizations": 1, "seeds": [0], "images": 4, "model": "model",
        "readout": "probe", "data": "cifar10/test", "label_fraction": 1.0, "operator": None, "corruption": None,
        "severity": None, "attack": None, "trained_on": None, "protocol": "aa11",
    }  # fmt: skip
    (path / "recipe.yaml").write_text(yaml.safe_dump({"verb": "audit", "model": "runs/probe", "images": "digits"}))
    (path / "results.json").write_text(json.dumps({"records": [record]}))
    save_diagrams(path, "model", "cifar10/test", found)
    return path


def test_one_diagram_for_each_condition_with_the_diagonal(tmp_path: Path) -> None:
    run = folder(
        tmp_path / "a",
        answered(),
        answered("corruption", "noise"),
        answered("attack", "PGD(Linf(0.03137254901960784))"),
    )
    shown = reliability_charts([read_run(run)])
    assert [c.title for c in shown.charts] == [
        "Clean images", "Corrupted images: noise", "Under attack by PGD (L∞, ε 8/255)",
    ]  # fmt: skip
    diagonal, own = shown.charts[0].series
    assert [point[:2] for point in diagonal.points] == [(0, 0), (1, 1)] and not diagonal.marked
    low, high = sorted(own.points)
    assert low[:2] == pytest.approx((0.55, 1)) and high[:2] == pytest.approx((0.95, 2 / 3))
    gap = abs(float(SURE.mean()) - 0.75)  # four images are one bin of the RMS calibration error
    assert f"RMS calibration error {100 * gap:.1f} %, 4 images" in shown.charts[0].subtitle
    assert draw(shown.charts[0]).count('class="dot"') == 2


def test_what_has_no_answers_or_no_numbers_is_left_out(tmp_path: Path) -> None:
    assert save_diagrams(tmp_path, "model", "x", [answered(confidence=SURE * torch.nan)]) is None
    assert not (tmp_path / DIAGRAMS.name).exists()
    assert save_diagrams(tmp_path, "model", "x", [answered(confidence=SURE[:0]), answered()]) is not None
    assert len(json.loads((tmp_path / DIAGRAMS.name).read_text())) == 1


def test_the_pages_of_one_run_and_of_two(tmp_path: Path) -> None:
    runs = [folder(tmp_path / name, answered(), answered("attack", "PGD(L2(0.5))")) for name in ("a", "b")]
    page = write_report(runs[0]).read_text()
    Strict(page)
    assert page.count("Under attack by PGD (L2, ε 0.5)") and "often right" in page
    both = write_comparison(runs, tmp_path / "out").read_text()
    Strict(both)
    assert "a: RMS calibration error" in both and "b: RMS calibration error" in both
    plain = folder(tmp_path / "c")
    assert "often right" not in write_report(plain).read_text()
