"""PGD against a loop over images, and its best iterate, restarts, custom losses and images that leave the batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import attacks_loops as oracle
from torch import Tensor, nn

from weatherproof import attacks
from weatherproof.attacks import L1, L2, PGD, Ball, Linf, Margin
from weatherproof.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, KEYS = torch.rand(6, 2, 4, 4, generator=GENERATOR), torch.arange(6)
FIRST, SECOND = torch.randn(5, 32, generator=GENERATOR), torch.randn(4, 5, generator=GENERATOR)
BALLS = {"L1": L1(1.5), "L2": L2(0.5), "Linf": Linf(0.05)}


def model(images: Tensor) -> Tensor:
    hidden = ((images - 0.5).flatten(1) @ FIRST.T.to(images.dtype)).tanh()
    return hidden @ SECOND.T.to(images.dtype)


LABELS = model(IMAGES).argmax(dim=1)


def cross_entropy(images: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(images), LABELS, reduction="none")


@pytest.mark.parametrize("name", BALLS)
@pytest.mark.parametrize("keep", ["best", "last", "first"])
@pytest.mark.parametrize("step_size", [None, 0.3])
def test_against_a_loop(name: str, keep: str, step_size: float | None) -> None:
    ball: Ball = BALLS[name]
    attack = PGD(ball, steps=6, step_size=step_size, best=keep == "best", stop_when_fooled=keep == "first")
    size = 2.5 * ball.eps / 6 if step_size is None else step_size
    expected = [
        oracle.pgd(model, image.double().numpy(), int(label), name, ball.eps, 6, size, keep)
        for image, label in zip(IMAGES, LABELS, strict=True)
    ]
    np.testing.assert_allclose(attack(model, IMAGES, LABELS, KEYS).numpy(), np.stack(expected), atol=2e-5)


def test_the_best_iterate_is_the_start_where_every_step_is_worse() -> None:
    """Steps far beyond the ball land on the far side of a peak."""

    def peaked(images: Tensor) -> Tensor:
        height = -(images - 0.5).abs().flatten(1).mean(dim=1)
        return torch.stack([-height, height], dim=1)

    grey = torch.full((2, 1, 3, 3), 0.5)
    labels = torch.zeros(2, dtype=torch.int64)
    grey[1] += 0.01
    assert torch.equal(PGD(Linf(0.3), steps=3, step_size=0.25)(peaked, grey, labels, KEYS[:2]), grey)
    assert not torch.equal(PGD(Linf(0.3), steps=3, step_size=0.25, best=False)(peaked, grey, labels, KEYS[:2]), grey)


def test_best_is_at_least_as_high_as_the_last() -> None:
    for ball in BALLS.values():
        best, last = (PGD(ball, 5, ball.eps, best=best)(model, IMAGES, LABELS, KEYS) for best in (True, False))
        assert (cross_entropy(best) >= cross_entropy(last) - 1e-6).all()


def test_no_eps_no_change() -> None:
    for ball in (L1(0.0), L2(0.0), Linf(0.0)):
        for attack in (PGD(ball), PGD(ball, random_start=True, restarts=2), PGD(ball, stop_when_fooled=True)):
            assert torch.equal(attack(model, IMAGES, LABELS, KEYS), IMAGES)


class Counted:
    """A model that remembers how many images each call had."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.rows.append(len(images))
        return model(images)


def test_images_leave_once_they_are_fooled() -> None:
    counted, full = Counted(), Counted()
    attack = PGD(L2(0.6), steps=10, stop_when_fooled=True)
    attacked = attack(counted, IMAGES, LABELS, KEYS)
    every_step = PGD(L2(0.6), steps=10)(full, IMAGES, LABELS, KEYS)
    assert full.rows == [6] * 11
    assert counted.rows[0] == 6
    assert counted.rows == sorted(counted.rows, reverse=True)
    assert sum(counted.rows) < 40
    fooled = model(attacked).argmax(dim=1) != LABELS
    assert torch.equal(fooled, model(every_step).argmax(dim=1) != LABELS)
    assert 0 < fooled.sum() <= 6


def test_a_later_success_replaces_an_earlier_failure_and_no_success() -> None:
    """With few steps from random starts some images fall in the first run, some in a later one."""
    one, many = (PGD(Linf(0.2), 1, 0.01, restarts=runs, random_start=True) for runs in (1, 8))
    first, all_runs = (attack(model, IMAGES, LABELS, KEYS) for attack in (one, many))
    fooled_first, fooled = (model(images).argmax(dim=1) != LABELS for images in (first, all_runs))
    assert torch.equal(all_runs[fooled_first | ~fooled], first[fooled_first | ~fooled])
    assert fooled_first.sum() < fooled.sum()
    assert bool(fooled_first.any())
    counted = Counted()
    PGD(Linf(0.2), 1, 0.01, restarts=8, random_start=True)(counted, IMAGES, LABELS, KEYS)
    assert counted.rows[::2] == counted.rows[1::2]  # a gradient and a last look, for each run
    assert counted.rows[0] == 6
    assert counted.rows == sorted(counted.rows, reverse=True)
    assert counted.rows[2] == 6 - int(fooled_first.sum())


def test_margin_is_positive_where_the_model_is_wrong() -> None:
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(50) % 7
    expected = [
        max(float(row[c]) for c in range(7) if c != y) - float(row[y])
        for row, y in zip(logits, labels.tolist(), strict=True)
    ]
    margins = Margin()(logits, labels)
    torch.testing.assert_close(margins, torch.tensor(expected))
    assert torch.equal(margins > 0, logits.argmax(dim=1) != labels)


def test_margin_works_where_cross_entropy_has_no_gradient() -> None:
    """Logits of a thousand: softmax is exactly 0 or 1 in float32."""
    sure = PGD(L2(1.0), steps=10)(lambda x: 1e4 * model(x), IMAGES, LABELS, KEYS)
    margin = PGD(L2(1.0), steps=10, loss=Margin())(lambda x: 1e4 * model(x), IMAGES, LABELS, KEYS)
    assert (sure == IMAGES).flatten(1).all(dim=1).sum() >= 4
    assert (model(margin).argmax(dim=1) != LABELS).sum() > (model(sure).argmax(dim=1) != LABELS).sum()


def test_a_loss_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "losses.py"
    file.write_text("def towards_3(logits, labels):\n    return logits[:, 3] - logits.logsumexp(dim=1)\n")
    attack = attacks.parse(f"PGD(L2(0.6), loss='{file}:towards_3')")
    assert attacks.parse(repr(attack)) == attack
    attacked = attack(model, IMAGES, LABELS, KEYS)
    assert model(attacked).softmax(dim=1)[:, 3].mean() > model(IMAGES).softmax(dim=1)[:, 3].mean() + 0.1


@pytest.mark.parametrize("settings", [{}, {"best": False}, {"stop_when_fooled": True}])
def test_a_loss_of_the_whole_batch_is_refused(settings: dict[str, bool]) -> None:
    attack = PGD(L2(0.5), loss=lambda logits, labels: logits.logsumexp(dim=1).mean(), **settings)
    with pytest.raises(InputError, match=r"one number per image, \[\d+\], got \[\]"):
        attack(model, IMAGES, LABELS, KEYS)


def test_nan_on_the_way_is_said() -> None:
    def breaks(images: Tensor) -> Tensor:
        return model(images) * torch.where((images - IMAGES[: len(images)]).abs().sum() > 0, torch.nan, 1.0)

    for attack in (PGD(L2(0.5)), PGD(L2(0.5), best=False), PGD(L2(0.5), stop_when_fooled=True)):
        with pytest.raises(InputError, match="NaN logits"):
            attack(breaks, IMAGES, LABELS, KEYS)


def test_no_weight_gradient_is_computed() -> None:
    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, weight: Tensor) -> Tensor:
            return weight.clone()

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:  # type: ignore[override]
            raise AssertionError("a gradient of a weight")

    weight = nn.Parameter(SECOND.clone())
    PGD(L2(0.5), 2)(lambda x: (x.flatten(1) @ FIRST.T).tanh() @ Watched.apply(weight).T, IMAGES, LABELS, KEYS)
