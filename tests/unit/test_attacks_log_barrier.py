"""The log-barrier attack against a loop over images, and its proximal steps against what they must minimise."""

import numpy as np
import pytest
import torch
from oracles import attacks_loops as oracle
from torch import Tensor

from weatherproof import random
from weatherproof.attacks import LogBarrier
from weatherproof.attacks.proximal import prox_l0, prox_l2, prox_linf

GENERATOR = torch.Generator().manual_seed(0)
IMAGES, KEYS = torch.rand(6, 2, 4, 4, generator=GENERATOR), torch.arange(6) + 40
FIRST, SECOND = 2 * torch.randn(5, 32, generator=GENERATOR), torch.randn(4, 5, generator=GENERATOR)
NORMS = ("l2", "l0", "linf")
PROX = {"l2": prox_l2, "l0": prox_l0, "linf": prox_linf}


def model(images: Tensor) -> Tensor:
    hidden = ((images - 0.5).flatten(1) @ FIRST.T.to(images.dtype)).tanh()
    return hidden @ SECOND.T.to(images.dtype)


LABELS = model(IMAGES).argmax(dim=1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("weight", [0.02, 0.5, 1.0, 3.0])
def test_proximal_steps(norm: str, weight: float) -> None:
    s = torch.randn(5, 2, 3, 4, generator=torch.Generator().manual_seed(1)) * torch.tensor([1e-3, 0.1, 1, 2, 10]).view(
        -1, 1, 1, 1
    )
    found = PROX[norm](s, weight)
    expected = np.stack([oracle.prox(row.double().numpy(), weight, norm) for row in s])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_proximal_steps_are_the_lowest_points(norm: str) -> None:
    """Nothing near and nothing on the way to s or 0 is lower than |t - s|^2 / 2 + T m(t)."""
    s = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).float()

    def height(t: Tensor) -> float:
        return float((t - s).double().square().sum() / 2) + 0.7 * oracle.size(
            t.double().numpy(), {"l2": "L2"}.get(norm, norm)
        )

    lowest = PROX[norm](s, 0.7)
    rivals = [lowest * share for share in (0, 0.5, 0.9, 0.99, 1.01)] + [
        lowest + share * (s - lowest) for share in (0.01, 0.5, 1)
    ]
    rivals += [lowest + 0.05 * torch.randn(s.shape, generator=torch.Generator().manual_seed(k)) for k in range(50)]
    assert height(lowest) <= min(map(height, rivals)) + 1e-6


def test_the_published_steps() -> None:
    s = torch.tensor([0.05, 0.1, 0.15, 0.2, -1.0, 2.0]).view(1, 1, 2, 3)
    assert prox_l0(s, 0.01).flatten().tolist() == pytest.approx([0, 0, 0.15, 0.2, -1, 2])  # beyond 0.1414
    assert prox_l0(s, 0.01, reference_compat=True).flatten().tolist() == s.flatten().tolist()  # beyond 0.01414
    assert torch.equal(prox_l0(s, 1.0), prox_l0(s, 1.0, reference_compat=True))
    assert not prox_linf(s / 100, 0.5).any()  # inside the l1 ball
    simplex = prox_linf(s / 100, 0.5, reference_compat=True)
    expected = s.numpy() / 100 - 0.5 * oracle.simplex_by_bisection(s.double().numpy() / 50, 1.0)
    np.testing.assert_allclose(simplex.numpy(), expected, atol=1e-6)
    assert simplex.any()


def start(image: Tensor, label: int, key: Tensor) -> np.ndarray:  # type: ignore[type-arg]
    for k in range(1000):
        noise = random.normals(random.fold(key[None], k), tuple(image.shape))[0]
        noisy = (image + 0.01 * 1.01**k * noise).clamp(0, 1)
        if int(model(noisy[None]).argmax()) != label:
            return noisy.double().numpy()
    raise AssertionError("no noise fools the model")


@pytest.mark.parametrize(
    ("norm", "weight"),
    [
        ("l2", 1.0),
        ("linf", 1.0),
        ("l0", 0.02),
        *(pytest.param(*own, 0.05, marks=pytest.mark.slow) for own in (["l2"], ["linf"], ["l0"])),
    ],
)  # few steps: past a jump of the L0 step or a hair's breadth from the boundary float32 and float64 part
def test_against_a_loop(norm: str, weight: float) -> None:
    settings = {"dt": 0.1, "alpha": 0.1, "beta": 0.75, "gamma": 0.05, "prox": weight}
    found, distance = LogBarrier(norm, outer=2, inner=3, prox=weight).minimal(model, IMAGES, LABELS, KEYS)
    for image, label, key, x, far in zip(IMAGES, LABELS.tolist(), KEYS, found, distance, strict=True):
        expected, nearest = oracle.log_barrier(
            model, image.double().numpy(), start(image, label, key), label, norm, 2, 3, **settings
        )
        np.testing.assert_allclose(x.numpy(), expected, atol=1e-4)
        assert float(far) == pytest.approx(nearest, abs=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_distances_are_those_of_misclassified_images(norm: str) -> None:
    attack = LogBarrier(norm, outer=4, inner=8)
    found, distance = attack.minimal(model, IMAGES, LABELS, KEYS)
    torch.testing.assert_close(distance, attack.size(found - IMAGES))
    assert (model(found).argmax(dim=1) != LABELS).all()
    begun = torch.stack([torch.from_numpy(start(*each)) for each in zip(IMAGES, LABELS.tolist(), KEYS, strict=True)])
    assert (distance <= attack.size(begun.float() - IMAGES)).all()
    if norm != "l0":
        assert distance.sum() < 0.7 * attack.size(begun.float() - IMAGES).sum()


def test_the_way_to_a_plane() -> None:
    """Two classes apart by a plane: the distance is known, |w (x - middle)| / |w|."""
    normal = torch.randn(32, generator=torch.Generator().manual_seed(5))

    def plane(images: Tensor) -> Tensor:
        side = (images - 0.5).flatten(1) @ normal
        return torch.stack([side, -side], dim=1)

    grey = 0.5 + 0.05 * torch.randn(8, 2, 4, 4, generator=torch.Generator().manual_seed(6))
    labels = plane(grey).argmax(dim=1)
    exact = ((grey - 0.5).flatten(1) @ normal).abs() / normal.norm()
    distance = LogBarrier("l2", outer=12, inner=20).minimal(plane, grey, labels, torch.arange(8))[1]
    assert (distance >= exact - 1e-5).all()
    assert (distance / exact).median() < 1.2


def test_images_that_are_wrong_already_do_not_move() -> None:
    found, distance = LogBarrier(outer=2, inner=2).minimal(model, IMAGES, (LABELS + 1) % 4, KEYS)
    assert torch.equal(found, IMAGES)
    assert not distance.any()


def test_an_image_that_nothing_fools_is_marked() -> None:
    """The loss has a gradient, but no image is of another class."""

    def stubborn(images: Tensor) -> Tensor:
        bright = images.flatten(1).mean(dim=1)
        return torch.stack([bright + 2, -bright], dim=1)

    found, distance = LogBarrier(outer=1, inner=1, draws=3).minimal(
        stubborn, IMAGES, torch.zeros(6, dtype=torch.int64), KEYS
    )
    assert distance.isinf().all()
    assert torch.equal(found, IMAGES)


def test_an_image_that_no_noise_fools_is_led_up_the_loss() -> None:
    def bright(images: Tensor) -> Tensor:
        light = images.flatten(1).mean(dim=1) - 0.95
        return torch.stack([-light, light], dim=1)

    found, distance = LogBarrier(outer=3, inner=10, draws=2).minimal(
        bright, IMAGES, torch.zeros(6, dtype=torch.int64), KEYS
    )
    assert distance.isfinite().all()
    assert (found.flatten(1).mean(dim=1) >= 0.95).all()
