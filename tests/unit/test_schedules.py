"""Learning rates and optimizers of the contrastive papers, against the framework's schedules and loops by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from weatherproof.errors import InputError
from weatherproof.training import Plan
from weatherproof.training.optimizers import make_optimizer
from weatherproof.training.plan import Course

CPU = torch.device("cpu")


def _rates(schedule: Callable[[Any], Any], lr: float, steps: int, per: int) -> list[float]:
    """What the framework's schedule says, moved once every `per` steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    moved = schedule(optimizer)
    rates = []
    for step in range(steps):
        rates.append(moved.get_last_lr()[0])
        optimizer.step()
        if (step + 1) % per == 0:
            moved.step()
    return rates


def test_step_falls_at_its_milestones() -> None:
    course = Course(Plan(6.0, 8, 30.0, schedule="step", milestones=(2, 4), gamma=0.2), 40)
    expected = _rates(lambda o: MultiStepLR(o, [2, 4], gamma=0.2), 30.0, 30, 5)
    assert [course.lr(t) for t in range(30)] == pytest.approx(expected)
    assert expected[9] != expected[10]


def test_a_plan_over_other_epochs_keeps_its_shape() -> None:
    plan = Plan(30.0, 8, 30.0, schedule="step", milestones=(10, 20), warmup_epochs=3)
    longer = plan.over(300)
    assert (longer.epochs, longer.warmup_epochs, longer.milestones) == (300, 30, (100, 200))
    assert longer == replace(plan, epochs=300, warmup_epochs=30, milestones=(100, 200))


def test_cosine_of_epochs_moves_once_an_epoch() -> None:
    course = Course(Plan(4.0, 8, 0.03, schedule="cosine_epoch"), 40)
    assert [course.lr(t) for t in range(20)] == pytest.approx(_rates(lambda o: CosineAnnealingLR(o, 4), 0.03, 20, 5))


@pytest.mark.parametrize(("schedule", "per", "top"), [("cosine", 1, 20), ("cosine_epoch", 5, 4)])
def test_cosine_ends_at_its_floor(schedule: str, per: int, top: int) -> None:
    course = Course(Plan(4.0, 8, 0.03, schedule=schedule, floor=1e-3), 40)  # type: ignore[arg-type]
    expected = _rates(lambda o: CosineAnnealingLR(o, top, eta_min=3e-5), 0.03, 20, per)
    assert [course.lr(t) for t in range(20)] == pytest.approx(expected)


def _lars_by_hand(weights: list[Tensor], grads: list[list[Tensor]], lr: float, decay: float) -> list[Tensor]:
    """You et al. 2017: a layer's step is eta ||w|| / (||g|| + decay ||w||) times (g + decay w), then momentum 0.9."""
    moved, speeds = [w.clone() for w in weights], [torch.zeros_like(w) for w in weights]
    for step in grads:
        for w, v, g in zip(moved, speeds, step, strict=True):
            update = g.clone()
            if w.ndim > 1:
                trust = 0.001 * w.norm() / (g.norm() + decay * w.norm() + 1e-8)
                update = trust * (g + decay * w)
            v.mul_(0.9).add_(update)
            w.sub_(lr * v)
    return moved


@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_lars_adapts_weights_and_leaves_biases_and_norms(decay: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    parameters = list(net.parameters())
    start = [p.detach().clone() for p in parameters]
    grads = [[torch.randn_like(p) for p in parameters] for _ in range(3)]
    plan = Plan(1.0, 8, 1.5, weight_decay=decay, optimizer="lars")
    optimizer = make_optimizer(plan, parameters, CPU)
    for step in grads:
        for p, g in zip(parameters, step, strict=True):
            p.grad = g.clone()
        optimizer.step()
    for p, expected in zip(parameters, _lars_by_hand(start, grads, 1.5, decay), strict=True):
        torch.testing.assert_close(p.detach(), expected)


def test_nesterov_and_momentum_reach_sgd() -> None:
    start = torch.tensor([1.0, -2.0])
    ours, theirs = (start.clone().requires_grad_() for _ in range(2))
    plan = Plan(1.0, 8, 0.1, optimizer="sgd", momentum=0.8, nesterov=True, weight_decay=0.01)
    for weight, optimizer in (
        (ours, make_optimizer(plan, [ours], CPU)),
        (theirs, torch.optim.SGD([theirs], 0.1, momentum=0.8, nesterov=True, weight_decay=0.01, foreach=False)),
    ):
        for _ in range(3):
            optimizer.zero_grad()
            weight.pow(3).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
    assert not torch.equal(ours.detach(), start)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "step"}, "needs milestones"),
        ({"momentum": 1.5}, r"momentum must lie in \[0, 1\], got 1.5"),
        ({"nesterov": True, "momentum": 0.0, "optimizer": "sgd"}, "nesterov needs a momentum"),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan(1.0, 8, 0.1, **settings)
