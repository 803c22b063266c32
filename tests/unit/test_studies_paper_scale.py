"""What `paper` scale does is what the papers say: how images are looked at, what is fitted how, on which networks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import weatherproof as wp
from weatherproof.attacks import balls, described
from weatherproof.cli import main
from weatherproof.errors import InputError
from weatherproof.readouts import Adam
from weatherproof.studies import STUDIES, Cell
from weatherproof.studies.lab.classifiers import Finetuned, Headed, Labelled, Probed, Restored
from weatherproof.studies.lab.recipes import Given, Hardened, Pretrained, layer_wise
from weatherproof.studies.lab.sets import WHOLE, Images
from weatherproof.studies.papers.contrastive_inversion.scales import PAPER
from weatherproof.verbs.audit import verb as audit

DOCS = Path(__file__).parents[2] / "docs"
CROPS, FLIPS = "Chain(RandomResizedCrop(224), HorizontalFlip())", "HorizontalFlip()"


def paper(study: str, scale: str = "paper") -> dict[tuple[str, str], Cell]:
    cells = STUDIES[study].at(scale).cells
    return {key: cell for key, own in cells.items() if own is not None for cell in own.cells[:1]}


def whole(images: Images) -> bool:
    """Whether these are uncropped; else they are as test images are."""
    assert (images.uncropped is None) == (images.size is not None)
    return images.uncropped == WHOLE


def trainings(model: object) -> Iterator[object]:
    """The recipes of a model that are trained or fitted."""
    while model is not None:
        if isinstance(model, Hardened | Labelled | Probed | Pretrained):
            yield model
        model = getattr(model, "of", None) or getattr(model, "start", None)


@pytest.mark.parametrize(
    "study", ["table-1", "table-4", "table-10", "figure-3", "figure-5", "urrl-table-1", "urrl-table-4"]
)
def test_training_images_are_whole_where_a_crop_follows_and_test_images_their_centre(study: str) -> None:
    """Contrastive inversion D.1; MoCo's official pipeline, which URRL builds on."""
    for cell in paper(study).values():
        test = cell.data
        assert (test.size, test.crop_fraction, test.uncropped) == (224, 0.875, None)
        for recipe in trainings(cell.model):
            assert whole(recipe.data)
            looks = recipe.views if isinstance(recipe, Pretrained) else recipe.augment
            assert looks is not None and (isinstance(recipe, Pretrained) or looks.startswith("Chain(RandomResizedCrop"))


def test_feature_contrast_on_imagenet_crops_whole_images() -> None:
    cells = paper("fcl-table-3")
    assert whole(cells["ImageNet, mean of 19", "FCL"].model.data)
    assert cells["ImageNet, clean", "FCL"].measure.train.size == 224  # whose pixels have a standard deviation each
    assert cells["CIFAR-10, clean", "FCL"].model.data.uncropped is None  # padded crops, at 32 px


@pytest.mark.parametrize("data", ["CIFAR-10", "CIFAR-100", "STL-10", "COVID X-ray", "ImageNet-100B"])
def test_small_sets_are_resized_and_flipped_and_not_cropped(data: str) -> None:
    """Contrastive inversion, Appendix D.1."""
    for row in ("Ours (RM)", "Baseline (GN)"):
        probe = paper("table-2")[row, data].model
        assert isinstance(probe, Probed)
        small = data in ("CIFAR-10", "CIFAR-100", "STL-10")
        assert probe.augment == (FLIPS if small else CROPS) and whole(probe.data) == (not small)
        if small:
            assert (probe.data.size, probe.data.source.crop_fraction) == (224, 1.0)
        assert isinstance(probe.fit, Adam) and probe.fit.schedule == "cosine"
        assert whole(next(recipe for recipe in trainings(probe.start)).data)  # its network is of ImageNet-100


@pytest.mark.parametrize(
    ("study", "column", "draws"),
    [
        ("table-7", "NLM denoising + clean classifier", 10),
        ("table-8", "Deep Decoder inpainting + clean classifier", 1),
    ],
)
def test_restored_images_are_classified_by_the_imagenet_network(study: str, column: str, draws: int) -> None:
    cells = {row: cell for (row, name), cell in paper(study).items() if name == column}
    for cell in cells.values():
        assert isinstance(cell.model, Restored) and cell.measure.realizations == draws
        probe = cell.model.of
        assert isinstance(probe, Probed) and isinstance(probe.start, Given)
        assert probe.start.text.startswith("torchvision:resnet101@") and probe.operator is None
        assert probe.augment == CROPS and probe.data.source == PAPER.data["main"] and whole(probe.data)
        assert probe.fit == Adam(batch_size=128, schedule="constant")
    assert paper("table-1")["noise-0.1", "Ours"].measure.realizations == 10


def test_the_clean_layer_is_fitted_as_published_and_the_fast_one_is_named() -> None:
    carried = "Clean linear classifier on robust encoder"
    model = paper("table-9")["mask-0.50", carried].model
    assert isinstance(model, Headed) and isinstance(model.encoder, Hardened)  # raw embeddings, nothing of unit length
    assert isinstance(model.head, Probed) and isinstance(model.head.start, Given)
    assert model.head.start.text.startswith("open_clip:RN101@") and isinstance(model.head.fit, Adam)
    facts = {scale: STUDIES["table-9"].at(scale).facts["classifier of clean images"] for scale in ("desk", "paper")}
    assert facts["desk"].startswith("the fast one, not the paper's") and "unit length" in facts["desk"]
    assert facts["paper"].startswith("as published (Adam)") and "raw embeddings" in facts["paper"]
    assert STUDIES["table-1"].at("desk").facts["probe"].startswith("the fast one")


def test_sixteen_bits_are_the_clip_networks_alone() -> None:
    for name, precision in (("Supervised Baseline", "32-true"), ("Ours", "16-mixed")):
        (training,) = [r for r in trainings(paper("table-1")["mask-0.50", name].model) if not isinstance(r, Probed)]
        assert training.plan.precision == precision


def test_the_covid_images_are_found_in_their_own_layout(tmp_path: Path) -> None:
    """Two tasks below one folder, as they come: two classes."""
    for task, classes in {"binary": ("covid", "normal"), "three_class": ("covid", "normal", "viral")}.items():
        for split in ("train", "test"):
            for name in classes:
                (tmp_path / "covid-xray" / task / split / name).mkdir(parents=True)
                Image.new("L", (8, 8)).save(tmp_path / "covid-xray" / task / split / name / "0.png")
    source = paper("table-6")["Ours (RM)", "COVID X-ray"].data.source
    found = wp.load_images(source.text.replace("$DATA", str(tmp_path)), "train", size=8)
    assert found.classes == ("covid", "normal") and source.text == "covid-xray:$DATA/covid-xray"


@pytest.mark.filterwarnings("ignore:.*no weights given")
@pytest.mark.parametrize("scale", ["smoke", "desk", "paper"])
def test_of_the_layer_wise_columns_the_losses_alone_differ(scale: str) -> None:
    """The same projectors with the same weights, and the penalty as printed."""
    models = {column: cell.model.start for (row, column), cell in paper("layer-wise", scale).items() if row == "top-1"}
    assert len(models) == 4
    for model in models.values():
        assert isinstance(model, Pretrained) and model.layers is not None
        penalty = dict(model.layers).get("penalty")
        assert penalty is None or not penalty.per_sample
    texts = {repr(model).partition("layers=")[0] for model in models.values()}
    assert len(texts) == 1 and len(set(models.values())) == 4
    plain = next(model for model in models.values() if dict(model.layers) == {"everywhere": False})
    encoder = wp.load_encoder("small(width=4, channels=3)", num_classes=0)
    made = [
        layer_wise(encoder.clone(), lambda *_: (), temperature=0.5, **dict(model.layers)) for model in models.values()
    ]
    kinds = {str(method.projectors[-1]) for method in made}
    assert len(kinds) == 1 and "BatchNorm" not in kinds.pop() and dict(plain.settings) == {"temperature": 0.5}


@pytest.mark.filterwarnings("ignore:.*randomly initialised", "ignore:.*no weights given")
def test_all_starts_of_fine_tuning_see_images_of_one_size() -> None:
    """256 px, as URRL says: networks that resize to 224 by themselves must not."""
    cells = paper("urrl-table-2")
    for model in ("Supervised", "MoCo v2", "URRL", "Adv. Training"):
        recipe = cells[f"clean: {model}", "CIFAR-10"].model
        start = recipe.start
        while not isinstance(start, Given):
            start = start.start
        given = wp.load_encoder(start.text.partition("@")[0] + "@random", size=start.size, num_classes=0)
        assert recipe.augment.startswith("Chain(RandomResizedCrop(256)")
        assert start.bare or given.preprocessing.size == 256


def test_fine_tuning_crops_whole_images_and_measures_their_middle() -> None:
    """Salman et al. 2020, whose settings URRL takes: settings are chosen on held-out images as test images are."""
    cells = paper("urrl-table-2")
    for model in ("Supervised", "MoCo v2", "URRL-SR", "Adv. Training"):
        for data in ("Aircraft", "CIFAR-10"):
            cell = cells[f"clean: {model}", data]
            recipe, test = cell.model, cell.data
            assert whole(recipe.data) and not whole(test) and test.size == 256
            if isinstance(recipe, Finetuned):
                assert recipe.chosen is not None and recipe.chosen.data == recipe.data
                assert recipe.chosen.judged == replace(test, split="train")
    halfway = paper("front")["MoCo v2, alpha 0.7", "clean"].model
    assert isinstance(halfway, Probed) and halfway.augment is None and halfway.data.size == 256
    desk = paper("urrl-table-2", "desk")["clean: URRL", "CIFAR-10"].model
    assert desk.data.size == 32 and desk.chosen.judged is None


def test_the_weight_decay_of_the_text_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    """Contrastive inversion, Appendix D.1: that of ours, not of the baseline; its code does not apply it."""
    study = STUDIES["table-1"]
    assert study.decayed is not None and study.decayed(0.0).at("desk").cells == study.at("desk").cells
    for scale in ("desk", "paper"):
        plain, decayed = study.at(scale), study.decayed(1e-4).at(scale)
        assert "weight_decay 0.0001" in decayed.facts["ours starts from"]
        for (row, column), cell in decayed.cells.items():
            was = plain.cells[row, column]
            if column == "Supervised Baseline":
                assert cell == was
                continue
            (ours, before) = (next(r for r in trainings(c.model) if isinstance(r, Hardened)) for c in (cell, was))
            assert before.plan.weight_decay == 0.0 and ours == replace(before, plan=ours.plan)
            assert ours.plan == replace(before.plan, weight_decay=1e-4)
    assert main(["reproduce", "fcl-table-1", "--weight-decay", "1e-4"]) == 2
    assert "fcl-table-1 has none: leave it out" in capsys.readouterr().err
    with pytest.raises(InputError, match="weight_decay must be 0 or more"):
        wp.reproduce("table-1", weight_decay=-1.0, check=True)


def test_the_sizes_of_attacks_are_called_ours() -> None:
    """The paper draws curves and states no sizes."""
    for text in (audit.__doc__, audit.audit.__doc__, balls.Ball.__doc__, described.__doc__):
        assert "paper's grid" not in (text or "") and 'those of "Robustness' not in (text or "")
    page = (DOCS / "verbs" / "audit.md").read_text("utf-8")
    assert "paper's grid" not in page and "the sizes are ours" in page


@pytest.mark.parametrize(
    ("table", "of_five"), [("table-1", "table-4"), ("table-2", "table-5"), ("figure-3", "figure-7")]
)
def test_top_1_and_top_5_are_measured_together(table: str, of_five: str) -> None:
    ones, fives = (
        {(own.model, own.measure, own.data): own.wanted.metric for own in paper(study).values()}
        for study in (table, of_five)
    )
    assert ones.keys() >= fives.keys() != set()  # the X-ray set has two classes
    assert set(ones.values()) == {"top1"} and set(fives.values()) == {"top5"}
