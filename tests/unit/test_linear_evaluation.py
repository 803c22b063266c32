"""The linear evaluations of the contrastive papers and fine-tuning, against loops by hand."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR

from weatherproof import random
from weatherproof.data import MemoryImages, label_fraction
from weatherproof.encoders import load_encoder
from weatherproof.encoders.encoder import Encoder
from weatherproof.errors import InputError
from weatherproof.operators import GaussianNoise
from weatherproof.readouts import (
    LinearEvaluation,
    MLPHead,
    embed,
    evaluation_views,
    finetune_encoder,
    fit_probe,
    linear_evaluation,
    schedule_of,
)
from weatherproof.training import Plan


def _blobs(n: int = 600, classes: int = 4, width: int = 6) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % classes
    centres = torch.randn(classes, width, generator=draws)
    return centres[labels] + 0.5 * torch.randn(n, width, generator=draws), labels


@pytest.mark.parametrize("name", ["moco", "pycontrast", "simclr"])
def test_equals_a_loop_by_hand(name: str) -> None:
    """600 rows: batches of 256 or 512, the last one smaller, for the paper's number of epochs."""
    features, labels = _blobs()
    batch, epochs = (512, 100) if name == "simclr" else (256, 60 if name == "pycontrast" else 100)
    head = nn.Linear(6, 4)
    with random.framework_seed(5), torch.no_grad():
        head.weight.copy_(torch.randn(4, 6) * 0.01)
        head.bias.zero_()
    if name == "simclr":
        steps = -(-600 // batch) * epochs
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1 * batch / 256, momentum=0.9, nesterov=True)
        schedule, each_step = CosineAnnealingLR(optimizer, steps), True
    else:
        milestones, gamma = ([60, 80], 0.1) if name == "moco" else ([30, 40, 50], 0.2)
        optimizer = torch.optim.SGD(head.parameters(), lr=30.0, momentum=0.9)
        schedule, each_step = MultiStepLR(optimizer, milestones, gamma), False  # type: ignore[assignment]
    for epoch in range(epochs):
        for rows in random.order(5, epoch, 600).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(features[rows]), labels[rows]).backward()
            optimizer.step()
            if each_step:
                schedule.step()
        if not each_step:
            schedule.step()
    made = linear_evaluation(lambda _: (features, labels), 4, schedule_of(name), fixed=True, seed=5)
    torch.testing.assert_close(made.weight, head.weight, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made.bias, head.bias, rtol=1e-3, atol=1e-3)


def test_a_fresh_look_every_epoch_and_one_where_nothing_is_drawn() -> None:
    features, labels = _blobs(40)
    asked: list[int] = []

    def look(epoch: int) -> tuple[Tensor, Tensor]:
        asked.append(epoch)
        return features, labels

    plan = Plan(3.0, 16, 0.1, optimizer="sgd")
    fresh = linear_evaluation(look, 4, plan)
    assert asked == [0, 1, 2]
    asked.clear()
    cached = linear_evaluation(look, 4, plan, fixed=True)
    assert asked == [0]
    assert torch.equal(fresh.weight, cached.weight)  # the features are the same ones here


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    with pytest.warns(UserWarning, match="randomly initialised"):
        return load_encoder("small(width=4)")


IMAGES = MemoryImages(
    (torch.arange(24) % 3)[:, None, None, None].mul(60).add(
        torch.randint(0, 80, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    ).to(torch.uint8),
    torch.arange(24) % 3,
)  # fmt: skip


@pytest.mark.parametrize(
    "mode", ["moco", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("pycontrast", "simclr"))]
)
def test_a_probe_in_these_modes_sees_a_fresh_crop_every_epoch(encoder: Encoder, mode: str) -> None:
    views, rows = evaluation_views(mode, 8), label_fraction(IMAGES.labels, 0.5, 0)
    some = IMAGES.subset(rows)

    def look(epoch: int) -> tuple[Tensor, Tensor]:
        return embed(encoder, some, operator=views, seed=2, realization=epoch)

    expected = linear_evaluation(look, 3, schedule_of(mode), seed=2)
    made = fit_probe(encoder, IMAGES, num_classes=3, fit=LinearEvaluation(mode), operator=views, labels=rows, seed=2)
    assert torch.equal(made.weight, expected.weight)
    assert not torch.equal(look(0)[0], look(1)[0])
    plain = fit_probe(encoder, IMAGES, num_classes=3, fit=LinearEvaluation(mode), labels=rows, seed=2)
    assert not torch.equal(made.weight, plain.weight)


def test_an_unknown_evaluation() -> None:
    with pytest.raises(InputError, match="unknown linear evaluation 'mocco': did you mean moco"):
        schedule_of("mocco")


def test_the_head_has_two_layers_with_relu() -> None:
    head = MLPHead(5, 3, hidden=7)
    z = torch.randn(4, 5)
    hidden = torch.clamp(z @ head.first.weight.T + head.first.bias, min=0)
    torch.testing.assert_close(head(z), hidden @ head.second.weight.T + head.second.bias)
    assert MLPHead(5, 3).first.weight.shape == (5, 5)


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_fine_tuning_moves_a_copy_and_learns(encoder: Encoder, head: str) -> None:
    before = copy.deepcopy(encoder.state_dict())
    plan = Plan(40.0, 8, 3e-3, device="cpu")
    labels = label_fraction(IMAGES.labels, 0.5, 0)
    moved, top = finetune_encoder(encoder, IMAGES, plan=plan, head=head, labels=labels, progress=False)
    assert isinstance(top, MLPHead if head == "mlp" else nn.Linear)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert not torch.equal(moved.body.last.weight, encoder.body.last.weight)  # type: ignore[union-attr,arg-type]
    with torch.no_grad():
        assert (top(moved(IMAGES.pixels.float() / 255)).argmax(1) == IMAGES.labels).float().mean() > 0.9


def test_fine_tuning_takes_a_head_of_ones_own_and_names_heads(encoder: Encoder) -> None:
    own = nn.Linear(encoder.feature_dim, 3)
    _, top = finetune_encoder(
        encoder, IMAGES, plan=Plan(1.0, 8, 1e-3, device="cpu"), head=own, operator=GaussianNoise(0.1), progress=False
    )
    assert top is own
    with pytest.raises(InputError, match="unknown head 'mpl': did you mean mlp"):
        finetune_encoder(encoder, IMAGES, plan=Plan(1.0, 8, 1e-3), head="mpl")
