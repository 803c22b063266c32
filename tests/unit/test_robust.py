"""Accuracy under attack, curves, medians and certificates, against explicit loops over images."""

import csv
import importlib.util
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof import random
from weatherproof.attacks import L2, PGD, Linf
from weatherproof.attacks.described import GRIDS
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.evaluation import (
    Settings,
    perturbation_curve,
    protocol_hash,
    robust_accuracy,
    run_attacks,
    sanity_certificate,
    save_samples,
)
from weatherproof.evaluation.attacks.perturbation import half_point, median
from weatherproof.evaluation.attacks.robust import Attacks
from weatherproof.evaluation.attacks.trials import AttackTrial
from weatherproof.evaluation.engine.answers import BlockMemory
from weatherproof.evaluation.engine.work import Work
from weatherproof.protocols import Attack
from weatherproof.spec import component
from weatherproof.types import Images, Keys, Labels, Logits

Model = Callable[[Images], Logits]
SIDE = 4


class Net(nn.Module):
    """A small network with batch normalisation and dropout, so that its mode matters."""

    def __init__(self, seed: int = 0, scale: float = 3.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.random.default_generator.manual_seed(seed)
            self.first, self.norm, self.second = nn.Linear(SIDE * SIDE, 12), nn.BatchNorm1d(12), nn.Linear(12, 3)
        self.drop, self.scale = nn.Dropout(0.5), scale

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.tanh(self.norm(2 * self.first(images.flatten(1) - 0.5)))
        return self.scale * self.second(self.drop(hidden))


@component
class Cube:
    eps: float

    def size(self, difference: Images) -> Tensor:
        return difference.abs().amax(dim=(1, 2, 3))


@component
class Fgsm:
    """x + eps sign(grad): one step, written down once more in `one_by_one`."""

    ball: Cube
    deterministic = True

    def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
        assert isinstance(model, nn.Module)
        model.eval()
        x = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
        return (images + self.ball.eps * gradient.sign()).clamp(0, 1)


@component
class Noise:
    """A random attack: a random corner of the cube."""

    ball: Cube

    def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
        signs = random.uniforms(keys, tuple(images.shape[1:])).sub(0.5).sign()
        return (images + self.ball.eps * signs).clamp(0, 1)


def some_images(count: int = 60, seed: int = 1, model: nn.Module | None = None) -> MemoryImages:
    """Random images; labels are mostly what `model` says, so that there is something to lose."""
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.integers(0, 256, (count, 1, SIDE, SIDE), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 3, count))
    if model is not None:
        with torch.no_grad():
            said = model.eval()(pixels.float() / 255).argmax(dim=1)
        labels = torch.where(torch.from_numpy(rng.random(count) < 0.9), said, labels)
    return MemoryImages(pixels, labels, ("a", "b", "c"), name="toys/test")


def one_by_one(model: nn.Module, images: MemoryImages, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """FGSM an image at a time, with numpy after the gradient: whether each is still right, and the size of its step."""
    model.eval()
    right, size = [], []
    for i in range(len(images)):
        x = (images.pixels[i : i + 1].float() / 255).requires_grad_()
        F.cross_entropy(model(x), images.labels[i : i + 1]).backward()
        assert x.grad is not None
        clean = x.detach().numpy()
        attacked = np.clip(clean + np.float32(eps) * np.sign(x.grad.numpy()), 0, 1)
        with torch.no_grad():
            right.append(int(model(torch.from_numpy(attacked)).argmax()) == int(images.labels[i]))
        size.append(np.abs(attacked - clean).max())
    return np.array(right), np.array(size)


def test_robust_accuracy_is_that_of_an_explicit_loop() -> None:
    models: dict[str, nn.Module] = {"one": Net(0).train(), "two": Net(3).train()}
    images = some_images(model=Net(0))
    attacks: list[Attack] = [Fgsm(Cube(0.05)), Fgsm(Cube(0.1))]
    records = robust_accuracy(
        models, images, attacks, Settings(block=25, batch_size=7), trained_on={"one": "RandomMask(0.5)"}
    )
    assert [(r.attack, r.model) for r in records] == [
        (text, name) for text in (None, "Fgsm(Cube(0.05))", "Fgsm(Cube(0.1))") for name in ("one", "two")
    ]
    for record, eps in zip(records, (0, 0, 0.05, 0.05, 0.1, 0.1), strict=True):
        right, _ = one_by_one(models[record.model], images, eps)
        assert record.metric == "top1" and record.images == 60 and record.realizations == 1
        assert record.value == pytest.approx(right.mean(), abs=1e-12)
        assert record.stderr == pytest.approx(math.sqrt(right.mean() * (1 - right.mean()) / 60))
        assert record.severity == (eps or None) and record.data == "toys/test"
    assert records[2].value < records[0].value  # the labels are those of "one"
    assert [r.trained_on for r in records] == ["RandomMask(0.5)", None] * 3
    hashes = [r.protocol for r in records]
    assert hashes[0::2] == hashes[1::2] and len(set(hashes)) == 3


def test_the_attack_is_part_of_the_protocol() -> None:
    images, models = some_images(20), {"m": Net()}
    found = {r.attack: r for r in robust_accuracy(models, images, [PGD(L2(0.3)), PGD(L2(0.3), steps=5)])}
    assert len({r.protocol for r in found.values()}) == 3
    again = robust_accuracy(models, images, PGD(L2(0.3), steps=5), Settings(batch_size=3))[1]
    assert again == found["PGD(L2(0.3), steps=5)"]
    assert again.protocol != protocol_hash(metric="top1", data="toys/test")


def test_shares_make_the_whole(tmp_path: Path) -> None:
    models, images = {"m": Net(), "n": Net(2)}, some_images(61, model=Net())
    attacks = [Fgsm(Cube(0.1)), Noise(Cube(0.3))]
    whole = run_attacks(models, images, attacks, Settings(block=10), realizations=2)
    parts = [
        run_attacks(models, images, attacks, Settings(block=10, folder=tmp_path, share=(k, 3)), realizations=2)
        for k in (0, 2)
    ]
    assert not parts[-1].complete and parts[-1].fewest == 18 + 2 * 9 + 8 - 1  # blocks 0, 2, 3, 5, 6 of 7
    last = run_attacks(models, images, attacks, Settings(block=10, folder=tmp_path, share=(1, 3)), realizations=2)
    assert last.complete and same(last, whole)
    assert sorted(f.name for f in (tmp_path / "attacks").iterdir()) == [f"block-{b:05}.safetensors" for b in range(7)]


def same(a: Attacks, b: Attacks) -> bool:
    return a.answers.keys() == b.answers.keys() and all(
        torch.equal(a.answers[k].place, b.answers[k].place)
        and all(torch.equal(a.answers[k][name], b.answers[k][name]) for name in ("guess", "size"))
        for k in a.answers
    )


@component
class Counted:
    """Fgsm that counts its images, and stops after some as Ctrl-C does."""

    ball: Cube
    deterministic = True

    def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
        STATE["left"] -= 1
        if STATE["left"] < 0:
            raise KeyboardInterrupt
        STATE["images"] += len(images)
        return Fgsm(self.ball)(model, images, labels, keys)


STATE = {"left": 0, "images": 0}


def test_an_interrupted_sweep_goes_on_and_repeats_nothing(tmp_path: Path) -> None:
    models, images = {"m": Net(), "n": Net(2)}, some_images(model=Net())
    attacks = [Counted(Cube(eps)) for eps in (0.0, 0.05, 0.1)]
    settings = Settings(block=20, batch_size=20, folder=tmp_path)
    STATE.update(left=7, images=0)
    with pytest.raises(KeyboardInterrupt):
        run_attacks(models, images, attacks, settings)
    assert STATE["images"] == 7 * 20
    STATE.update(left=100)
    found = run_attacks(models, images, attacks, settings)
    assert STATE["images"] == 2 * 3 * 60  # every image under every attack, once
    assert same(found, run_attacks(models, images, attacks, Settings(block=20)))
    STATE.update(left=100, images=0)
    more = run_attacks(models, images, [*attacks, Counted(Cube(0.2))], settings)
    assert STATE["images"] == 2 * 60 and more.complete  # a size that comes later is all that is done


def test_time_that_is_up_leaves_what_was_done(tmp_path: Path) -> None:
    models, images, attack = {"m": Net()}, some_images(), Fgsm(Cube(0.1))
    cut = run_attacks(models, images, [attack], Settings(block=20, folder=tmp_path, minutes=1e-9))
    assert not cut.complete and [t.attack for t in cut.missing] == [attack] and cut.fewest == 20
    assert run_attacks(models, images, [attack], Settings(block=20, folder=tmp_path)).complete


def test_answers_of_another_model_are_refused(tmp_path: Path) -> None:
    images, attack = some_images(20), Fgsm(Cube(0.1))
    run_attacks({"m": Net(0)}, images, [attack], Settings(folder=tmp_path))
    with pytest.raises(InputError, match="answers of another model"):
        run_attacks({"m": Net(1)}, images, [attack], Settings(folder=tmp_path))
    with pytest.raises(InputError, match="answers of another model"):
        run_attacks({"m": Net(0)}, images, [attack], Settings(seed=1, folder=tmp_path))


def test_a_random_attack_has_its_spread_over_draws() -> None:
    models, images, attack = {"m": Net()}, some_images(model=Net()), Noise(Cube(0.4))
    _, many = robust_accuracy(models, images, attack, Settings(seed=5), realizations=3)
    singles = []
    for run in range(3):
        keys = random.fold(random.keys(5, images.index), 0x6576616C, run)
        damaged = attack(Net(), images.pixels.float() / 255, images.labels, keys)
        with torch.no_grad():
            singles.append((models["m"].eval()(damaged).argmax(dim=1) == images.labels).double().mean().item())
    assert len(set(singles)) > 1
    assert many.value == pytest.approx(np.mean(singles)) and many.realizations == 3 and many.seeds == (5,)
    assert many.stderr == pytest.approx(np.std(singles, ddof=1) / math.sqrt(3))
    _, one = robust_accuracy(models, images, attack, Settings(seed=5))
    assert one.stderr == pytest.approx(math.sqrt(singles[0] * (1 - singles[0]) / 60))


def test_modes_gradients_and_flags_are_left_alone() -> None:
    model = Net().train()
    model.norm.eval()
    model.first.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    robust_accuracy({"m": model}, some_images(20), PGD(Linf(0.1), steps=3))
    sanity_certificate(model, some_images(20), PGD(Linf(0.1), steps=3))
    assert model.training and model.drop.training and not model.norm.training
    assert not model.first.weight.requires_grad and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


# curves


class Plane(nn.Module):
    """Two classes with a plane between them: the nearest other image is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1.5, SIDE * SIDE))

    def forward(self, images: Tensor) -> Tensor:
        score = (images.flatten(1) - 0.5) @ self.weight
        return torch.stack([score, -score], dim=1)


@component
class Across:
    """Straight across the plane, and a thousandth further; it gives up on images of an even first pixel."""

    norm: str = "l2"
    stubborn: bool = True

    def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
        assert isinstance(model, Plane)
        weight = model.weight.detach()
        score = (images.flatten(1) - 0.5) @ weight
        wrong = (score > 0).long() == labels
        step = -1.001 * score[:, None] * weight / weight.square().sum()
        moved = (images.flatten(1) + step).view_as(images)
        gives_up = images[:, 0, 0, 0].mul(255).round().long() % 2 == 0
        stay = wrong | (gives_up & self.stubborn)
        return torch.where(stay.view(-1, 1, 1, 1), images, moved)


def test_a_perturbation_curve_against_the_closed_form() -> None:
    images, model = some_images(200), Plane()
    x = images.pixels.double().numpy().reshape(200, -1) / 255
    weight = model.weight.detach().double().numpy()
    score = (x - 0.5) @ weight
    expected = 1.001 * np.abs(score) / np.linalg.norm(weight)
    expected[images.pixels[:, 0, 0, 0].numpy() % 2 == 0] = np.inf
    images = MemoryImages(images.pixels, images.labels.clamp(max=1), ("a", "b"), name="toys/test")
    expected[(score <= 0).astype(int) != images.labels.numpy()] = 0
    attacked = run_attacks({"m": model}, images, [Across()], Settings(block=64))
    found = attacked.distances(attacked.runs("m", Across())[0]).numpy()
    assert np.isinf(expected).any() and (expected == 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-4)

    levels = (0.0, 0.1, 0.2, 0.5, 3.0)
    records = perturbation_curve({"m": model}, images, Across(), levels, readout="own-head")
    errors = {r.severity: r for r in records if r.metric == "error"}
    for level in levels:
        share = np.mean(expected <= level)
        assert errors[level].value == pytest.approx(share) and errors[level].attack == "Across()"
        assert errors[level].stderr == pytest.approx(math.sqrt(share * (1 - share) / 200))
    clean = robust_accuracy({"m": model}, images, [])
    assert errors[0.0].value == pytest.approx(1 - clean[0].value)
    (half,) = [r for r in records if r.metric == "median_perturbation"]
    (lost,) = [r for r in records if r.metric == "attack_failures"]
    assert half.value == pytest.approx(np.median(expected), rel=1e-4) and half.severity is None
    assert lost.value == np.mean(np.isinf(expected)) and errors[3.0].value == pytest.approx(1 - lost.value)
    assert len({r.protocol for r in records}) == len(records) and {r.readout for r in records} == {"own-head"}


def test_a_sweep_is_the_attack_at_every_size() -> None:
    models, images = {"m": Net(), "n": Net(3)}, some_images(model=Net())
    levels = (0.0, 0.05, 0.1, 0.4)
    records = perturbation_curve(models, images, Fgsm(Cube(0.9)), levels)
    errors = {(r.model, r.severity): r for r in records if r.metric == "error"}
    for name, model in models.items():
        for level in levels:
            right, _ = one_by_one(model, images, level)
            assert errors[name, level].value == pytest.approx(1 - right.mean())
            assert errors[name, level].attack == f"Fgsm(Cube({level!r}))"
    (half,) = [r for r in records if r.metric == "median_perturbation" and r.model == "m"]
    wrong = np.maximum.accumulate([errors["m", level].value for level in levels])
    assert wrong[0] < 0.5 < wrong[-1]
    assert half.value == pytest.approx(np.interp(0.5, wrong, levels)) and half.stderr is not None
    for bad in ((), (0.2, 0.1), (-0.1, 0.2)):
        with pytest.raises(InputError, match="sizes from 0 up"):
            perturbation_curve(models, images, Fgsm(Cube(0.9)), bad)
    with pytest.raises(InputError, match="no sizes are known"):
        perturbation_curve(models, images, Fgsm(Cube(0.9)))
    assert len(GRIDS["l2"]) == 8 and GRIDS["linf"][-1] == 16 / 255


def test_medians_and_their_errors() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 8, 101):
        values = rng.exponential(size=n)
        assert median(torch.from_numpy(values))[0] == pytest.approx(np.median(values))
    assert median(torch.tensor([0.0, 1.0, math.inf])) == (1.0, None)
    assert median(torch.tensor([0.0] * 10 + [math.inf] * 30)) == (math.inf, None)
    # a normal sample: sigma sqrt(pi / 2 n), in the mean over samples
    told = [median(torch.from_numpy(rng.normal(size=400)))[1] or 0.0 for _ in range(200)]
    assert np.mean(told) == pytest.approx(math.sqrt(math.pi / 2 / 400), rel=0.05)
    # thresholds that are uniform: the error is the size, and its half point spreads as sqrt(1 / 4 n)
    levels = torch.linspace(0, 1, 11, dtype=torch.float64)
    wrong = torch.from_numpy(rng.random((900, 1))) <= levels
    place, error = half_point(wrong, levels)
    assert place == pytest.approx(0.5, abs=0.05) and error == pytest.approx(math.sqrt(1 / 4 / 900), rel=0.2)
    never = torch.zeros(9, 3, dtype=torch.bool)
    assert half_point(never, levels[:3]) == (math.inf, None) and half_point(~never, levels[:3]) == (0.0, 0.0)


def test_the_table_of_single_images(tmp_path: Path) -> None:
    images, models = some_images(30, model=Net()), {"m": Net(), "n": Net(3)}
    images = MemoryImages(images.pixels, images.labels, images.classes, name="toys", index=torch.arange(30) + 100)
    result = run_attacks(models, images, [Fgsm(Cube(0.1))], Settings(block=7))
    save_samples(result, tmp_path / "samples.csv")
    with (tmp_path / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60 and [int(row["index"]) for row in rows[:30]] == list(range(100, 130))
    right, size = one_by_one(models["n"], images, 0.1)
    own = [row for row in rows if row["model"] == "n"]
    assert [row["right"] == "1" for row in own] == right.tolist()
    np.testing.assert_allclose([float(row["size"]) for row in own], size, atol=1e-6)
    for row, still in zip(own, right, strict=True):
        lost = int(row["clean_answer"]) != int(row["label"])
        assert float(row["distance"]) == (0 if lost else math.inf if still else float(row["size"]))
        assert (row["attack"], row["draw"], row["norm"]) == ("Fgsm(Cube(0.1))", "0", "cube")
    with pytest.raises(InputError, match="csv or .parquet"):
        save_samples(result, tmp_path / "samples.txt")
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(InputError, match="needs pyarrow"):
            save_samples(result, tmp_path / "samples.parquet")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["samples.csv"]


# the certificate


def certificate(model: Model, attack: Attack, images: MemoryImages | None = None) -> Mapping[str, bool]:
    images = some_images(40, model=Net()) if images is None else images
    checks = sanity_certificate(model, images, attack, limit=40)
    assert [set(check) for check in checks] == [{"claim", "passed", "detail"}] * 9
    assert all(isinstance(check["passed"], bool) and check["detail"] for check in checks)
    return {check["claim"]: check["passed"] for check in checks}


def failed(found: Mapping[str, bool]) -> list[str]:
    return [claim for claim, passed in found.items() if not passed]


@pytest.mark.parametrize("attack", [PGD(Linf(0.1)), PGD(L2(0.3)), PGD(Linf(0.1), random_start=True, restarts=2)])
def test_an_honest_model_has_a_clean_certificate(attack: Attack) -> None:
    assert failed(certificate(Net(), attack)) == []


class Stepped(Net):
    """Rounds its input, and pretends that it did not: the gradient is that of another function."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + ((images * 2).round() / 2 - images).detach())


class Dim(Net):
    """Outputs so far apart that float32 has no loss left, nor a gradient."""

    def forward(self, images: Tensor) -> Tensor:
        return 1e5 * super().forward(images)


class Sure(Net):
    """Gives probabilities."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(dim=1)


class Restless(Net):
    """Draws noise in evaluation mode."""

    def forward(self, images: Tensor) -> Tensor:
        out = super().forward(images)
        return out + torch.randn_like(out)


@component
class Lazy:
    """An attack that does nothing, whatever its eps."""

    ball: L2
    deterministic = True

    def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
        return images.clone()


def test_what_makes_a_number_too_high_is_found() -> None:
    attack = PGD(Linf(0.1), steps=5)
    assert "gradients are not masked" in failed(certificate(Stepped(), attack))
    assert "gradients are not zero" in failed(certificate(Dim(), attack))
    assert "outputs are logits, not probabilities" in failed(certificate(Sure(), Lazy(L2(0.1))))
    with torch.random.fork_rng():
        assert "randomness is disclosed" in failed(certificate(Restless(), attack))
    lazy = failed(certificate(Net(), Lazy(L2(0.3))))
    assert {"accuracy falls as eps grows", "a huge eps leaves no image right"} <= set(lazy)
    short = failed(certificate(Net(), PGD(L2(0.5), steps=2, step_size=0.05)))
    assert short == ["accuracy falls as eps grows", "more steps would not find much more"]
    assert failed(certificate(Plane(), Across(), planes())) == [
        "a huge eps leaves no image right",
        "more steps do not help the model",
        "more steps would not find much more",
    ]  # it gives up on half of the images, and has no steps
    calm = failed(certificate(Plane(), Across(stubborn=False), planes()))
    assert calm == ["more steps do not help the model", "more steps would not find much more"]


def planes() -> MemoryImages:
    images = some_images(40)
    with torch.no_grad():
        said = Plane()(images.pixels.float() / 255).argmax(dim=1)
    return MemoryImages(images.pixels, said, ("a", "b"), name="toys/test")


# bad input


def test_bad_input(tmp_path: Path) -> None:
    images, models, attack = some_images(20), {"m": Net()}, Fgsm(Cube(0.1))
    none = MemoryImages(images.pixels, name="bare")

    class Broken(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * torch.nan

    class Narrow(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images)[:, :2]

    @component
    class Odd:
        ball: Cube

        def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
            return images[:, :, 1:]

    cases: list[tuple[str, Mapping[str, Model], MemoryImages, list[Attack], dict[str, Any]]] = [
        ("not all images of 'bare' have labels", models, none, [attack], {}),
        ("expected classifiers and images", {}, images, [attack], {}),
        ("named twice", models, images, [attack, Fgsm(Cube(0.1))], {}),
        ("expected realizations", models, images, [attack], {"realizations": 0}),
        ("NaN logits", {"m": Broken()}, images, [attack], {}),
        ("labels up to 2", {"m": Narrow()}, images, [attack], {}),
        ("for images", models, images, [Odd(Cube(0.1))], {}),
    ]
    for said, classifiers, given, attacks, settings in cases:
        where = Settings(folder=tmp_path / said.replace(" ", "-"))
        with pytest.raises(InputError, match=said):
            run_attacks(classifiers, given, attacks, where, **settings)
        if said != "for images":  # the clean images were answered before the attack failed
            assert not [*tmp_path.rglob("*.safetensors")], said
    for said, given in {"a share is": {"share": (2, 2)}, "time above 0": {"minutes": 0}}.items():
        with pytest.raises(InputError, match=said):
            Settings(**given)
    with pytest.raises(InputError, match="no ball with an eps"):
        perturbation_curve(models, images, ball_without_settings(), (0.0, 0.1))


def ball_without_settings() -> Attack:
    class Plain:
        ball = Cube(0.1)

        def __call__(self, model: Model, images: Images, labels: Labels, keys: Keys) -> Images:
            return images

    return Plain()


def test_blocks_have_all_classes() -> None:
    work = Work({}, (), some_images(10), 10, (0, 1, 2), 3, BlockMemory(), 0, torch.device("cpu"), 4, 0)
    places = [work.places(AttackTrial("m"), number).tolist() for number in range(3)]
    assert places == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


def test_blocks_in_order_follow_on_one_another() -> None:
    work = Work({}, (), some_images(10), 10, (0, 1, 2), 3, BlockMemory(), 0, torch.device("cpu"), 4, 0, block=4)
    places = [work.places(AttackTrial("m"), number).tolist() for number in range(3)]
    assert places == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
