"""Studies are data: every cell can be made at every scale, the published numbers are those of the file, and the claims
count what they say they count."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from weatherproof import objectives, operators, restoration, views
from weatherproof.cli import main
from weatherproof.errors import InputError
from weatherproof.studies import Claim, Scale, Source, Study
from weatherproof.studies.claims import above, below, falls, falls_less, mean_above, not_worst, spread, worst
from weatherproof.studies.contrastive_inversion import STUDIES
from weatherproof.studies.run import table
from weatherproof.studies.scales import DESK, DESK_TRANSFER, PAPER, SMOKE, scale_of
from weatherproof.studies.sets import located
from weatherproof.studies.workshop import MODELS, Workshop
from weatherproof.training import Plan
from weatherproof.verbs.reproduce import reproduce

SCALES = ("smoke", "desk", "paper")
PUBLISHED = json.loads(files("weatherproof.studies").joinpath("contrastive_inversion.json").read_text("utf-8"))


# claims


GRID = {("a", "low"): 0.5, ("a", "high"): 0.7, ("b", "low"): 0.6, ("b", "high"): 0.6, ("c", "low"): 0.2}


def test_above() -> None:
    assert above("high", "low", ("a",))(GRID) == (1, 1, "")
    assert above("high", "low", ("a", "b", "c", "d"))(GRID) == (1, 2, "not at b +0.0%")  # equal is not above
    turned = {(column, row): value for (row, column), value in GRID.items()}
    assert above("high", "low", ("a", "b"), rows_are_models=True)(turned) == (1, 2, "not at b +0.0%")


def test_below() -> None:
    assert below("low", "high", ("a",))(GRID) == (1, 1, "")
    assert below("low", "high", ("a", "b", "c"))(GRID) == (1, 2, "not at b +0.0%")
    assert below("high", "low", ("a",))(GRID) == (0, 1, "not at a -20.0%")


def test_falls_less() -> None:
    grid = {("all", "x"): 0.7, ("few", "x"): 0.6, ("all", "y"): 0.9, ("few", "y"): 0.4}
    assert falls_less("x", "y", "all", "few")(grid) == (1, 1, "10.0% against 50.0%")
    assert falls_less("y", "x", "all", "few")(grid)[:2] == (0, 1)
    assert falls_less("x", "y", "all", "none")(grid) == (0, 0, "")


def test_mean_above() -> None:
    assert mean_above("high", "low", ("a", "b", "c"))(GRID) == (1, 1, "65.0% against 55.0% over 2")
    assert mean_above("low", "high", ("a", "b", "c"))(GRID)[:2] == (0, 1)
    assert mean_above("high", "low", ("c", "d"))(GRID) == (0, 0, "")


def test_falls() -> None:
    def column(*values: float) -> dict[tuple[str, str], float]:
        return {(str(i), "x"): value for i, value in enumerate(values)}

    rows = ("0", "1", "2", "9")
    assert falls("x", rows)(column(0.9, 0.5, 0.1)) == (2, 2, "")
    assert falls("x", rows)(column(0.5, 0.504, 0.6)) == (1, 2, "")  # half a point is noise, ten are not
    assert falls("x", rows)({}) == (0, 0, "")


def test_spread() -> None:
    assert spread("low", "high", ("a", "b"), 0.21)(GRID) == (2, 2, "")
    assert spread("low", "high", ("a", "b"), 0.1)(GRID) == (1, 2, "not at a -20.0%")


def test_worst_and_not_worst() -> None:
    grid = {("r", "mse"): 0.1, ("r", "x"): 0.2, ("s", "mse"): 0.3, ("s", "x"): 0.2, ("s", "y"): 0.4}
    assert worst("mse", ("r", "s", "t"))(grid) == (1, 2, "not at s (lowest: x)")
    assert not_worst("mse", ("x", "y"), ("r", "s"))(grid) == (2, 3, "x not at s -10.0%")


def test_a_claim_without_any_number_does_not_hold() -> None:
    assert Claim("c", above("x", "y", ("a",))).check({}) == {"claim": "c", "passed": False, "detail": "0 of 0"}
    assert Claim("c", above("high", "low", ("a",))).check(GRID) == {"claim": "c", "passed": True, "detail": "1 of 1"}


# studies and scales


def test_all_tables_and_figures_are_there() -> None:
    assert {*STUDIES} == {f"table-{n}" for n in (1, 2, 4, 5, 6, 7, 8, 9, 10)} | {
        f"figure-{n}" for n in (3, 4, 5, 6)
    } | {"own-head"}
    assert all(study.name == name and study.cells and study.claims for name, study in STUDIES.items())


@pytest.mark.parametrize("name", STUDIES)
def test_published_numbers_are_those_of_the_file(name: str) -> None:
    entries = PUBLISHED.get(name, [])
    study = STUDIES[name]
    assert len(study.published) == len(entries)
    for entry in entries:
        found = study.published[entry["row"], entry["column"]]
        assert found["value"] == entry["value"] and found.get("stderr") == entry.get("stderr")
        assert 0 < entry["value"] <= 1
    assert study.published.keys() <= study.cells.keys(), "a published number without a cell beside it"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_can_be_made_at_every_scale(name: str, scale: str) -> None:
    settings = scale_of(name, scale)
    made = 0
    for cell in STUDIES[name].cells.values():
        assert cell.kind in MODELS and cell.metric in ("top1", "top5", "auc") and 0 < cell.labels <= 1
        for damage in (cell.trained_on, cell.tested_on):
            assert damage in operators.COMMON_19 or operators.parse(settings.damages[damage])
        objectives.parse(cell.objective)
        if cell.kind == "restored":
            restoration.parse(settings.restoration.get(cell.restoration, cell.restoration))
        made += cell.data in settings.data
    assert made > 0, "no data at this scale"


@pytest.mark.parametrize("scale", [SMOKE, DESK, DESK_TRANSFER, PAPER], ids=lambda scale: scale.note[:20])
def test_a_scale_holds_together(scale: Scale) -> None:
    Plan(**scale.plan)
    Plan(**scale.rival_plan)
    if scale.augment:
        views.parse(scale.augment)
    assert scale.note and "main" in scale.data
    for text in (scale.encoder, scale.rival, *(s.text for s in scale.data.values())):
        assert "$DATA" not in located(text, "/data")


def test_scales_by_name() -> None:
    assert scale_of("table-2", "desk") is DESK_TRANSFER and scale_of("table-1", "desk") is DESK
    with pytest.raises(InputError, match="did you mean smoke"):
        scale_of("table-1", "smke")
    with pytest.raises(InputError, match="give --data DIR or set WEATHERPROOF_DATA"):
        located("cifar10:$DATA/cifar10", None)
    assert located("digits", None) == "digits"


def test_the_shifted_classes_are_not_learnt(tmp_path: Path) -> None:
    workshop = Workshop(SMOKE, tmp_path, data=None, seed=0, device=torch.device("cpu"))
    train, test = workshop.sets.train("shift"), workshop.sets.test("shift")
    assert not {7, 9} & {*train.labels.tolist()}
    assert {*test.labels.tolist()} == {1, 4}  # sevens are called ones, nines fours
    assert len(train) == SMOKE.train_images


def test_a_set_of_two_classes_is_tested_on_two(tmp_path: Path) -> None:
    workshop = Workshop(SMOKE, tmp_path, data=None, seed=0, device=torch.device("cpu"))
    for images in (workshop.sets.train("COVID X-ray"), workshop.sets.test("COVID X-ray")):
        assert {*images.labels.tolist()} == {0, 1}


def test_table() -> None:
    published = {("noise-0.1", "Ours"): {"value": 0.8, "stderr": 0.1}}
    study = Study("t", "A title", STUDIES["table-7"].cells, published=published, note="A note.")
    record = {"value": 0.5, "stderr": 0.01, "images": 3, "data": "digits/test", "realizations": 2, "seeds": [0]}
    checks = [{"claim": "it works", "passed": False, "detail": "0 of 1"}]
    lines = table(study, SMOKE, {("noise-0.1", "Ours"): record}, checks, {"seed": 3}).splitlines()
    assert lines[0] == "# A title" and "A note." in lines
    assert "| | Ours |" in lines and "| noise-0.1 | 50.00 ± 1.00 (80.00) |" in lines
    assert not any(line.startswith("| noise-0.3") for line in lines)  # nothing was measured there
    assert "| it works | does not hold (0 of 1) |" in lines
    assert "- command: `weatherproof reproduce t --scale smoke --seed 3`" in lines
    assert "- test images: 3 of digits/test" in lines
    assert any(line.startswith("- ±: standard error over 2 draws") for line in lines)


# at the smallest scale, all of them


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders that all studies share."""
    return tmp_path_factory.mktemp("store")


@pytest.mark.filterwarnings("ignore:small. no weights given:UserWarning")
@pytest.mark.parametrize("name", STUDIES)
def test_smoke(name: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = reproduce(name, store=store, out=tmp_path / "run", device="cpu")
    study, folder = STUDIES[name], tmp_path / "run"
    headless = ("own-head", "teacher-own-head")  # what the small encoder cannot do
    expected = [cell for cell in study.cells.values() if cell.data in SMOKE.data and cell.kind not in headless]
    assert len(run.records) == len(expected)
    assert [r["metric"] for r in run.records] == [cell.metric for cell in expected]
    assert [r["operator"] or r["corruption"] for r in run.records] == [
        SMOKE.damages.get(cell.tested_on, cell.tested_on) for cell in expected
    ]
    assert len(run.checks) == len(study.claims) and json.loads((folder / "checks.json").read_text()) == run.checks
    assert (folder / "table.md").read_text().startswith(f"# {study.title}")
    assert (folder / "report.html").is_file()
    before = (folder / "results.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["reproduce", name, "--store", str(store), "--out", str(folder), "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == list(run.records)
    assert (folder / "results.json").stat().st_mtime_ns == before


@pytest.mark.filterwarnings("ignore:small. no weights given:UserWarning")
def test_a_study_goes_on_where_it_was_stopped(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure, count = Workshop.measure, []

    def stopping(self: Workshop, cell: object) -> object:
        count.append(cell)
        if len(count) == 3:
            raise KeyboardInterrupt
        return measure(self, cell)

    monkeypatch.setattr(Workshop, "measure", stopping)
    command = ["reproduce", "table-7", "--store", str(store), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main(command) == 130
    assert main(command) == 0
    assert len(count) == 1 + len(STUDIES["table-7"].cells)  # the third was begun twice, no other one


def test_source_defaults() -> None:
    assert Source("digits") == Source("digits", None, (), {}, None, None)


def test_table_3_is_shown_and_not_measured(tmp_path: Path) -> None:
    shown = reproduce("table-3", scale="paper", out=tmp_path / "run")
    assert len(shown.to_dict()) == 5 and "n03062245" in shown.to_dict()["n07930864"]  # cup: cocktail shaker
    assert not (tmp_path / "run").exists()
