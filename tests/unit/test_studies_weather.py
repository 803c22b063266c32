"""The studies of no paper: recipes that differ in one thing alone, claims, and models that never met a kind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from weatherproof import operators, random
from weatherproof.benchmark import GROUPS
from weatherproof.data import MemoryImages, batches
from weatherproof.encoders import Encoder, embedded_with_map, load_encoder, map_place
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.evaluation.record import Record
from weatherproof.methods import Curriculum, KeepClean
from weatherproof.objectives import Dense
from weatherproof.operators.drawn import SCALES as LEVELS_OF
from weatherproof.studies import STUDIES, Cell, Images, Source, Store
from weatherproof.studies.lab.claims import at_most_below
from weatherproof.studies.lab.classifiers import Adapting, Labelled, NoNumber, Own
from weatherproof.studies.lab.joins import OverModels
from weatherproof.studies.lab.measures import Likeness, Suite
from weatherproof.studies.lab.recipes import Gated, Given, Hardened
from weatherproof.studies.lab.study import About, Number
from weatherproof.studies.weather import all_weather, dense, unseen_kinds
from weatherproof.studies.weather.all_weather import (
    CLEAN,
    Models,
    clean_is_kept,
    levels_are_no_loss,
    levels_are_specialists,
    row,
)
from weatherproof.studies.weather.scales import (
    DEFAULT,
    EVERY,
    FIFTH,
    GROWING,
    HALF,
    HALFWAY,
    LARGE,
    LEANING,
    ORIGINAL,
    PROMISE,
    SEVERE,
    SEVERE_GROWING,
    SMALL,
    SMOKE,
    SPECIALISTS,
    TINY,
    TOGETHER,
    TOGETHER_GATED,
    WHOLE,
    WHOLE_GROWING,
    Kind,
)
from weatherproof.training import Plan
from weatherproof.views.contamination import corruptions_in

CPU = torch.device("cpu")
DIGITS = Images(Source("digits"), "train", limit=128)
STUDENT = Hardened(Given("small"), DIGITS, "RandomMask(0.5)", Plan(epochs=1, batch_size=64, lr=3e-3))
pytestmark = pytest.mark.filterwarnings("ignore:small.* no weights given")


# recipes


def test_what_is_kept_clean_is_part_of_a_recipe() -> None:
    kept = replace(STUDENT, keep=KeepClean(0.3, 0.9))
    assert "keep" not in repr(STUDENT) and repr(kept) == f"{repr(STUDENT)[:-1]}, keep={KeepClean(0.3, 0.9)!r})"


def test_hardening_keeps_what_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def harden(teacher: Encoder, images: object, **settings: Any) -> Encoder:
        asked.append((settings["keep"], settings["curriculum"]))
        return teacher.clone()

    monkeypatch.setattr("weatherproof.studies.lab.recipes.harden_encoder", harden)
    store = Store(tmp_path, data=None, device=CPU)
    for keep, curriculum in (pairs := [(None, None), (KeepClean(0.3, 0.9), None), (None, Curriculum(0.2))]):
        store.encoder(replace(STUDENT, keep=keep, curriculum=curriculum))
    assert asked == pairs


def test_recipes_differ_in_one_thing_alone() -> None:
    models, kind = Models(SMOKE.subjects[TINY], 3), SMALL["masks"]
    made = {recipe: models.encoder(recipe, kind) for recipe in EVERY if recipe not in (ORIGINAL, HALFWAY, DEFAULT)}
    trained = {
        recipe: (own.operator, own.keep, own.curriculum) for recipe, own in made.items() if isinstance(own, Hardened)
    }
    severe, whole, grows = kind.severe, kind.whole, Curriculum(0.4, 0.3)
    worst = "RandomMask((0.7125, 0.95))"
    leaning = f"OneOf({whole}, {whole}, {whole}, {worst}, {worst})"
    assert trained == {
        SEVERE: (severe, None, None), FIFTH: (severe, KeepClean(0.2, 0.0), None),
        HALF: (severe, KeepClean(0.5, 0.0), None), SEVERE_GROWING: (severe, None, grows),
        WHOLE: (whole, None, None), PROMISE: (whole, KeepClean(), None), WHOLE_GROWING: (whole, None, grows),
        LEANING: (leaning, None, None), GROWING: (leaning, None, grows),
    }  # fmt: skip
    alike = {
        replace(own, operator="", keep=None, curriculum=None) for own in made.values() if isinstance(own, Hardened)
    }
    assert len(alike) == 1
    halfway = models.encoder(HALFWAY, kind)
    assert (halfway.start, halfway.end) == (models.original, made[SEVERE])  # type: ignore[attr-defined]
    gate = models.encoder(DEFAULT, kind)
    assert (gate.original, gate.hardened, gate.operator) == (models.original, made[GROWING], whole)  # type: ignore[attr-defined]


def test_one_for_all_kinds_is_trained_and_gated_as_the_default_is_on_one_of_them() -> None:
    models = Models(SMOKE.subjects[TINY], 3)
    together, alone = (models.encoder(recipe, SMALL["JPEG"]) for recipe in (TOGETHER, GROWING))
    assert isinstance(together, Hardened) and isinstance(alone, Hardened)
    assert together == models.encoder(TOGETHER, SMALL["masks"])
    assert replace(together, operator=alone.operator) == alone
    assert together.operator == f"OneOf({', '.join(kind.leaning for kind in SMALL.values())})"
    gate = models.encoder(TOGETHER_GATED, SMALL["JPEG"])
    assert isinstance(gate, Gated) and gate.hardened == together
    assert gate.operator == f"OneOf({', '.join(kind.whole for kind in SMALL.values())})"


def test_dense_losses_differ_in_the_dense_term_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = STUDIES["dense"].at("smoke").cells
    made = [cells[dense.row(TINY, loss), dense.positions("mild")].cells[0].model for loss in dense.LOSSES]  # type: ignore[union-attr]
    assert all(isinstance(own, Hardened) for own in made) and len({repr(own) for own in made}) == 3
    assert {replace(own, dense=None) for own in made} == {made[0]}  # type: ignore[type-var]
    asked = []
    monkeypatch.setattr(
        "weatherproof.studies.lab.recipes.harden_encoder",
        lambda teacher, images, **settings: (asked.append(settings["dense"]), teacher.clone())[1],
    )
    store = Store(tmp_path, data=None, device=CPU)
    for own in made:
        store.encoder(replace(STUDENT, dense=own.dense))  # type: ignore[attr-defined]
    assert asked == [None, Dense(0.5), Dense(0.5, gram=1.0)]


def test_positions_are_those_of_the_damaged_images_among_the_teachers_clean_ones(tmp_path: Path) -> None:
    """Against a loop over images and positions."""
    store, start = Store(tmp_path, data=None, device=CPU), Given("small(width=4)", quiet=True)
    test = Images(Source("digits"), "test", limit=6)
    measure = Likeness(start, "RandomMask(0.5)", seed=5)
    other = replace(start, seed=9)
    records = store.measured(other, measure, test, name="other").records
    assert {r.metric for r in records} == {"cosine", "recall@1", "recall@5", "position_recall"}
    images, teacher, student = store.images(test), store.encoder(start), store.encoder(other)
    place, batch = map_place(teacher, images.image_size), next(batches(images, 6))
    damaged = operators.parse("RandomMask(0.5)")(
        batch.images, random.fold(random.keys(5, batch.index), EVAL_STREAM, 0)
    )  # fmt: skip
    with torch.no_grad():
        clean = embedded_with_map(teacher.eval(), batch.images, place)[1].flatten(2)
        maps = embedded_with_map(student.eval(), damaged, place)[1].flatten(2)
    right = []
    for one, other_one in zip(maps, clean, strict=True):
        for p in range(one.shape[1]):
            near = [float(torch.cosine_similarity(one[:, p], other_one[:, q], 0)) for q in range(one.shape[1])]
            right.append(near[p] >= max(near) - 1e-6)
    found = next(r.value for r in records if r.metric == "position_recall")
    assert found == pytest.approx(sum(right) / len(right), abs=1e-6)


@pytest.mark.parametrize("kind", [*SMALL.values(), LARGE["blur"]], ids=lambda kind: kind.whole)
def test_levels_grow_inside_both_ranges_and_the_whole_one_begins_at_none(kind: Kind) -> None:
    severe, whole, *levels = (operators.parse(text) for text in (kind.severe, kind.whole, *kind.levels))
    scale = LEVELS_OF[type(whole)]
    assert {type(own) for own in (severe, *levels)} == {type(whole)} != {type(operators.parse(kind.unseen))}
    far = [abs(float(scale.of(own)) - scale.none) for own in levels]  # type: ignore[arg-type]
    ends = [sorted(abs(end - scale.none) for end in scale.of(own)) for own in (severe, whole)]  # type: ignore[union-attr]
    assert far == sorted(set(far)) and ends[1][0] == 0 and ends[0][1] == ends[1][1] >= far[-1]
    assert far[0] < ends[0][0]  # mild is milder than what the paper's range begins with


# claims


def test_within_and_shown() -> None:
    there, other = row(TINY, "masks", DEFAULT), row(TINY, "masks", ORIGINAL)
    pairs, claims = clean_is_kept(DEFAULT), STUDIES["all-weather"].claims
    for gap, holds in ((0.004, True), (0.006, False)):
        values = {(there, CLEAN): 0.5 - gap, (other, CLEAN): 0.5}
        held, of, words = at_most_below(pairs)(values)
        assert (held, of) == (int(holds), 1) and (words == "") == holds
    samples = {(there, CLEAN): (0.5, 0.51, 0.52), (other, CLEAN): (0.501, 0.512, 0.519)}
    (found,) = all_weather.shown(pairs)(samples)
    assert found.margin == 0.005 and found.high == (0.5, 0.51, 0.52) and found.low == (0.501, 0.512, 0.519)
    assert len(claims) == 30
    kept = {key: {"value": value, "stderr": 0.02} for key, value in ((there, 0.5), (other, 0.5))}
    found = {(name, CLEAN): record for name, record in kept.items()}
    assert claims[0].check(found)["passed"]  # of the same images and trainings: their errors say nothing of the means
    lost = at_most_below(levels_are_no_loss(DEFAULT))
    for gap, holds in ((0.005, True), (0.006, False), (-0.1, True)):
        assert lost({(there, "strong"): 0.5 - gap, (other, "strong"): 0.5})[:2] == (int(holds), 1)
    pairs = levels_are_specialists(DEFAULT, SPECIALISTS)
    best = {(row(TINY, "masks", SEVERE), "severe"): 0.6, (row(TINY, "masks", WHOLE), "severe"): 0.55}
    assert at_most_below(pairs)({**best, (there, "severe"): 0.592})[:2] == (2, 2)
    assert at_most_below(pairs)({**best, (there, "severe"): 0.58})[:2] == (1, 2)  # of one, not of the best


def test_ahead_of_the_best_and_by_how_much() -> None:
    values = {("a", "x"): 0.5, ("b", "x"): 0.45, ("c", "x"): 0.48, ("a", "y"): 0.3, ("b", "y"): 0.4, ("a", "z"): 1.0}
    assert unseen_kinds.ahead("a", ["b", "c"], "xyz")(values) == (1, 2, "x +2.0, y -10.0")
    assert unseen_kinds.ahead("a", ["b", "c"], "x", 0.03)(values)[:2] == (0, 1)
    assert unseen_kinds.ahead("a", ["b"], "y", -0.2)(values)[:2] == (1, 1)


# unseen kinds


@pytest.mark.parametrize("scale", ["smoke", "desk", "paper"])
def test_a_group_that_is_left_out_is_never_trained_on(scale: str) -> None:
    cells = STUDIES["unseen-kinds"].at(scale).cells
    expectations = {
        unseen_kinds.OTHERS: False, unseen_kinds.COMPOSED: False, unseen_kinds.LABELS: False, unseen_kinds.OWN: True
    }  # fmt: skip
    for group, members in GROUPS.items():
        for name, expected in expectations.items():
            own = cells[name, group]
            assert own is not None
            for cell in own.cells:
                model = cell.model.of if isinstance(cell.model, Own) else cell.model
                assert isinstance(model, Hardened | Labelled) and model.operator is not None
                met = corruptions_in(repr(operators.parse(model.operator)))
                assert bool(met & {*members}) == expected and (not expected or met == {*members})


def test_at_test_time_it_is_the_original_that_adapts() -> None:
    cells = STUDIES["unseen-kinds"].at("desk").cells
    (before,), (tent,) = (cells[name, "noise"].cells for name in (ORIGINAL, unseen_kinds.TENT))  # type: ignore[union-attr]
    assert isinstance(tent.model, Adapting) and tent.model.of == before.model
    assert tent.data == replace(before.data, mixed=True), "a folder's order puts few classes into a batch"


def test_mixed_images_are_the_same_in_another_order() -> None:
    plain, mixed = (Images(Source("digits"), "test", limit=100, mixed=own).read(None) for own in (False, True))
    assert plain.index.tolist() != mixed.index.tolist() and sorted(plain.index.tolist()) == sorted(mixed.index.tolist())
    again = Images(Source("digits"), "test", limit=100, mixed=True).read(None)
    assert torch.equal(mixed.index, again.index) and torch.equal(mixed.labels, again.labels)


def test_a_group_alone_is_measured_as_in_the_whole_suite(tmp_path: Path) -> None:
    store = Store(tmp_path, data=None, device=CPU)
    test = Images(Source("digits"), "test", limit=3)
    model = Own(Given("small", classes=10, quiet=True), DIGITS)
    whole, alone = (store.measured(model, Suite("common-15", group=group), test, name="") for group in (None, "noise"))
    values = [
        {
            (r.metric, r.corruption, r.severity): r.value
            for r in found.records
            if r.corruption in ("noise", *GROUPS["noise"])
        }
        for found in (whole, alone)
    ]
    assert values[0] == values[1] and len(values[0]) > 15
    assert not any(record.corruption in GROUPS["blur"] for record in alone.records)


def test_the_mean_over_models_is_of_the_same_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"metric": "top1", "images": 10, "model": "m", "data": "d", "stderr": 0.1}
    found = {0: Number(Record(value=0.2, protocol="a", **facts)), 1: Number(Record(value=0.6, protocol="b", **facts))}
    cells = tuple(Cell(Given("small", seed=seed), Suite("common-15"), DIGITS, About("m")) for seed in found)
    monkeypatch.setattr(Cell, "number", lambda self, store: found[self.model.seed])
    whole = OverModels(cells).number(Store(tmp_path, data=None, device=CPU))
    assert whole is not None and whole.value == pytest.approx(0.4)
    assert (whole.record.images, whole.record.data, whole.record.stderr) == (10, "d", None)


# heads


class Shelf(Store):
    """A store of one encoder and some images."""

    def __init__(self, network: Encoder, read: MemoryImages) -> None:
        super().__init__(Path(), data=None, device=CPU)
        self.network, self.read = network, read

    def encoder(self, recipe: object) -> Encoder:
        return self.network

    def images(self, images: object) -> MemoryImages:
        return self.read


def test_some_of_a_classifiers_classes_are_an_answer_where_the_recipe_says_so() -> None:
    with pytest.warns(UserWarning, match="randomly initialised"):
        network = load_encoder("resnet20", seed=0, num_classes=10)
    images = MemoryImages(
        torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), classes=("dog", "cat")
    )
    shelf = Shelf(network.eval(), images)
    with pytest.raises(NoNumber):
        Own(Given("resnet20"), DIGITS).make(shelf)
    among = Own(Given("resnet20"), DIGITS, among=True).make(shelf)
    assert isinstance(among, nn.Module)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(among(pixels)[:, :2], network.logits(pixels)[:, [5, 3]])  # of CIFAR-10: dog, cat
