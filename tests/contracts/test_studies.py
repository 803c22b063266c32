"""What every study keeps: cells that are recipes at every scale, published numbers beside cells, and a run at the
smallest scale, which goes on where it was stopped."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from frozen import compare

from weatherproof import attacks, objectives, operators, restoration, views
from weatherproof.cli import main
from weatherproof.errors import InputError
from weatherproof.readouts import adaptation
from weatherproof.studies import STUDIES, Cell, Scale, Store
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.study import Check, Number
from weatherproof.verbs.reproduce import reproduce

SCALES = ("smoke", "desk", "paper")
CPU = torch.device("cpu")
LONG = {  # what they measure and train, the short ones do too, but for searches, and attacks: test_study_attacks
    "table-1", "table-10", "urrl-table-1", "urrl-table-4", "layer-wise", "tikhonov-table-2", "fcl-table-3",
    "fcl-on-encoders", "fcl-table-2", "urrl-table-2", "urrl-appendix-a", "front", "attacks-figure-2", "unseen-kinds",
    "all-weather", "moving-teacher", "zero-shot", "fcl-appendix-c", "figure-1", "figure-7",
    "figure-8", "figure-9", "figure-10", "fcl-choices", "fcl-sweeps", "fcl-variants", "head-initialisation",
    "averaging-twice", "test-time-similarity", "urrl-table-3", "table-4", "fcl-table-1",
    "table-8", "figure-5",
}  # fmt: skip
PARSED: dict[str, Callable[[str], object]] = {  # the texts in components, by the names of their fields
    "operator": operators.parse, "augment": views.parse, "views": views.parse, "objective": objectives.parse,
    "restoration": restoration.parse, "adaptation": adaptation.parse,
}  # fmt: skip
PAPERS = files("weatherproof.studies.papers")
PUBLISHED = {
    table: entries
    for folder in PAPERS.iterdir()
    if (file := folder / "published.json").is_file()
    for table, entries in json.loads(file.read_text("utf-8")).items()
}
# A sentence of the paper that its own numbers refute: a finding, with words that the study's note says of it.
FINDINGS = {"table-6": {"COVID X-ray: under masks ours beats the baseline": "both models have 0.918"}}
_TEXTURES = "DTD (not in the paper): ours beats the baseline, under masks and noise"
NOT_PRINTED = {  # what the paper gives no numbers of
    "table-2": {_TEXTURES}, "table-5": {_TEXTURES}, "urrl-table-3": {"L2-SP lowers it less (not in the paper's table)"},
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:small.* no weights given")


@cache
def scale_of(name: str, scale: str, seed: int = 0) -> Scale:
    return STUDIES[name].at(scale, seed)


@cache
def cells_of(name: str, scale: str, seed: int = 0) -> list[Cell]:
    """All cells of a study, those that are taken together too."""
    return [cell for own in scale_of(name, scale, seed).cells.values() if own is not None for cell in own.cells]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_has_a_recipe_at_every_scale(name: str, scale: str) -> None:
    study, own = STUDIES[name], scale_of(name, scale)
    assert (study.name, own.name) == (name, scale) and study.title and study.claims and own.note and own.facts
    cells = cells_of(name, scale)
    assert cells, "no data at this scale"
    models = {repr(cell.model): cell.model for cell in cells}
    assert {*models.values()} == {cell.model for cell in cells}, "two models of one text"
    measures = {cell.measure for cell in cells}
    for part in {part for asked in (*models.values(), *measures) for part in parts(asked)}:
        for field, parse in PARSED.items():
            text = getattr(part, field, None)
            assert text is None or parse(text)
        attack = getattr(part, "attack", None)
        assert attack is None or attacks.parse(attack)
    for cell in cells:
        assert cell.about.model and cell.data.split != "train"
        found = getattr(cell.measure, "metrics", cell.wanted.metrics)
        assert {*found} & {*cell.wanted.metrics}, f"{cell.wanted} is not among what {cell.measure} finds"


@pytest.mark.parametrize("scale", SCALES)
def test_a_text_is_one_recipe(scale: str) -> None:
    """Over all studies: what differs is told apart by its text, and what is the same has one."""
    found = {cell.model for name in STUDIES for cell in cells_of(name, scale)}
    assert len({repr(model) for model in found}) == len(found) > 50


def test_the_seed_of_the_run_is_in_every_recipe() -> None:
    for name in STUDIES:
        for one, two in zip(cells_of(name, "smoke"), cells_of(name, "smoke", 1000), strict=True):
            assert one.model != two.model, f"{name}: {one.about.model}"


def test_every_published_number_has_a_cell_beside_it() -> None:
    assert PUBLISHED.keys() <= STUDIES.keys() and len(PUBLISHED) >= 13
    for name, study in STUDIES.items():
        entries = PUBLISHED.get(name, [])
        assert len(study.published) == len(entries)
        for entry in entries:
            found = study.published[entry["row"], entry["column"]]
            assert found["value"] == entry["value"] and found.get("stderr") == entry.get("stderr")
        assert study.published.keys() <= scale_of(name, "paper").cells.keys()


PRINTED = [(name, claim) for name in PUBLISHED for claim in STUDIES[name].claims]


@pytest.mark.parametrize(("name", "claim"), PRINTED, ids=[f"{name}: {claim.text}" for name, claim in PRINTED])
def test_the_claims_hold_for_the_published_numbers(name: str, claim: Check) -> None:
    """A check that the paper's own numbers fail would not be the paper's claim, or is a finding about the paper."""
    found, finding = claim.check(STUDIES[name].published), FINDINGS.get(name, {}).get(claim.text)
    judged = found["verdict"] != "not measured"
    assert judged == (claim.text not in NOT_PRINTED.get(name, set()))
    assert found["passed"] == (judged and finding is None), found["detail"]
    assert finding is None or finding in STUDIES[name].note


@pytest.mark.parametrize("name", STUDIES)
def test_an_unknown_scale_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="did you mean smoke"):
        STUDIES[name].at("smke")


def test_a_refused_study_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEATHERPROOF_DATA", raising=False)  # with it, desk scale would run
    with pytest.raises(InputError, match="give --data DIR or set WEATHERPROOF_DATA"):
        reproduce("table-7", scale="desk", out=tmp_path / "run", store=tmp_path / "store", device="cpu")
    assert not (tmp_path / "run").exists()


# at the smallest scale, each once, from one store


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in STUDIES])
def test_smoke(name: str, smoke_run: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, study, scale = smoke_run(name), STUDIES[name], scale_of(name, "smoke")
    records, checks = (json.loads((folder / f"{file}.json").read_text()) for file in ("results", "checks"))
    compare(name, records["records"])
    records, cells = records["records"], json.loads((folder / "cells.json").read_text())
    assert list(cells) == [f"{row} | {column}" for row, column in scale.cells]
    assert records == [found for found in cells.values() if found is not None] and records
    there = [own for key, own in scale.cells.items() if cells[f"{key[0]} | {key[1]}"] is not None]
    for own, record in zip(there, records, strict=True):
        assert own is not None
        for cell in own.cells[:1]:
            assert (record["model"], record["readout"]) == (cell.about.model, cell.about.readout)
            assert record["metric"] in cell.wanted.metrics
    assert [check["claim"] for check in checks] == [claim.text for claim in study.claims]
    assert (folder / "table.md").read_text().startswith(f"# {study.title}\n\nScale: smoke. {scale.note}\n")
    page = (folder / "report.html").read_text().replace("&#39;", "'")
    assert "at smoke scale." in page
    assert study.title.partition('"')[0] in page or name == "front"  # whose own sentence stands there
    before = (folder / "results.json").stat().st_mtime_ns
    assert main(["reproduce", name, "--store", str(folder.parent / "store"), "--out", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == records
    assert (folder / "results.json").stat().st_mtime_ns == before


def test_a_stopped_study_goes_on(
    smoke_run: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cells.json and the store hold is neither trained nor measured again."""
    whole = smoke_run("table-7")
    number, asked = Cell.number, list[Cell]()

    def stopping(self: Cell, store: Store) -> Number | None:
        asked.append(self)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return number(self, store)

    monkeypatch.setattr(Cell, "number", stopping)
    command = ["reproduce", "table-7", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "run")]
    shutil.copytree(whole.parent / "store", tmp_path / "store", ignore=_not_of(whole.parent / "store", "table-7"))
    assert main([*command, "--device", "cpu"]) == 130
    assert len(json.loads((tmp_path / "run/cells.json").read_text())) == 2
    monkeypatch.setattr("weatherproof.studies.lab.classifiers.fit_probe", lambda *_, **__: pytest.fail("made again"))
    monkeypatch.setattr("weatherproof.studies.lab.recipes.harden_encoder", lambda *_, **__: pytest.fail("made again"))
    monkeypatch.setattr("weatherproof.studies.lab.measures.evaluate", lambda *_, **__: pytest.fail("measured again"))
    assert main([*command, "--device", "cpu"]) == 0
    assert len(asked) == 1 + len(STUDIES["table-7"].at("smoke").cells)  # the third was begun twice, no other one
    assert (tmp_path / "run/results.json").read_text() == (whole / "results.json").read_text()


def _not_of(root: Path, name: str) -> Callable[[str, list[str]], list[str]]:
    """What a store holds for other studies than this one."""
    store = Store(root, data=None, device=CPU)
    kept = {store.home(part).name for cell in cells_of(name, "smoke") for part in parts(cell.model) if is_recipe(part)}
    return lambda folder, names: [own for own in names if Path(folder) == root and own not in kept]


def is_recipe(part: object) -> bool:
    return hasattr(part, "make")
