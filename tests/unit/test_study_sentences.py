"""Studies of single sentences and pictures of the papers: what they measure, against loops."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from weatherproof import random, views
from weatherproof.data import batches
from weatherproof.evaluation import EVAL_STREAM
from weatherproof.operators import GaussianNoise
from weatherproof.readouts import Classifier
from weatherproof.spec import component
from weatherproof.studies import Images, Source, Store
from weatherproof.studies.lab.classifiers import Finetuned, Probed
from weatherproof.studies.lab.recipes import Given
from weatherproof.studies.lab.store import Bench
from weatherproof.studies.papers.contrastive_inversion.pictures import ModelPair, OneSided, save_damages, save_guesses
from weatherproof.studies.papers.robustness.averaging import _VIEWS, GradientLength, _dampened, _takes_more
from weatherproof.training import Plan

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:small.* no weights given")
TEST = Images(Source("digits"), "test", limit=60)
DAMAGE = "GaussianNoise(0.5, clip=False)"


@component
class Fixed:
    """A linear classifier of pixels with random weights."""

    seed: int

    def make(self, store: Store) -> nn.Module:
        with random.framework_seed(self.seed):
            return nn.Sequential(nn.Flatten(), nn.LazyLinear(10)).eval()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", data=None, device=CPU)


ASKED = ModelPair(Fixed(1), Fixed(2), TEST, DAMAGE, 3)


def _guesses(store: Store, recipe: Fixed) -> list[list[int]]:
    """The classes of every image in their order, one image at a time."""
    model, found = store.get(recipe), []
    for batch in batches(store.images(TEST), 1):
        noise = random.fold(random.keys(3, batch.index), EVAL_STREAM, 0)
        values: list[float] = model(GaussianNoise(0.5, clip=False)(batch.images, noise))[0].tolist()
        found.append(sorted(range(10), key=lambda c, values=values: -values[c]))
    return found


def test_how_often_one_alone_is_right(store: Store) -> None:
    labels = store.images(TEST).labels.tolist()
    ours, rival = _guesses(store, Fixed(1)), _guesses(store, Fixed(2))
    sides = {True: (ours, rival), False: (rival, ours)}
    for of_ours, (one, other) in sides.items():
        hits = [i for i, y in enumerate(labels) if one[i][0] == y and y not in other[i][:3]]
        assert ASKED.one_sided(store)[0 if of_ours else 1].tolist() == hits
        record = OneSided(ASKED, of_ours).number(store).record
        assert record.value == len(hits) / len(labels) and record.images == len(labels)
        assert record.model == ("hardened" if of_ours else "supervised")
    assert ASKED.one_sided(store)[0].numel()


def test_the_pictures_are_of_the_images_that_ours_alone_has_right(store: Store, tmp_path: Path) -> None:
    save_guesses({"noise": ASKED}, 2, store, tmp_path)
    rows = json.loads((tmp_path / "gallery.json").read_text())
    places, images = ASKED.one_sided(store)[0][:2].tolist(), store.images(TEST)
    assert [row["truth"] for row in rows] == [images.classes[int(images.labels[i])] for i in places]
    for row, place in zip(rows, places, strict=True):
        best = [name for name, _ in row["predictions"]["hardened"]]
        assert best == [images.classes[c] for c in _guesses(store, Fixed(1))[place][:3]] and best[0] == row["truth"]
        assert row["truth"] not in [name for name, _ in row["predictions"]["supervised"]]


def test_the_damages_image_by_image(store: Store, tmp_path: Path) -> None:
    save_damages([DAMAGE, "RandomMask(0.5)"], Fixed(1), TEST, 3, 0, store, tmp_path)
    rows = json.loads((tmp_path / "gallery.json").read_text())
    assert [row["operator"] for row in rows] == [DAMAGE, "RandomMask(0.5)"] * 3
    assert [row["truth"] for row in rows] == ["0", "0", "1", "1", "2", "2"]


# a penalty that is averaged twice


def test_the_length_of_the_gradient_against_single_gradients(store: Store, tmp_path: Path) -> None:
    data = Images(Source("digits"), "test", limit=4)
    start = Given("small(width=4)", classes=0, bare=True, quiet=True)
    encoder, looks = store.encoder(start).eval(), "SimCLR(16)"
    found = GradientLength(looks, 0.5)(encoder, store.images(data), Bench(store, "it", data, tmp_path)).records[0]
    batch = next(batches(store.images(data), 4))
    pair = views.parse(looks)(batch.images, random.fold(random.keys(0, batch.index), _VIEWS))
    both = torch.cat(pair).requires_grad_()
    total = torch.zeros(())
    z = nn.functional.normalize(encoder(both), dim=1)
    for i in range(8):  # the summed loss, row by row
        kernel = [(z[i] @ z[j] / 0.5).exp() for j in range(8) if j != i]
        total = total - ((z[i] @ z[(i + 4) % 8] / 0.5).exp() / torch.stack(kernel).sum()).log()
    (slopes,) = torch.autograd.grad(total, both)
    squares = [float(row.square().sum()) for row in slopes]
    assert found.value == pytest.approx(math.sqrt(sum(squares) / len(squares)), rel=1e-3)
    assert found.metric == "gradient_length"


def test_what_is_dampened() -> None:
    row = "length of the gradient by the pixels"
    grid = {(row, "no penalty"): 1.0, (row, "lambda 10, eq. 3"): 0.2, (row, "lambda 10, averaged twice"): 0.9}
    assert _takes_more(10.0)(grid) == (1, 1, "+0.8 against +0.1") and _dampened(10.0)(grid)[:2] == (1, 1)
    assert _dampened(10.0)(grid | {(row, "lambda 10, averaged twice"): 0.5})[:2] == (0, 1)
    assert _takes_more(1.0)(grid) == (0, 0, "")


# how a head begins


def test_a_head_begins_as_it_is_asked_to(store: Store) -> None:
    """From the linear readout the two layers give its answers, as far as embeddings are not negative."""
    data = Images(Source("digits"), "train", limit=40)
    start = Given("small(width=4)", classes=0, bare=True, quiet=True)
    plan = Plan(epochs=1, batch_size=20, lr=1e-3)
    heads: dict[str, nn.Module] = {}
    for begins in ("zero", "probe"):
        made = Finetuned(start, data, plan, begins=begins)._head(store, 10)  # type: ignore[arg-type]
        assert isinstance(made, nn.Module)
        heads[begins] = made
    z = torch.rand(5, store.encoder(start).feature_dim)
    assert torch.equal(heads["zero"](z), torch.zeros(5, 10))
    fitted = store.get(Probed(start, data))
    assert isinstance(fitted, Classifier)
    expected: Tensor = fitted.head(z)
    torch.testing.assert_close(heads["probe"](z), expected)
    assert Finetuned(start, data, plan)._head(store, 10) == "mlp"
    assert "begins" not in repr(Finetuned(start, data, plan))
