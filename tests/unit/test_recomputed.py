"""Micro-batches, recomputed blocks and compiled networks: the numbers of a plain training, and what is refused."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, Preprocessing, load_encoder
from weatherproof.encoders.adapters import LoRA
from weatherproof.encoders.recomputed import blocks, blocks_recomputed, compiled
from weatherproof.errors import InputError
from weatherproof.methods import FeatureContrastive, FeatureSettings, Hardening, InstDis, KeepClean, MoCo, SimCLR
from weatherproof.objectives import MSE, Dense, NTXent, StudentBoth, StudentStudent, StudentTeacher
from weatherproof.operators import GaussianNoise
from weatherproof.training import Plan, RunFolder, fit
from weatherproof.training.recipes import harden_encoder
from weatherproof.verbs.outcome import recipe_of
from weatherproof.views import HorizontalFlip, Twice

IMAGES = MemoryImages(
    torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(24) % 4,
)
NOISE = GaussianNoise(0.2, clip=False)


class Block(nn.Module):
    def __init__(self, dropout: float, norm: bool) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.norm = nn.BatchNorm2d(6) if norm else nn.GroupNorm(2, 6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.linear(self.dropout(self.norm(self.conv(maps)).tanh()))


class Body(nn.Module):
    def __init__(self, dropout: float, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.layers = nn.Sequential(*(Block(dropout, norm) for _ in range(3)))
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(6 * 36, 6))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(self.layers(self.conv(pixels)))


def net(seed: int = 1, dropout: float = 0.0, norm: bool = False) -> Encoder:
    with random.framework_seed(seed):
        body = Body(dropout, norm)
    return Encoder("tiny", body, None, feature_dim=6, preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3, size=None))


def trained(method: nn.Module, run: RunFolder | None = None, **settings: Any) -> tuple[dict[str, Tensor], list[float]]:
    """Weights after two steps of plain SGD in float64, and the losses."""
    fixed = {"optimizer": "sgd", "schedule": "constant", "log_every": 1, "device": "cpu", "momentum": 0.0}
    plan = Plan(**{"epochs": 2.0, "batch_size": 12, "lr": 0.05, **fixed, **settings})
    rows = fit(method, IMAGES, plan, run, progress=False)
    return method.state_dict(), [row["loss"] for row in rows]


def same(one: nn.Module, other: nn.Module, closeness: float = 1e-9, **settings: Any) -> None:
    start = {name: value.clone() for name, value in one.state_dict().items()}
    (here, losses), (there, again) = trained(one), trained(other, **settings)
    assert losses == pytest.approx(again, rel=1e-6)
    assert any((here[name] - value).abs().max() > 1e-5 for name, value in start.items())
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, atol=closeness, rtol=closeness, msg=name)


def hardening(objective: Any = None, student: Encoder | None = None, **parts: Any) -> Hardening:
    return Hardening(
        student or net(1), net(0), NOISE, objective or StudentTeacher(), HorizontalFlip(), **parts
    ).double()


METHODS: dict[str, Callable[[], nn.Module]] = {
    "teacher": hardening,
    "student": lambda: hardening(StudentStudent()),
    "both": lambda: hardening(StudentBoth()),
    "nt-xent": lambda: hardening(NTXent()),
    "mse": lambda: hardening(MSE()),
    "keep": lambda: hardening(keep=KeepClean(0.5, 0.9)),
    "dense": lambda: hardening(dense=Dense(0.5, gram=1.0), side=8),
    "lora": lambda: hardening(student=LoRA(2).attach(net(0))),
    "simclr": lambda: SimCLR(net(), Twice(NOISE), nn.Linear(6, 5), NTXent()).double(),
    "moco": lambda: MoCo(net(), Twice(NOISE), nn.Linear(6, 5), queue=24, momentum=0.9, groups=4),
    "instdis": lambda: InstDis(net(), NOISE, nn.Linear(6, 5), images=24, negatives=10),
}


def contrastive(norm: bool) -> FeatureContrastive:
    """Its utility is a gradient in the midst of the step, and its noisy copies are normalised apart."""
    settings = FeatureSettings(k=40)
    return FeatureContrastive(
        net(norm=norm), nn.Linear(6, 4), settings.partner("fcl"), settings.objective("fcl"), 0.05, start=0, ramp=0
    )


@pytest.mark.parametrize("how", [{"micro_batch": 5}, {"checkpoint_gradients": True}], ids=["micro", "checkpoint"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_gradient_in_the_midst_of_a_step(how: dict[str, Any], precision: str) -> None:
    with random.framework_seed(3):
        method = contrastive(norm="checkpoint_gradients" in how)
    other = copy.deepcopy(method)
    one = {
        "precision": precision,
        "epochs": 0.5,
    }  # a single step: which pixels are useful is a choice, in later ones too
    (here, losses), (there, again) = trained(method, **one), trained(other, **one, **how)
    close = 1e-5 if precision == "32-true" else 2e-2
    assert losses == pytest.approx(again, rel=close)
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, atol=close, rtol=close, msg=name)


@pytest.mark.parametrize("how", [{"micro_batch": 5}, {"checkpoint_gradients": True}], ids=["micro", "checkpoint"])
@pytest.mark.parametrize("name", METHODS)
def test_weights_are_those_of_one_pass_over_the_whole_batch(name: str, how: dict[str, Any]) -> None:
    """float64 but for what makes unit vectors, which are float32."""
    with random.framework_seed(3):
        method = METHODS[name]()
    same(method, copy.deepcopy(method), 1e-6 if name in ("moco", "instdis") else 1e-9, **how)


def test_both_at_once_and_in_accumulated_batches() -> None:
    method = hardening()
    same(method, copy.deepcopy(method), micro_batch=4, checkpoint_gradients=True)
    first, _ = trained(hardening(), accumulate=2, batch_size=6)
    second, _ = trained(hardening(), accumulate=2, batch_size=6, micro_batch=2)
    for key, value in first.items():
        torch.testing.assert_close(second[key], value)


def test_dropout_draws_the_same_in_both_passes() -> None:
    """A gradient by differences, with the seed of the loop held."""
    encoder, images = net(dropout=0.5).double().train(), torch.rand(6, 3, 8, 8, dtype=torch.float64)
    encoder.micro_batch = 4
    weight = encoder.body.last[1].bias  # type: ignore[union-attr,index]

    def loss() -> Tensor:
        with random.framework_seed(5):
            return encoder(images).pow(3).sum()

    conv = encoder.body.conv.weight  # type: ignore[union-attr]
    value = loss()
    torch.rand(7)
    of_bias, of_conv = torch.autograd.grad(value, [weight, conv])
    with torch.no_grad():
        conv[0, 0, 0, 0] += 1e-6
        above = loss()
        conv[0, 0, 0, 0] -= 2e-6
        below = loss()
    assert float(above - below) / 2e-6 == pytest.approx(float(of_conv[0, 0, 0, 0]), rel=1e-5)
    assert of_bias.abs().max() > 0


def test_running_statistics_count_each_image_once() -> None:
    plain, again, parts = (hardening(student=net(1, norm=True)) for _ in range(3))
    expected, _ = trained(plain)
    found, _ = trained(again, checkpoint_gradients=True)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-12, rtol=1e-12, msg=name)
    with pytest.warns(UserWarning, match="takes its statistics over the micro_batch of 5 images"):
        found, _ = trained(parts, micro_batch=5)
    counted = [int(value) for name, value in found.items() if "tracked" in name and name.startswith("student")]
    assert counted == [4 * 3] * 3  # four steps, three micro-batches each


@pytest.mark.parametrize(
    "how",
    [{"micro_batch": 5, "checkpoint_gradients": True}, pytest.param({"compile": True}, marks=pytest.mark.slow)],
    ids=["in parts", "compiled"],
)
def test_an_interrupted_training_goes_on_to_the_same_bits(how: dict[str, Any], tmp_path: Path) -> None:
    def made() -> Hardening:
        return hardening(student=net(1, dropout=0.3)) if "micro_batch" in how else hardening(student=net(1)).float()

    whole, _ = trained(made(), **how, epochs=3.0)

    class Stop(Exception):
        pass

    def stopped(method: nn.Module, epoch: float) -> dict[str, float]:
        raise Stop

    vars(stopped)["every"] = 1.0
    run, method = RunFolder.open(tmp_path / "run", {}), made()
    plan = Plan(3.0, 12, 0.05, optimizer="sgd", schedule="constant", log_every=1, device="cpu", momentum=0.0,
                checkpoint_seconds=0.0, **how)  # fmt: skip
    calls = []

    def interrupting(step: int) -> None:
        calls.append(step)
        if step == 3:
            raise Stop

    method.at_step = interrupting  # type: ignore[method-assign]
    with pytest.raises(Stop):
        fit(method, IMAGES, plan, run, progress=False)
    assert calls == [0, 1, 2, 3]
    after = made()
    fit(after, IMAGES, plan, run, progress=False)
    for name, value in after.state_dict().items():
        assert torch.equal(value, whole[name]), name


def test_bfloat16_takes_both() -> None:
    """The embeddings of micro-batches are those of the batch up to bfloat16."""
    with pytest.warns(UserWarning) if not _bfloat16() else _nothing():
        one, other = (hardening().float() for _ in range(2))
        first, _ = trained(one, precision="bf16-mixed")
        second, _ = trained(other, precision="bf16-mixed", micro_batch=5, checkpoint_gradients=True)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=2e-3, rtol=2e-2, msg=name)


def _bfloat16() -> bool:
    from weatherproof.training.precision import computes_bfloat16

    return computes_bfloat16()


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet20@random", 9), ("torchvision:squeezenet1_0@random", 8), ("timm:vit_tiny_patch16_224@random", 12)],
)
def test_blocks_are_what_a_network_repeats(name: str, count: int) -> None:
    assert len(blocks(load_encoder(name, size=32).body)) == count


def test_blocks_keep_less_for_the_backward_pass() -> None:
    encoder, images = net(), torch.rand(8, 3, 8, 8)

    def kept() -> int:
        sizes: dict[int, int] = {}

        def count(value: Tensor) -> Tensor:
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            encoder(images)
        return sum(sizes.values())

    plain = kept()
    with blocks_recomputed(encoder.body, "tiny"):
        assert kept() < 0.5 * plain
    assert kept() == plain
    assert not any("forward" in vars(module) for module in encoder.modules())


class InPlace(Block):
    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.relu_())


def test_what_cannot_be_done_is_said_in_a_line() -> None:
    flat = Encoder("flat", nn.Sequential(nn.Flatten(), nn.Linear(192, 6)), None, feature_dim=6,
                   preprocessing=Preprocessing((0.0,) * 3, (1.0,) * 3, size=None))  # fmt: skip
    with pytest.raises(InputError, match="flat has none"):
        trained(Hardening(flat, net(0), NOISE, MSE()), checkpoint_gradients=True)
    rash = net()
    rash.body.layers[1] = InPlace(0.0, False)  # type: ignore[union-attr,index,operator]
    with pytest.raises(InputError, match="changes its input in place"):
        trained(Hardening(rash, net(0), NOISE, MSE()), checkpoint_gradients=True)
    with pytest.raises(InputError, match="normalisation in groups"):
        trained(MoCo(net(norm=True), Twice(NOISE), nn.Linear(6, 5), queue=24, groups=4), micro_batch=4)
    with pytest.raises(InputError, match="teacher_bn='eval'"):
        trained(Hardening(net(1), net(0), NOISE, MSE(), teacher_bn="batch"), micro_batch=4)
    with pytest.raises(InputError, match="dense"):
        trained(hardening(dense=Dense(0.5), side=8), compile=True)
    with pytest.raises(InputError, match="micro_batch must be from 1"):
        Plan(1.0, 8, 0.1, micro_batch=0)
    with pytest.raises(InputError, match="leave checkpoint_gradients or it out"):
        Plan(1.0, 8, 0.1, compile=True, checkpoint_gradients=True)


def test_recipes_of_before_are_recognised() -> None:
    given = {"encoder": "e", "options": {"micro_batch": None, "checkpoint_gradients": False, "compile": False}}
    assert recipe_of("harden", given) == {"verb": "harden", "encoder": "e"}
    assert recipe_of("harden", {"options": {"micro_batch": 8, "compile": True}}) == {
        "verb": "harden", "micro_batch": 8, "compile": True,
    }  # fmt: skip
    assert repr(Plan(1.0, 8, 0.1)) == "Plan(1.0, 8, 0.1)"


@pytest.mark.slow
@pytest.mark.parametrize("adapted", [False, True])
def test_a_compiled_training_learns_the_same_under_plain_names(adapted: bool) -> None:
    def made() -> Hardening:
        return hardening(student=LoRA(2).attach(net(0)) if adapted else None).float()

    expected, _ = trained(made())
    for settings in ({}, {"micro_batch": 6}):
        found, _ = trained(made(), compile=True, **settings)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_what_does_not_compile_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def fails(module: nn.Module) -> None:
        raise TorchDynamoException("no compiler\nfound")

    monkeypatch.setattr(nn.Module, "compile", fails)
    with pytest.raises(InputError, match=r"torch.compile fails here \(no compiler\): leave compile out"):
        trained(hardening(), compile=True)


def test_hardening_takes_the_plan(tmp_path: Path) -> None:
    plan = Plan(1.0, 12, 0.05, device="cpu", micro_batch=5, checkpoint_gradients=True)
    student = harden_encoder(
        net(0), IMAGES, operator=NOISE, objective=StudentTeacher(), plan=plan, progress=False,
        adapt=LoRA(2), run=RunFolder.open(tmp_path / "run", {}),
    )  # fmt: skip
    assert student.micro_batch is None
    assert student(torch.rand(2, 3, 8, 8)).isfinite().all()


@pytest.mark.slow
def test_two_processes_in_micro_batches_equal_one_with_the_whole_batch() -> None:
    """The negatives of all images of all processes, whichever pass they were in."""
    expected, losses = trained(hardening(StudentBoth()))
    found, again = trained(hardening(StudentBoth()), devices=2, micro_batch=4, checkpoint_gradients=True)
    assert losses == pytest.approx(again, rel=1e-6)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-9, rtol=1e-9, msg=name)


@pytest.mark.slow
def test_the_compiler_tells_its_developers_nothing_and_as_before_afterwards() -> None:
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.isEnabledFor(logging.WARNING)
    with compiled(net(0)):
        assert not logger.isEnabledFor(logging.WARNING) and logger.isEnabledFor(logging.ERROR)
    assert logger.isEnabledFor(logging.WARNING) == before
