"""Alignment, uniformity and maps, against explicit loops and other libraries; and the watch on a training."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.evaluation import Watch, alignment, uniformity
from weatherproof.evaluation.maps import plane_map, principal_plane
from weatherproof.evaluation.metrics import geometry
from weatherproof.operators import GaussianNoise
from weatherproof.readouts import embed, knn_accuracy
from weatherproof.views import HorizontalFlip, Twice


def cloud(n: int, width: int = 6, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1, (n, width))).float()


def unit(row: list[float]) -> list[float]:
    return [x / math.hypot(*row) for x in row]


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_alignment_is_the_mean_of_an_explicit_loop(alpha: float) -> None:
    first, second = cloud(30), cloud(30, seed=1)
    distances = [math.dist(unit(a), unit(b)) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    assert alignment(first, second, alpha) == pytest.approx(sum(d**alpha for d in distances) / 30, rel=1e-9)
    assert alignment(first, 3 * first) == pytest.approx(0, abs=1e-12)
    assert alignment(first, -first, alpha) == pytest.approx(2**alpha)


@pytest.mark.parametrize(("rows", "t"), [(2048, 2.0), (7, 2.0), (30, 2.0), (7, 0.5)])
def test_uniformity_is_the_sum_over_all_pairs(rows: int, t: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "_ROWS", rows)
    points = [unit(row) for row in cloud(30).tolist()]
    pairs = [math.dist(a, b) for i, a in enumerate(points) for b in points[:i]]
    expected = math.log(sum(math.exp(-t * d * d) for d in pairs) / len(pairs))
    assert uniformity(cloud(30), t) == pytest.approx(expected, rel=1e-9)


def test_uniformity_of_known_shapes() -> None:
    assert uniformity(torch.ones(50, 4)) == pytest.approx(0, abs=1e-12)  # one point
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)  # opposite poles: distance^2 4
    assert uniformity(torch.eye(40)) == pytest.approx(-4)  # all at right angles: distance^2 2
    assert uniformity(cloud(500, 200)) < uniformity(cloud(500, 200).relu()) < -1


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match="two views of the same images"):
        alignment(cloud(3), cloud(4))
    with pytest.raises(InputError, match="two views of the same images"):
        alignment(cloud(0), cloud(0))
    with pytest.raises(InputError, match="at least two embeddings"):
        uniformity(cloud(1))
    assert math.isnan(uniformity(torch.full((3, 2), float("nan"))))


class Quarters(nn.Module):
    """An encoder: the mean brightness of the quarters of an image, through a batch norm that tells the modes apart."""

    feature_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(nn.functional.adaptive_avg_pool2d(images, 2).mean(1).flatten(1))


class Method(nn.Module):
    """What a training trains."""

    def __init__(self, views: Any) -> None:
        super().__init__()
        self.encoder = Quarters()
        if views is not None:
            self.views = views


def pictures(n: int, name: str = "test", labelled: bool = True) -> MemoryImages:
    """Images whose brightest quarter is the class."""
    rng = np.random.default_rng(len(name))
    labels = np.arange(n) % 4
    pixels = rng.integers(0, 90, (n, 1, 8, 8))
    for image, label in zip(pixels, labels, strict=True):
        image[0, 4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 30
    return MemoryImages(
        torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels) if labelled else None, name=name
    )


def test_watch_measures_the_encoder_and_leaves_the_method_as_it_was() -> None:
    train, test = pictures(80, "train"), pictures(40)
    method = Method(Twice(GaussianNoise(0.2))).train()
    method.encoder.norm.eval()  # one part that was frozen by hand
    before = {name: value.clone() for name, value in method.state_dict().items()}
    found = Watch(train, test, batch_size=16)(method, 3)
    (bank, labels), (features, truth) = embed(method.encoder, train), embed(method.encoder, test)
    looks = Twice(GaussianNoise(0.2))(
        test.pixels / 255, random.fold(random.keys(0, test.index), int.from_bytes(b"watch"))
    )
    with torch.no_grad():
        method.encoder.eval()
        first, second = (method.encoder(look) for look in looks)
        method.encoder.train()
        method.encoder.norm.eval()
    assert found == pytest.approx({
        "knn_accuracy": knn_accuracy(bank, labels, features, truth, 200, 0.1),
        "alignment": alignment(first, second), "uniformity": uniformity(features),
    })  # fmt: skip
    assert method.training and method.encoder.training and not method.encoder.norm.training
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert Watch(train, test, batch_size=7)(method) == pytest.approx(found)


def test_watch_leaves_out_what_it_cannot_measure() -> None:
    labelled, plain = pictures(30, "train"), pictures(20, labelled=False)
    assert Watch(labelled, plain)(Method(None)).keys() == {"uniformity"}
    assert Watch(plain, plain)(Method(Twice(HorizontalFlip()))).keys() == {"alignment", "uniformity"}
    assert Watch(labelled, labelled)(Method(None)).keys() == {"knn_accuracy", "uniformity"}


def test_watch_draws_two_views_of_something_that_gives_one() -> None:
    images = pictures(30)
    one, two = (Watch(images, images)(Method(views)) for views in (GaussianNoise(0.3), Twice(GaussianNoise(0.3))))
    assert one["alignment"] == pytest.approx(two["alignment"]) and one["alignment"] > 0.01
    assert Watch(images, images, views=HorizontalFlip(0.0))(Method(None))["alignment"] == pytest.approx(0, abs=1e-9)


def test_watch_looks_at_no_more_images_than_it_may() -> None:
    seen: list[int] = []

    class Counted(Quarters):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return super().forward(images)

    method = Method(HorizontalFlip())
    method.encoder = Counted()
    Watch(pictures(90, "train"), pictures(70), limit=20)(method)
    assert sum(seen) == 20 + 20 + 2 * 20
    with pytest.raises(InputError, match="more than 0; got 0"):
        Watch(pictures(9), pictures(9), every=0)
    with pytest.raises(InputError, match="holds no images"):
        Watch(pictures(9), pictures(0))


@pytest.mark.parametrize(("n", "width"), [(60, 5), (20, 50), (40, 1)])
def test_the_map_is_the_principal_plane_that_scikit_learn_finds(n: int, width: int) -> None:
    from sklearn.decomposition import PCA

    features = cloud(n, width).double() * torch.arange(1, width + 1)
    found = principal_plane(features)
    model = PCA(min(2, width)).fit(features.numpy())
    expected = model.transform(features.numpy())
    for axis in range(min(2, width)):
        ours, theirs = found.points[:, axis].numpy(), expected[:, axis]
        np.testing.assert_allclose(ours, theirs * np.sign(theirs @ ours), atol=1e-4)
        assert ours[np.abs(ours).argmax()] > 0
    np.testing.assert_allclose(found.shares, model.explained_variance_ratio_, rtol=1e-6)
    assert found.points.shape == (n, 2)


def test_a_map_is_the_same_every_time_and_refuses_what_it_cannot_draw() -> None:
    features, _ = cloud(40, 6), cloud(40, 6)
    for by in ("pca", "tsne"):
        assert torch.equal(plane_map(features, by).points, plane_map(features, by).points)
    assert plane_map(torch.ones(5, 3)).points.abs().max() < 1e-6  # all in one point
    with pytest.raises(InputError, match="at least three"):
        plane_map(cloud(2))
    with pytest.raises(InputError, match="all finite"):
        plane_map(torch.full((4, 2), float("nan")))
    with pytest.raises(InputError, match="at most 2,000 images, got 2,001"):
        plane_map(cloud(2001), "tsne")


def test_t_sne_keeps_apart_what_is_apart() -> None:
    groups = torch.cat([cloud(40, 6) * 0.05 + torch.eye(6)[i] for i in range(3)])
    points = plane_map(groups, "tsne").points.view(3, 40, 2)
    centres = points.mean(dim=1)
    spread = (points - centres[:, None]).norm(dim=2).mean()
    assert torch.pdist(centres).min() > 2 * spread
