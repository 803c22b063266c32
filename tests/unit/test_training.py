"""The loop: what it computes, what it writes, what it refuses, what it costs."""

import copy
import math
import re
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.encoders.layout import convolutions_channels_last, crashes_with_channels_last
from weatherproof.errors import InputError
from weatherproof.training import Plan, RunFolder, TrainingError, fit, loop, state
from weatherproof.training.plan import Course
from weatherproof.training.precision import fast_precision
from weatherproof.training.processes import make_fabric

IMAGES = MemoryImages(
    torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)),
    torch.arange(40) % 4,
    index=torch.arange(40) + 100,
)


class Classify(nn.Module):
    """A method: cross-entropy of a small convolutional network. Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        with random.framework_seed(1):
            self.conv = nn.Conv2d(3, 5, 3)
            self.linear = nn.Linear(5, 4)
        self.seen: list[tuple[list[int], list[int]]] = []
        self.draws: list[float] = []

    def forward(self, images: Tensor, labels: Tensor, index: Tensor, keys: Tensor, gather: Any) -> dict[str, Tensor]:
        self.seen.append((index.tolist(), keys.tolist()))
        self.draws.append(torch.rand(()).item())
        loss = F.cross_entropy(self.linear(self.conv(images).relu().mean(dim=(2, 3))), labels)
        return {"loss": loss, "twice": 2 * loss.detach()}


class Explode(Classify):
    """The loss is no number from one call on, or its gradient is none."""

    def __init__(self, call: int, gradient: bool = False) -> None:
        super().__init__()
        self.call, self.gradient = call, gradient

    def forward(self, *args: Any) -> dict[str, Tensor]:
        terms = super().forward(*args)
        if len(self.seen) < self.call:
            return terms
        zero = self.linear.bias.sum() * 0
        return {"loss": terms["loss"] + (zero.abs().sqrt() if self.gradient else zero + math.nan)}


def _fit(method: nn.Module, run: RunFolder | None = None, **settings: Any) -> list[dict[str, Any]]:
    plan = Plan(**{"epochs": 2.0, "batch_size": 8, "lr": 0.01, "device": "cpu", **settings})
    return fit(method, IMAGES, plan, run, progress=False)


def _by_hand(optimizer: str, decay: float) -> Classify:
    """Two epochs written out, with the framework's unfused optimizers and plain memory formats."""
    method = Classify()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    momentum = {"momentum": 0.9} if optimizer == "sgd" else {}
    steps = kind(method.parameters(), lr=0.01, weight_decay=decay, foreach=False, **momentum)
    annealed = torch.optim.lr_scheduler.CosineAnnealingLR(steps, T_max=10)
    for epoch in range(2):
        for rows in random.order(0, epoch, 40).split(8):
            images, index = IMAGES.read(rows).float() / 255, IMAGES.index[rows]
            keys = random.fold(random.keys(0, index), epoch)
            method(images, IMAGES.labels[rows], index, keys, None)["loss"].backward()
            steps.step()
            steps.zero_grad()
            annealed.step()
    return method


@pytest.mark.parametrize(("optimizer", "decay"), [("adam", 1e-2), ("adamw", 1e-2), ("sgd", 0.0)])
def test_equals_a_loop_by_hand(optimizer: str, decay: float) -> None:
    expected, method = _by_hand(optimizer, decay), Classify()
    _fit(method, optimizer=optimizer, weight_decay=decay)
    assert method.seen == expected.seen  # the same images with the same keys in the same order
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(method.state_dict()[name], value, msg=name)
    assert not method.training
    assert method.conv.weight.is_contiguous()


def test_accumulated_batches_make_one_step() -> None:
    one, four = Classify(), Classify()
    _fit(one, batch_size=16)
    _fit(four, batch_size=4, accumulate=4, drop_last=False, epochs=2.0)
    # 40 images: 2 whole batches of 16 drop 8 images; 4 x 4 = 16, and a last step of the 8 left over
    assert Course(Plan(2.0, 4, 0.01, accumulate=4), 40).steps == 6
    assert [len(index) for index, _ in four.seen] == [4] * 20
    assert [i for index, _ in four.seen[:4] for i in index] == one.seen[0][0]


def test_accumulated_gradient_is_the_gradient_of_the_whole() -> None:
    one, four = Classify(), Classify()
    for method, size, parts in ((one, 40, 1), (four, 10, 4)):
        _fit(method, batch_size=size, accumulate=parts, optimizer="sgd", epochs=3.0)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(four.state_dict()[name], value, msg=name)


def test_log_rows(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, {})
    rows = _fit(Classify(), run, epochs=5.0, log_every=10)
    assert [row["step"] for row in rows] == [1, 10, 20, 25]
    assert rows == run.rows()
    assert set(rows[0]) == {"step", "epoch", "loss", "twice", "lr", "images_per_second"}
    assert rows[1]["epoch"] == 2.0
    assert all(row["twice"] == pytest.approx(2 * row["loss"]) and row["images_per_second"] > 0 for row in rows)
    assert rows[0]["lr"] == 0.01
    assert fit(Classify(), IMAGES, Plan(5.0, 8, 0.01, device="cpu"), run, progress=False) == rows  # done: nothing to do


def test_fit_is_a_function_of_its_seed_and_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    methods = [Classify(), Classify(), Classify()]
    for method, seed in zip(methods, (0, 0, 1), strict=True):
        _fit(method, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert methods[0].draws == methods[1].draws != methods[2].draws  # what dropout would draw
    assert len(set(methods[0].draws)) == len(methods[0].draws)
    assert torch.equal(methods[0].conv.weight, methods[1].conv.weight)
    assert not torch.equal(methods[0].conv.weight, methods[2].conv.weight)


@pytest.mark.parametrize(
    ("n", "drop_last", "sizes"),
    [
        (40, None, [16, 16]),
        (40, False, [16, 16, 8]),
        (40, True, [16, 16]),
        (9, None, [9]),
        (9, True, [9]),
        (16, None, [16]),
    ],
)
def test_which_batches_an_epoch_has(n: int, drop_last: bool | None, sizes: list[int]) -> None:
    method = Classify()
    plan = Plan(1.0, 16, 0.01, drop_last=drop_last, device="cpu")
    fit(method, IMAGES.subset(torch.arange(n)), plan, progress=False)
    assert [len(index) for index, _ in method.seen] == sizes
    assert Course(plan, n).steps_per_epoch == len(sizes)


@pytest.mark.parametrize("n", [9, 40, 47])
def test_shares_join_to_the_batches_of_one_process(n: int) -> None:
    order = random.order(3, 0, n)
    alone = Course(Plan(1.0, 16, 0.01, drop_last=False), n)
    shared = Course(Plan(1.0, 16, 0.01, drop_last=False, devices=4), n)
    batches = alone.share(order, 0).split(16)
    shares = [shared.share(order, rank).split(4) for rank in range(4)]
    assert len({len(share) for share in shares}) == 1
    for step, rows in enumerate(zip(*shares, strict=True)):
        joined = torch.cat(rows)
        assert torch.equal(joined, batches[step][: len(joined)])
        assert len(batches[step]) - len(joined) < 4


def test_schedules_against_the_framework() -> None:
    def framework(total: int, per: int, steps: int) -> list[float]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
        rates = []
        for step in range(steps):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            if (step + 1) % per == 0:
                schedule.step()
        return rates

    cosine = Course(Plan(3.0, 8, 0.1), 40)
    assert [cosine.lr(t) for t in range(15)] == pytest.approx(framework(15, 1, 15))
    as_run = Course(Plan(3.0, 256, 0.1, schedule="as_run"), 2560)
    assert [as_run.lr(t) for t in range(30)] == pytest.approx(framework(494, 10, 30))  # spec, section 5: T_max 494
    assert Course(Plan(26.0, 256, 1.0, schedule="as_run"), 256).lr(25) == pytest.approx(0.994, abs=5e-4)
    assert Course(Plan(26.0, 1024, 1.0, schedule="as_run"), 1024).lr(25) == pytest.approx(0.902, abs=1e-3)
    warm = Course(Plan(3.0, 8, 0.1, schedule="constant", warmup_epochs=1.0), 40)
    assert [warm.lr(t) for t in range(7)] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tmp_path: Path, gradient: bool) -> None:
    run = RunFolder.open(tmp_path, {})
    with pytest.raises(TrainingError, match=r"became nan at step 5: lower lr .*checkpoint.pt holds step 4") as caught:
        _fit(Explode(5, gradient), run, checkpoint_seconds=0.0)
    assert "\n" not in str(caught.value)
    saved = run.load_checkpoint()
    assert saved is not None
    assert saved["step"] == 4
    assert all(value.isfinite().all() for value in saved["weights"].values())


def test_a_loss_that_is_no_number_stops_without_a_run() -> None:
    method = Explode(3)
    with pytest.raises(TrainingError, match="loss became nan at step 3: .* nothing was saved yet"):
        _fit(method)
    assert all(p.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0.0}, "epochs must be a positive number"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"lr": math.nan}, "lr must be a positive number"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        (
            {"batch_size": 9, "devices": 2},
            "batch_size 9 cannot be shared evenly by 2 devices: a multiple of 2 can, such as 10",
        ),
        ({"device": "cpu", "precision": "16-mixed"}, "needs a GPU: use '32-true' or 'bf16-mixed'"),
        ({"device": "tpu"}, "device must be 'auto'"),
        ({"device": "cuda:99"}, "needs more GPUs than"),
    ],
)
def test_plans_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _fit(Classify(), **settings)


def test_plan_is_its_text() -> None:
    assert repr(Plan(4.0, 256, 3e-4, schedule="as_run")) == "Plan(4.0, 256, 0.0003, schedule='as_run')"


def test_images_that_cannot_be() -> None:
    method = Classify()
    method.needs_labels = True  # type: ignore[assignment]
    unlabelled = MemoryImages(IMAGES.pixels, torch.where(torch.arange(40) < 12, -1, 0))
    with pytest.raises(InputError, match="12 of 40 have none"):
        fit(method, unlabelled, Plan(1.0, 8, 0.01), progress=False)
    with pytest.raises(InputError, match="holds no images"):
        fit(method, IMAGES.subset(torch.arange(0)), Plan(1.0, 8, 0.01), progress=False)


def test_another_training_s_checkpoint_is_refused(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, {})
    _fit(Classify(), run)
    with pytest.raises(InputError, match="number of steps 10 there and 15 here"):
        _fit(Classify(), run, epochs=3.0)
    frozen = Classify()
    frozen.conv.requires_grad_(False)
    with pytest.raises(InputError, match="frozen weights"):
        _fit(frozen, run)


def test_a_checkpoint_under_another_rule_that_numbers_images_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random keys are made of the numbers. A checkpoint that says nothing of the rule is of the first one."""
    run = RunFolder.open(tmp_path, {})
    _fit(Classify(), run)
    saved = run.load_checkpoint()
    assert saved is not None
    del saved["belongs"]["version of the rule that numbers images"]
    for checkpoint in (run.load_checkpoint(), saved):
        assert checkpoint is not None
        run.save_checkpoint(checkpoint)
        _fit(Classify(), run)
        run.save_checkpoint(checkpoint)
        with monkeypatch.context() as patch:
            patch.setattr(state, "IDENTITY", 2)
            with pytest.raises(InputError, match="version of the rule that numbers images 1 there and 2 here; delete"):
                _fit(Classify(), run)


def test_frozen_weights_are_not_in_the_checkpoint(tmp_path: Path) -> None:
    run = RunFolder.open(tmp_path, {})
    method = Classify()
    method.conv.requires_grad_(False)
    _fit(method, run)
    saved = run.load_checkpoint()
    assert saved is not None
    assert set(saved["weights"]) == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize("computes", [True, False])
def test_bfloat16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch, computes: bool) -> None:
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: computes)
    assert fast_precision() == ("bf16-mixed" if computes else "32-true")
    with nullcontext() if computes else pytest.warns(UserWarning, match="several times slower than '32-true'"):
        make_fabric(Plan(1.0, 8, 0.01, precision="bf16-mixed", device="cpu"))
    make_fabric(Plan(1.0, 8, 0.01, device="cpu"))


def test_mixed_precision_learns() -> None:
    method = Classify()
    rows = _fit(method, precision="bf16-mixed", epochs=20.0, lr=0.05)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert method.conv.weight.dtype == torch.float32


def test_progress_is_silent_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    fit(Classify(), IMAGES, Plan(1.0, 8, 0.01, precision="bf16-mixed", device="cpu"), progress=True)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("every_phase")
def test_a_training_says_how_far_it_is_and_what_has_come_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    fit(Classify(), IMAGES, Plan(1.0, 8, 0.01, device="cpu"), label="hardening", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    told = err.splitlines()[-1]
    assert re.fullmatch(
        r"hardening: 5 of 5 steps, [\d.,]+ a second, epoch 1\.0, loss \d.*, \d+ images/s, about 0:00 left", told
    )


@pytest.mark.usefixtures("every_phase")
def test_a_training_without_progress_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    fit(Classify(), IMAGES, Plan(1.0, 8, 0.01, device="cpu"), progress=False)
    assert capfd.readouterr() == ("", "")


def test_tensorboard_gets_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    _fit(Classify(), RunFolder.open(tmp_path, {}), tensorboard=True)
    assert [file.name.startswith("events.out") for file in (tmp_path / "tensorboard").iterdir()] == [True]


class Deep(nn.Module):
    """Enough arithmetic that a step is work: a stack of convolutions at 32 x 32."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 16, 16, 16, 16]
        self.body = nn.Sequential(
            *[nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
              for a, b in pairwise(widths)],
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
        )  # fmt: skip

    def forward(self, images: Tensor, labels: Tensor, index: Tensor, keys: Tensor, gather: Any) -> dict[str, Tensor]:
        return {"loss": F.cross_entropy(self.body(images), labels)}


class Grid(Classify):
    """Convolutions beside a parameter and a buffer of four dimensions, as a transformer's position embeddings are."""

    def __init__(self) -> None:
        super().__init__()
        self.there, self.back = nn.Conv2d(3, 6, 3, padding=1), nn.ConvTranspose2d(6, 3, 3, padding=1)
        self.places = nn.Parameter(torch.zeros(2, 3, 8, 8))
        self.register_buffer("mask", torch.ones(2, 3, 8, 8))
        self.scattered = set[str]()

    def forward(self, images: Tensor, labels: Tensor, index: Tensor, keys: Tensor, gather: Any) -> dict[str, Tensor]:
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        self.scattered = {name for name, own in tensors.items() if own.ndim == 4 and not own.is_contiguous()}
        seen = self.back(self.there(images + self.places.mean(dim=0))) * self.get_buffer("mask").mean(dim=0)
        return super().forward(seen, labels, index, keys, gather)


def test_channels_last_is_for_the_kernels_of_convolutions_alone() -> None:
    method = Grid()
    _fit(method)
    assert method.scattered == {"conv.weight", "there.weight", "back.weight"}
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3))
    convolutions_channels_last(convolution)
    direction = convolution.get_parameter("parametrizations.weight.original1")
    assert direction.is_contiguous(memory_format=torch.channels_last)


def test_where_convolutions_alone_have_four_dimensions_a_training_is_what_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images, plan = MemoryImages(pixels, torch.arange(32) % 4), Plan(2.0, 8, 0.01, device="cpu")
    torch.manual_seed(0)
    ours = Deep()
    whole = copy.deepcopy(ours)
    fit(ours, images, plan, progress=False)
    monkeypatch.setattr(loop, "convolutions_channels_last", lambda method: method.to(memory_format=torch.channels_last))
    fit(whole, images, plan, progress=False)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in ours.state_dict().items())


def test_where_channels_last_would_write_beyond_its_memory_is_known() -> None:
    assert crashes_with_channels_last(nn.Sequential(nn.Conv2d(3, 48, 1, stride=2)))
    for sound in (nn.Conv2d(3, 48, 1), nn.Conv2d(3, 48, 3, stride=2), nn.Conv2d(64, 48, 1, stride=2), Classify()):
        assert not crashes_with_channels_last(sound)
