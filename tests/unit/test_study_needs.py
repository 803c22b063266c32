"""What `reproduce --check` says, against counting with numbers, formulas, and what components name."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weatherproof import load_encoder, methods, views
from weatherproof.cards import CARDS, card_of
from weatherproof.cli import main
from weatherproof.data import batches, load_images
from weatherproof.data.class_lists import IMAGENET_100
from weatherproof.errors import InputError
from weatherproof.methods.feature_settings import FeatureSettings
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.operators import COMMON_15
from weatherproof.protocols import Views
from weatherproof.random import keys
from weatherproof.restoration import DeepDecoder, NonLocalMeans, Restored
from weatherproof.studies import STUDIES, Cell
from weatherproof.studies.lab.means import Means
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.sets import Images, Source
from weatherproof.studies.lab.shares import Share
from weatherproof.studies.lab.store import Store
from weatherproof.studies.needs.check import UTILISATION, _smaller, fewer, hours, lacks, needs
from weatherproof.studies.needs.data import data_needs
from weatherproof.studies.needs.dry import DryStore, Parted, Step, Training, counted, needed
from weatherproof.studies.needs.find import FEWER, MISSING, OPTIONAL, REFUSED, Need
from weatherproof.studies.needs.made_up import made_up
from weatherproof.studies.needs.weightless import RememberedShapes, weightless
from weatherproof.studies.needs.weights import weight_needs
from weatherproof.training import Plan
from weatherproof.training.footprint import Footprint, operations, peak_bytes
from weatherproof.training.passes import passes
from weatherproof.training.plan import Course

pytestmark = pytest.mark.filterwarnings("ignore:small.* no weights given", "ignore:.*batch normalisation")
PLAN = Plan(epochs=1, batch_size=32, lr=0.1, optimizer="sgd")


def simclr(encoder: str, look: Views | None = None) -> nn.Module:
    body = load_encoder(f"{encoder}@random", size=32)
    projector = nn.Sequential(nn.Linear(body.feature_dim, 32), nn.ReLU(), nn.Linear(32, 16))
    return methods.SimCLR(body, look or views.SimCLR(32), projector, NTXent(0.5))


def cells_of(name: str, scale: str) -> list[Cell]:
    return [cell for own in STUDIES[name].at(scale).cells.values() if own is not None for cell in own.cells]


def test_operations_are_those_of_the_formula() -> None:
    """2 x kernel x channels in x channels out x positions; twice as many more for the gradients, but none by the
    pixels."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 100, 5))
    images = torch.rand(4, 3, 10, 10)
    first, last = 2 * 9 * 3 * 8 * 100 * 4, 2 * 800 * 5 * 4
    assert operations(lambda: net(images)) == first + last
    assert operations(lambda: net(images).sum().backward()) == 2 * first + 3 * last


def test_without_numbers_as_with_them() -> None:
    method, images = simclr("resnet20"), load_images("digits", size=32, channels=3)
    course = Course(PLAN, len(images))
    with_numbers, without = counted(copy.deepcopy(method), images, course), counted(weightless(method), images, course)
    assert without.flops == with_numbers.flops > 1e6
    assert without.memory.per_image == pytest.approx(with_numbers.memory.per_image, rel=0.1)
    assert without.memory.fixed == pytest.approx(with_numbers.memory.fixed, rel=0.1)
    assert all(weight.device.type == "cpu" and weight.grad is None for weight in method.parameters())


@pytest.mark.parametrize("encoder", ["small(width=4, channels=3)", "timm:test_vit(depth=1)"])
def test_shapes_that_are_remembered_are_those_that_are_asked_for(encoder: str) -> None:
    """Of views that are soon made: they have numbers either way."""
    method, images = simclr(encoder, views.Twice(views.HorizontalFlip())), load_images("digits", size=32, channels=3)
    course = Course(replace(PLAN, micro_batch=4), len(images))
    asked = counted(weightless(method), images, course, most=0)
    with RememberedShapes() as known:
        step = counted(weightless(method), images, course, most=0)
        assert step.flops == asked.flops
        assert asdict(step.memory) == pytest.approx(asdict(asked.memory), rel=0.001)
        assert step.parted is not None
        assert asked.parted is not None
        assert asdict(step.parted) == pytest.approx(asdict(asked.parted), rel=0.01)
        few = torch.empty(3, 4, device="meta")
        both = [(few + 1).dtype, (few.long() + 1).dtype, (few.long() + 1.0).dtype, (few.t() @ few).shape]
        again = [(few + 1).dtype, (few.long() + 1).dtype, (few.long() + 1.0).dtype, (few.t() @ few).shape]
        assert both == again == [torch.float32, torch.int64, torch.float32, (4, 4)]
        view = few.view(12)
        assert view.untyped_storage()._cdata == few.untyped_storage()._cdata
        assert torch.equal(torch.ones(2) + 1, torch.full((2,), 2.0))  # numbers are computed
    assert known.count > 100


def test_a_gradient_of_a_gradient_without_numbers() -> None:
    images = load_images("digits", size=32, channels=3)
    body = load_encoder("small(width=8)@random")
    method = methods.build_labelled("supervised", body, nn.Linear(body.feature_dim, 10), tikhonov=InputGradient(0.1))
    course = Course(PLAN, len(images))
    assert counted(weightless(method), images, course).flops == counted(copy.deepcopy(method), images, course).flops


def parted(kind: str) -> nn.Module:
    if kind == "fcl":
        body, settings = load_encoder("resnet20@random"), FeatureSettings(k=40)
        return methods.FeatureContrastive(
            body, nn.Linear(body.feature_dim, 10), settings.partner("fcl"), settings.objective("fcl"), 0.05, start=0
        )
    body = load_encoder("resnet20@random")
    if kind == "layers":
        return methods.LayerwiseSimCLR(
            body, views.SimCLR(32), methods.layer_projectors(body), NTXent(0.5), penalty=InputGradient(1.0)
        )
    method = simclr("resnet20")
    method.tikhonov = InputGradient(1.0) if kind == "penalty" else None
    return method


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "penalty", "layers", "fcl"])
def test_the_memory_of_parts_is_counted(kind: str) -> None:
    """fixed + images x per image + part x per row, held against the peak of a real step of more images in parts."""
    method, images = parted(kind), load_images("digits", size=32, channels=3)
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    course = Course(PLAN, len(images))
    step = counted(weightless(method), images, course, most=0)
    method.train()
    getattr(method, "at_step", lambda _: None)(course.steps - 1)
    batch = next(batches(images, 64))

    def work() -> None:
        method(batch.images, batch.labels, batch.index, torch.arange(64), lambda rows: rows)["loss"].backward(
            inputs=weights
        )

    own = sum(4 * weight.numel() for weight in weights)
    whole = peak_bytes(work) + own * 2
    assert needed(step, step.memory, 64) == pytest.approx(whole, rel=0.15)
    for rows in (8, 16):
        with passes(method, Plan(epochs=1, batch_size=64, lr=0.1, micro_batch=rows), weights):
            peak = peak_bytes(work) + own * 2
        assert needed(step, step.memory, 64, rows) == pytest.approx(peak, rel=0.15)
        assert peak < whole / 3


def test_the_parts_that_are_advised_are_parts() -> None:
    """Of two views an image, as many rows as the batch has images would fit: of these a training makes no part."""
    step = Step(Footprint(fixed=0, per_image=200), 1.0, 0, parted=Parted(fixed=0, per_image=1, per_row=100))
    training = Training(None, replace(PLAN, batch_size=512), 512, step)
    assert needed(step, step.memory, 512, 512) < 60_000 < needed(step, step.memory, 512)
    advice = _smaller(training, replace(CARDS["a100"], memory=60_000))
    (rows,) = re.findall(r"--micro-batch (\d+)", " ".join(advice))
    plan = Means(micro_batch=int(rows)).of(training.plan)
    assert replace(training, plan=plan).bytes < 60_000


def test_hours_are_of_the_operations() -> None:
    step = counted(weightless(simclr("resnet20")), load_images("digits", size=32, channels=3), Course(PLAN, 320))
    training = Training(None, PLAN, 320, step)
    assert training.flops == 10 * 32 * step.flops
    assert hours(1e18, "32-true", CARDS["a100"]) == pytest.approx(1e18 / (156e12 * UTILISATION) / 3600)
    with pytest.raises(InputError, match="card"):
        card_of("a1000")


@pytest.mark.parametrize("name", STUDIES)
def test_every_source_and_every_file_of_every_study_is_named(name: str, tmp_path: Path) -> None:
    """Of an empty data folder all is missing, with words on what is wanted; and nothing else is asked for."""
    cells = cells_of(name, "paper")
    told = repr([(cell.model, cell.measure, cell.data, cell.files) for cell in cells])
    wanted = {*re.findall(r"'([\w-]+:\$DATA/[\w./-]+)'", told)}
    found = data_needs(cells, str(tmp_path))
    assert {need.name for need in found if "$DATA" in need.name} == wanted
    for need in found:
        if need.state == MISSING:
            assert "put" in need.text or "expected" in need.text, need
        else:
            assert need.state == OPTIONAL or "$DATA" not in need.name, need
    files = {*re.findall(r"@(\$DATA/[\w./-]+)", told)}
    weights = weight_needs(list(dict.fromkeys(cell.model for cell in cells)), str(tmp_path))
    wanted_files = [need for need in weights if "@" in need.name]
    assert {need.name.partition("@")[2] for need in wanted_files} == files
    assert all(need.state == MISSING for need in wanted_files)


def folders(root: Path, splits: Mapping[str, int], classes: Sequence[str], of_each: int = 1) -> None:
    """Class folders, so many of them with empty files in them: no image is decoded."""
    for split, filled in splits.items():
        for i, label in enumerate(classes):
            (root / split / label).mkdir(parents=True)
            for number in range(of_each if i < filled else 0):
                (root / split / label / f"{number}.png").touch()


def test_what_is_there_is_held_against_what_is_published(tmp_path: Path) -> None:
    folders(tmp_path / "cifar10", {"train": 2, "test": 2}, ("cat", "dog"), 3)
    found = {need.name: need for need in data_needs(cells_of("fcl-table-2", "paper"), str(tmp_path))}
    few = found["cifar10:$DATA/cifar10"]
    mended = f"weatherproof prepare cifar10 --out {tmp_path}/cifar10"
    assert (few.state, few.text) == (
        FEWER, "6 to train, 6 to test, 2 classes; the published set has 50,000 to train: 49,994 are missing, hours are "
        f"of these; the published set has 10,000 to test: 9,994 are missing, hours are of these; {mended}"
    )  # fmt: skip
    assert not lacks([few]) and fewer(found.values()) == [few]
    assert found["cifar100:$DATA/cifar100"].state == MISSING
    assert f"weatherproof prepare cifar100 --out {tmp_path}/cifar100" in found["cifar100:$DATA/cifar100"].text


def test_classes_without_images_are_in_the_way(tmp_path: Path) -> None:
    """The validation images lie side by side, as their tar file unpacks."""
    folders(tmp_path / "imagenet", {"train": 100}, IMAGENET_100)
    (tmp_path / "imagenet/val").mkdir()
    for i in range(3):
        (tmp_path / f"imagenet/val/ILSVRC2012_val_0000000{i}.JPEG").touch()
    (found,) = data_needs(cells_of("table-1", "paper"), str(tmp_path))
    assert found.state == MISSING and "100 classes have none; weatherproof prepare imagenet-train" in found.text
    assert f"--out {tmp_path}/imagenet/val --labels" in found.text and "126,589 are missing" in found.text


def test_what_lacks_is_said_of_all_splits_and_once(tmp_path: Path) -> None:
    """Of an empty folder, of one that is not there, and of one with training images alone."""
    folder = tmp_path / "imagenet"
    mended = (
        f"weatherproof prepare imagenet-train ILSVRC2012_img_train.tar --out {folder}/train; weatherproof prepare "
        f"imagenet-val ILSVRC2012_img_val.tar --out {folder}/val --labels ILSVRC2012_devkit_t12.tar.gz"
    )

    def need() -> Need:
        (found,) = data_needs(cells_of("table-1", "paper"), str(tmp_path))
        assert found.state == MISSING
        return found

    nothing = f"nothing to read in {folder}: put train/ and val/ there"
    assert need().text.endswith(f"; {mended}") and need().text.count(nothing) == 1 and "no folder" in need().text
    folder.mkdir()
    assert need().text.startswith(nothing) and need().text.count(nothing) == 1
    assert need().text.endswith(f"; {mended}")
    folders(folder, {"train": 100}, IMAGENET_100)
    assert need().text.startswith("100 to train, 100 classes; the published set has 126,689 to train")
    assert f"{folder} has no split 'test'" in need().text and need().text.endswith(f"; {mended}")


def test_corrupted_sets_that_are_not_there_are_named(tmp_path: Path) -> None:
    """A folder that is there is what the run reads: it is in the way where it lacks something."""
    cells, there = cells_of("layer-wise", "paper"), tmp_path / "cifar10-c"
    text = "cifar10-c:$DATA/cifar10-c"

    def need() -> Need:
        return next(need for need in data_needs(cells, str(tmp_path)) if need.name == text)

    assert need().state == OPTIONAL and "made on the fly" in need().text
    there.mkdir()
    (there / "CIFAR-10-C.tar").touch()
    assert Store(tmp_path / "store", data=str(tmp_path), device=torch.device("cpu")).holds(
        Images(Source(text), "test")
    )  # so that the run is refused
    mended = f"weatherproof prepare cifar10-c --out {there}; or move the folder away"
    assert need().state == MISSING and "found CIFAR-10-C.tar" in need().text and mended in need().text
    np.save(there / "labels.npy", np.arange(10))
    for name in (*COMMON_15[1:], COMMON_15[0]):
        np.save(there / f"{name}.npy", np.zeros((50, 4, 4, 3), np.uint8))
        if name == COMMON_15[-1]:
            assert f"lacks 5 of 75 sets of corrupted images ({COMMON_15[0]}/1, " in need().text
            assert need().state == MISSING and mended in need().text
    assert need().state == FEWER and need().text.startswith("10 images of 10 classes, in 75 sets; the published set")


def checked(name: str, scale: str = "smoke", **given: Any) -> dict[str, Need]:
    settings = {"seed": 0, "data": None, "store": Path("none"), "means": Means(), "card": CARDS["a100"], **given}
    return {need.kind: need for need in needs(STUDIES[name], scale, **settings)}


def test_what_a_run_refuses_is_in_the_way() -> None:
    found = checked("table-9", means=Means(devices=3))
    assert found["run"].state == REFUSED and lacks(found.values()) == [found["run"]]
    assert "batch_size 64 cannot be shared evenly by 3 devices" in found["run"].text


def test_a_share_is_counted_by_itself() -> None:
    def trainings(share: Share | None) -> int:
        text = checked("table-9", share=share)["hours"].text
        assert ("share 1/4" in text) == (share is not None)
        return int(re.findall(r"(\d+) trainings", text)[0])

    assert 0 < trainings(Share(1, 4)) < trainings(None)


def test_restorations_are_counted() -> None:
    """Of the Deep Decoder every step; non-local means, which takes a processor, in its time."""
    dry, images = DryStore(data=None, means=Means()), load_images("digits")
    flops = []
    for steps in (1, 2, 50):
        model = Restored(DeepDecoder(steps=steps, channels=8), load_encoder("small(width=4)@random"))
        before = dry.measurements
        dry.look_through(model, images, 2)
        flops.append((dry.measurements - before) / (2 * len(images)))
    assert flops[2] - flops[0] == 49 * (flops[1] - flops[0]) > 0
    batch = next(batches(images, 1))
    real = operations(lambda: model.restore(batch.images, keys(0, batch.index)))
    assert flops[2] == pytest.approx(real + dry.forward(model, images), rel=1e-6)
    assert dry.processor == {}
    dry.look_through(Restored(NonLocalMeans(), load_encoder("small(width=4)@random")), images, 1)
    assert [*dry.processor] == ["NonLocalMeans()"] and dry.processor["NonLocalMeans()"] > 0
    assert "NonLocalMeans() beside it: " in checked("table-7")["hours"].text


def test_what_stands_behind_a_gate_is_trained() -> None:
    assert "1 trainings" in checked("zero-shot")["hours"].text


@pytest.mark.slow
def test_a_study_by_words_is_counted_without_its_text_tower() -> None:
    found = checked("zero-shot", "paper")
    assert "10 trainings" in found["hours"].text and "not counted" not in found["hours"].text


@pytest.mark.slow
def test_made_up_images_are_as_many_as_the_published_ones() -> None:
    for name in ("table-2", "fcl-table-3"):
        for cell in cells_of(name, "paper"):
            for part in parts((cell.model, cell.data)):
                if isinstance(part, Images) and not part.source.relabel:
                    own = made_up(part, None)
                    assert len(own) == len(own.labels) > 500 and own.labels.max() < len(own.classes)
    one = made_up(cells_of("fcl-table-3", "paper")[0].data, None)
    assert torch.equal(one.read(torch.tensor([3])), one.subset(torch.tensor([3])).read(torch.tensor([0])))


@pytest.mark.parametrize("name", ["table-1", "fcl-table-1"])
def test_a_study_is_counted(name: str, tmp_path: Path) -> None:
    found = needs(STUDIES[name], "smoke", seed=0, data=None, store=tmp_path / "store", means=Means(), card=CARDS["t4"])
    kinds = {need.kind: need for need in found}
    assert kinds["memory"].state == kinds["disk"].state == "fits" and not lacks(found)
    assert "not counted" not in kinds["hours"].text and " 0 trainings" not in kinds["hours"].text
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table-2", "urrl-table-1", "layer-wise"])
def test_a_study_at_paper_scale_is_counted(name: str, tmp_path: Path) -> None:
    found = needs(STUDIES[name], "paper", seed=0, data=None, store=tmp_path, means=Means(), card=CARDS["a100"])
    (hours,) = (need for need in found if need.kind == "hours")
    assert "not counted" not in hours.text
    (memory,) = (need for need in found if need.kind == "memory")
    assert memory.state == "fits" or "--" in memory.text  # and then something makes it fit


def test_check_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: object) -> None:
    here = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    assert main(["reproduce", "figure-4", "--check", *here]) == 0
    assert "nothing is in the way" in capsys.readouterr().out
    assert (
        main(["reproduce", "fcl-table-1", "--scale", "paper", "--check", "--data", str(tmp_path), "--json", *here]) == 1
    )
    told = json.loads(capsys.readouterr().out)
    assert [need["state"] for need in told["needs"] if need["kind"] == "data"] == ["missing"]
    assert main(["reproduce", "figure-4", "--check", "--card", "abacus"]) == 2
    assert main(["reproduce", "figure-4", "--check", "--cells", "9/8", *here]) == 2
    assert not (tmp_path / "out").exists() and not (tmp_path / "store").exists()
