"""The studies of feature contrastive learning: what their measures are, which images and which trainings they are of,
and what their claims compare."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from weatherproof import encoders, methods, random, views
from weatherproof.data import at_most, batches, load_images, pixel_std
from weatherproof.errors import InputError
from weatherproof.evaluation import EVAL_STREAM, ClassUtility, rank_correlation
from weatherproof.operators import UniformNoise
from weatherproof.readouts import Classifier
from weatherproof.studies import Store
from weatherproof.studies.lab.joins import OverSeeds
from weatherproof.studies.lab.store import Bench
from weatherproof.studies.lab.study import Number
from weatherproof.studies.lab.table import study_table, table
from weatherproof.studies.papers.fcl.maps import CornerUtility, IdentityError, Output, RankCorrelation
from weatherproof.studies.papers.fcl.models import NOISE_SEED, RARE, Models, Training
from weatherproof.studies.papers.fcl.noisy import pixel_std as pixel_std_file
from weatherproof.studies.papers.fcl.scales import SCALES, SMOKE, SMOKE_2, SMOKE_ENCODERS
from weatherproof.studies.papers.fcl.tables import STUDIES

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore:small.* no weights given")

# scales and claims


@pytest.mark.parametrize("name", STUDIES)
def test_every_claim_has_its_cells(name: str) -> None:
    """With all cells measured every claim compares something, and only cells that are there."""
    study = STUDIES[name]
    found = {key: {"value": 1.0, "samples": [0.1, 0.2]} for key in study.at("smoke").cells}
    for claim in study.claims:
        assert claim.check(found)["verdict"] != "not measured", claim.text


@pytest.mark.parametrize("name", ["fcl-table-2", "fcl-table-3", "fcl-on-encoders"])
def test_an_image_weighs_as_much_as_in_the_papers_batch(name: str) -> None:
    desk = SCALES[name]["desk"]
    for start in desk.plans:
        assert desk.changed("fcl")["weight"] * desk.plan(start)["batch_size"] == pytest.approx(1e-4 * 1024)


@pytest.mark.parametrize("name", STUDIES)
def test_the_published_settings_are_those_for_the_images(name: str) -> None:
    """A scale says what its images are like, so that a recipe holds its settings without reading them."""
    smoke = SCALES[name]["smoke"]
    for own in (smoke, *smoke.others.values()):
        images = load_images(own.data.text, "train")
        assert images.image_size is not None
        assert own.kind == (min(images.image_size), images.channels, len(images.classes))


# measurements


class Summing(nn.Module):
    """An encoder and a head of which all is known: the embedding is W x, the logits are the embedding."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(weights.shape[1], weights.shape[0], bias=False))
        self.head = nn.Identity()
        self.encoder[1].weight.data = weights

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(images))


def test_corner_share_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, counts = torch.rand(3, 12, 14, generator=generator), torch.tensor([5, 1, 2])
    inside = whole = 0.0
    for c in range(3):
        for y in range(12):
            for x in range(14):
                whole += float(counts[c] * maps[c, y, x])
                inside += float(counts[c] * maps[c, y, x]) * ((y < 4 or y >= 8) and (x < 4 or x >= 10))
    found = ClassUtility(("a", "b", "c"), counts, torch.zeros(3, 1, 12, 14), maps)
    assert CornerUtility(4).share(found) == pytest.approx(inside / whole)


@pytest.mark.parametrize("of", ["embedding", "probabilities", "right"])
def test_rank_correlation_and_identity_against_the_formulas(of: Output, tmp_path: Path) -> None:
    images = load_images("digits", "test").subset(torch.arange(11))
    weights = torch.randn(10, 32 * 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 100
    classifier = Summing(weights.float())
    batch = next(batches(images, 11))
    p = (batch.images.double().flatten(1) @ weights.T).softmax(dim=1)
    onehot = nn.functional.one_hot(batch.labels, 10).double()
    useful = ((p - onehot) @ weights).abs()
    slopes = p[:, :, None] * (weights[None] - (p @ weights)[:, None])  # d p_c / d x
    right = slopes[torch.arange(11), batch.labels].abs()
    reacts = {"embedding": weights.norm(dim=0).expand(11, -1), "probabilities": slopes.norm(dim=1), "right": right}[of]
    wanted = np.mean([spearmanr(u, s).statistic for u, s in zip(useful.numpy(), reacts.numpy(), strict=True)])
    bench = Bench(Store(tmp_path, data=None, device=CPU), "m", Models(SMOKE_2, 0).few, tmp_path)
    (correlation, error) = (m(classifier, images, bench).records[0] for m in (RankCorrelation(of), IdentityError()))
    assert correlation.value == pytest.approx(wanted, abs=1e-4) and error.value < 1e-5
    assert of != "right" or wanted == pytest.approx(1)
    assert rank_correlation(useful, right).min() > 0.999999


def test_counts_are_those_of_the_whole_split(tmp_path: Path) -> None:
    images = load_images("synthetic-digits", "validation")
    counted = Models(SMOKE, 0).count("validation", RARE)
    record = counted.number(Store(tmp_path, data=None, device=CPU)).record
    assert record.value == (images.labels >= 10).sum().item() / 5 and record.images == 5 * record.value
    assert record.data == f"{images.name} (classes 10-14)" and record.model == "validation"


# at the smallest scale


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Classifiers that all tests share."""
    return Store(tmp_path_factory.mktemp("store"), data=None, device=CPU)


def number(measured: OverSeeds | None, store: Store) -> Number:
    """The number, which is there."""
    found = None if measured is None else measured.number(store)
    assert found is not None and found.samples is not None
    return found


def test_a_number_is_the_mean_over_seeds(store: Store) -> None:
    for own in (
        Models(SMOKE, 0).accuracy(Training("supervised")),
        Models(SMOKE, 0).rank_correlation(Training("supervised")),
    ):
        found = number(own, store)
        assert found.record.seeds == (0, 1) and found.samples is not None and len(found.samples) == 2
        assert found.value == pytest.approx(np.mean(found.samples))
        assert found.record.stderr == pytest.approx(np.std(found.samples, ddof=1) / 2**0.5)
        assert found.to_dict()["samples"] == list(found.samples)


def test_the_noisy_copy_is_one_for_all(store: Store) -> None:
    """UN as a loop over images would make it, with one seed whatever the training's."""
    measured = Models(SMOKE, 0).accuracy(Training("supervised"), "uniform_noise")
    assert measured is not None
    found = number(measured, store)
    test = at_most(load_images("synthetic-digits", "test"), SMOKE.test_images)
    for own, cell in zip(found.samples or (), measured.cells, strict=True):
        classifier = store.get(cell.model).eval()
        batch = next(batches(test, 1000))
        right = 0
        for image, label, index in zip(batch.images, batch.labels, batch.index, strict=True):
            keys = random.fold(random.keys(NOISE_SEED, index[None]), EVAL_STREAM, 0)
            with torch.no_grad():
                right += int(classifier(UniformNoise(0.15)(image[None], keys)).argmax() == label)
        assert own == pytest.approx(right / len(batch.labels))


def test_nonuniform_noise_follows_the_training_images(store: Store) -> None:
    models = Models(SMOKE, 0)
    found = number(models.accuracy(Training("supervised"), "nonuniform_noise"), store)
    assert found.record.operator == "NonUniformNoise(std='(of the training images)')"
    assert str(store.folder) not in json.dumps(found.to_dict())
    file = pixel_std_file(models.train, store)
    assert np.allclose(np.load(file), pixel_std(store.images(models.train)).numpy())


def test_rare_is_the_classes_10_to_14(store: Store) -> None:
    measured = Models(SMOKE, 0).accuracy(Training("fcl"), rare=True)
    assert measured is not None
    record = number(measured, store).record
    assert record.images == SMOKE.test_images and record.data.endswith("(classes 10-14)")
    assert set(store.images(measured.cells[0].data).labels.tolist()) == set(range(10, 15))


def test_other_data_are_other_trainings() -> None:
    models = Models(SMOKE_2, 0)
    own, other = models.accuracy(Training("fcl")), models.accuracy(Training("fcl"), data="CIFAR-100")
    assert own is not None and other is not None and own.cells[0].model != other.cells[0].model
    assert models.accuracy(Training("fcl"), data="STL-10") is None


def test_a_tenth_of_lambda_is_a_training_of_its_own(store: Store) -> None:
    models = Models(SMOKE, 0)
    whole, tenth = Training("fcl"), Training("fcl", weight_times=0.1)
    assert models.settings(tenth, 1.0).weight == pytest.approx(models.settings(whole, 1.0).weight / 10)
    assert store.home(models.model(tenth, 0)) != store.home(models.model(whole, 0))
    noisy = models.accuracy(Training("fcl"), "uniform_noise")
    assert noisy is not None and noisy.cells[0].model == models.model(whole, 0)
    assert tenth.name == "fcl, lambda x 0.1" and Training("fcl", "hardened").name == "hardened, fcl"


def test_records_and_pages_say_what_the_classifiers_were_trained_with() -> None:
    models, encoders_too = Models(SMOKE, 0), Models(SMOKE_ENCODERS, 0)
    assert models.damage_met(Training("supervised")) is None
    assert models.damage_met(Training("xe-gaussian")) == "WholeNoise()"
    assert models.damage_met(Training("patch-gaussian-fcl")) == "PatchGaussian(25, 0.1), UtilityNoise()"
    noise = SMOKE_ENCODERS.hardening.damages["noise-range"] if SMOKE_ENCODERS.hardening else ""
    assert encoders_too.damage_met(Training("frozen", "hardened")) == noise
    assert encoders_too.damage_met(Training("fcl", "hardened")) == f"{noise}, UtilityNoise()"
    told = models.facts([Training(m) for m in ("supervised", "cl-gaussian", "patch-gaussian")])
    assert {what: said for what, said in told.items() if what.startswith("settings of")} == {
        "settings of cl-gaussian": "sigma 0.5, weight 0.001, start_epoch 0.0, ramp_epochs 0.0, temperature 0.5",
        "settings of patch-gaussian": "on images with `PatchGaussian(25, 0.1)`",
    }


def test_on_a_frozen_encoder_the_second_term_has_no_gradient() -> None:
    """Why the study of hardened and pretrained encoders has no frozen FCL: it would be cross-entropy."""
    with pytest.warns(UserWarning, match="randomly initialised"):
        encoder, head = encoders.load_encoder("small(width=4)", seed=0), nn.Linear(32, 10)
    batch = next(batches(load_images("digits", "train"), 16))
    keys = random.keys(0, batch.index)
    settings = methods.FeatureSettings(weight=1.0)

    def gradient(name: str) -> torch.Tensor:
        learner = methods.build_labelled(name, encoder, head, settings).train()
        encoder.requires_grad_(False).eval()
        loss = learner(batch.images, batch.labels, batch.index, keys, lambda x: x)["loss"]
        return torch.autograd.grad(loss, head.weight)[0]

    assert torch.allclose(gradient("fcl"), gradient("supervised"), atol=1e-7)


def test_table_says_what_is_not_decided() -> None:
    study = STUDIES["fcl-appendix-a"]
    scale = study.at("smoke")
    (row, column), *_ = scale.cells
    record = {"value": 0.71234, "stderr": 0.0123, "samples": [0.7, 0.72], "metric": "rank_correlation", "images": 4,
              "data": "digits/test", "realizations": 1}  # fmt: skip
    found = {(row, column): record}
    checks = [{"claim": "c", "passed": False, "verdict": "not decided", "detail": "0 of 1"}]
    lines = table(study, scale, study_table(study, scale, found, {"seed": 3}, {}), found, checks).splitlines()
    assert f"| {row} | 0.712 ± 0.012 |" in lines
    assert "| c | not decided (0 of 1) |" in lines
    assert "- ±: standard error over 2 training seeds; the damage is the same in all" in lines


def test_the_encoders_of_other_studies_are_shared(store: Store) -> None:
    models = Models(SMOKE_ENCODERS, 0)
    begun = store.encoder(models.start("pretrained", 0)).state()
    assert models.start("pretrained", 0) == models.start("pretrained", 1) != models.start("hardened", 0)
    probe = store.get(models.model(Training("frozen", "pretrained"), 0))
    assert isinstance(probe, Classifier)
    for name, value in begun.items():
        assert torch.equal(value, probe.encoder.state()[name]), "a probe leaves its encoder as it is"
    tuned = store.get(models.model(Training("fcl", "pretrained"), 0))
    assert isinstance(tuned, Classifier)
    assert any(not torch.equal(value, tuned.encoder.state()[name]) for name, value in begun.items())


# the crop


def test_padded_crop_against_a_loop() -> None:
    images = torch.rand(9, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    keys = random.keys(3, torch.arange(9))
    crop = views.PaddedCrop(4)
    top, left = crop.draw(keys)
    for i, cut in enumerate(crop(images, keys)):
        large = torch.zeros(3, 18, 20)
        large[:, 4:-4, 4:-4] = images[i]
        assert torch.equal(cut, large[:, top[i] : top[i] + 10, left[i] : left[i] + 12])
    drawn = crop.draw(random.keys(0, torch.arange(9000)))
    assert drawn.min() == 0 and drawn.max() == 8
    assert (torch.bincount(drawn.flatten(), minlength=9) / 18000 - 1 / 9).abs().max() < 0.01
    with pytest.raises(InputError, match="pads by 1 to 1,000 pixels"):
        views.PaddedCrop(0)


@pytest.mark.slow
def test_groups_come_out_of_the_suite_that_has_them(store: Store) -> None:
    models = Models(SMOKE, 0)
    one, other = models.accuracy(Training("fcl"), "weather"), models.accuracy(Training("fcl"), "common-19")
    assert one is not None and other is not None and one.cells[0].measure == other.cells[0].measure
    found = {name: number(models.accuracy(Training("fcl"), name), store).record for name in ("weather", "common-15")}
    assert {name: (record.corruption, record.metric) for name, record in found.items()} == {
        "weather": ("weather", "mca"), "common-15": ("common-15", "mca"),
    }  # fmt: skip


# settings in place of the scale's


def test_changed_settings() -> None:
    models = Models(SMOKE, 0)
    changed = Training("fcl", changes=(("margin", 0.5), ("k", 5000)))
    assert changed.name == "fcl, margin 0.5, k 5000"
    settings = models.settings(changed, 1.0)
    assert settings.margin == 0.5 and settings.k == 32 * 32 // 2  # as many as an image has, halved
    assert models.settings(Training("fcl", changes=(("k", 512),)), 1.0).k == 512
    assert models.model(changed, 0) != models.model(Training("fcl"), 0)


def test_other_losses_without_the_contrast_are_plain_trainings() -> None:
    plain = Models(SMOKE, 0).settings(Training("fcl", weight_times=0.0, changes=(("loss", "hinge"),)), 1.0)
    assert plain.weight == 0 and plain.loss == "hinge"


def test_appendix_c_is_of_the_measurements_of_table_3() -> None:
    """Of the same models, images and conditions, so that nothing is measured twice."""
    ones, whole = (
        {(cell.model, cell.measure, cell.data) for own in STUDIES[name].at("desk").cells.values() if own is not None
         for cell in own.cells} for name in ("fcl-appendix-c", "fcl-table-3")
    )  # fmt: skip
    assert ones < whole
    assert len([row for row, _ in STUDIES["fcl-appendix-c"].at("desk").cells if row.startswith("CIFAR-10, ")]) == 20 * 6
