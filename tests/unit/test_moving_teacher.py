"""A teacher whose last stage moves: what trains, what is run once, what holds it, and what collapse looks like."""

import math
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, adapters, load_encoder
from weatherproof.errors import InputError
from weatherproof.evaluation import effective_rank, embedding_deviation
from weatherproof.methods import Anchor, MovingTeacher
from weatherproof.methods.moving_teacher import Teachers
from weatherproof.objectives import MSE, similarity_distance
from weatherproof.operators import GaussianNoise, RandomMask
from weatherproof.protocols import Objective
from weatherproof.training import Plan, harden_with_moving_teacher

N = 16
PIXELS = torch.randint(1, 256, (N, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _load(text: str = "resnet20", seed: int = 0) -> Encoder:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*randomly initialised")
        return load_encoder(f"{text}@random", num_classes=4, seed=seed).eval()


def _batch() -> tuple[Tensor, Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    index = torch.arange(N)
    return PIXELS.float() / 255, index % 4, index, random.keys(3, index), lambda rows: rows


def _rows(seed: int, n: int = 6, features: int = 4) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("text", "last", "trained"),
    [
        ("resnet20", None, "layer3."),
        ("resnet20", "layer1", ("layer2.", "layer3.")),
        ("timm:vit_tiny_patch16_224", "blocks.9", ("blocks.10.", "blocks.11.", "norm.")),
    ],
)
def test_the_last_stage_trains_and_the_trunk_is_shared(
    text: str, last: str | None, trained: str | tuple[str, ...]
) -> None:
    encoder = _load(text)
    teachers = Teachers(encoder, last)
    moving, frozen = (dict(own.named_parameters()) for own in (teachers.moving, teachers.frozen))
    for name, parameter in moving.items():
        behind = name.removeprefix("body.").startswith(trained) and name.startswith("body.")
        assert parameter.requires_grad == behind, name
        assert (parameter is frozen[name]) != behind, name
    assert not any(parameter.requires_grad for parameter in frozen.values())
    assert not any(module.training for module in teachers.train().modules())


def test_both_teachers_are_whole_encoders_and_the_trunk_runs_once() -> None:
    teachers, images = Teachers(_load()), PIXELS.float() / 255
    with torch.no_grad():
        for parameter in teachers.moving.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.1)
    seen: dict[str, list[int]] = {"layer1": [], "layer3": []}
    for own in (teachers.moving, teachers.frozen):
        for name, counted in seen.items():
            module = own.get_submodule(f"body.{name}")
            module.register_forward_pre_hook(lambda _, given, counted=counted: counted.append(len(given[0])))
    moving, frozen = teachers(images)
    assert seen == {"layer1": [N, 1], "layer3": [N, N]}
    with torch.no_grad():
        torch.testing.assert_close(moving, teachers.moving(images))
        torch.testing.assert_close(frozen, teachers.frozen(images))
    assert (moving - frozen).abs().max() > 1e-3


@pytest.mark.parametrize("similarity", [0.0, 3.0])
def test_the_anchor_is_its_equation(similarity: float) -> None:
    moving, frozen = _rows(1), _rows(2)
    apart = (1 - F.cosine_similarity(moving, frozen)).mean()
    expected = 0.5 * (apart + similarity * similarity_distance(moving, frozen) ** 2)
    torch.testing.assert_close(Anchor(0.5, similarity)(moving, frozen), expected)
    assert float(Anchor()(moving, 2 * moving)) == pytest.approx(0, abs=1e-6)


def test_the_loss_is_objective_and_anchor() -> None:
    student, teacher, objective = _load(seed=1), _load(), MSE()
    method = MovingTeacher(student, teacher, RandomMask(0.0), objective, Anchor(2.0)).eval()
    terms, images = method(*_batch()), _batch()[0]
    expected = objective(student(images), teacher(images))
    torch.testing.assert_close(terms["loss"], expected)  # before it moves it is at its anchor
    assert float(terms["anchor_cosine"]) == pytest.approx(1)


def _moved(objective: Objective, anchor: Anchor) -> Tensor:
    start = _load()
    before = {name: value.clone() for name, value in start.state().items()}
    student, moved = harden_with_moving_teacher(
        start, MemoryImages(PIXELS), operator=GaussianNoise(0.5), objective=objective, anchor=anchor,
        plan=Plan(16.0, N, 0.01, device="cpu"), progress=False,
    )  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in start.state().items())
    assert any(not torch.equal(value, before[name]) for name, value in student.state().items())
    with torch.no_grad():
        return F.cosine_similarity(moved(PIXELS.float() / 255), start(PIXELS.float() / 255)).mean()


def test_an_anchor_holds_the_teacher_near_what_it_was() -> None:
    loose, held = _moved(MSE(), Anchor(0.0)), _moved(MSE(), Anchor(20.0))
    assert held > loose + 0.1


def test_what_is_more_than_its_body_is_refused_in_one_line() -> None:
    adapted = adapters.parse("Norms()").attach(_load())
    assert isinstance(adapted, adapters.Adapted)
    assert adapted.adapter is not None
    with torch.no_grad():
        for parameter in adapted.adapter.parameters():
            parameter.mul_(2).add_(0.1)
    with pytest.raises(InputError, match="take a plain encoder, no gate or adapter") as caught:
        Teachers(adapted)
    assert "\n" not in str(caught.value)


# collapse


def test_the_effective_rank_counts_directions() -> None:
    assert effective_rank(torch.eye(5).repeat(3, 1)) == pytest.approx(5)
    assert effective_rank(torch.tensor([[1.0, 2.0]]).repeat(7, 1)) == pytest.approx(1)
    rows = F.normalize(_rows(1).double(), dim=1)
    values = [math.sqrt(value) for value in torch.linalg.eigvalsh(rows.T @ rows).tolist()]
    shares = [value / sum(values) for value in values]
    assert effective_rank(_rows(1)) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))


def test_the_deviation_is_0_for_one_point_and_1_around_the_origin() -> None:
    assert embedding_deviation(torch.tensor([[1.0, 2.0]]).repeat(7, 1)) == pytest.approx(0, abs=1e-6)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    assert embedding_deviation(3 * corners) == pytest.approx(1)
    rows = F.normalize(_rows(2), dim=1)
    expected = sum(rows[:, f].std(correction=0).item() for f in range(4)) / 4 * 2
    assert embedding_deviation(_rows(2)) == pytest.approx(expected, rel=1e-5)
    for measure in (effective_rank, embedding_deviation):
        with pytest.raises(InputError):
            measure(torch.zeros(0, 3))
