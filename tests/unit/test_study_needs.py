"""What `reproduce --check` says, against counting with numbers, formulas, and what components name."""

import copy
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from weatherproof import load_encoder, methods, views
from weatherproof.cards import CARDS, card_of
from weatherproof.cli import main
from weatherproof.data import batches, load_images
from weatherproof.errors import InputError
from weatherproof.methods.feature_settings import FeatureSettings
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.studies import STUDIES, Cell
from weatherproof.studies.lab.means import Means
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.needs.check import UTILISATION, hours, lacks, needs
from weatherproof.studies.needs.dry import Training, counted, needed
from weatherproof.studies.needs.find import HERE, MISSING, OPTIONAL, data_needs, weight_needs
from weatherproof.studies.needs.made_up import made_up
from weatherproof.studies.needs.weightless import RememberedShapes, weightless
from weatherproof.training import Plan
from weatherproof.training.footprint import operations, peak_bytes
from weatherproof.training.passes import passes
from weatherproof.training.plan import Course

pytestmark = pytest.mark.filterwarnings("ignore:small.* no weights given", "ignore:.*batch normalisation")
PLAN = Plan(epochs=1, batch_size=32, lr=0.1, optimizer="sgd")


def simclr(encoder: str) -> nn.Module:
    body = load_encoder(f"{encoder}@random", size=32)
    projector = nn.Sequential(nn.Linear(body.feature_dim, 32), nn.ReLU(), nn.Linear(32, 16))
    return methods.SimCLR(body, views.SimCLR(32), projector, NTXent(0.5))


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


@pytest.mark.parametrize("encoder", ["resnet20", "timm:test_vit(patch_size=8, depth=2)"])
def test_shapes_that_are_remembered_are_those_that_are_asked_for(encoder: str) -> None:
    method, images = simclr(encoder), load_images("digits", size=32, channels=3)
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
    assert {need.name.partition("@")[2] for need in weights} == files
    assert all(need.state == MISSING for need in weights)


def test_what_is_there_is_counted(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        for label in ("cat", "dog"):
            folder = tmp_path / "cifar10" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.png").touch()  # no image is decoded
    found = {need.name: need for need in data_needs(cells_of("fcl-table-2", "paper"), str(tmp_path))}
    here = found["cifar10:$DATA/cifar10"]
    assert (here.state, here.text) == (
        HERE, "6 to train, 4 to test, 2 classes; the published set has 50,000 to train; "
        "the published set has 10,000 to test"
    )  # fmt: skip
    assert found["cifar100:$DATA/cifar100"].state == MISSING


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
    assert not (tmp_path / "out").exists() and not (tmp_path / "store").exists()
