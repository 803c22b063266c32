"""Whose classes are whose: own heads that are believed or not, and test images whose classes nothing could learn."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from html_page import Strict

import weatherproof as wp
from weatherproof.data import MemoryImages

from .conftest import ALONE, CLASSES, Command, class_folders, results, save_images

LEARN: dict[str, Any] = {"epochs": 1, "batch_size": 8, "workers": 0, "device": "cpu"}
QUICK: dict[str, Any] = LEARN | {"realizations": 1}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a network with a head for three classes, whose names its file does not say."""
    from safetensors.torch import save_file

    file = tmp_path_factory.mktemp("weights") / "three.safetensors"
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder = wp.load_encoder("resnet20", num_classes=len(CLASSES))
    save_file({name: value.clone() for name, value in encoder.state().items()}, file)
    return f"resnet20@{file}"


def own_head(records: Any) -> set[str]:
    return {r["metric"] for r in records if r["readout"] == "own-head"}


@pytest.mark.slow
def test_a_head_that_nothing_speaks_for_is_measured_by_agreement_and_all_say_why(
    network: str, photos: Path, tmp_path: Path, weatherproof: Command
) -> None:
    why = (
        "the network's own classifier is measured by its agreement with its answer for the clean image, not by "
        "accuracy: the classifier's classes are 3 whose names are not known, the images' are ant, bee, cat; "
        "--classes-match says that both are the same in the same order"
    )
    run = wp.harden(network, photos, **QUICK, **ALONE, out=tmp_path / "run")
    assert own_head(run.records) == {"agreement"} and list(run.notes) == [why]
    assert json.loads((run.folder / "results.json").read_text())["notes"] == [why]
    page = run.report.read_text()
    Strict(page)
    assert "the classifier&#39;s classes are 3 whose names are not known" in page
    audit = ("audit", network, photos, "--operator", "RandomMask(0.5)", "--workers", 0, "--out", tmp_path / "audit")
    _, out, _ = weatherproof(*audit)
    assert f"note     {why}" in out.splitlines()
    _, out, _ = weatherproof(*audit, "--json")  # finished already, and says so still
    assert json.loads(out)["notes"] == [why] and own_head(json.loads(out)["records"]) == {"agreement"}
    clean = wp.audit(network, photos, workers=0, out=tmp_path / "clean")
    assert own_head(clean.records) == set() and clean.notes[0].startswith(
        "the network's own classifier is not measured:"
    )


@pytest.mark.slow
def test_the_users_word_makes_it_accuracy(
    network: str, photos: Path, tmp_path: Path, weatherproof: Command, here: Path
) -> None:
    run = wp.harden(network, photos, **QUICK, classes_match=True, **ALONE, out=tmp_path / "run")
    assert own_head(run.records) == {"top1"} and "user's word (--classes-match)" in run.notes[0]
    assert yaml.safe_load((run.folder / "recipe.yaml").read_text())["classes_match"] is True
    encoder, images = wp.load_encoder(network).eval(), wp.load_images(photos, "test")
    with torch.inference_mode():
        answers = encoder.logits(images.read(torch.arange(len(images))).float() / 255).argmax(dim=1)
    expected = (answers == images.labels).double().mean().item()
    for extra in ([], ["--suite", "common-15"], ["--attack", "PGD(L2(0.5), steps=1)"]):
        audit = ("audit", network, photos, "--classes-match", "--workers", 0, *extra)
        status, out, _ = weatherproof(*audit, "--out", f"run-{len(extra)}-{extra[:1]}", "--json")
        said = json.loads(out)
        (clean,) = [
            r["value"]
            for r in said["records"]
            if (r["metric"], r["readout"], r["operator"], r["corruption"], r["attack"])
            == ("top1", "own-head", None, None, None)
        ]
        assert status == 0 and clean == pytest.approx(expected)
        assert any("user's word" in note for note in said["notes"])


def test_a_word_that_cannot_be_true_is_refused(network: str, teacher: str, photos: Path, here: Path, refused) -> None:
    for verb in ("harden", "audit"):
        said = refused(verb, network, "digits", "--size", 16, "--classes-match")
        assert "it has 3 where 'digits/test' has 10" in said
        assert "has none of its own" in refused(verb, teacher, photos, "--classes-match")
    assert "give --head own" in refused("train", "supervised", photos, "--encoder", network, "--classes-match")
    assert not any(here.iterdir())


@pytest.mark.parametrize("extra", [("--suite", "common-15"), ("--attack", "PGD(L2(0.5))")])
def test_what_needs_accuracy_is_refused_with_the_reason(
    network: str, photos: Path, here: Path, refused, extra: tuple[str, str]
) -> None:
    said = refused("audit", network, photos, "--workers", 0, *extra)
    assert "needs a classifier of the images' classes" in said and "ant, bee, cat; --classes-match says" in said
    said = refused("audit", network, "digits", "--workers", 0, *extra)
    assert "0, 1, 2, ... (10 classes); or run probe on such images" in said and "--classes-match" not in said
    assert not any(here.iterdir())


def test_training_goes_on_with_an_own_head_on_the_users_word(
    network: str, photos: Path, tmp_path: Path, here: Path, refused
) -> None:
    words = ("train", "supervised", photos, "--encoder", network, "--head", "own", "--epochs", 1)
    assert "head own goes on with a classifier of the images' classes" in refused(*words)
    assert not any(here.iterdir())
    run = wp.train(
        "supervised", photos, encoder=network, head="own", classes_match=True, **QUICK | {"lr": 1e-30},
        out=tmp_path / "run",
    )  # fmt: skip
    kept, start = wp.readouts.load_readout(run.folder), wp.load_encoder(network)
    assert kept is not None and start.head is not None
    assert torch.equal(kept.head.weight, start.head.weight)  # type: ignore[arg-type]


def test_a_readout_of_the_same_classes_in_another_order(photos: Path, tmp_path: Path) -> None:
    run = wp.probe("small@random", photos, workers=0, device="cpu", out=tmp_path / "probe")
    (expected,) = [r["value"] for r in run.records if r["metric"] == "top1"]
    test = wp.load_images(photos, "test", size=None)
    order = [2, 0, 1]
    pixels, labels = test.read(torch.arange(len(test))), torch.tensor(order).argsort()[test.labels]
    other = MemoryImages(pixels, labels, [CLASSES[i] for i in order], name="other")
    audit = wp.audit(run.folder, other, workers=0, device="cpu", out=tmp_path / "audit")
    (found,) = [r["value"] for r in audit.records if r["metric"] == "top1"]
    assert found == expected and audit.notes[0].endswith("in another order: matched by name")
    some = other.subset((labels > 0).nonzero().flatten())
    few = MemoryImages(some.pixels, some.labels - 1, other.classes[1:], name="few")
    audit = wp.audit(run.folder, few, workers=0, device="cpu", out=tmp_path / "few")
    assert {r["data"] for r in audit.records if r["metric"] == "top1"} == {"few among 3 classes"}


@pytest.mark.slow
def test_some_of_a_readouts_classes_under_damage_a_suite_and_attack(tmp_path: Path) -> None:
    """Whatever it answers has a name, also on the pages' single images."""
    digits = wp.load_images("digits", "test")
    chosen = (digits.labels > 7).nonzero().flatten()[:12]
    eight_or_nine = MemoryImages(digits.read(chosen), digits.labels[chosen] - 8, ("8", "9"), name="few")
    run = wp.probe(
        "small@random", "digits", test_images=20, realizations=1, workers=0, device="cpu", out=tmp_path / "probe"
    )
    for name, value in (
        ("operator", "GaussianNoise(0.5)"),
        ("suite", "common-15"),
        ("attack", "PGD(L2(0.5), steps=1)"),
    ):
        kind: dict[str, Any] = {name: value}
        audit = wp.audit(run.folder, eight_or_nine, **kind, workers=0, device="cpu", out=tmp_path / name)
        Strict(audit.report.read_text())
        assert {r["data"] for r in audit.records if r["metric"] == "top1"} == {"few among 10 classes"}
        assert any("2 of the classifier's 10 classes: accuracy is among all" in note for note in audit.notes)


# the classes of the training and the test images


def as_tiny_imagenet(root: Path) -> Path:
    """The folders of Tiny-ImageNet as it is downloaded."""
    for tint, name in enumerate(("n01443537", "n01629819", "n01641577")):
        save_images(root / "train" / name / "images", 8, tint=tint)
    save_images(root / "val" / "images", 6, seed=1)
    return root


@pytest.mark.slow
def test_one_check_of_classes_for_all_verbs(
    teacher: str, network: str, tmp_path: Path, here: Path, weatherproof: Command
) -> None:
    tiny = as_tiny_imagenet(tmp_path / "tiny")
    unknown = class_folders(tmp_path / "unknown")
    for file in (unknown / "train" / "bee").iterdir():
        file.unlink()
    for folder, reason in (
        (tiny, "has no image of class 'images': the test images of Tiny-ImageNet lie in one folder"),
        (unknown, "has no image of class 'bee': every class needs at least one"),
    ):
        said = {}
        for verb, *words in (
            ("probe", teacher, folder), ("finetune", teacher, folder),
            ("train", "supervised", folder, "--encoder", teacher),
        ):  # fmt: skip
            status, out, err = weatherproof(verb, *words)
            assert (status, out) == (2, "") and reason in err
            said[verb] = err.splitlines()[-1].removeprefix("weatherproof: ")
        assert not any(here.iterdir())
        for verb, measure in (
            ("harden", lambda out, of=folder: wp.harden(network, of, **QUICK, **ALONE, out=out)),
            ("pretrain", lambda out, of=folder: wp.pretrain("simclr", of, encoder=teacher, **LEARN, out=out)),
        ):
            with pytest.warns(UserWarning, match="no accuracies are measured") as warned:
                run = measure(tmp_path / f"{verb}-{folder.name}")
            (said[verb],) = [str(w.message).removeprefix("no accuracies are measured: ") for w in warned]
            metrics = {r["metric"] for r in results(run.folder)}
            assert metrics and not metrics & {"top1", "top5"}
        assert len({*said.values()}) == 1  # word for word


def test_accuracy_of_a_believed_head_is_left_where_a_probe_cannot_learn(network: str, tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "photos")
    for file in (folder / "train" / "bee").iterdir():
        file.unlink()
    with pytest.warns(UserWarning, match="no accuracies of a probe are measured: 'photos/train' has no image of class"):
        run = wp.harden(network, folder, **QUICK, classes_match=True, **ALONE, out=tmp_path / "run")
    assert {r["readout"] for r in run.records if r["metric"] == "top1"} == {"own-head"}


# real images


@pytest.mark.data
@pytest.mark.slow
def test_ids_numbers_and_a_part_of_imagenets_classes_give_one_accuracy(data_dir: Path, tmp_path: Path) -> None:
    with (data_dir / "imagenet-samples" / "labels.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["index"]))
    few, ids, numbers = rows[::100], [row["wnid"] for row in rows], [row["index"] for row in rows]
    for row in few:
        (tmp_path / "flat").mkdir(exist_ok=True)
        shutil.copy(data_dir / "imagenet-samples" / row["filename"], tmp_path / "flat")
    flat = wp.load_images(tmp_path / "flat", "all", size=224)
    pixels = flat.read(torch.arange(len(few)))  # their names begin with the id, so they are in the order of the rows
    encoder = wp.load_encoder(f"torchvision:squeezenet1_0@{data_dir / 'squeezenet1_0-deepcompression.pth'}").eval()
    with torch.inference_mode():
        answers = encoder.logits(pixels.float() / 255).argmax(dim=1)
    expected = (answers == torch.tensor([int(row["index"]) for row in few])).double().mean().item()
    assert 0.4 < expected < 1
    for key, classes in (
        ("wnid", ids), ("index", numbers), ("index", sorted(numbers)), ("name", [row["wnid"] for row in few]),
    ):  # fmt: skip
        wanted = [row["wnid" if key == "name" else key] for row in few]
        images = MemoryImages(pixels, torch.tensor([classes.index(name) for name in wanted]), classes)
        run = wp.audit(encoder, images, workers=0, device="cpu", out=tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        (found,) = [r for r in run.records if r["metric"] == "top1"]
        assert found["value"] == pytest.approx(expected)
        assert found["data"] == ("memory among 1,000 classes" if key == "name" else "memory")
