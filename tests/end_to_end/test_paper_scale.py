"""Studies at `paper` scale on made-up files in the published layouts, with random weights, small networks in place of
large ones, two steps of 16 images of each training and a dozen images of each set: a model of each as its images are
published, and each to its page with small images, one training seed where there may be one, and one store for all."""

import io
import math
import os
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from weatherproof import load_encoder
from weatherproof.attacks import PGD, LogBarrier
from weatherproof.benchmark import COMMON_19
from weatherproof.data import CorruptedImages, ImageSet, at_most
from weatherproof.data.cifar_classes import CIFAR_10, CIFAR_100
from weatherproof.data.class_lists import IMAGENET_100, IMAGENET_100B
from weatherproof.encoders import Encoder
from weatherproof.encoders.towers import TextTower
from weatherproof.evaluation import finetune_search
from weatherproof.methods import FeatureSettings
from weatherproof.methods.feature_contrast import FeatureContrastive
from weatherproof.methods.partners import Partner
from weatherproof.readouts import Adam, Fit, Logistic
from weatherproof.restoration import DeepDecoder
from weatherproof.sizes import sides
from weatherproof.studies import STUDIES
from weatherproof.studies.lab import classifiers
from weatherproof.studies.lab.recipes import Given
from weatherproof.studies.lab.sets import Images
from weatherproof.studies.lab.store import Store
from weatherproof.studies.lab.study import Scale
from weatherproof.studies.lab.words import TowerOf, letters
from weatherproof.studies.needs.find import HERE, MISSING
from weatherproof.studies.needs.weights import weight_needs
from weatherproof.studies.papers.fcl.scales import FclScale
from weatherproof.studies.weather.scales import Asked, Family
from weatherproof.training.plan import Course, Plan
from weatherproof.verbs.reproduce import reproduce
from weatherproof.views import RandomResizedCrop

NATIVE = ("lenet", "small", "resnet20")
UNDER_THEIR_HEAD = ("timm:tf_efficientnet_lite0@", "torchvision:squeezenet1_0@")  # of ImageNet's classes
UNSEEN = ("n07930864", "n01978287", "n03792782", "n02325366", "n02108915")  # of Figure 5, and as what they count
MOVED = ("n03062245", "n01978455", "n03785016", "n02326432", "n02093428")
CLASSES = {
    "cifar10": 10, "cifar100": 100, "stl10": 10, "covid-xray": 2, "aircraft": 100, "birdsnap": 500, "caltech101": 101,
    "caltech256": 257, "cars": 196, "dtd": 47, "flowers": 102, "food101": 101, "pets": 37, "sun397": 397,
    "imagenette": 10,
}  # fmt: skip
IMAGENETTE = (
    "n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413", "n03445777",
    "n03888257",
)  # fmt: skip
# by which a network's own head is believed
NAMES = {"cifar10": [*CIFAR_10], "cifar100": [*CIFAR_100], "imagenette": [*IMAGENETTE]}
BATCH = 16  # images of a step at most
OF_ONE_SIZE = ("cifar10", "cifar100", "stl10")  # photographs come in all sizes

pytestmark = pytest.mark.filterwarnings("ignore")


def png(shade: int, height: int, width: int) -> bytes:
    file, rows = io.BytesIO(), np.random.default_rng(shade).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(rows).save(file, "png")
    return file.getvalue()


SMALL = [png(shade, 32, 32) for shade in range(8)]
PHOTOGRAPHS = [png(shade, 48 + 2 * shade, 56 - shade) for shade in range(8)]


def folders(root: Path, names: list[str], splits: dict[str, int], pictures: list[bytes]) -> None:
    for split, count in splits.items():
        for label, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                (root / split / name / f"{i}.png").write_bytes(pictures[(label + i) % 8])


def idx(path: Path, array: np.ndarray) -> None:
    sizes = b"".join(int(length).to_bytes(4, "big") for length in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every set of every paper but ImageNet-C, as it is published, with a few images."""
    root = tmp_path_factory.mktemp("data")
    wordnet = sorted({*IMAGENET_100, *IMAGENET_100B, *UNSEEN, *MOVED})
    folders(root / "imagenet", wordnet, {"train": 2, "val": 1}, PHOTOGRAPHS)
    for name, classes in CLASSES.items():
        many = {"train": 20 if classes <= 10 else 2, "test": 2 if classes <= 10 else 1}
        pictures = SMALL if name in OF_ONE_SIZE else PHOTOGRAPHS
        names = NAMES.get(name, [f"class-{label:03}" for label in range(classes)])
        folders(root / name, names, many, pictures)
    (root / "mnist").mkdir()
    draw = np.random.default_rng(0)
    for stem, count in (("train", 400), ("t10k", 100)):
        idx(root / "mnist" / f"{stem}-images-idx3-ubyte", draw.integers(0, 256, (count, 28, 28)))
        idx(root / "mnist" / f"{stem}-labels-idx1-ubyte", np.arange(count) % 10)
    for name, classes, each in (("cifar10-c", 10, 2), ("cifar100-c", 100, 1)):  # five severities of the test images
        (root / name).mkdir()
        labels = np.tile(np.repeat(np.arange(classes, dtype=np.uint8), each), 5)
        for corruption in COMMON_19:
            np.save(root / name / f"{corruption}.npy", draw.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8))
        np.save(root / name / "labels.npy", labels)
    return root


@pytest.fixture(scope="module")
def every(data: Path) -> Path:
    """With ImageNet-C: a folder for each corruption, severity and class."""
    (data / "corrupted.JPEG").write_bytes(SMALL[0])
    classes = sorted(folder.name for folder in (data / "imagenet" / "val").iterdir())
    for corruption, severity, (place, label) in product(COMMON_19, range(1, 6), enumerate(classes, 1)):
        folder = data / "imagenet-c" / corruption / str(severity) / label
        folder.mkdir(parents=True)
        os.link(data / "corrupted.JPEG", folder / f"ILSVRC2012_val_{place:08}.JPEG")
    return data


def small(recipe: Given, store: Store) -> Encoder:
    if recipe.text.startswith(UNDER_THEIR_HEAD) and recipe.classes is None:
        return load_encoder("timm:test_efficientnet@random", size=recipe.size and 32, seed=recipe.seed)
    native = recipe.text.startswith(NATIVE)
    name, _, file = recipe.text.partition("@") if native else ("small(width=4)", "", "")
    classes = 10 if file and recipe.classes is None else recipe.classes  # those that the file's head has
    return load_encoder(f"{name}@random", size=recipe.size and 32, num_classes=classes, seed=recipe.seed)


def tower(recipe: TowerOf, store: Store) -> TextTower:
    """Groups of letters and random weights in place of CLIP's."""
    features = small(Given(recipe.text), store).feature_dim
    network = torch.nn.Linear(letters(["a"]).shape[1], features, bias=False)
    return TextTower("a text tower", network, letters, len, 1000, features, 100.0)


def a_few(images: ImageSet) -> ImageSet:
    """A dozen, of corrupted ones four of each corruption and severity."""
    if not isinstance(images, CorruptedImages):
        return at_most(images, 12)
    many = len(images.corrupted.labels)
    kept = torch.isin(images.places % many, torch.arange(4) * (many // 4))
    return images.subset(kept.nonzero().flatten())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    monkeypatch.setattr(Given, "make", small)
    monkeypatch.setattr(Given, "require", lambda *_: None)
    monkeypatch.setattr(TowerOf, "tower", tower)


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of 16 images, and a dozen images to test on."""
    read, steps, fit = Images.read, Course.steps.fget, DeepDecoder._fit  # type: ignore[attr-defined]
    planned, ascend, approach, grid = Store.plan, PGD.__call__, LogBarrier.minimal, finetune_search.grid

    def few(images: Images, folder: str | None) -> ImageSet:
        found = read(images, folder)
        return found if images.split == "train" else a_few(found)

    def decoder(own: DeepDecoder, *given: Any) -> torch.Tensor:
        return fit(replace(own, steps=2, channels=8), *given)

    def pgd(own: PGD, *given: Any) -> torch.Tensor:
        return ascend(replace(own, steps=min(2, own.steps)), *given)

    def barrier(own: LogBarrier, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return approach(replace(own, outer=min(2, own.outer), inner=min(2, own.inner), draws=10), *given)

    def in_small_batches(store: Store, plan: Plan) -> Plan:
        own = planned(store, plan)
        return replace(own, batch_size=min(own.batch_size, BATCH))

    monkeypatch.setattr(Images, "read", few)
    monkeypatch.setattr(FeatureContrastive, "weight_now", property(lambda own: own.weight))  # from the first step on
    monkeypatch.setattr(Store, "plan", in_small_batches)
    monkeypatch.setattr(DeepDecoder, "_fit", decoder)
    monkeypatch.setattr(PGD, "__call__", pgd)
    monkeypatch.setattr(LogBarrier, "minimal", barrier)
    monkeypatch.setattr("weatherproof.encoders.gauge.fit._STEPS", 20)
    monkeypatch.setattr("weatherproof.encoders.gate_fit._PLACES", 6)  # of 24
    monkeypatch.setattr(finetune_search, "grid", lambda regularizer: grid(regularizer)[:2])
    monkeypatch.setattr(Course, "steps", property(lambda course: min(2, steps(course))))


SIDE = 40  # pixels: as much as the largest kernel of a blur wants


@pytest.fixture
def tiny(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images, two epochs of a probe, and one training seed, of feature contrastive learning two."""
    read, crop, probe = Images.read, RandomResizedCrop.__call__, classifiers.fit_probe
    partner = FeatureSettings.partner

    def smaller(images: Images, folder: str | None) -> ImageSet:
        return read(images if images.size is None else replace(images, size=min(images.size, SIDE)), folder)

    def cropped(own: RandomResizedCrop, images: Any, keys: torch.Tensor) -> torch.Tensor:
        height, width = sides(own.size)
        return crop(replace(own, size=(min(height, SIDE), min(width, SIDE))), images, keys)

    def quick(*given: Any, fit: Fit, **settings: Any) -> torch.nn.Linear:
        short = {Adam: {"epochs": 2}, Logistic: {"realizations": 1}}.get(type(fit), {})
        return probe(*given, fit=replace(fit, **short), **settings)

    def fitting(own: FeatureSettings, name: str) -> Partner:
        return partner(replace(own, k=min(own.k, SIDE * SIDE)), name)

    monkeypatch.setattr(Images, "read", smaller)
    monkeypatch.setattr(FeatureSettings, "partner", fitting)
    monkeypatch.setattr(RandomResizedCrop, "__call__", cropped)
    monkeypatch.setattr(classifiers, "fit_probe", quick)
    for kind, seeds in ((Asked, 1), (Family, 1), (FclScale, 2)):
        monkeypatch.setattr(kind, "seeds", property(lambda _, seeds=seeds: seeds))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the studies that come to their page find each other's models."""
    return tmp_path_factory.mktemp("store")


def page(name: str, data: Path, store: Path, folder: Path) -> None:
    made = reproduce(
        name, scale="paper", data=str(data), out=folder / "run", store=store, device="cpu", workers=0,
        precision="32-true",
    )  # fmt: skip
    text = (folder / "run" / "table.md").read_text()
    assert made.records and (folder / "run" / "report.html").stat().st_size > 10_000
    assert all(row in text for row, _ in STUDIES[name].at("paper").cells)
    assert all(math.isfinite(record["value"]) for record in made.records)
    assert len(made.checks) == len(STUDIES[name].claims)


def one_model(name: str, data: Path, folder: Path) -> Path:
    """The first model of a study, under all that is measured of it."""
    for number in range(1, 4):  # one that does not answer such images gives none
        made = reproduce(
            name, scale="paper", data=str(data), store=folder / "store", out=folder / f"run-{number}", device="cpu",
            workers=0, precision="32-true", cells=f"{number}/100000",
        )  # fmt: skip
        if made.records:
            break
    assert made.records and all(math.isfinite(record["value"]) for record in made.records)
    return folder / "store"


def test_one_model_of_a_study(data: Path, short: None, tmp_path: Path) -> None:
    """The first of the sixty of `fcl-table-1`, on clean images, both noises and the rare classes."""
    store = one_model("fcl-table-1", data, tmp_path)
    assert len([*store.rglob("encoder.json")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STUDIES if name != "fcl-table-1"])
def test_one_model_of_every_study(name: str, every: Path, short: None, tmp_path: Path) -> None:
    one_model(name, every, tmp_path)


def test_a_study_comes_quickly_to_its_page(data: Path, tiny: None, store: Path, tmp_path: Path) -> None:
    page("figure-11", data, store, tmp_path)


@pytest.fixture
def of_real_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cells of Table 1, one for each file of weights, a dozen images to train on and two in a step and to test on:
    networks and their 224 pixels are the paper's."""
    shorten(monkeypatch)
    shrink(monkeypatch)
    read, planned, study = Images.read, Store.plan, STUDIES["table-1"]

    def fewer(images: Images, folder: str | None) -> ImageSet:
        return at_most(read(images, folder), 12 if images.split == "train" else 2)

    def in_pairs(store: Store, plan: Plan) -> Plan:
        return replace(planned(store, plan), batch_size=2)

    def of_one_row(seed: int) -> Scale:
        whole = study.at("paper", seed)
        return replace(whole, cells=dict([*whole.cells.items()][:2]))

    monkeypatch.setattr(Images, "read", fewer)
    monkeypatch.setattr(Store, "plan", in_pairs)
    monkeypatch.setitem(STUDIES, "table-1", replace(study, scales={"paper": of_one_row}))


@pytest.mark.slow
def test_weights_of_the_papers_networks_are_read(data: Path, of_real_networks: None, tmp_path: Path) -> None:
    """From the files that `--check` asks for, under the names that it gives them, to a finished page."""
    open_clip = pytest.importorskip("open_clip")
    here, cells = tmp_path / "data", [*STUDIES["table-1"].at("paper").cells.values()]
    here.mkdir()
    (here / "imagenet").symlink_to(data / "imagenet")
    models = [cell.model for own in cells if own is not None for cell in own.cells]
    made = {
        "open_clip:RN101": lambda: open_clip.create_model("RN101", pretrained=None),
        "torchvision:resnet101": lambda: torchvision.models.resnet101(weights=None),
    }
    wanted = weight_needs(models, str(here))
    assert sorted(need.name.partition("@")[0] for need in wanted) == sorted(made)
    for need in wanted:
        encoder, _, file = need.name.partition("@")
        assert need.state == MISSING
        state = made[encoder]().state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, file.replace("$DATA", str(here)))
    assert [need.state for need in weight_needs(models, str(here))] == [HERE, HERE]
    page("table-1", here, tmp_path / "store", tmp_path)


@pytest.mark.slow
def test_corrupted_images_are_read_as_they_are_published(every: Path) -> None:
    cell = next(cell for own in STUDIES["table-10"].at("paper").cells.values() if own for cell in own.cells)
    assert cell.files is not None
    read = cell.files.read(str(every))
    assert isinstance(read, CorruptedImages) and len(read.parts) == 19 * 5 and len(read.classes) == 100


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STUDIES if name != "figure-11"])
def test_a_study_comes_to_its_page(name: str, every: Path, tiny: None, store: Path, tmp_path: Path) -> None:
    page(name, every, store, tmp_path)
