"""Each ball's start, step, projection and size, against loops over the elements."""

import numpy as np
import pytest
import torch
from oracles import attacks_loops as oracle
from torch import Tensor

from weatherproof import attacks
from weatherproof.attacks import L1, L2, Ball, Linf
from weatherproof.attacks.projections import onto_l1_ball, onto_simplex
from weatherproof.errors import InputError

GENERATOR = torch.Generator().manual_seed(0)
CLEAN = torch.rand(6, 3, 5, 4, generator=GENERATOR)
FAR = CLEAN + torch.randn(6, 3, 5, 4, generator=GENERATOR) * torch.tensor([0, 1e-3, 0.1, 0.5, 2, 50]).view(-1, 1, 1, 1)
NAMES = {"L1": L1, "L2": L2, "Linf": Linf}
every = pytest.mark.parametrize("name", NAMES)


def rows(images: Tensor) -> list[np.ndarray]:  # type: ignore[type-arg]
    return [image.double().numpy() for image in images]


@every
@pytest.mark.parametrize("eps", [0.0, 0.01, 0.3, 1.0])
def test_projection(name: str, eps: float) -> None:
    expected = np.stack([oracle.project(x, c, name, eps) for x, c in zip(rows(FAR), rows(CLEAN), strict=True)])
    found = NAMES[name](eps).project(FAR, CLEAN)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
    assert NAMES[name](eps).size(found - CLEAN).max() <= eps + 1e-6


@every
def test_projection_of_many_elements_stays_inside(name: str) -> None:
    """In float32 the rounding of each element adds up."""
    generator = torch.Generator().manual_seed(1)
    clean = torch.rand(2, 3, 96, 96, generator=generator)
    far = clean + 0.1 * torch.randn(clean.shape, generator=generator)
    eps = {"L1": 300.0, "L2": 5.0, "Linf": 0.1}[name]
    apart = (NAMES[name](eps).project(far, clean).double() - clean.double()).flatten(1)
    assert torch.linalg.vector_norm(apart, {"L1": 1, "L2": 2, "Linf": torch.inf}[name], dim=1).max() <= eps + 1e-6


@every
def test_projection_leaves_inner_points(name: str) -> None:
    near = CLEAN[:2].clamp(0.01, 0.99) + 1e-4
    torch.testing.assert_close(NAMES[name](0.3).project(near, CLEAN[:2].clamp(0.01, 0.99)), near)


@every
def test_size(name: str) -> None:
    expected = [oracle.size(x, name) for x in rows(FAR - CLEAN)]
    np.testing.assert_allclose(NAMES[name](0.5).size(FAR - CLEAN).numpy(), expected, rtol=1e-5)


@every
def test_the_steepest_step_has_size_1(name: str) -> None:
    gradient = (FAR - CLEAN)[1:]
    ball: Ball = NAMES[name](0.5)
    images = CLEAN[1:].where(CLEAN[1:] < 0.6, 1)  # L1 leaves elements alone that are at the edge already
    step = ball.steepest(gradient, images)
    expected = [oracle.steepest(g, x, name) for g, x in zip(rows(gradient), rows(images), strict=True)]
    np.testing.assert_allclose(step.numpy(), expected, rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(ball.size(step), torch.ones(len(step)))
    assert not ball.steepest(torch.zeros_like(CLEAN), CLEAN).any()


def test_the_steepest_step_of_l1_proper_moves_one_element() -> None:
    gradient = torch.randn(4, 3, 5, 4, generator=torch.Generator().manual_seed(3))
    step = L1(1.0, sparsity=0.999).steepest(gradient, CLEAN[:4])
    assert (step != 0).flatten(1).sum(dim=1).tolist() == [1] * 4
    torch.testing.assert_close((step * gradient).flatten(1).sum(dim=1), gradient.abs().amax(dim=(1, 2, 3)))


@every
def test_start(name: str) -> None:
    """Before the clamp the L1 and L2 starts lie on the sphere, the Linf one anywhere in the ball."""
    grey, keys = torch.full((64, 3, 16, 16), 0.5), torch.arange(64)
    ball: Ball = NAMES[name](0.25)
    start = ball.start(grey, keys)
    sizes = ball.size(start - grey)
    torch.testing.assert_close(sizes, torch.full_like(sizes, 0.25), rtol=0.02 if name == "Linf" else 1e-5, atol=0.0)
    assert torch.equal(ball.start(grey[9:10], keys[9:10]), start[9:10])
    assert len(start.flatten(1).unique(dim=0)) == 64
    moved = (start - grey).flatten(1)
    assert abs(moved.mean()) < 3 * moved.std() / moved.numel() ** 0.5
    # E|x|/sqrt(E x^2): uniform 0.866, Gaussian 0.798, Laplace 0.707
    shape = {"Linf": 0.866, "L2": 0.798, "L1": 0.707}[name]
    assert moved.abs().mean() / moved.square().mean().sqrt() == pytest.approx(shape, abs=0.01)
    assert 0 <= ball.start(CLEAN, torch.arange(6)).min()
    assert ball.start(CLEAN, torch.arange(6)).max() <= 1


def test_projections_onto_simplex_and_l1_ball() -> None:
    values = torch.randn(5, 40, generator=torch.Generator().manual_seed(2)) * torch.tensor(
        [[0.01], [0.1], [1], [5], [1e3]]
    )
    for total in (1.0, 7.5):
        ball, simplex = onto_l1_ball(values, total), onto_simplex(values, total)
        for row, found, other in zip(values, ball, simplex, strict=True):
            expected = oracle.l1_by_bisection(row.double().numpy(), total)
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-4 * float(row.abs().max()))
            expected = oracle.simplex_by_bisection(row.double().numpy(), total)
            np.testing.assert_allclose(other.numpy(), expected, atol=1e-4 * float(row.abs().max()))
    assert torch.equal(onto_l1_ball(values[:1], 1.0), values[:1])


def test_l1_ball_of_large_images() -> None:
    difference = torch.randn(2, 3 * 224 * 224, generator=torch.Generator().manual_seed(4))
    for radius in (12.0, 12_000.0):
        sums = onto_l1_ball(difference, radius).double().abs().sum(dim=1)
        torch.testing.assert_close(sums, torch.full_like(sums, radius), rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PGD(L2(-0.5))", "at least 0"),
        ("PGD(L2(1e999))", "at least 0"),
        ("PGD(Linf(8))", "in units of 0-255, write Linf\\(8/255\\)"),
        ("PGD(L1(1, sparsity=1))", "share of the elements"),
        ("L2(0.5)", "write PGD\\(L2\\(0.5\\)\\)"),
        ("Margin", "write PGD\\(L2\\(0.5\\), loss=Margin\\)"),
        ("PGD(L2(0.5), steps=0)", "steps of PGD"),
        ("PGD(L2(0.5), step_size=0)", "step_size of PGD"),
        ("PGD(L2(0.5), restarts=2)", "random_start=True"),
        ("PGD(L3(0.5))", "did you mean"),
        ("LogBarrier('l3')", "norm of LogBarrier 'l3'"),
        ("LogBarrier(gamma=1)", "between 0 and 1"),
        ("PGD(Linf(-8/255))", "at least 0"),
        ("LogBarrier(dt=0)", "positive"),
        ("LogBarrier(inner=0)", "whole number"),
        ("AutoAttack(L2(0.5), 'best')", "version of AutoAttack"),
    ],
)
def test_settings_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        attacks.parse(text)


def test_eps_is_written_as_the_field_does() -> None:
    assert attacks.parse("PGD(Linf(8/255))") == attacks.PGD(Linf(8 / 255))


@every
def test_eps_in_units_of_0_to_255(name: str) -> None:
    if name == "Linf":
        return
    eps = {"L2": 255.0, "L1": 255.0}[name]
    with pytest.raises(InputError, match="further apart .* divide it by 255"):
        attacks.PGD(NAMES[name](eps))(lambda x: x.flatten(1), CLEAN, torch.zeros(6, dtype=torch.int64), torch.arange(6))
