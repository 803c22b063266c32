"""The studies of fine-tuning and the front: what the papers print, settings that are chosen, the way between two
encoders, means over data sets, joint certificates, and dominance."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from html_page import Strict
from PIL import Image
from torch import nn

from weatherproof import attacks
from weatherproof.data import TRANSFER, at_most, load_images
from weatherproof.encoders import load_encoder
from weatherproof.evaluation.finetune_search import LRS, Setting
from weatherproof.evaluation.record import Record
from weatherproof.objectives import SimilarityMatrix, parse_regularizer
from weatherproof.readouts import Classifier
from weatherproof.reports.parts import save_list
from weatherproof.reports.study.front import FRONT, Combination, draw_front, make_front, read_front
from weatherproof.studies import Claim, Store
from weatherproof.studies.lab.chosen import Chosen
from weatherproof.studies.lab.joins import mean_of
from weatherproof.studies.lab.recipes import Given, between
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.study import Measurable, Number, certificates
from weatherproof.studies.lab.table import study_table, table
from weatherproof.studies.papers.transfer import front
from weatherproof.studies.papers.transfer.models import EVERY, MOCO, URRL, Models, Tuned, joint
from weatherproof.studies.papers.transfer.scales import PAPER_DATA, SCALES, SMOKE, SUPERVISED
from weatherproof.studies.papers.urrl import transfer
from weatherproof.studies.papers.urrl.transfer import ATTACKS, CLEAN, MODELS, ROBUST, ahead, row
from weatherproof.training import Plan

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")

# what the paper prints


def test_published_spot_checks_and_means() -> None:
    two, three = transfer.STUDIES["urrl-table-2"].published, transfer.STUDIES["urrl-table-3"].published
    assert two[row(ROBUST, "URRL-SR"), "CIFAR-10"]["value"] == 0.7044
    assert two[row(CLEAN, SUPERVISED), "Flowers"]["value"] == 0.9515 and three["CIFAR-10-C", "URRL"]["value"] == 0.179
    for what in (CLEAN, ROBUST):
        for model in MODELS:
            own = [two[row(what, model), data]["value"] for data in PAPER_DATA]
            told = two[row(what, model), EVERY]["value"]
            assert abs(sum(own) / 12 - told) < (0.001 if (what, model) == (CLEAN, "MoCo-SR") else 0.0001)


def test_a_claim_compares_means_over_the_sets_that_both_have() -> None:
    high, low = row(ROBUST, "a"), row(ROBUST, "b")
    values = {(high, "DTD"): 0.5, (low, "DTD"): 0.3, (high, "MNIST"): 0.1, (low, "MNIST"): 0.2, (low, "Cars"): 0.9}
    assert ahead("a", "b", (ROBUST,))(values)[:2] == (1, 1)  # 0.3 against 0.25, without Cars
    assert ahead("a", "b", (ROBUST,), 0.06)(values)[:2] == (0, 1)
    assert ahead("b", "a", (ROBUST, CLEAN))(values)[:2] == (0, 1)
    tiny = {key: value / 100 for key, value in values.items()}
    assert ahead("a", "b", (ROBUST,))(tiny)[:2] == (0, 0)  # nothing is left of either
    check = Claim("text", ahead("a", "b", (ROBUST,))).check({key: {"value": value} for key, value in tiny.items()})
    study = front.STUDIES["front"]
    scale = study.at("smoke")
    assert "| text | not measured (0 of 0) |" in table(study, scale, study_table(study, scale, {}, {}, {}), {}, [check])


# scales


def test_the_smaller_eps_are_attacked_as_the_paper_attacks() -> None:
    for what, text in ATTACKS.items():
        attack = attacks.parse(text)
        assert what.startswith(f"eps {attack.ball.eps:g}") and attack.step == attack.ball.eps / 8
        assert attack.steps == (100 if "100 steps" in what else 20) and not attack.random_start and attack.best


def test_the_paper_scale_has_the_papers_data() -> None:
    assert {source.text.partition(":")[0] for source in SCALES["urrl-table-2"]["paper"].data.values()} == {*TRANSFER}


def test_what_was_chosen_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chosen, "setting", lambda self, store: Setting(0.001, (SimilarityMatrix(10.0),)))
    kept = ("SimilarityMatrix(1.0)",)
    tuned = [
        Tuned(URRL, kept), Tuned(URRL, kept, alpha=0.4), Tuned(URRL, alpha=0.0), Tuned(URRL, kept, as_written=True),
        MODELS["Adv. Training"],
    ]  # fmt: skip
    store, models = Store(tmp_path, data=None, device=CPU), Models(replace(SMOKE, search=True), 0)
    said = models.chosen_facts(tuned, ("CIFAR-10", "Cars"), store)
    assert said == {"chosen, URRL, SR": "CIFAR-10: lr 0.001, SimilarityMatrix(10)"}
    assert models.chosen_facts(tuned, (), store) == Models(SMOKE, 0).chosen_facts(tuned, ("CIFAR-10",), store) == {}


def test_settings_are_chosen_on_the_middle_of_images_whose_crops_are_trained_on(tmp_path: Path) -> None:
    """Images of unlike sizes: held out they are as test images are, since no crop is cut out of them there."""
    for label, tint in (("ant", 40), ("bee", 200)):
        (tmp_path / "photos" / "train" / label).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (20 + i, 36 - i), (tint, i, i)).save(tmp_path / "photos" / "train" / label / f"{i}.png")
    source = Source(f"folder:{tmp_path / 'photos'}")
    whole, middle = Images(source, "train", uncropped=40), Images(source, "train", 16)
    chosen = Chosen(
        Given("small(channels=3)@random", classes=0), whole, Plan(1, 6, 0.01, drop_last=True),
        augment="RandomResizedCrop(16)", judged=middle,
    )  # fmt: skip
    assert chosen.setting(Store(tmp_path / "store", data=None, device=CPU)).lr in LRS


def test_mean_of_data_sets() -> None:
    facts = {"metric": "top1", "images": 10, "model": "m", "protocol": "p"}
    numbers = [
        Number(Record(value=value, stderr=error, data=data, **facts), failed=failed)
        for value, error, data, failed in ((0.5, 0.03, "a", ("x",)), (0.3, 0.04, "b", ()))
    ]
    whole = mean_of(numbers)
    assert whole.value == pytest.approx(0.4) and whole.record.stderr == pytest.approx(0.025)
    assert whole.record.images == 20 and whole.failed == ("x",)


def test_a_joint_certificate_says_whose_points_fail() -> None:
    def entry(model: str, passed: bool) -> dict[str, object]:
        checks = [
            {"claim": "c", "passed": passed, "detail": f"of {model}"},
            {"claim": "d", "passed": True, "detail": ""},
        ]
        return {"attack": "PGD(L2(0.5))", "model": model, "images": 4, "checks": checks}

    made = joint([entry("one", True), entry("two", False)])
    assert [check["passed"] for check in made["checks"]] == [False, True]
    assert made["checks"][0]["detail"] == "fails for 1 of 2: two (of two)" and made["model"] == "2 classifiers"


# between two encoders


def test_between_two_encoders() -> None:
    images = at_most(load_images("digits", "train", size=16, channels=3), 64)
    start, end = (load_encoder("small(width=4, channels=3)", num_classes=0, seed=seed) for seed in (1, 2))
    before = {name: weight.clone() for name, weight in end.state_dict().items()}
    made = between(start, end, 0.25, images, CPU)
    assert not made.training and all(torch.equal(weight, before[name]) for name, weight in end.state_dict().items())
    ours, first, last = (dict(encoder.named_parameters()) for encoder in (made, start, end))
    for name in ours:
        assert torch.allclose(ours[name], first[name] + 0.25 * (last[name] - first[name]), atol=1e-6)
    convolution, norm = (next(m for m in made.modules() if isinstance(m, kind)) for kind in (nn.Conv2d, nn.BatchNorm2d))
    pixels = torch.stack([images[i][0] for i in range(64)]).float() / 255
    mapped = convolution(pixels).detach().transpose(0, 1).flatten(1)
    assert torch.allclose(norm.running_mean, mapped.mean(1), atol=1e-5)
    assert torch.allclose(norm.running_var, mapped.var(1), rtol=1e-4) and norm.momentum == 0.1


# the front


def _record(value: float, error: float = 0.0) -> dict[str, object]:
    return {"value": value, "stderr": error, "certificate": []}


def test_dominance_against_brute_force() -> None:
    rng = np.random.default_rng(1)
    names = [front.name_of(*own) for own in list(front._ROWS)[:30]]
    numbers = rng.integers(0, 6, (30, 4)) / 10  # ties happen
    found = {
        (n, c): _record(v)
        for n, own in zip(names, numbers, strict=True)
        for c, v in zip(front.NUMBERS, own, strict=True)
    }
    made = front.combinations(found)
    signed = numbers * np.array([1, 1, 1, -1])
    for i, combination in enumerate(made):
        better = (signed >= signed[i]).all(1) & (signed > signed[i]).any(1)
        assert combination.by == tuple(np.array(names)[better])
        assert (combination.state == "front") == (not better.any())
    assert 0 < sum(c.state == "front" for c in made) < 30


def test_dominated_within_the_errors() -> None:
    def states(error: float) -> list[str]:
        found = {}
        for name, value in ((MOCO, 0.5), (f"{MOCO}, alpha 0.7", 0.55)):
            found |= {(name, c): _record(value, error) for c in front.NUMBERS[:3]} | {
                (name, front.CALIBRATION): _record(0.1)
            }
        return [c.state for c in front.combinations(found)]

    assert states(0.0) == ["dominated", "front"]
    assert states(0.05 / 2 / math.sqrt(2) * 1.01) == ["level", "front"]


def test_the_front_on_the_page(tmp_path: Path) -> None:
    made = [
        Combination(MOCO, MOCO, "", 1.0, (0.6, 0.5, 0.1, 0.2), (0.01, 0.01, 0.01, None), "dominated", ("URRL, SR",)),
        Combination("URRL, SR", URRL, "SR", 1.0, (0.6, 0.5, 0.2, 0.1), (0.01, 0.01, 0.01, 0.01), "front", doubted=True),
    ]  # fmt: skip
    save_list(tmp_path, FRONT, made)
    shown = read_front(tmp_path)
    assert shown is not None and shown.sentence == "1 of 2 combinations are not dominated."
    first, second = shown.rows
    assert (first.number, first.texts[2], first.best) == ("1", "20.0 ± 1.0†", (True,) * 4)
    assert second.verdict == "dominated: by URRL, SR" and second.texts[3] == "20.0" and second.number == ""
    for panel in draw_front(shown):
        Strict(str(panel))
        assert panel.count('class="dot"') == 2 and panel.count("front-number") == 1
    assert make_front([]) is None


# at the smallest scale


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"), data=None, device=CPU)


def number(measured: Measurable | None, store: Store) -> Number:
    """The number, which is there."""
    found = None if measured is None else measured.number(store)
    assert found is not None
    return found


@pytest.mark.slow
def test_numbers_of_one_classifier(store: Store) -> None:
    models, model = Models(SMOKE, 0), Tuned(URRL, ("SimilarityMatrix(1.0)",))
    attacked = models.number(model, attack=ATTACKS["eps 0.1"])
    clean, hit = number(models.number(model), store), number(attacked, store)
    assert (clean.record.metric, clean.record.images, clean.record.model) == ("top1", SMOKE.test_images, "URRL, SR")
    assert hit.failed is not None and hit.record.severity == 0.1 and hit.record.images == SMOKE.attack_images
    assert attacked is not None
    (entry,) = certificates(attacked.cells, store)
    assert len(entry["checks"]) == 9 and entry["model"] == "URRL, SR, CIFAR-10"
    assert len(hit.failed) == sum(not check["passed"] for check in entry["checks"])
    same = number(models.number(replace(model, as_written=True)), store)  # the same classifier under another name
    assert same.record.model == "URRL, SimilarityMatrix(1.0)" and same.value == clean.value
    damaged, off = (number(models.number(model, metric=metric), store) for metric in ("corrupted", "calibration_error"))
    assert (damaged.record.metric, off.record.metric) == ("mca", "mean_rms_calibration_error")
    assert 0 <= off.value <= 1 and off.record.stderr is not None
    assert off.record.images == damaged.record.images == SMOKE.suite_images
    assert number(models.number(model, EVERY), store).value == clean.value  # of the only set
    assert models.number(model, "Cars") is None
    key, study = (row("eps 0.1", "URRL-SR"), "CIFAR-10"), transfer.STUDIES["urrl-table-2"]
    scale = study.at("smoke")
    for failed, mark in (((), ""), (("x",), " †")):
        told = {key: replace(hit, failed=failed).to_dict()}
        lines = table(study, scale, study_table(study, scale, told, {}, {}), told, []).splitlines()
        line = next(line for line in lines if line.startswith("| eps 0.1: URRL-SR |"))
        assert line.endswith(f"{100 * (hit.record.stderr or 0):.2f}{mark} |")


@pytest.mark.slow
def test_what_is_kept_is_not_made_again(store: Store) -> None:
    model, attack = Tuned(URRL), ATTACKS["eps 0.1"]
    first = number(Models(SMOKE, 0).number(model, attack=attack), store)
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*")}
    again = Store(store.folder, data=None, device=CPU)
    assert number(Models(SMOKE, 0).number(model, attack=attack), again) == first
    assert {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*")} == before
    fewer = number(Models(replace(SMOKE, attack_images=4), 0).number(model, attack=attack), store)
    assert fewer.record.images == 4


@pytest.mark.slow
def test_every_start_and_the_way_back(store: Store) -> None:
    models = Models(SMOKE, 0)
    for start in (SUPERVISED, "hardened"):
        assert number(models.number(Tuned(start)), store).record.model == start
    adversarial = number(models.number(Tuned("random weights", adversarial=True)), store)
    assert adversarial.record.model == "adversarial training"
    frozen, half = (number(models.number(Tuned(URRL, alpha=alpha)), store).record for alpha in (0.0, 0.5))
    assert (frozen.readout, half.readout, half.model) == ("probe", "probe", "URRL, alpha 0.5")
    kept = store.get(models.recipe(Tuned(URRL, alpha=0.0), "CIFAR-10"))
    assert isinstance(kept, Classifier)
    own, start = kept.encoder.state_dict(), store.encoder(models.start(URRL)).state_dict()
    assert all(torch.equal(own[name], start[name]) for name in start)
    assert Models(replace(SMOKE, known={SUPERVISED: ("CIFAR-10",)}), 0).number(Tuned(SUPERVISED)) is None


def test_settings_are_chosen_once(store: Store) -> None:
    models = Models(replace(SMOKE, search=True), 0)
    model = Tuned(MOCO, ("SimilarityMatrix(1.0)", "InputGradient(0.1, 'gradients')"))
    recipe = models.finetuned(model, "CIFAR-10")
    chosen = recipe.setting(store)
    assert recipe.course(store).lr == chosen.lr in LRS and isinstance(chosen.regularizers[0], SimilarityMatrix)
    assert repr(chosen.regularizers[1]) == repr(parse_regularizer(model.regularizers[1]))  # is not chosen
    searches = list(store.folder.glob("chosen-*"))
    assert len(searches) == 1
    alone = models.finetuned(replace(model, regularizers=model.regularizers[:1]), "CIFAR-10")
    assert alone.setting(store).regularizers == chosen.regularizers[:1]
    assert list(store.folder.glob("chosen-*")) == searches
    written = models.finetuned(Tuned(MOCO, ("L2SP(0.1, 0.01)",), as_written=True), "CIFAR-10")
    assert repr(written.setting(store).regularizers[0]) == repr(parse_regularizer("L2SP(0.1, 0.01)"))
    assert written.plan.weight_decay == 0.0 != recipe.plan.weight_decay
    assert model.name == "MoCo v2, SR, Tikhonov"
