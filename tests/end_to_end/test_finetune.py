"""Fine-tuning from the command line: what comes out, the search, going on after a kill, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from html_page import Strict

import weatherproof as wp
from weatherproof.errors import InputError
from weatherproof.evaluation import finetune_search
from weatherproof.evaluation.finetune_search import Setting, grid, short
from weatherproof.evaluation.suites.contamination import trained_on
from weatherproof.objectives import InputGradient
from weatherproof.verbs.inputs import penalty_of, require_twice_differentiable

from .conftest import Command, class_folders, results, save_images

SMALL = "small(width=4, channels=3)"
QUICK: dict[str, Any] = {"batch_size": 8, "workers": 0, "device": "cpu", "augment": "none"}
pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")


@pytest.fixture(scope="module")
def start(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where fine-tuning begins."""
    folder = tmp_path_factory.mktemp("start") / "start"
    wp.train("supervised", photos, encoder=SMALL, epochs=1, out=folder, **QUICK)
    return folder


@pytest.fixture(scope="module")
def searched(start: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune") / "run"
    wp.finetune(
        start, photos, regularizer=["SimilarityMatrix()"], weight="auto", lr="auto", epochs=2, head="mlp",
        operator="GaussianNoise(0.3)", out=folder, **QUICK,
    )  # fmt: skip
    return folder


def test_a_run_has_both_encoders_and_the_search(searched: Path) -> None:
    found = {(r["model"], r["readout"], r["operator"]) for r in results(searched)}
    for operator in (None, "GaussianNoise(0.3)"):
        assert {("frozen", "probe", operator), ("fine-tuned", "end-to-end", operator)} <= found
    search = json.loads((searched / "search.json").read_text())
    assert [trial["stage"] for trial in search["trials"]] == ["learning rate"] * 2 + ["SimilarityMatrix"] * 5
    assert (search["images"], search["held_out"]) == (21, 3)  # one of eight of each class
    assert search["chosen"] in [trial["setting"] for trial in search["trials"]]
    encoder = json.loads((searched / "encoder.json").read_text())["provenance"]
    assert (encoder["lr"], encoder["regularizers"]) == (search["chosen"]["lr"], search["chosen"]["regularizers"])
    last = [json.loads(line) for line in (searched / "log.jsonl").read_text().splitlines()][-1]
    assert {"similarity", "cross_entropy", "accuracy"} <= last.keys()
    page = (searched / "report.html").read_text()
    Strict(page)
    assert "The frozen encoder with a probe is right on" in page
    assert "How its settings were chosen" in page and "SimilarityMatrix(100)" in page
    readout = wp.readouts.load_readout(searched)
    assert isinstance(readout and readout.head, wp.readouts.MLPHead)
    assert trained_on(searched) is None


def test_the_run_is_audited_as_one_classifier(searched: Path, photos: Path, tmp_path: Path) -> None:
    audited = wp.audit(searched, photos, device="cpu", workers=0, out=tmp_path / "audit").records
    mine = [r["value"] for r in results(searched) if r["model"] == "fine-tuned" and r["operator"] is None]
    assert mine == [r["value"] for r in audited if r["metric"] == "top1"]


def test_a_killed_search_makes_no_trial_twice(
    start: Path, photos: Path, searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    finetune_encoder = finetune_search.finetune_encoder

    def stopping(*given: Any, **named: Any) -> Any:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(named["regularizers"])
        return finetune_encoder(*given, **named)

    options = {"regularizer": ["SimilarityMatrix()"], "weight": "auto", "lr": "auto", "epochs": 2, "head": "mlp",
               "operator": "GaussianNoise(0.3)", "out": tmp_path / "run", **QUICK}  # fmt: skip
    monkeypatch.setattr(finetune_search, "finetune_encoder", stopping)
    with pytest.raises(KeyboardInterrupt):
        wp.finetune(start, photos, **options)
    assert len(json.loads((tmp_path / "run/search.json").read_text())["trials"]) == 3
    monkeypatch.setattr(
        finetune_search, "finetune_encoder", lambda *a, **n: (made.append(n), finetune_encoder(*a, **n))[1]
    )
    wp.finetune(start, photos, **options)
    # seven trials, one of which (the weight as it was given, at the better rate) is known from the first stage
    assert len(made) == 6
    ours, theirs = (json.loads((folder / "search.json").read_text()) for folder in (tmp_path / "run", searched))
    assert ours == theirs
    weights = [wp.load_encoder(folder).state() for folder in (tmp_path / "run", searched)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_heaviest_weight_within_a_standard_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ten points of 100 images are more than the standard error of 4 points, two points are not."""
    values = {100.0: 0.70, 10.0: 0.78, 1.0: 0.78, 0.1: 0.80, 0.01: 0.79}
    images = wp.data.MemoryImages(torch.zeros(1000, 3, 2, 2, dtype=torch.uint8), torch.arange(1000) % 2)
    plan = wp.training.Plan(epochs=10, batch_size=8, lr=0.01)
    search = finetune_search.Search(
        wp.training.RunFolder.open(tmp_path / "run", {}), wp.load_encoder(SMALL), images, torch.arange(1000), "linear",
        None, plan, "top1", {},
    )  # fmt: skip
    monkeypatch.setattr(
        finetune_search.Search, "_try",
        lambda self, stage, setting: values[setting.regularizers[0].weight] if setting.lr == 0.001 else None,
    )  # fmt: skip
    given = Setting(0.01, (wp.objectives.SimilarityMatrix(),))
    chosen = search.choose(given, lr=True, weight=True)
    assert chosen.lr == 0.001 and chosen.regularizers[0].weight == 10.0  # type: ignore[union-attr]
    assert search.choose(given, lr=True, weight=False) == Setting(0.001, given.regularizers)


def test_grids_and_short_plans() -> None:
    assert [r.weight for r in grid(wp.objectives.SimilarityMatrix(squared=True))] == [100, 10, 1, 0.1, 0.01]  # type: ignore[union-attr]
    assert len(grid(wp.objectives.L2SP())) == 10 and grid(InputGradient(3.0, "finite"))[0] == InputGradient(
        10.0, "finite"
    )
    plan = wp.training.Plan(epochs=30, batch_size=8, lr=0.01, schedule="step", milestones=(10, 20))
    found = short(plan, 800, 0.1)  # 100 steps an epoch
    assert (found.epochs, found.lr) == (6, 0.1) and found.milestones == pytest.approx((2, 4))
    assert [short(plan, n, 0.1).epochs for n in (80, 8)] == [20, 30]  # 200 steps; all
    assert short(plan, 800, 0.1, epochs=3).epochs == 3


def test_plain_and_l2sp_and_the_metric_of_the_set(start: Path, photos: Path, tmp_path: Path) -> None:
    wp.finetune(start, f"pets:{photos}", epochs=1, out=tmp_path / "plain", **QUICK)
    assert {"top1", "mean_per_class"} == {record["metric"] for record in results(tmp_path / "plain")}
    assert yaml.safe_load((tmp_path / "plain/recipe.yaml").read_text())["weight_decay"] == 5e-4
    assert not (tmp_path / "plain/search.json").exists()
    both = ["L2SP(0.01, 0.001)", "SimilarityMatrix(0.1)"]
    wp.finetune(start, photos, regularizer=both, epochs=1, labels=0.5, out=tmp_path / "both", **QUICK)
    assert yaml.safe_load((tmp_path / "both/recipe.yaml").read_text())["weight_decay"] == 0
    log = json.loads((tmp_path / "both/log.jsonl").read_text().splitlines()[-1])
    assert {"l2_sp", "similarity"} <= log.keys()
    page = (tmp_path / "both/report.html").read_text()
    assert "with 50 % of the labels" in page.replace("\N{NO-BREAK SPACE}", " ") and "L2SP(0.01, 0.001)" in page


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--weight", "auto"), "weight auto is that of a regularizer: give one"),
        (
            ("--weight", 0.5, "--regularizer", "L2SP()"),
            "a single weight is not enough for L2SP or several regularizers",
        ),
        (("--regularizer", "NTXent()"), "unknown regularizer 'NTXent'"),
        (("--regularizer", "L2SP()", "--weight-decay", 0.1), "L2SP takes the place of weight decay"),
        (("--regularizer", "L2SP()", "--regularizer", "L2SP(1.0)"), "two regularizers of a kind"),
        (("--head", "mpl"), "head cannot be 'mpl': expected 'linear' or 'mlp'"),
        (("--lr", "fast"), "lr cannot be 'fast': expected float or 'auto'"),
        (("--lr", "auto", "--labels", 0.1), "too few images for a validation split: every class needs at least two"),
    ],
)
def test_bad_settings_leave_nothing(
    weatherproof: Command, here: Path, start: Path, photos: Path, options: tuple[Any, ...], said: str
) -> None:
    status, out, err = weatherproof("finetune", start, photos, *options, "--device", "cpu")
    assert (status, out) == (2, "") and said in err.splitlines()[-1]
    assert list(here.iterdir()) == []


def test_images_without_labels_are_refused(weatherproof: Command, here: Path, start: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        save_images(tmp_path / "flat" / split, 4)
    status, _, err = weatherproof("finetune", start, tmp_path / "flat")
    assert status == 2 and "has no labels" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "fcl", "--tikhonov", 1), "fcl has no Tikhonov penalty"),
        (("train", "supervised", "--tikhonov", -1), "a number of at least 0, got -1.0"),
        (("train", "supervised", "--tikhonov", "L2SP()"), "tikhonov is a number or an InputGradient(...), got L2SP()"),
        (("train", "supervised", "--attack", "PGD(L2(0.5))"), "supervised has no attack"),
        (("train", "adversarial", "--attack", "PDG(L2(0.5))"), "did you mean PGD"),
        (("train", "adversarial", "--operator", "RandomMask(0.5)"), "adversarial learns from clean images and attacks"),
        (("train", "adversarial", "--tikhonov", 1), "adversarial has no Tikhonov penalty"),
        (("pretrain", "mocov2", "--tikhonov", 1), "mocov2 has no Tikhonov penalty"),
    ],
)
def test_penalties_and_attacks_where_there_are_none(
    weatherproof: Command, here: Path, photos: Path, words: tuple[Any, ...], said: str
) -> None:
    verb, method, *options = words
    status, out, err = weatherproof(verb, method, photos, "--encoder", SMALL, *options)
    assert (status, out) == (2, "") and said in err.splitlines()[-1]
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_tikhonov_in_training_and_pretraining(photos: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"encoder": SMALL, "epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu"}
    wp.train("patch-gaussian", photos, tikhonov=0.1, out=tmp_path / "train", **options)
    log = json.loads((tmp_path / "train/log.jsonl").read_text().splitlines()[-1])
    assert log["loss"] == pytest.approx(log["cross_entropy"] + 0.05 * log["penalty"], rel=1e-5) and log["penalty"] > 0
    text = 'InputGradient(2.0, "exact", per_sample=True)'
    wp.pretrain("simclr", photos, tikhonov=text, out=tmp_path / "pretrain", **options)
    log = json.loads((tmp_path / "pretrain/log.jsonl").read_text().splitlines()[-1])
    assert log["loss"] == pytest.approx(log["contrast"] + log["penalty"], rel=1e-5) and log["penalty"] > 0


def test_adversarial_training_says_what_it_was_trained_on(photos: Path, tmp_path: Path) -> None:
    wp.train("adversarial", photos, encoder=SMALL, epochs=1, out=tmp_path / "run", **QUICK)
    assert trained_on(tmp_path / "run") == "PGD(L2(0.5), steps=7, step_size=0.1)"
    assert (
        yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["attack"] == "PGD(L2(0.5), steps=7, step_size=0.1)"
    )


def test_numbers_and_texts_of_a_penalty() -> None:
    assert penalty_of(None) is None
    assert penalty_of(0.1) == penalty_of("0.1") == InputGradient(0.1, "gradients")
    assert penalty_of("InputGradient(0.1)") == InputGradient(0.1)


class Once(torch.autograd.Function):
    """A layer whose backward pass cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


def test_a_layer_without_a_second_derivative_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    encoder = wp.load_encoder(SMALL)
    encoder.body.register_forward_hook(lambda module, given, out: Once.apply(out))
    images = wp.load_images(class_folders(tmp_path / "photos"), "train")
    where = torch.device("cpu")
    for method in ("finite", "gradients"):
        require_twice_differentiable(encoder, InputGradient(0.1, method), images, where)
        penalty = InputGradient(0.1, method).supervised(lambda x: encoder(x).sum(dim=1), torch.rand(4, 3, 16, 16))[1]
        penalty.backward()
    with pytest.raises(InputError, match='without a second derivative.*give InputGradient\\(0.1, "gradients"\\)'):
        require_twice_differentiable(encoder, InputGradient(0.1), images, where)
    require_twice_differentiable(wp.load_encoder(SMALL), InputGradient(0.1), images, where)
