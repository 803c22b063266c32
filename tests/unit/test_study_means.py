"""Means of trainings: what they change of a plan, of a model's identity and of what comes out; shares of a study."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import weatherproof as wp
from weatherproof.cli import main
from weatherproof.errors import InputError
from weatherproof.studies import STUDIES, Cell, Store
from weatherproof.studies.lab.classifiers import Labelled
from weatherproof.studies.lab.means import Means
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.recipes import Given, Hardened, Pretrained
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.shares import Share
from weatherproof.training import Plan

pytestmark = pytest.mark.filterwarnings("ignore:small.* no weights given", "ignore:.*has batch normalisation")
PLAN = Plan(epochs=1, batch_size=48, lr=0.1, optimizer="sgd", workers=3)
DIGITS = Images(Source("digits"), "train", limit=96)


def hardened(text: str) -> Hardened:
    return Hardened(Given(text, quiet=True), DIGITS, "RandomMask(0.5)", PLAN)


def test_a_batch_is_shared_out_and_stays_what_it_was() -> None:
    assert Means().of(PLAN) == PLAN and not Means()
    assert Means(devices=2).of(PLAN) == replace(PLAN, devices=2)
    assert Means(accumulate=4).of(PLAN) == replace(PLAN, micro_batch=12)
    assert Means(devices=2, accumulate=5).of(PLAN) == replace(PLAN, devices=2, micro_batch=5)
    assert Means(devices=2, accumulate=2, micro_batch=7).of(PLAN) == replace(PLAN, devices=2, micro_batch=7)
    assert Means(micro_batch=48).of(PLAN) == Means(accumulate=1).of(PLAN) == PLAN
    assert Means(workers=0, precision="bf16-mixed", checkpoint_gradients=True).of(PLAN) == replace(
        PLAN, workers=0, precision="bf16-mixed", checkpoint_gradients=True
    )
    with pytest.raises(InputError, match="batch_size"):
        Means(devices=5).of(PLAN)
    for given in ({"devices": 0}, {"accumulate": 0}, {"micro_batch": 0}, {"precision": "8"}, {"workers": -1}):
        with pytest.raises(InputError):
            Means(**given)


@pytest.mark.parametrize(
    ("means", "plain", "normalised"),
    [
        (Means(), "", ""),
        (Means(workers=7, checkpoint_gradients=True), "", ""),
        (Means(micro_batch=6), "", "micro_batch=6"),
        (Means(devices=2, accumulate=3), "", "devices=2, accumulate=3"),
        (Means(devices=2, precision="bf16-mixed"), "precision='bf16-mixed'", "precision='bf16-mixed', devices=2"),
    ],
)
def test_a_model_is_another_where_its_numbers_are(means: Means, plain: str, normalised: str, tmp_path: Path) -> None:
    """LeNet has no batch normalisation, ResNet-20 has; a network as it is given has no training."""
    store = Store(tmp_path, data=None, device=torch.device("cpu"), means=means)
    usual = Store(tmp_path, data=None, device=torch.device("cpu"))
    for recipe, mark in ((hardened("lenet"), plain), (hardened("resnet20"), normalised), (Given("resnet20"), "")):
        assert means.mark(recipe) == mark
        assert (store.home(recipe) == usual.home(recipe)) == (mark == "")


def test_means_without_an_identity_change_no_number(tmp_path: Path) -> None:
    """The smoke network has no batch normalisation: in parts of a batch, blocks computed twice, it learns the same."""
    kept = {}
    for name, given in {"plain": {}, "parts": {"accumulate": 3}, "small": {"micro_batch": 20, "workers": 0}}.items():
        store = Store(tmp_path / name, data=None, device=torch.device("cpu"), means=Means(**given))
        kept[name] = store.encoder(hardened("lenet")).state()
    for name in ("parts", "small"):
        for key, value in kept["plain"].items():
            torch.testing.assert_close(kept[name][key], value, rtol=1e-3, atol=1e-4)


def cells_of(name: str) -> list[Cell]:
    return [cell for own in STUDIES[name].at("paper").cells.values() if own is not None for cell in own.cells]


@pytest.mark.parametrize("name", ["table-1", "fcl-table-3", "urrl-table-2"])
def test_shares_are_the_whole(name: str) -> None:
    cells = list(dict.fromkeys(cells_of(name)))
    shares = [Share(own, 8).cells(cells) for own in range(1, 9)]
    assert sorted(cells.index(cell) for share in shares for cell in share) == [*range(len(cells))]
    models = [{cell.model for cell in share} for share in shares]
    assert sum(map(len, models)) == len(set().union(*models))  # no model is in two of them


@pytest.mark.parametrize("name", ["table-1", "figure-6", "averaging-twice"])
def test_no_training_is_wanted_by_two_shares(name: str) -> None:
    """Who measures a linear layer has trained the encoder below it."""
    shares = [Share(own, 3).cells(cells_of(name)) for own in (1, 2, 3)]
    trained = [
        {part for cell in share for part in parts(cell.model) if isinstance(part, Hardened | Pretrained | Labelled)}
        for share in shares
    ]
    assert all(trained) and sum(map(len, trained)) == len(set().union(*trained))


def test_a_share_is_written_so() -> None:
    assert Share.parse("3/8") == Share(3, 8)
    for text in ("0/8", "9/8", "3", "3/0", "a/b", "-1/8", "3/8/9", ""):
        with pytest.raises(InputError, match="3/8"):
            Share.parse(text)


def test_a_share_writes_no_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--cells", "1/1"]
    for _ in range(2):
        assert main(["reproduce", "fcl-figures", *here]) == 0
        shown = capsys.readouterr().out
        assert "share 1/1 is in" in shown and "report" not in shown
        assert (tmp_path / "out" / "results.json").is_file() and not (tmp_path / "out" / "report.html").exists()
    assert main(["reproduce", "fcl-figures", *here, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["report"] is None and said["records"]


@pytest.mark.slow
def test_shares_fill_the_store_and_the_whole_writes_the_page(tmp_path: Path) -> None:
    """Two tasks, one after the other; then the page, for which nothing is trained any more; as in one piece."""
    for own in (1, 2):
        share = wp.reproduce("figure-6", store=tmp_path / "store", cells=f"{own}/2", out=tmp_path / f"share-{own}")
        assert share.records
    trained = sorted(path.parent.name for path in (tmp_path / "store").rglob("encoder.json"))
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()}
    page = wp.reproduce("figure-6", store=tmp_path / "store", out=tmp_path / "page")
    assert sorted(path.parent.name for path in (tmp_path / "store").rglob("encoder.json")) == trained
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()} == times
    whole = wp.reproduce("figure-6", store=tmp_path / "other", out=tmp_path / "whole")
    assert list(page.records) == list(whole.records)
    assert (tmp_path / "page" / "table.md").read_text() == (tmp_path / "whole" / "table.md").read_text()


def test_reproduce_takes_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    assert main(["reproduce", "fcl-figures", "--precision", "bf16-mixed", "--accumulate", "2", *here]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    line = "weatherproof reproduce fcl-figures --scale smoke --seed 0 --precision bf16-mixed --accumulate 2"
    assert "precision='bf16-mixed'" in table and f"- command: `{line}`" in table
    assert line in (tmp_path / "out" / "report.html").read_text()
    assert "bf16-mixed" in (tmp_path / "out" / "recipe.yaml").read_text()
    capsys.readouterr()
    assert main(["reproduce", "fcl-figures", *here]) == 2
    assert "precision" in capsys.readouterr().err
    again = ["reproduce", "fcl-figures", "--precision", "bf16-mixed", "--accumulate", "2", *here]
    assert main(again) == 0
    assert "this study is finished already: nothing was done" in capsys.readouterr().out
    of = tmp_path / "out" / "cells-of.json"
    was = json.loads(of.read_text())
    of.write_text(json.dumps(was | {min(was): "of another version of the study"}))
    assert main(again) == 0
    assert f"1 of {len(was)} cells of" in capsys.readouterr().err and json.loads(of.read_text()) == was
    assert main([*again, "--devices", "2"]) == 2  # batch normalisation would see other shares
    assert "setting 'devices' is None there and 2 here; choose another --out" in capsys.readouterr().err
    assert main(["reproduce", "fcl-figures", "--cells", "3/2", *here]) == 2
    assert json.loads((tmp_path / "out" / "results.json").read_text())["records"]
