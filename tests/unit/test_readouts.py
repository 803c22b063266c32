"""Linear probes, nearest neighbours, embeddings."""

import numpy as np
import pytest
import torch
from oracles.readouts_sklearn import logistic, nearest
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.operators import GaussianBlur, GaussianNoise, RandomMask
from weatherproof.readouts import (
    L2_GRID,
    Adam,
    Classifier,
    Fit,
    LinearEvaluation,
    Logistic,
    OwnHead,
    embed,
    evaluating,
    fit_linear,
    fit_probe,
    knn,
)


def blobs(n: int = 400, width: int = 12, classes: int = 4, spread: float = 1.5) -> tuple[Tensor, Tensor]:
    """Overlapping Gaussian clusters on features of unlike scales and offsets."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, width))
    features = centres[labels] + spread * rng.normal(size=(n, width))
    return torch.from_numpy(features * rng.uniform(0.1, 20, width) + rng.uniform(-5, 5, width)), torch.from_numpy(
        labels
    )


class Means(nn.Module):
    """An encoder: mean brightness of the quarters of the image. Batch norm tells the modes apart."""

    feature_dim, num_classes = 4, None

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(nn.functional.adaptive_avg_pool2d(images, 2).mean(1).flatten(1))


def quarters(n: int = 160, *, noise: int = 40) -> MemoryImages:
    """Images whose brightest quarter is the class."""
    rng = np.random.default_rng(1)
    labels = np.arange(n) % 4
    pixels = rng.integers(0, noise, (n, 1, 8, 8))
    for image, label in zip(pixels, labels, strict=True):
        image[0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 60
    return MemoryImages(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels), name="quarters/train")


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_fit_linear_finds_the_minimum_that_scikit_learn_finds(l2: float) -> None:
    features, labels = blobs()
    head = fit_linear(features, labels, 4, l2=l2)
    weight, bias = logistic(features.numpy(), labels.numpy(), l2)
    np.testing.assert_allclose(head.weight.detach().numpy(), weight, atol=2e-3 * np.abs(weight).max())
    centred = bias - bias.mean()  # a constant added to all logits changes nothing
    np.testing.assert_allclose((head.bias - head.bias.mean()).detach().numpy(), centred, atol=5e-3)


def test_fit_linear_in_float32_predicts_as_scikit_learn_does() -> None:
    features, labels = blobs(2000, 32, 10)
    head = fit_linear(features.float(), labels, 10, l2=1e-3)
    weight, bias = logistic(features.numpy(), labels.numpy(), 1e-3)
    logits = torch.from_numpy(features.numpy() @ weight.T + bias)
    assert (head(features.float()).argmax(1) == logits.argmax(1)).double().mean() > 0.995
    assert head.weight.dtype == torch.float32 and head.weight.requires_grad


def test_fit_linear_survives_constant_features_and_leaves_out_unlabelled_images() -> None:
    features, labels = blobs()
    plain = fit_linear(features, labels, 4, l2=1e-2)
    padded = torch.cat([features, torch.full((len(features), 1), 3.0)], dim=1)
    padded = torch.cat([padded, torch.full((5, 13), 1e6)])
    head = fit_linear(padded, torch.cat([labels, torch.full((5,), -1)]), 4, l2=1e-2)
    assert bool((head.weight[:, 12] == 0).all())
    torch.testing.assert_close(head.weight[:, :12], plain.weight, atol=1e-4, rtol=1e-3)


def test_several_looks_at_the_same_images_count_as_more_rows() -> None:
    features, labels = blobs()
    looks = torch.stack([features, features + 0.1])
    together = fit_linear(looks, labels, 4, l2=1e-2)
    apart = fit_linear(looks.flatten(0, 1), labels.repeat(2), 4, l2=1e-2)
    torch.testing.assert_close(together.weight, apart.weight)


def test_automatic_l2_is_strong_where_labels_are_wrong() -> None:
    features, labels = blobs(1500, 100, 4, spread=3.0)
    wrong = torch.where(torch.arange(1500) % 3 == 0, (labels + 1) % 4, labels)
    train, test = slice(0, 300), slice(300, None)
    heads = [fit_linear(features[train], wrong[train], 4, l2=l2) for l2 in L2_GRID]
    scores = [accuracy(head(features[test]), labels[test]) for head in heads]
    chosen = accuracy(fit_linear(features[train], wrong[train], 4, l2="auto")(features[test]), labels[test])
    assert chosen in scores and chosen > min(scores) + 0.1


def test_fit_linear_reports_bad_input_in_one_line() -> None:
    features, labels = blobs(40)
    with pytest.raises(InputError, match="needs labelled images"):
        fit_linear(features, torch.full((40,), -1), 4)
    with pytest.raises(InputError, match="below num_classes=2"):
        fit_linear(features, labels, 2)
    with pytest.raises(InputError, match="number of at least 0 or 'auto'"):
        fit_linear(features, labels, 4, l2="best")
    with pytest.raises(InputError, match="needs two of some class"):
        fit_linear(features[:2], torch.tensor([0, 1]), 4, l2="auto")


@pytest.mark.parametrize("temperature", [0.07, None])
def test_knn_votes_as_scikit_learn_does(temperature: float | None) -> None:
    features, labels = blobs(300)
    scores = knn(features[:200], labels[:200], features[200:], 7, num_classes=4, temperature=temperature)
    expected = nearest(features[:200].numpy(), labels[:200].numpy(), features[200:].numpy(), 7, temperature)
    np.testing.assert_allclose((scores / scores.sum(1, keepdim=True)).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_knn_leaves_out_unlabelled_images_and_takes_at_most_all() -> None:
    train = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    scores = knn(train, torch.tensor([-1, 1, 0]), torch.tensor([[2.0, 0.0]]), 50, num_classes=3)
    assert scores.argmax(1).tolist() == [1] and scores[0, 2] == 0
    with pytest.raises(InputError, match="labelled training images"):
        knn(train, torch.full((3,), -1), train, num_classes=3)


def test_evaluating_restores_the_mode_of_every_part_even_after_an_error() -> None:
    encoder = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    encoder[0].eval()
    with pytest.raises(RuntimeError, match="inside"), evaluating(encoder, abs):
        assert not encoder.training and not encoder[1].training and torch.is_inference_mode_enabled()
        raise RuntimeError("inside")
    assert encoder.training and encoder[1].training and not encoder[0].training


def test_embed_is_independent_of_the_batch_size_and_in_evaluation_mode() -> None:
    encoder, images = Means(), quarters(30)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    one, labels = embed(encoder, images, operator=RandomMask(0.5), batch_size=7)
    two, _ = embed(encoder, images, operator=RandomMask(0.5), batch_size=30)
    torch.testing.assert_close(one, two)
    assert one.shape == (30, 4) and one.dtype == torch.float32 and torch.equal(labels, images.labels)
    assert encoder.training and not one.is_inference() and not one.requires_grad
    assert all(torch.equal(state[name], value) for name, value in encoder.state_dict().items())


def test_embed_draws_by_seed_realization_and_image() -> None:
    encoder, images = Means(), quarters(30)
    noisy = GaussianNoise(0.3)
    first = embed(encoder, images, operator=noisy)[0]
    assert not torch.allclose(first, embed(encoder, images, operator=noisy, realization=1)[0])
    assert not torch.allclose(first, embed(encoder, images, operator=noisy, seed=1)[0])
    places = torch.tensor([20, 3])
    torch.testing.assert_close(embed(encoder, images.subset(places), operator=noisy)[0], first[places])


def test_embed_needs_images() -> None:
    with pytest.raises(InputError, match="no images to embed in 'quarters/train'"):
        embed(Means(), quarters(8).subset(torch.empty(0, dtype=torch.int64)))


@pytest.mark.parametrize("fit", [Logistic(), Adam(30, lr=0.05)])
@pytest.mark.parametrize("operator", [None, RandomMask(0.3)])
def test_a_probe_learns_and_repeats_itself(fit: Fit, operator: RandomMask | None) -> None:
    encoder, images = Means(), quarters()
    head, again = (fit_probe(encoder, images, num_classes=4, fit=fit, operator=operator) for _ in range(2))
    assert torch.equal(head.weight, again.weight)
    features, labels = embed(encoder, images, operator=operator, seed=5)
    assert accuracy(head(features), labels) > 0.95


def test_the_paper_probe_is_adam_on_fresh_draws_of_every_epoch() -> None:
    """Against the loop written out: default initialisation, mean cross-entropy, constant rate, all images."""
    encoder, images, operator = Means(), quarters(20), GaussianNoise(0.2)
    head = fit_probe(encoder, images, num_classes=4, operator=operator, fit=Adam(epochs=3, batch_size=8), seed=3)
    with random.framework_seed(3):
        expected = nn.Linear(4, 4)
    optimizer = torch.optim.Adam(expected.parameters(), lr=1e-3)
    for epoch in range(3):
        features, labels = embed(encoder, images, operator=operator, seed=3, realization=epoch)
        for rows in random.order(3, epoch, 20).split(8):
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(expected(features[rows]), labels[rows]).backward()
            optimizer.step()
    torch.testing.assert_close(head.weight, expected.weight)


def test_the_cosine_schedule_changes_the_paper_probe() -> None:
    fits = Adam(epochs=3), Adam(epochs=3, schedule="cosine")
    constant, cosine = (fit_probe(Means(), quarters(20), num_classes=4, fit=fit) for fit in fits)
    assert not torch.equal(constant.weight, cosine.weight)


def test_an_operator_that_draws_nothing_is_embedded_once() -> None:
    images = quarters(20)
    for operator, fit, expected in (
        (GaussianBlur(1.0), Logistic(), 1), (None, Adam(), 1), (RandomMask(0.5), Logistic(), 4),
        (RandomMask(0.5), Adam(), 10),
    ):  # fmt: skip
        encoder = Means()
        fit_probe(encoder, images, num_classes=4, fit=fit, operator=operator)
        assert encoder.calls == expected and fit.draws == (4 if isinstance(fit, Logistic) else 10)


def test_a_probe_uses_the_given_labels_only() -> None:
    images = quarters()
    positions = torch.arange(8)
    head = fit_probe(Means(), images, num_classes=4, labels=positions)
    same = fit_probe(Means(), images.subset(positions), num_classes=4)
    assert torch.equal(head.weight, same.weight)
    unlabelled = MemoryImages(images.pixels, torch.where(torch.arange(160) < 8, images.labels, -1), images.classes)
    assert torch.equal(head.weight, fit_probe(Means(), unlabelled, num_classes=4).weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 3}, "labels up to 3, but the probe was given num_classes=3"),
        ({"num_classes": 4, "labels": torch.empty(0, dtype=torch.int64)}, "needs labelled images"),
    ],
)
def test_a_probe_reports_bad_input_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_probe(Means(), quarters(20), operator=RandomMask(0.5), **settings)


def test_how_a_layer_is_fitted_is_in_range() -> None:
    for fit, said in (
        (lambda: Logistic(0), "realizations must be at least 1, got 0"),
        (lambda: Adam(batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: Adam(schedule="step"), "schedule"),  # type: ignore[arg-type]
        (lambda: LinearEvaluation("mocov2"), "unknown linear evaluation 'mocov2'"),
    ):
        with pytest.raises(InputError, match=said):
            fit()


def test_a_classifier_is_its_head_on_its_encoder() -> None:
    encoder, head, images = Means().eval(), nn.Linear(4, 3), torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(Classifier(encoder, head)(images), head(encoder(images)))
    with pytest.raises(InputError, match="'Means' has no classifier of its own"):
        OwnHead(encoder)


def test_own_head_asks_the_encoder() -> None:
    class Headed(Means):
        num_classes = 7

        def logits(self, images: Tensor) -> Tensor:
            return images.new_full((len(images), 7), 2.0)

    assert OwnHead(Headed())(torch.rand(2, 1, 8, 8)).tolist() == [[2.0] * 7] * 2
