"""Numbers and how they were measured."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score, top_k_accuracy_score
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import FileImages, MemoryImages, load_images
from weatherproof.errors import InputError
from weatherproof.evaluation import (
    EVAL_STREAM,
    Record,
    agreement,
    auc,
    corruptions_in,
    evaluate,
    evaluate_embeddings,
    hits,
    protocol_hash,
    relabel,
    standard_error,
)
from weatherproof.evaluation.embeddings import compared_records
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.record import protocol_facts
from weatherproof.operators import GaussianBlur, GaussianNoise, RandomMask
from weatherproof.readouts import embed
from weatherproof.restoration import Restored

KEYS = [  # of the example in the architecture, in its order
    "metric", "value", "stderr", "realizations", "seeds", "images", "model", "readout", "data", "label_fraction",
    "operator", "corruption", "severity", "attack", "trained_on", "protocol",
]  # fmt: skip


def digits(n: int = 60, *, labelled: int | None = None) -> MemoryImages:
    """Noisy images whose mean brightness is the class, 0 .. 5."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 6
    pixels = (20 + 40 * labels)[:, None, None, None] + rng.integers(0, 15, (n, 1, 6, 6))
    known = torch.from_numpy(np.where(np.arange(n) < (n if labelled is None else labelled), labels, -1))
    return MemoryImages(torch.from_numpy(pixels.astype(np.uint8)), known, list("abcdef"), name="digits/test")


class Brightness(nn.Module):
    """Right on clean images: the class whose brightness is nearest."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.register_buffer("levels", (27 + 40 * torch.arange(classes)) / 255)

    def forward(self, images: Tensor) -> Tensor:
        return -(images.mean(dim=(1, 2, 3))[:, None] - self.levels).abs()


def stripes(images: Tensor) -> Tensor:
    """An embedding: the row means, which tell any two noisy images apart."""
    return images.mean(dim=(1, 3)) - 0.5


def by_hand(classifier: Callable[[Tensor], Tensor], images: MemoryImages, operator: object, runs: int) -> list[float]:
    """Top-1 of each realization, over the whole set at once."""
    pixels = images.pixels.float() / 255
    shares = []
    for run in range(runs):
        damaged = operator(pixels, random.fold(random.keys(0, images.index), EVAL_STREAM, run))  # type: ignore[operator]
        shares.append((classifier(damaged).argmax(1) == images.labels).double().mean().item())
    return shares


def test_a_record_has_the_keys_of_the_contract_in_their_order() -> None:
    (record,) = evaluate({"plain": Brightness()}, digits(), metrics=("top1",))
    found = record.to_dict()
    assert list(found) == KEYS
    assert found["seeds"] == [0] and found["images"] == 60 and found["data"] == "digits/test" and found["value"] == 1.0
    assert [key for key in KEYS if found[key] is None] == [
        "stderr", "readout", "label_fraction", "operator", "corruption", "severity", "attack", "trained_on",
    ]  # fmt: skip


def test_evaluate_is_mean_and_standard_error_over_realizations() -> None:
    model, images, operator = Brightness(), digits(), RandomMask((0.1, 0.5))
    (record,) = evaluate({"m": model}, images, operator=operator, realizations=4, metrics=("top1",), batch_size=7)
    shares = by_hand(model, images, operator, 4)
    assert 0 < record.value < 1 and len(set(shares)) > 1
    assert record.value == pytest.approx(statistics.mean(shares))
    assert record.stderr == pytest.approx(statistics.stdev(shares) / 2)
    assert (record.operator, record.realizations) == ("RandomMask((0.1, 0.5))", 4)


def test_all_classifiers_see_the_same_damage_which_is_made_once_a_realization() -> None:
    calls = []

    class Counting:
        def __call__(self, images: Tensor, keys: Tensor) -> Tensor:
            calls.append(len(images))
            return GaussianNoise(0.3)(images, keys)

    models = {"one": Brightness(), "two": Brightness(), "half": nn.Sequential(Brightness(), nn.Softmax(dim=1))}
    one, two, half = evaluate(models, digits(), operator=Counting(), realizations=3, metrics=("top1",), batch_size=40)
    assert calls == [40, 20] * 3
    assert one.value == two.value == half.value and one.protocol == half.protocol and one.model == "one"


@pytest.mark.parametrize("operator", [None, GaussianBlur(1.0)])
def test_what_draws_nothing_runs_once_whatever_the_seed(operator: GaussianBlur | None) -> None:
    a, b = (evaluate({"m": Brightness()}, digits(), operator=operator, seed=seed)[0] for seed in (0, 1))
    assert a.realizations == 1 and a.stderr is None
    assert a.protocol == b.protocol and a.seeds != b.seeds


def test_images_without_labels_count_for_agreement_alone() -> None:
    images = digits(labelled=20)
    top1, same = evaluate({"m": Brightness()}, images, operator=GaussianNoise(0.1), metrics=("top1", "agreement"))
    assert (top1.images, same.images) == (20, 60)
    (record,) = agreement({"m": Brightness()}, digits(labelled=0), operator=GaussianNoise(0.1), realizations=2)
    assert record.metric == "agreement" and record.images == 60


def test_agreement_compares_with_the_clean_answer() -> None:
    images, operator = digits(), RandomMask((0.1, 0.5))
    right = evaluate({"m": Brightness()}, images, operator=operator, metrics=("top1", "agreement"), realizations=3)
    assert right[0].value == right[1].value < 1  # it is always right on clean images

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(torch.full((len(x),), 2), 6).float()

    wrong = evaluate({"m": Constant()}, images, operator=operator, metrics=("top1", "agreement"), realizations=3)
    assert [r.value for r in wrong] == [pytest.approx(1 / 6), 1.0]


def test_auc_of_a_set_is_not_the_mean_over_batches() -> None:
    images = digits()
    model = nn.Sequential(Brightness(), nn.LogSoftmax(dim=1))
    (record,) = evaluate({"m": model}, images, operator=None, metrics=("auc",), batch_size=7)
    scores = model(images.pixels.float() / 255).double().softmax(1)[:, 0].numpy()
    assert record.value == pytest.approx(roc_auc_score(images.labels.numpy() == 0, scores))


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("positive", [0, 1])
def test_auc_agrees_with_scikit_learn_ties_included(levels: int, positive: int) -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, 300), rng.integers(0, levels, 300) / levels
    ours = auc(torch.from_numpy(scores), torch.from_numpy(labels), positive=positive)
    assert ours == pytest.approx(roc_auc_score(labels == positive, scores), abs=1e-12)


def test_auc_is_not_defined_for_one_class_or_for_no_number() -> None:
    with pytest.raises(InputError, match="of class 1 and of others, got 2 and 0"):
        auc(torch.rand(2), torch.tensor([1, 1]))
    with pytest.raises(InputError, match="NaN"):
        auc(torch.tensor([0.1, math.nan]), torch.tensor([0, 1]))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_hits_agree_with_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(200, 7)), rng.integers(0, 7, 200)
    expected = top_k_accuracy_score(labels, logits, k=k, labels=range(7))
    found = hits(torch.from_numpy(logits).float(), torch.from_numpy(labels), k)
    assert found.double().mean().item() == pytest.approx(expected)
    assert hits(torch.rand(4, 3), torch.tensor([0, 1, 2, 2]), 5).all()


def test_standard_error_uses_the_sample_standard_deviation() -> None:
    assert standard_error([0.5]) is None
    assert standard_error([0.5, math.nan]) is None and standard_error([math.inf, 0.5]) is None
    assert standard_error([1.0, 2.0, 3.0, 4.0]) == pytest.approx(math.sqrt(5 / 3) / 2)


def test_evaluate_restores_modes_and_leaves_running_statistics_alone() -> None:
    norm = nn.BatchNorm2d(1)
    model = nn.Sequential(norm, Brightness())
    evaluate({"m": model}, digits(), metrics=("top1",))
    assert model.training and int(norm.num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": ("f1",)}, "unknown metric 'f1'"),
        ({"metrics": ()}, "got 1 classifiers, 60 images, metrics"),
        ({"realizations": 0}, "realizations=0"),
        ({"classifiers": {}}, "got 0 classifiers"),
        ({"classifiers": {"few": Brightness(4)}}, "'few' has 4 outputs, but 'digits/test' has labels up to 5"),
        ({"images": digits(labelled=0)}, "top1 needs labels, and 'digits/test' has none"),
    ],
)
def test_evaluate_reports_bad_input_in_one_line(settings: dict[str, object], message: str) -> None:
    given = {"classifiers": {"m": Brightness()}, "images": digits(), **settings}
    with pytest.raises(InputError, match=message):
        evaluate(**given)


def test_the_protocol_changes_with_all_that_makes_numbers_unlike_and_with_nothing_else() -> None:
    def protocol(images: MemoryImages | None = None, **settings: object) -> str:
        given = {"metrics": ("top1",), "operator": RandomMask(0.5), "realizations": 2, **settings}
        return evaluate({"m": Brightness()}, images or digits(), **given)[0].protocol

    usual = protocol()
    assert usual == protocol(batch_size=3) == protocol(readout="probe", trained_on="RandomMask(0.5)")
    small = MemoryImages(digits().pixels[..., :5], digits().labels, list("abcdef"), name="digits/test")
    unlike = [
        protocol(digits().subset(torch.arange(30))),
        protocol(digits().subset(torch.arange(30, 60))),
        protocol(relabel(digits(), dict.fromkeys("abcdef", "a"))),
        protocol(small),
        protocol(operator=RandomMask(0.6)),
        protocol(operator=None),
        protocol(metrics=("top5",)),
        protocol(realizations=3),
        protocol(seed=1),
        protocol(severity=3.0),
        protocol(corruption="fog"),
        protocol(data="other"),
    ]
    assert len({usual, *unlike}) == 1 + len(unlike)
    assert len(usual) == 12 and protocol_hash(a=1, b=None) == protocol_hash(a=1) != protocol_hash(a=2)


def test_facts_may_differ_from_model_to_model() -> None:
    a, b = evaluate(
        {"hardened": Brightness(), "teacher": Brightness()}, digits(), metrics=("top1",), readout="probe",
        trained_on={"hardened": "RandomMask(0.5)"}, label_fraction={"hardened": 0.1, "teacher": 1.0},
    )  # fmt: skip
    assert (a.trained_on, a.label_fraction, a.readout) == ("RandomMask(0.5)", 0.1, "probe")
    assert (b.trained_on, b.label_fraction, b.readout) == (None, 1.0, "probe")


def test_restored_classifiers_get_the_images_keys() -> None:
    drawn = []

    def restore(images: Tensor, keys: Tensor) -> Tensor:
        drawn.append(keys)
        return images

    (record,) = evaluate(
        {"restored": Restored(restore, Brightness())}, digits(12), operator=GaussianBlur(1.0), realizations=2,
        metrics=("top1",), batch_size=5,
    )  # fmt: skip
    assert record.realizations == 2  # the restoration draws, though the operator does not
    assert len(torch.cat(drawn).unique()) == 24


def embedding_values(records: list[Record]) -> dict[str, float]:
    return {record.metric: record.value for record in records}


def test_clean_embeddings_find_themselves() -> None:
    values = embedding_values(evaluate_embeddings({"m": stripes}, stripes, digits()))
    assert values == pytest.approx({"cosine": 1.0, "recall@1": 1.0, "recall@5": 1.0})


def test_every_image_is_compared_with_itself_however_many_there_are():
    images = MemoryImages(torch.arange(600 * 12).remainder(251).reshape(600, 3, 2, 2).byte())
    model = lambda x: x.flatten(1) - 0.5  # noqa: E731
    assert embedding_values(evaluate_embeddings({"m": model}, model, images))["cosine"] == pytest.approx(1)


def test_embedding_metrics_agree_with_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weatherproof.evaluation.embeddings._CHUNK", 13)
    images, operator = digits(), GaussianNoise(0.1)
    records = evaluate_embeddings({"m": stripes}, stripes, images, operator=operator, realizations=3, batch_size=7)
    clean = images.pixels.float() / 255
    index = nn.functional.normalize(stripes(clean), dim=1)
    expected: dict[str, list[float]] = {"cosine": [], "recall@1": [], "recall@5": []}
    for run in range(3):
        damaged = operator(clean, random.fold(random.keys(0, images.index), EVAL_STREAM, run))
        similarity = nn.functional.normalize(stripes(damaged), dim=1) @ index.T
        expected["cosine"].append(similarity.diagonal().mean().item())
        for k in (1, 5):
            expected[f"recall@{k}"].append(hits(similarity, torch.arange(60), k).double().mean().item())
    assert 0 < expected["recall@1"][0] < expected["recall@5"][0] < 1
    for record in records:
        assert record.value == pytest.approx(statistics.mean(expected[record.metric]), abs=1e-6)
        assert record.stderr == pytest.approx(standard_error(expected[record.metric]), abs=1e-6)


def test_draws_that_were_cut_count_as_many_images_as_the_shortest() -> None:
    draws = [Answers(torch.arange(n), {"cosine": torch.full((n,), 0.5), "nearer": torch.zeros(n)}) for n in (9, 4)]
    facts = protocol_facts(digits(9), GaussianNoise(0.1), (0,), None)
    for record in compared_records("m", ["cosine", "recall@1"], draws, 4, 0, facts):
        assert (record.images, record.realizations) == (4, 2)


def test_a_collapsed_encoder_finds_nothing() -> None:
    (point,) = evaluate_embeddings({"m": lambda x: torch.ones(len(x), 6)}, stripes, digits(), metrics=("recall@1",))
    assert point.value <= 1 / 10


def test_embeddings_of_unlike_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="'m' gives embeddings of 3 numbers, the teacher of 6"):
        evaluate_embeddings({"m": lambda x: stripes(x)[:, :3]}, stripes, digits())
    with pytest.raises(InputError, match="unknown embedding metric 'recall@0'"):
        evaluate_embeddings({"m": stripes}, stripes, digits(), metrics=("recall@0",))


def test_relabel_keeps_the_mapped_classes_under_the_classifiers_names() -> None:
    images = digits(labelled=50)
    shifted = relabel(images, {"b": "y", "e": "x"}, classes=["w", "x", "y"])
    assert shifted.classes == ("w", "x", "y") and set(shifted.index.tolist()) == {
        i for i in range(50) if i % 6 in (1, 4)
    }
    assert all(int(label) == (2 if i % 6 == 1 else 1) for i, label in zip(shifted.index, shifted.labels, strict=True))
    assert shifted[0][1] == 2 and shifted.subset(torch.tensor([1])).classes == ("w", "x", "y")
    assert images.classes == tuple("abcdef") and len(images.labels) == 60  # unchanged


def test_relabel_within_one_list_of_classes_and_its_errors() -> None:
    (record,) = evaluate({"m": Brightness()}, relabel(digits(), {"a": "b", "c": "c"}), metrics=("top1",))
    assert (record.value, record.images, record.data) == (0.5, 20, "digits/test relabelled")
    with pytest.raises(InputError, match="unknown class of 'digits/test' 'cup'"):
        relabel(digits(), {"cup": "a"})
    with pytest.raises(InputError, match="unknown class of the classifier 'hare'"):
        relabel(digits(), {"a": "hare"})
    with pytest.raises(InputError, match="no image of 'digits/test' belongs to a class of the mapping: f"):
        relabel(digits(5), {"f": "a"})


@pytest.fixture
def folder(tmp_path: Path) -> FileImages:
    """Thirty files of two classes that are read when they are needed; one of them is damaged."""
    for label, name in enumerate(("dark", "light")):
        (tmp_path / name).mkdir()
        for i in range(15):
            Image.new("RGB", (6, 6), (20 + 150 * label + i,) * 3).save(tmp_path / name / f"{i:02}.png")
    images = load_images(f"folder:{tmp_path}", "all", memory_budget=0)
    assert isinstance(images, FileImages)
    (tmp_path / "light" / "03.png").write_bytes(b"no image")
    return images


@pytest.mark.filterwarnings("ignore:1 of 30 images:UserWarning")
def test_files_that_cannot_be_read_are_left_out_everywhere(folder: FileImages) -> None:
    (record,) = evaluate({"m": Brightness()}, folder, metrics=("top1",), batch_size=4)
    assert record.images == 29
    records = evaluate_embeddings({"m": stripes}, stripes, folder, batch_size=4, operator=GaussianNoise(0.01))
    assert {r.images for r in records} == {29} and records[0].value > 0.99
    features, labels = embed(stripes, folder, batch_size=4)
    assert len(features) == len(labels) == 29 and labels.tolist() == [0] * 15 + [1] * 14


def test_relabel_takes_images_in_files_too(folder: FileImages) -> None:
    shifted = relabel(folder, {"dark": "z"}, classes=["y", "z"])
    assert isinstance(shifted, FileImages) and shifted.labels.tolist() == [1] * 15
    (record,) = evaluate({"m": Brightness()}, shifted, metrics=("top1",))
    assert (record.value, record.images) == (0.0, 15)
    assert folder.classes == ("dark", "light") and len(folder.labels) == 30


@pytest.mark.parametrize(
    ("text", "contained"),
    [
        ("SimCLR(32)", {"brightness", "contrast", "saturate"}),
        ("SimCLR(224)", {"brightness", "contrast", "saturate", "gaussian_blur"}),  # blurs large images only
        ("AugMix('standard', 32)", set()),  # its authors left out what the benchmark has
        ("URRL(Twice(HorizontalFlip()), AugMix(ops='all', size=32))", {"brightness", "contrast", "saturate"}),
        ("AugMixMoCo(32)", {"brightness", "contrast", "saturate", "gaussian_blur"}),
        ("Chain(Corruption('fog', 3), HorizontalFlip())", {"fog"}),
        ("SimCLR(no, such='text')", set()),
    ],
)
def test_views_that_contain_corruptions(text: str, contained: set[str]) -> None:
    assert corruptions_in(text) == contained
