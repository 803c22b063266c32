"""The same attack by public libraries, from the same start, where they are installed; and AutoAttack."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weatherproof import attacks
from weatherproof.attacks import L1, L2, PGD, AutoAttack, Linf
from weatherproof.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, KEYS = torch.rand(60, 3, 16, 16, generator=GENERATOR), torch.arange(60)
STEPS = 10
EACH = [("L2", 0.15), ("L2", 0.4), ("Linf", 1 / 255), ("Linf", 4 / 255)]  # foolbox has no exact L1


def network(classes: int = 6) -> nn.Module:
    generator = torch.Generator().manual_seed(2)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, classes))
    for weight in model.parameters():
        weight.data = 0.25 * torch.randn(weight.shape, generator=generator)
    return model.eval()


MODEL = network()
LABELS = MODEL(IMAGES).argmax(dim=1)


def imported(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        return pytest.importorskip(name, reason=f"{name} is not installed: pip install {name}")


def torchattacks(norm: str, eps: float, size: float) -> Callable[[Tensor, Tensor], Tensor]:
    kind = {"L2": "PGDL2", "Linf": "PGD"}[norm]
    return getattr(imported("torchattacks"), kind)(MODEL, eps=eps, alpha=size, steps=STEPS, random_start=False)


def foolbox(norm: str, eps: float, size: float) -> Callable[[Tensor, Tensor], Tensor]:
    package = imported("foolbox")
    attack = getattr(package.attacks, f"{norm}PGD")(abs_stepsize=size, steps=STEPS, random_start=False)
    wrapped = package.PyTorchModel(MODEL, bounds=(0, 1))
    return lambda images, labels: attack(wrapped, images, labels, epsilons=[eps])[1][0]


@pytest.mark.parametrize(("norm", "eps"), EACH)
@pytest.mark.parametrize("peer", [torchattacks, foolbox])
def test_the_same_images_fall(peer: Callable[..., Callable[[Tensor, Tensor], Tensor]], norm: str, eps: float) -> None:
    theirs = peer(norm, eps, 2.5 * eps / STEPS)(IMAGES, LABELS)
    ours = PGD({"L2": L2, "Linf": Linf}[norm](eps), STEPS, best=False)(MODEL, IMAGES, LABELS, KEYS)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    fallen, others = (MODEL(images).argmax(dim=1) != LABELS for images in (ours, theirs))
    assert (fallen != others).sum() <= 1
    assert 0 < fallen.sum() < 60 or eps > 0.015


@pytest.mark.parametrize("ball", [L2(0.3), Linf(2 / 255), L1(3.0)])
def test_auto_attack(ball: L1 | L2 | Linf) -> None:
    imported("pyautoattack")
    model, few = network().train(), slice(0, 12)
    state = torch.get_rng_state()
    attack = AutoAttack(ball, "rand")  # no Square, which takes thousands of looks
    attacked = attack(model, IMAGES[few], LABELS[few], KEYS[few])
    assert torch.equal(attack(model, IMAGES[few], LABELS[few], KEYS[few]), attacked)
    assert ball.size(attacked - IMAGES[few]).max() <= ball.eps + 1e-6
    assert 0 <= attacked.min()
    assert attacked.max() <= 1
    pgd = PGD(ball, stop_when_fooled=True)(MODEL, IMAGES[few], LABELS[few], KEYS[few])
    wrong, by_pgd = (MODEL(images).argmax(dim=1) != LABELS[few] for images in (attacked, pgd))
    assert wrong.sum() >= by_pgd.sum() > 0
    assert model.training
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_auto_attack_refuses_models_of_three_classes() -> None:
    imported("pyautoattack")
    with pytest.raises(InputError, match="at least 4 classes, this one has 3"):
        AutoAttack(L2(0.3))(network(3), IMAGES[:4], torch.zeros(4, dtype=torch.int64), KEYS[:4])


def test_auto_attack_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    attack = attacks.parse("AutoAttack(L2(0.3), version='plus')")
    assert attacks.parse(repr(attack)) == attack
    with pytest.raises(InputError, match=r"pip install 'weatherproof\[attacks\]'"):
        attack(MODEL, IMAGES, LABELS, KEYS)
