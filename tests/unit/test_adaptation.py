"""Adaptation at test time, against loops over numbers."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.evaluation import evaluate
from weatherproof.readouts.adaptation import Adapting, BatchStatistics, Tent, parse

Rows = np.ndarray


class Flat(nn.Module):
    """Three numbers of an image, normalised, and two answers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.last = nn.Linear(3, 2)
        draws = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=draws))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.norm(images.mean(dim=(2, 3))))


MODEL = Flat().double().eval()
IMAGES = torch.rand(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) ** 2


def answers(scale: Rows, shift: Rows, images: Tensor = IMAGES) -> Rows:
    """The logits with these weights of the normalisation and the statistics of the batch."""
    rows = images.mean(dim=(2, 3)).numpy()
    normal = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + MODEL.norm.eps)
    return (normal * scale + shift) @ MODEL.last.weight.detach().numpy().T + MODEL.last.bias.detach().numpy()


def uncertainty(scale: Rows, shift: Rows) -> float:
    total = 0.0
    for row in answers(scale, shift):
        shares = [math.exp(value) / sum(map(math.exp, row)) for value in row]
        total -= sum(share * math.log(share) for share in shares)
    return total / len(IMAGES)


def slopes(scale: Rows, shift: Rows) -> Rows:
    """By differences."""
    found = []
    for place in range(6):
        step = np.zeros(6)
        step[place] = 1e-6
        up, down = (uncertainty(scale + sign * step[:3], shift + sign * step[3:]) for sign in (1, -1))
        found.append((up - down) / 2e-6)
    return np.array(found)


def adapted(steps: int, lr: float) -> Rows:
    """Adam, number by number (Kingma & Ba 2015, Algorithm 1)."""
    weights = np.concatenate([MODEL.norm.weight.detach().numpy(), MODEL.norm.bias.detach().numpy()])
    first, second = np.zeros(6), np.zeros(6)
    for step in range(1, steps + 1):
        slope = slopes(weights[:3], weights[3:])
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weights = weights - lr * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return answers(weights[:3], weights[3:])


@pytest.mark.parametrize("steps", [1, 4])
def test_tent_against_differences_and_loops(steps: int) -> None:
    found = Tent(steps, 0.02)(MODEL, IMAGES)
    assert np.allclose(found.numpy(), adapted(steps, 0.02), atol=1e-6)
    answer = BatchStatistics()(MODEL, IMAGES)
    assert not answer.requires_grad  # nothing is kept for gradients
    plain = answer.numpy()
    assert np.abs(found.numpy() - plain).max() > 1e-3  # it did move


def test_batch_statistics_against_numpy() -> None:
    found = BatchStatistics()(MODEL, IMAGES).detach().numpy()
    assert np.allclose(found, answers(*(w.detach().numpy() for w in (MODEL.norm.weight, MODEL.norm.bias))))
    assert not np.allclose(found, MODEL(IMAGES).detach().numpy(), atol=1e-2)


@pytest.mark.parametrize("adaptation", [BatchStatistics(), Tent(3, 0.1)])
def test_nothing_is_left_of_it(adaptation: Tent | BatchStatistics) -> None:
    """Answers are a function of the batch: neither weights nor statistics nor modes move."""
    before = {name: value.clone() for name, value in MODEL.state_dict().items()}
    model = Adapting(adaptation, MODEL).eval()
    with torch.inference_mode():
        first = model(IMAGES)
        model(IMAGES.flip(3) * 0.3)
        assert torch.equal(model(IMAGES), first)
    assert all(torch.equal(value, before[name]) for name, value in MODEL.state_dict().items())
    assert all(weight.grad is None for weight in MODEL.parameters())
    assert not any(part.training for part in MODEL.modules()) and MODEL.norm.track_running_stats


def test_entropy_falls_on_the_batch() -> None:
    sure = [
        (-logits.softmax(1) * logits.log_softmax(1)).sum(1).mean().item()
        for logits in (BatchStatistics()(MODEL, IMAGES), Tent(1, 0.01)(MODEL, IMAGES), Tent(20, 0.01)(MODEL, IMAGES))
    ]
    assert sure[0] > sure[1] > sure[2]


def test_it_is_measured_like_any_classifier() -> None:
    pixels = (IMAGES.float() * 255).to(torch.uint8)
    images = MemoryImages(pixels, torch.arange(7) % 2)
    single = Flat().eval()
    wanted = [
        (adaptation(single, pixels.float() / 255).argmax(1) == torch.arange(7) % 2).float().mean().item()
        for adaptation in (BatchStatistics(), Tent(5, 0.5))
    ]
    models = {"norm": Adapting(BatchStatistics(), single), "tent": Adapting(Tent(5, 0.5), single)}
    found = {record.model: record.value for record in evaluate(models, images, metrics=("top1",))}
    assert found == {"norm": pytest.approx(wanted[0]), "tent": pytest.approx(wanted[1])}


def test_it_is_its_text_and_refuses_what_it_cannot_do() -> None:
    assert parse("Tent(10)") == Tent(10) and parse(repr(Tent(2, 0.1))) == Tent(2, 0.1)
    with pytest.raises(InputError, match="at least one step"):
        Tent(0)
    with pytest.raises(InputError, match="normalisation layers"):
        Tent()(nn.Flatten(), IMAGES)


# similarity


class Two(nn.Module):
    """`Flat` as an encoder and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), MODEL.norm), MODEL.last

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images))


def _with_similarity(weight: float, steps: int, lr: float) -> Rows:
    """Adam on the entropy and w |S - S*| / N, number by number and slope by difference."""

    def distance(scale: Rows, shift: Rows, was: Rows) -> float:
        rows = IMAGES.mean(dim=(2, 3)).numpy()
        normal = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + MODEL.norm.eps) * scale + shift
        total = 0.0
        for i in range(len(IMAGES)):
            for j in range(len(IMAGES)):
                now, before = (float(a[i] @ a[j] / np.linalg.norm(a[i]) / np.linalg.norm(a[j])) for a in (normal, was))
                total += (now - before) ** 2
        return math.sqrt(total) / len(IMAGES)

    start = [MODEL.norm.weight.detach().numpy(), MODEL.norm.bias.detach().numpy()]
    mean, var = (own.numpy() for own in (MODEL.norm.running_mean, MODEL.norm.running_var))  # type: ignore[union-attr]
    was = (IMAGES.mean(dim=(2, 3)).numpy() - mean) / np.sqrt(var + MODEL.norm.eps) * start[0] + start[1]
    weights, first, second = np.concatenate(start), np.zeros(6), np.zeros(6)
    for step in range(1, steps + 1):
        slope = slopes(weights[:3], weights[3:])
        for place in range(6):
            move = np.zeros(6)
            move[place] = 1e-6
            up, down = (distance(*np.split(weights + sign * move, 2), was) for sign in (1, -1))
            slope[place] += weight * (up - down) / 2e-6
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weights = weights - lr * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return answers(weights[:3], weights[3:])


def test_tent_that_keeps_similarities_against_differences_and_loops() -> None:
    found = Tent(3, 0.02, similarity=5.0)(Two().eval(), IMAGES)
    assert np.allclose(found.numpy(), _with_similarity(5.0, 3, 0.02), atol=1e-5)
    assert np.abs(found.numpy() - adapted(3, 0.02)).max() > 1e-3  # it does something
    assert parse(repr(Tent(2, similarity=0.5))) == Tent(2, similarity=0.5) and repr(Tent(2)) == "Tent(steps=2)"


def test_similarity_needs_an_encoder_and_a_weight() -> None:
    with pytest.raises(InputError, match="no encoder"):
        Tent(1, similarity=1.0)(MODEL, IMAGES)
    with pytest.raises(InputError, match="a weight of 0 or more, got -1"):
        Tent(similarity=-1.0)
