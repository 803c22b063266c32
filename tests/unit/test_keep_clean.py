"""Clean images in hardening: which stay clean, the anchor, its multiplier, and what is said of a promise."""

import json
import re
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import weatherproof as wp
from weatherproof import random
from weatherproof.data import MemoryImages, held_out
from weatherproof.encoders import Encoder, Gauge, Preprocessing, Reading, load_encoder
from weatherproof.encoders.gauge import KindScale, Settings, fit
from weatherproof.errors import InputError
from weatherproof.methods import Hardening, KeepClean
from weatherproof.methods.clean import MOST, Multiplier
from weatherproof.objectives import MSE, StudentTeacher
from weatherproof.operators import RandomMask
from weatherproof.training import CleanCosine, Plan, RunFolder, harden_encoder
from weatherproof.verbs.gating import _answered, require_a_gate

N = 40
PIXELS = torch.randint(1, 256, (N, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = MemoryImages(PIXELS, torch.arange(N) % 4)


class Means(nn.Module):
    """Three features of an image, with one weight."""

    feature_dim = 3

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight, 1.0, 1.0]))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return images.mean(dim=(2, 3)) * self.weight


def _batch(seed: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    index = torch.arange(N)
    return PIXELS.float() / 255, index % 4, index, random.keys(seed, index), lambda rows: rows


def _clean(seen: Tensor) -> Tensor:
    return (seen == PIXELS.float() / 255).flatten(1).all(dim=1)


def test_an_images_own_key_leaves_it_clean_whatever_the_batch() -> None:
    student = Means(0.5)
    method = Hardening(student, Means(1.0), RandomMask(0.9), MSE(), keep=KeepClean(0.4, 0.9))
    images, labels, index, keys, gather = _batch()
    method(images, labels, index, keys, gather)
    whole = _clean(student.seen[-1])
    assert 0 < whole.sum() < N
    some = torch.tensor([31, 2, 17, 5])
    method(images[some], labels[some], index[some], keys[some], gather)
    assert torch.equal((student.seen[-1] == images[some]).flatten(1).all(dim=1), whole[some])


def test_as_many_stay_clean_as_the_share_says() -> None:
    student = Means(0.5)
    method = Hardening(student, Means(1.0), RandomMask(0.9), MSE(), keep=KeepClean(0.3, 0))
    clean = sum(int(_clean((method(*_batch(seed)), student.seen[-1])[1]).sum()) for seed in range(50))
    assert clean / (50 * N) == pytest.approx(0.3, abs=0.03)  # three standard errors


@pytest.mark.parametrize("similarity", [0.0, 2.0])
def test_the_anchor_is_that_of_the_definition(similarity: float) -> None:
    student, teacher = Means(0.3), Means(1.0)
    method = Hardening(student, teacher, RandomMask(0.9), MSE(), keep=KeepClean(0.4, 0.9, similarity))
    plain = Hardening(Means(0.3), teacher, method.seen, MSE())
    terms, without = method(*_batch()), plain(*_batch())
    rows = [x * 1.0 for x in (PIXELS.float() / 255).mean(dim=(2, 3))[_clean(student.seen[-1])]]
    weights = (student.weight.detach(), teacher.weight.detach())
    ours, theirs = ([F.normalize(row * w, dim=0) for row in rows] for w in weights)
    apart = sum(1 - torch.dot(a, b) for a, b in zip(ours, theirs, strict=True)) / len(rows)
    off = [
        (torch.dot(ours[i], ours[j]) - torch.dot(theirs[i], theirs[j])) ** 2
        for i in range(len(rows))
        for j in range(len(rows))
    ]
    expected = apart + similarity * sum(off) / len(rows) ** 2
    assert (terms["loss"] - without["loss"]).item() == pytest.approx(float(expected), rel=1e-4)
    assert terms["clean_cosine"].item() == pytest.approx(1 - float(apart), rel=1e-5)


@pytest.mark.slow
def test_the_multiplier_rises_while_the_promise_is_broken_and_falls_while_it_is_kept() -> None:
    far, near = (
        Hardening(Means(weight), Means(1.0), RandomMask(0.9), MSE(), keep=KeepClean(0.4, 0.95))
        for weight in (-1.0, 0.99)
    )
    for method, expected in ((far, torch.greater), (near, torch.less)):
        values = [method(*_batch())["multiplier"].clone() for _ in range(4)]
        assert all(expected(b, a) for a, b in pairwise(values))
    apart = 1 - far(*_batch())["clean_cosine"]
    before = far.multiplier.value.clone()  # type: ignore[union-attr]
    far(*_batch())
    assert far.multiplier.value.item() == pytest.approx((before + 0.05 * (apart / 0.05 - 1)).item())  # type: ignore[union-attr]
    for _ in range(400):
        far(*_batch())
        near(*_batch())
    assert far.multiplier.value == 20  # type: ignore[union-attr]
    assert near.multiplier.value == 0  # type: ignore[union-attr]


def test_in_evaluation_the_multiplier_stays() -> None:
    method = Hardening(Means(-1.0), Means(1.0), RandomMask(0.9), MSE(), keep=KeepClean(0.4, 0.95)).eval()
    method(*_batch())
    assert method.multiplier.value == 1  # type: ignore[union-attr]


def test_a_batch_without_a_clean_image_has_no_anchor() -> None:
    method = Hardening(Means(0.3), Means(1.0), RandomMask(0.9), MSE(), keep=KeepClean(1e-9, 0.95))
    terms = method(*_batch())
    assert terms["loss"].isfinite()
    assert terms["clean_cosine"].isnan()
    assert terms["multiplier"] == 1


def test_without_a_promise_and_a_share_it_is_the_papers_training() -> None:
    losses = [
        Hardening(Means(0.3), Means(1.0), RandomMask((0.1, 0.9)), MSE(), keep=keep)(*_batch())
        for keep in (None, KeepClean(0, 0))
    ]
    assert losses[0].keys() == losses[1].keys() == {"loss", "cosine"}
    assert torch.equal(losses[0]["loss"], losses[1]["loss"])


@pytest.mark.parametrize(
    ("share", "cosine", "said"),
    [
        (1.0, 0.9, "share must be from 0 to below 1, got 1.0"),
        (-0.1, 0.9, "share must be from 0 to below 1, got -0.1"),
        (0.2, 1.0, "cosine must be from 0 to below 1, got 1.0"),
        (0.0, 0.9, "a promised cosine of 0.9 on clean images needs some in training"),
    ],
)
def test_what_cannot_be_kept_is_refused(share: float, cosine: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        KeepClean(share, cosine)


def test_validation_images_are_spread_and_not_trained_on() -> None:
    rest, held = held_out(IMAGES, most=500, share=0.1)
    assert len(held) == 4
    assert sorted([*rest.index.tolist(), *held.index.tolist()]) == list(range(N))
    assert set(held.labels.tolist()) != {0}
    assert len(held_out(IMAGES, most=2)[1]) == 2
    with pytest.raises(InputError, match="give two or more"):
        held_out(IMAGES.subset(torch.arange(1)))


@pytest.fixture(scope="module")
def teacher() -> Encoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_encoder("small(width=2)", size=8, seed=0).eval()


def test_what_came_of_a_promise_is_measured_on_validation_images(teacher: Encoder, tmp_path: Path) -> None:
    rest, held = held_out(IMAGES)
    watch = CleanCosine(teacher, held, 0.5, 3, device=torch.device("cpu"))
    run = RunFolder.open(tmp_path / "run", {"verb": "test"})
    student = harden_encoder(
        teacher, rest, operator=RandomMask(0.5), objective=MSE(), plan=Plan(3, 12, 1e-4, device="cpu"),
        keep=KeepClean(0.3, 0.5), watch=watch, run=run,
    )  # fmt: skip
    pixels = PIXELS[held.index].float() / 255
    with torch.no_grad():
        expected = F.cosine_similarity(student(pixels), teacher(pixels)).mean().item()
    assert watch.of(student) == pytest.approx(expected, abs=1e-6)
    assert len(watch.logged(run)) == 9  # of three epochs of three steps: after every step
    assert watch.logged(run)[-1] == pytest.approx(expected, abs=1e-6)
    run.close()


def test_a_promise_is_of_the_images_that_can_be_read(teacher: Encoder, tmp_path: Path) -> None:
    for i in range(30):
        Image.fromarray(PIXELS[i].permute(1, 2, 0).numpy()).save(tmp_path / f"{i:02}.png")
    (tmp_path / "07.png").write_bytes((tmp_path / "07.png").read_bytes()[:60])
    images = wp.load_images(str(tmp_path), "all", size=8, memory_budget=0)
    with pytest.warns(UserWarning, match="1 of 30 images"):
        watch = CleanCosine(teacher, images, 0.5, 3, device=torch.device("cpu"))
    assert watch.readable.sum() == 29 and not watch.readable[7]
    student = load_encoder("small(width=2)@random", size=8, seed=1).eval()
    pixels = PIXELS[[i for i in range(30) if i != 7]].float() / 255
    with torch.no_grad():
        expected = F.cosine_similarity(student(pixels), teacher(pixels)).mean().item()
    assert watch.of(student) == pytest.approx(expected, abs=1e-6)


def pictures() -> MemoryImages:
    coarse = torch.rand(150, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return MemoryImages((F.interpolate(coarse, (16, 16), mode="bilinear") * 255).to(torch.uint8))


def _held_to(promised: float, epochs: float, seed: int) -> tuple[float, list[str]]:
    """What is reached in a training of the smallest network, and what is said in its course."""
    rest, held = held_out(pictures())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        teacher = load_encoder("small(width=2, channels=3)", size=16, seed=seed).eval()
        watch = CleanCosine(teacher, held, promised, epochs, device=torch.device("cpu"))
        student = harden_encoder(
            teacher, rest, operator=RandomMask((0.0, 0.95)), objective=StudentTeacher(), watch=watch,
            plan=Plan(epochs, 16, 6e-3, seed=seed, schedule="cosine", device="cpu"), keep=KeepClean(0.2, promised),
        )  # fmt: skip
    return watch.of(student), [str(own.message) for own in said if "the promise" in str(own.message)]


@pytest.mark.parametrize("seed", range(3))
def test_a_promise_that_cannot_be_kept_is_told_of_early_and_at_the_end(seed: int) -> None:
    reached, (early, last) = _held_to(0.9999, 2, seed)
    found = re.search(r"so far, nor by the trend: after epoch ([\d.]+) of 2 .* \(best 0.*, after .* 0.9999 was", early)
    assert found and float(found[1]) <= 0.5  # a quarter
    assert f"the promise is not kept: after 2 epochs the mean cosine to what the encoder was is {reached:.3f}" in last


def test_in_a_single_epoch_too() -> None:
    _, (early, _) = _held_to(0.9999, 1, 0)
    assert re.search(r"after epoch 0\.(2|1\d*|2[0-4]\d*|25) of 1 ", early)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("promised", [0.9, 0.95])
def test_nothing_is_said_of_a_promise_that_is_kept_in_the_end(promised: float, seed: int) -> None:
    reached, said = _held_to(promised, 4, seed)
    assert bool(said) == (reached < promised), (reached, said)


def _warned_epochs(teacher: Encoder, values: Sequence[float], promised: float, *, capped: bool) -> list[int]:
    """After which epochs something is said of these mean cosines."""
    watch = CleanCosine(teacher, held_out(IMAGES)[1], promised, len(values), device=torch.device("cpu"))
    multiplier = Multiplier(1 - promised)
    multiplier.value.fill_(MOST if capped else 3)
    method: Any = SimpleNamespace(student=teacher, multiplier=multiplier)
    found, numbers = list[int](), iter(values)
    watch.of = lambda encoder: next(numbers)  # type: ignore[method-assign]
    for epoch in range(1, len(values) + 1):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            watch(method, float(epoch))
        found += [epoch] * len(said)
    return found


def test_the_trend_decides(teacher: Encoder) -> None:
    steady = [0.8] * 12
    assert _warned_epochs(teacher, steady, 0.95, capped=True) == [2, 12]
    assert _warned_epochs(teacher, steady, 0.95, capped=False) == [6, 12]
    assert (
        _warned_epochs(teacher, [1 - 0.2 * 0.85**epoch for epoch in range(12)], 0.95, capped=True) == []
    )  # 0.967 in the end
    assert _warned_epochs(teacher, [1 - 0.2 * 0.95**epoch for epoch in range(12)], 0.95, capped=True) == [2, 12]
    assert _warned_epochs(teacher, [0.99, 0.9, 0.85, 0.87, 0.9, 0.92, *[0.96] * 6], 0.95, capped=False) == []
    assert _warned_epochs(teacher, [*[0.96] * 11, 0.94], 0.95, capped=True) == [12]


def test_a_training_that_goes_on_knows_the_best_of_before(teacher: Encoder, tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path / "run", {"verb": "test"})
    for epoch, value in ((1.0, 0.93), (3.0, 0.99)):  # the second is of steps that are taken again
        run.log({"step": int(epoch), "epoch": epoch, "clean_validation": value})
    watch = CleanCosine(teacher, held_out(IMAGES)[1], 0.95, 2, device=torch.device("cpu"), run=run)
    watch.of = lambda encoder: 0.9  # type: ignore[method-assign]
    method: Any = SimpleNamespace(student=teacher, multiplier=None)
    with pytest.warns(UserWarning, match=r"is 0\.900 on clean images \(best 0\.930, after epoch 1\)"):
        watch(method, 2.0)
    run.close()


@pytest.mark.filterwarnings("ignore:the promise is not kept")
def test_the_verb_says_what_came_of_its_promise(tmp_path: Path) -> None:
    small = {"epochs": 1, "batch_size": 128, "device": "cpu", "workers": 0, "test_images": 20, "realizations": 1}
    run = wp.harden("small(width=2)@random", "digits", keep="hardened", keep_clean=0.6, out=tmp_path / "a", **small)
    found = json.loads((tmp_path / "a" / "promise.json").read_text())
    assert (found["asked"], found["images"]) == (0.6, 143)  # a tenth of the training digits
    assert found["kept"] == (found["reached"] >= 0.6)
    assert run.encoder.fitted_gauge is None
    wp.harden("small(width=2)@random", "digits", keep="hardened", keep_clean=0, out=tmp_path / "b", **small)
    assert not (tmp_path / "b" / "promise.json").exists()


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_by_default_both_stand_behind_a_gate_and_clean_images_get_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "_STEPS", 500)
    # least squares: what a random network tells images apart by is soon lost to the contrastive loss, and no gate opens
    small: dict[str, Any] = {
        "epochs": 2, "batch_size": 128, "lr": 1e-2, "device": "cpu", "workers": 0, "test_images": 40,
        "objective": "MSE()",
    }  # fmt: skip
    teacher = wp.load_encoder("small(width=4)", seed=0).eval()
    run = wp.harden(teacher, "digits", realizations=1, out=tmp_path / "run", **small)
    test = wp.load_images("digits", "test")
    clean = test.read(test.index[:40]).float() / 255
    told = run.encoder.gauge(clean)
    with torch.no_grad():
        assert torch.equal(run.encoder(clean), teacher(clean)) and not told.damaged.gt(0.5).any()
        damaged = RandomMask(0.99)(clean, random.keys(0, torch.arange(40)))
        alone = load_encoder(tmp_path / "run" / "hardened").eval()
        assert torch.equal(run.encoder(damaged), alone(damaged)) and run.encoder.gauge(damaged).beyond.all()
        again = load_encoder(tmp_path / "run").eval()
        assert torch.equal(again(damaged), run.encoder(damaged)) and torch.equal(again(clean), run.encoder(clean))
    by = {(r["model"], r["metric"], r["operator"]): r["value"] for r in run.records}
    assert by["hardened", "top1", None] == by["teacher", "top1", None]
    gauged = json.loads((tmp_path / "run" / "gauged.json").read_text())
    assert gauged["names"] == ["clean", "RandomMask"] and "fog" in gauged["rows"]
    levels = {own["level"]: own for own in gauged["kinds"][0]["levels"]}
    assert levels[0.0]["clean"] > 0.95 and abs(levels[0.5]["estimate"] - 0.5) < 0.05 and levels[0.99]["beyond"] > 0.5

    def once_more() -> None:
        wp.harden(teacher, "digits", realizations=1, out=tmp_path / "run", **small)

    results, lost = tmp_path / "run" / "results.json", tmp_path / "run" / "hardened" / "encoder.safetensors"
    numbers, whole = json.loads(results.read_text())["records"], lost.read_bytes()
    lost.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"finished, and hardened/encoder\.safetensors has .* bytes in place of"):
        once_more()
    lost.unlink()
    with pytest.raises(InputError, match=r"hardened/encoder\.safetensors is missing: remove .*results\.json"):
        once_more()
    lost.write_bytes(whole)
    once_more()  # whole again: nothing is left to do
    assert json.loads(results.read_text())["records"] == numbers


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_what_a_finished_run_has_lost_is_made_again(tmp_path: Path) -> None:
    small: dict[str, Any] = {
        "epochs": 0.2, "batch_size": 128, "device": "cpu", "workers": 0, "test_images": 20, "realizations": 1,
        "probe_images": 100, "out": tmp_path,
    }  # fmt: skip
    teacher = wp.load_encoder("small(width=2)", seed=0).eval()
    run = wp.harden(teacher, "digits", **small)
    made = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.suffix in (".json", ".safetensors")}
    for path in ("results.json", "hardened/encoder.safetensors", "promise.json", "gauge.json", "curve.json"):
        (tmp_path / path).unlink()
    assert wp.harden(teacher, "digits", **small).records == run.records
    assert {path: path.read_bytes() for path in made} == made


def test_an_image_called_clean_is_at_none_of_the_kind_that_is_asked_about() -> None:
    kinds = (KindScale("RandomMask", 0.0, 0.5, 1.0), KindScale("JPEG", 100.0, 20.0, 1.0))
    gauge = Gauge(Settings(kinds, Preprocessing((0.0,), (1.0,), None, 1)))
    level, low, high = torch.tensor([[torch.nan, 0.4, 80.0], [torch.nan, 0.2, 60.0], [torch.nan, 0.6, 90.0]])
    told = Reading(level, low, high, torch.arange(3), level, level, torch.zeros(3) > 0)
    masked, compressed = (_answered(gauge, family, 0.0, [told]) for family in ("RandomMask", "JPEG"))
    assert (masked.estimate, masked.low, masked.high) == pytest.approx((0.2, 0.1, 0.3))
    assert (compressed.estimate, compressed.low, compressed.high) == pytest.approx((10, 5, 20))


def test_too_few_images_in_class_folders_are_told_from_too_few_at_all(tmp_path: Path) -> None:
    for name in ("sub/a.png", *(f"{place}.png" for place in range(3))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (32, 32), 100).save(tmp_path / name)
    teacher = load_encoder("small(width=2)@random", size=32)
    with pytest.warns(UserWarning, match="3 images lie beside the class folders"):
        images = wp.load_images(tmp_path, "all", size=32)
    with pytest.raises(InputError, match="leaves 1 in 1 class folder, beside which images are left out: give more"):
        require_a_gate(teacher, images, RandomMask(0.5))
    with pytest.raises(InputError, match="leaves 40: give more"):
        require_a_gate(teacher, IMAGES, RandomMask(0.5))


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
@pytest.mark.parametrize("keep", ["both", "hardened"])
@pytest.mark.parametrize("operator", ["Chain()", "Sometimes(RandomMask((0.0, 0.5)), 0.0)", "OWN:nothing"])
def test_what_damages_no_image_is_refused_before_anything_is_done(keep: str, operator: str, tmp_path: Path) -> None:
    own = tmp_path / "camera.py"
    own.write_text("def nothing(images, keys):\n    return images\n")
    with pytest.raises(InputError, match=r"damages no image of digits/train.*give a damage"):
        wp.harden(
            "small(width=2)@random", "digits", operator=operator.replace("OWN", str(own)), keep=keep,
            out=tmp_path / "run",
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keep": "al"}, "unknown keep 'al'"),
        ({"keep_clean": 1.0}, "from 0 to below 1"),
        ({"adapt": "LoRA(0)"}, "rank of LoRA"),
        ({"operator": "RandomMask(0.0)"}, "damages no image of digits/train"),
        ({"operator": "OneOf(RandomMask(0.0), GaussianNoise(0.1))"}, "does nothing to an image"),
        ({"size": 11}, "at least 12 pixels a side, got 11: give a larger --size, or --keep hardened"),
        ({"keep": "hardened", "clean_share": 0.0}, "needs some in training"),
        ({"clean_share": 1.0}, "clean_share, of the training images, must be from 0 to below 1, got 1.0"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        wp.harden("small(width=2)@random", "digits", out=tmp_path / "run", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
