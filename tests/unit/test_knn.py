"""The vote of the nearest neighbours, against an explicit loop and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.evaluation import hits
from weatherproof.readouts import knn, knn_accuracy, nearest, neighbours
from weatherproof.verbs.pretrain.measure import Neighbours


def clouds(n: int, classes: int = 5, width: int = 8) -> tuple[Tensor, Tensor]:
    """Overlapping clusters."""
    rng = np.random.default_rng(n)
    labels = rng.integers(0, classes, n)
    centres = np.random.default_rng(7).normal(size=(classes, width))
    return torch.from_numpy(centres[labels] + rng.normal(size=(n, width))).float(), torch.from_numpy(labels)


def by_hand(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor, k: int, temperature: float | None) -> float:
    """One image after the other, in Python numbers; sorted by similarity, then by position."""
    right = 0
    for query, wanted in zip(test.double().tolist(), truth.tolist(), strict=True):
        found = []
        for place, row in enumerate(train.double().tolist()):
            dot = sum(a * b for a, b in zip(query, row, strict=True))
            found.append((-dot / (math.hypot(*query) * math.hypot(*row)), place))
        scores = [0.0] * (int(labels.max()) + 1)
        for distance, place in sorted(found)[:k]:
            scores[int(labels[place])] += 1.0 if temperature is None else math.exp(-distance / temperature)
        right += scores.index(max(scores)) == wanted
    return right / len(test)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_ROWS", 7)
    monkeypatch.setattr(neighbours, "_COLUMNS", 11)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (20, 0.1), (20, 0.07), (20, None), (500, 0.5)])
def test_accuracy_is_that_of_an_explicit_loop(k: int, temperature: float | None) -> None:
    (train, labels), (test, truth) = clouds(90), clouds(40)
    found = knn_accuracy(train, labels, test, truth, k, temperature)
    assert found == pytest.approx(by_hand(train, labels, test, truth, k, temperature), abs=1e-12)
    assert 0.3 < found < 1


def test_the_majority_vote_is_that_of_scikit_learn() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    (train, labels), (test, truth) = clouds(400), clouds(200)
    model = KNeighborsClassifier(n_neighbors=15, metric="cosine").fit(train.numpy(), labels.numpy())
    expected = model.score(test.numpy(), truth.numpy())
    assert knn_accuracy(train, labels, test, truth, 15, temperature=None) == pytest.approx(expected, abs=1e-12)


def test_a_class_without_a_vote_is_not_among_the_first_five_guesses() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    (train, labels), (test, truth) = clouds(300, classes=12), clouds(150, classes=12)
    model = KNeighborsClassifier(n_neighbors=5, metric="cosine").fit(train.numpy(), labels.numpy())
    voted = model.predict_proba(test.numpy())[range(len(truth)), truth] > 0
    vote = Neighbours(train, labels, 12)(test)  # 300 images: five neighbours
    assert torch.equal(hits(vote, truth, 5), torch.from_numpy(voted)) and 0.3 < voted.mean() < 0.95
    filled = knn(train, labels, test, 5, num_classes=12).topk(5, dim=1).indices  # up to five, by the class number
    assert (filled == truth[:, None]).any(dim=1).double().mean() > voted.mean()


def test_a_guess_is_a_class_with_a_finite_score() -> None:
    logits = torch.tensor([[-torch.inf, 2.0, -torch.inf], [torch.nan, torch.nan, torch.nan], [3.0, 2.0, 1.0]])
    for label, right in ((0, [False, False, True]), (1, [True, False, True]), (2, [False, False, True])):
        assert hits(logits, torch.full((3,), label), 3).tolist() == right


def test_the_result_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = clouds(300)[0], clouds(50)[0]
    whole = nearest(train, test, 40)
    monkeypatch.setattr(neighbours, "_ROWS", 13)
    monkeypatch.setattr(neighbours, "_COLUMNS", 17)  # fewer than k: several blocks fill the list together
    for ours, expected in zip(nearest(train, test, 40), whole, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("columns", [3, 5, 16_384])
def test_of_equally_near_rows_the_first_is_taken(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_COLUMNS", columns)
    train = torch.tensor([[0.0, 1.0], *[[1.0, 0.0]] * 8])  # eight rows of similarity 1, exactly
    for k in (1, 3, 8):
        similarity, index = nearest(train, torch.tensor([[2.0, 0.0]] * 4), k)
        assert index.tolist() == [list(range(1, k + 1))] * 4 and similarity.unique().tolist() == [1.0]


def test_of_equal_scores_the_smaller_label_wins() -> None:
    train, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([2, 1])
    query = torch.tensor([[1.0, 0.0]])
    assert knn_accuracy(train, labels, query, torch.tensor([1]), 2) == 1
    assert knn_accuracy(train, labels, query, torch.tensor([2]), 2) == 0
    assert knn_accuracy(train, labels, query, torch.tensor([2]), 1) == 1  # the first row alone votes


def test_scores_stay_finite_at_any_temperature() -> None:
    (train, labels), (test, _) = clouds(60), clouds(20)
    scores = knn(train, labels, test, 10, num_classes=5, temperature=1e-6)
    assert bool(scores.isfinite().all())
    assert scores.argmax(1).tolist() == labels[nearest(train, test, 1)[1][:, 0]].tolist()  # the nearest one decides


def test_embeddings_that_are_not_finite_are_wrong_and_never_neighbours() -> None:
    train = torch.tensor([[float("nan"), 0.0], [0.0, 1.0], [1.0, 0.0]])
    labels = torch.tensor([0, 1, 0])
    test = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])
    assert nearest(train, test[:1], 3)[1].tolist() == [[1, 2, 0]]
    assert knn_accuracy(train, labels, test, torch.tensor([1, 0]), 1) == 0.5
    assert knn_accuracy(train, labels, test, torch.tensor([1, 0]), 1, temperature=None) == 0.5


def test_images_without_a_label_are_left_out_on_both_sides() -> None:
    train, labels = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), torch.tensor([-1, 1, 0])
    test, truth = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, -1])
    assert knn_accuracy(train, labels, test, truth, 1) == 1
    with pytest.raises(InputError, match="labelled test images"):
        knn_accuracy(train, labels, test, torch.tensor([-1, -1]))
    with pytest.raises(InputError, match="labelled training images"):
        knn_accuracy(train, torch.full((3,), -1), test, truth)
    with pytest.raises(InputError, match="temperature above 0"):
        knn_accuracy(train, labels, test, truth, temperature=0)
    with pytest.raises(InputError, match="k >= 1"):
        knn_accuracy(train, labels, test, truth, k=0)


def test_half_precision_counts_in_full_precision() -> None:
    (train, labels), (test, truth) = clouds(90), clouds(40)
    halves = [part.bfloat16() for part in (train, test)]
    expected = knn_accuracy(halves[0].float(), labels, halves[1].float(), truth, 9)
    assert knn_accuracy(halves[0], labels, halves[1], truth, 9) == expected
