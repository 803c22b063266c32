"""The transfer sets: torchvision's layouts written out in small, the paper's splits, and their metric."""

from pathlib import Path

import numpy as np
import pytest
import torch
from published_sets import SETS, caltech101, image, sun397
from sklearn.metrics import balanced_accuracy_score
from torchvision import datasets

from weatherproof.data import SOURCES, TRANSFER, load_images, metric_of, validation_split
from weatherproof.errors import InputError
from weatherproof.evaluation.engine.answers import Answers
from weatherproof.evaluation.metrics import named


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dtd", datasets.DTD),
        ("pets", datasets.OxfordIIITPet),
        ("food101", datasets.Food101),
        ("aircraft", datasets.FGVCAircraft),
    ],
)
def test_published_files_are_read_as_torchvision_reads_them(tmp_path: Path, name: str, kind: type) -> None:
    write, train, test = SETS[name]
    write(tmp_path)
    inside = next(tmp_path.iterdir())
    for folder in (tmp_path, inside):
        sets = [load_images(f"{name}:{folder}", split) for split in ("train", "test")]
        assert [len(images) for images in sets] == [train, test]
        theirs = kind(tmp_path, split="test")
        assert sets[1].classes == tuple(theirs.classes)
        assert sets[1].labels.tolist() == [label for _, label in theirs]
        pixels = [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image, _ in theirs]
        assert torch.equal(sets[1].read(torch.arange(test)), torch.stack(pixels))


def test_caltech_trains_on_the_first_images_of_each_class(tmp_path: Path) -> None:
    caltech101(tmp_path)
    root = tmp_path / "caltech101/101_ObjectCategories"
    for folder in (tmp_path, tmp_path / "caltech101", root):
        train, test = (load_images(f"caltech101:{folder}", split) for split in ("train", "test"))
        assert train.classes == ("ant", "bass")
        assert train.labels.bincount().tolist() == [30, 30] and test.labels.bincount().tolist() == [3, 1]
        assert not set(train.index.tolist()) & set(test.index.tolist())
        assert test.read(torch.tensor([0])).float().mean() == pytest.approx(210, abs=2)  # the 31st ant


def test_sun_is_read_by_its_lists(tmp_path: Path) -> None:
    sun397(tmp_path)
    train, test = (load_images(f"sun397:{tmp_path}", split) for split in ("train", "test"))
    assert train.classes == ("abbey", "cabin/indoor")
    assert train.labels.tolist() == [0, 1] and test.labels.tolist() == [1]


@pytest.mark.parametrize("name", [name for name in TRANSFER if not name.startswith("cifar")])
def test_class_folders_do_for_every_set(tmp_path: Path, name: str) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            image(tmp_path / split / label / "1.png", 9)
    assert load_images(f"{name}:{tmp_path}", "test").classes == ("a", "b")
    assert metric_of(f"{name}:{tmp_path}") == TRANSFER[name].metric and name in SOURCES


@pytest.mark.parametrize("name", [name for name in TRANSFER if not name.startswith("cifar")])
def test_an_empty_folder_is_refused_and_stays_empty(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(InputError, match=f"nothing to read in .* for {name}: put train/ and test/"):
        load_images(f"{name}:{folder}", "train")
    assert not any(folder.iterdir())


def test_metrics() -> None:
    assert metric_of("cifar10:there") == metric_of("photos") == metric_of("pets") == "top1"
    assert [name for name, made in TRANSFER.items() if made.metric == "mean_per_class"] == [
        "aircraft", "caltech101", "caltech256", "flowers", "pets",
    ]  # fmt: skip
    assert len(TRANSFER) == 12


def test_mean_per_class_is_balanced_accuracy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 4, generator=generator)
    labels = (torch.rand(200, generator=generator) ** 3 * 4).long()  # few of the last classes
    logits[labels == 0, 0] += 2
    unlabelled = torch.full((3,), -1)  # not counted
    columns = named.metric_columns(["mean_per_class"], torch.cat([logits, logits[:3]]), torch.cat([labels, unlabelled]))
    found = named.counted(named.METRICS["mean_per_class"], Answers(torch.arange(203), columns))
    value = named.METRICS["mean_per_class"].value(found)
    expected = balanced_accuracy_score(labels.numpy(), logits.argmax(dim=1).numpy())
    assert value == pytest.approx(expected) and len(found) == 200
    assert abs(expected - float((logits.argmax(dim=1) == labels).double().mean())) > 0.05


def test_a_validation_split_is_stratified_and_repeatable() -> None:
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate((100, 50, 4))])
    labels = torch.cat([labels, torch.tensor([-1, -1])])[
        torch.randperm(156, generator=torch.Generator().manual_seed(0))
    ]
    training, held = validation_split(labels, 0.1, seed=3)
    assert sorted([*training.tolist(), *held.tolist()]) == list(range(156))
    assert labels[held].bincount().tolist() == [10, 5, 1]
    assert torch.equal(held, validation_split(labels, 0.1, seed=3)[1])
    assert not torch.equal(held, validation_split(labels, 0.1, seed=4)[1])


@pytest.mark.parametrize(
    ("labels", "fraction", "message"),
    [
        ([0, 0, 1], 0.1, "too few images for a validation split: every class needs at least two, and class 1 has 1"),
        ([-1, -1], 0.1, "and no image has a label"),
        ([0, 0], 1.0, "above 0 and below 1; got 1.0"),
    ],
)
def test_too_few_to_split(labels: list[int], fraction: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validation_split(torch.tensor(labels), fraction)


@pytest.mark.slow
@pytest.mark.data
def test_the_shared_sets(data_dir: Path) -> None:
    train, test = (load_images(f"dtd:{data_dir}/dtd10", split, 32) for split in ("train", "test"))
    assert len(train.classes) == len(test.classes) == 10 and len(train) > len(test) > 0
    assert len(load_images(f"cifar10:{data_dir}/cifar10", "test")) == 10_000
