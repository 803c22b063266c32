"""The gauge: what it says holds on images that it never saw, belongs to the image, and is kept with its encoder."""

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from weatherproof import operators, random
from weatherproof.data import ImageSet, MemoryImages, load_images
from weatherproof.encoders import Encoder, Gauge, Preprocessing, Reading, fit_gauge, load_encoder, save_encoder
from weatherproof.encoders.gauge import KindScale, Settings, fit, folder, gauge_summary
from weatherproof.encoders.gauge import summary as summaries
from weatherproof.encoders.gauge.folder import read_gauge, save_gauge
from weatherproof.encoders.gauge.sample import Sample
from weatherproof.encoders.gauge.statistics import statistics
from weatherproof.errors import InputError
from weatherproof.operators.drawn import drawn
from weatherproof.ranks import share_above

GREY = Preprocessing((0.0,), (1.0,), size=None, channels=1)
MASK = "RandomMask((0.0, 0.9))"
MIXED = "OneOf(RandomMask((0.0, 0.9)), GaussianNoise((0.0, 0.4)), JPEG((10, 90)))"


@pytest.fixture(scope="module", autouse=True)
def _short_lessons() -> Iterator[None]:
    """A quarter of the usual steps: digits are easy, and what is calibrated holds whatever was learned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "_STEPS", 200)
        yield


@cache
def digits(split: str = "train") -> ImageSet:
    return load_images("digits", split)


@cache
def fitted(text: str) -> Gauge:
    return fit_gauge(digits(), operators.parse(text), preprocessing=GREY, most=500)


def held_out() -> tuple[Tensor, Tensor]:
    images = digits("test")
    return images.read(torch.arange(len(images))).float() / 255, random.keys(11, images.index)


def columns(reading: Reading) -> dict[str, Tensor]:
    return {field.name: getattr(reading, field.name) for field in fields(reading)}


def equal(one: Reading, other: Reading) -> bool:
    theirs = columns(other)
    return all(torch.equal(own.nan_to_num(-7), theirs[name].nan_to_num(-7)) for name, own in columns(one).items())


def test_levels_intervals_and_the_probability_of_damage_hold_on_images_that_it_never_saw():
    gauge, (images, keys) = fitted(MASK), held_out()
    level = drawn(operators.parse(MASK), keys).level.float()
    told = gauge(operators.parse(MASK)(images, keys))
    assert (told.level - level).abs().mean() < 0.03
    assert ((told.low <= level) & (level <= told.high)).float().mean() > 0.85
    assert (told.high - told.low).mean() < 0.15  # nine of ten, and not by saying "anything"
    assert (told.low <= told.level).all() and (told.level <= told.high).all()
    clean = gauge(images)
    assert (clean.kind > 0).float().mean() < 0.03 and (clean.level == 0).all() == (clean.kind == 0).all()
    chance = torch.cat([told.damaged, clean.damaged])
    truth = torch.cat([torch.ones(len(images)), torch.zeros(len(images))])
    assert abs(float(chance.mean() - truth.mean())) < 0.05 and ((chance - truth) ** 2).mean() < 0.05
    assert torch.equal(clean.extent[clean.kind == 0], torch.zeros(int((clean.kind == 0).sum())))
    torch.testing.assert_close(told.extent[told.kind > 0], told.level[told.kind > 0] / 0.9)


def test_what_lies_beyond_training_is_called_so_and_what_lies_within_is_not():
    gauge, (images, keys) = fitted("RandomMask((0.0, 0.5))"), held_out()
    beyond = gauge(operators.RandomMask(0.8)(images, keys))
    assert beyond.beyond.float().mean() > 0.9 and (beyond.level - 0.8).abs().mean() < 0.05
    for within in (images, operators.RandomMask((0.0, 0.5))(images, keys)):
        assert gauge(within).beyond.float().mean() < 0.06
    strange = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert gauge(strange).beyond.all()  # no level of a mask, and like nothing that training saw


def test_kinds_are_told_apart_and_each_has_the_level_of_its_own_unit():
    gauge, (images, keys) = fitted(MIXED), held_out()
    assert gauge.kinds == ("clean", "RandomMask", "GaussianNoise", "JPEG")
    made = (("RandomMask(0.6)", 0.6, 0.03), ("GaussianNoise(0.2)", 0.2, 0.03), ("JPEG(20)", 20, 12))
    for kind, (text, level, off) in enumerate(made, 1):
        told = gauge(operators.parse(text)(images, keys))
        right = told.kind == kind
        assert right.float().mean() > 0.9, text
        assert abs(float(told.level[right].median()) - level) < off
        assert (told.low <= told.high).all()


def test_a_clean_image_has_a_level_where_all_kinds_agree_on_none():
    images, _ = held_out()
    for text, level in ((MIXED, torch.nan), ("OneOf(RandomMask((0.0, 0.9)), GaussianNoise((0.0, 0.4)))", 0.0)):
        told = fitted(text)(images)
        clean = told.kind == 0
        assert clean.float().mean() > 0.9
        wanted = torch.full((int(clean.sum()),), level)
        for own in (told.level, told.low):
            torch.testing.assert_close(own[clean], wanted, rtol=0, atol=0, equal_nan=True)
        assert told.high[clean].isnan().all() == (level != 0) and (told.extent[clean] == 0).all()
        assert not told.level[~clean & ~told.beyond].isnan().any()


def test_an_image_that_is_damaged_and_unlike_all_is_not_at_the_level_of_none():
    """As a picture of one grey is to a gauge of noise. This one says the same of every image."""
    gauge, (images, _) = Gauge(Settings((KindScale("GaussianNoise", 0.0, 0.4, 1.0),), GREY)), held_out()
    gauge.platt.copy_(torch.tensor([0.0, 5.0]))
    for limit in (1e9, -1.0):
        gauge.limit.fill_(limit)
        told = gauge(images[:3])
        nowhere, chance = limit < 0, torch.sigmoid(torch.tensor(5.0))
        assert (told.kind == 1).all() and (told.beyond == nowhere).all()
        assert all((own.isnan() == nowhere).all() for own in (told.level, told.low, told.high))
        torch.testing.assert_close(told.extent, (chance if nowhere else torch.tensor(0.0)).expand(3))


@pytest.mark.slow
def test_of_a_users_own_function_it_learns_whether_there_is_any_damage_and_says_no_level():
    def dead_columns(images: Tensor, keys: Tensor) -> Tensor:
        alive = random.uniform_fields(keys, (1, 1, images.shape[-1])) > 0.4
        return (images + 0.3) * alive

    gauge = fit_gauge(digits(), dead_columns, preprocessing=GREY, most=300)
    images, keys = held_out()
    told, clean = gauge(dead_columns(images, keys)), gauge(images)
    assert gauge.kinds == ("clean", "dead_columns")
    assert (told.kind == 1).float().mean() > 0.95 and (clean.kind == 0).float().mean() > 0.95
    assert all(one.isnan().all() for one in (told.level, told.low, told.high))
    assert torch.equal(told.extent[told.kind == 1], told.damaged[told.kind == 1])


@pytest.mark.slow
def test_a_range_of_one_point_is_gauged_too():
    gauge, (images, keys) = fitted("RandomMask(0.5)"), held_out()
    told = gauge(operators.RandomMask(0.5)(images, keys))
    assert (told.level - 0.5).abs().mean() < 0.03 and (told.extent - 1).abs().mean() < 0.06
    assert gauge(operators.RandomMask(0.25)(images, keys)).extent.mean() < 0.6
    assert told.beyond.float().mean() < 0.035  # one in a hundred is called worse, one unlike: of 360
    assert gauge(operators.RandomMask(0.6)(images, keys)).beyond.float().mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("RandomMask((0.0, 0.95))", ["RandomMask(0.95)"]),
        ("JPEG((20, 100))", ["JPEG(20)"]),
        (
            "OneOf(RandomMask((0.0, 0.95)), GaussianNoise((0.0, 0.4)), GaussianBlur((0.0, 3.0)))",
            ["RandomMask(0.95)", "GaussianNoise(0.4)", "GaussianBlur(3.0)"],
        ),
    ],
)
def test_images_of_the_worst_level_that_training_saw_are_not_beyond_it(
    text: str, ends: list[str], monkeypatch: pytest.MonkeyPatch
):
    """One in a hundred is called worse, one unlike."""
    monkeypatch.setattr(fit, "_STEPS", 1500)
    gauge, (images, keys) = fit_gauge(digits(), operators.parse(text), preprocessing=GREY), held_out()
    for worst in ends:
        damaged = [operators.parse(worst)(images, random.fold(keys, place)) for place in range(3)]
        assert torch.cat([gauge(own).beyond for own in damaged]).float().mean() < 0.03, worst


def test_a_gauge_of_before_calls_worse_what_is_above_the_worst_level(tmp_path: Path):
    gauge, encoder = fitted(MASK), tmp_path / "encoder.safetensors"
    encoder.write_bytes(b"weights")
    save_gauge(gauge, tmp_path, encoder)
    numbers = {name: own for name, own in load_file(tmp_path / "gauge.safetensors").items() if name != "worst"}
    save_file(numbers, tmp_path / "gauge.safetensors", {"format": "pt"})
    about = json.loads((tmp_path / "gauge.json").read_text())
    about["numbers"] = folder._with_settings((tmp_path / "gauge.safetensors").read_bytes(), gauge.settings.to_dict())
    (tmp_path / "gauge.json").write_text(json.dumps(about))
    found = read_gauge(tmp_path, encoder)
    assert found is not None and found.worst.tolist() == [1.0] and torch.equal(found.limit, gauge.limit)


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 32), (3, 40, 52), (3, 160, 160), (1, 12, 12)])
def test_what_is_said_of_an_image_does_not_depend_on_its_batch(shape):
    gauge = fitted(MIXED)
    images = torch.rand(131, *shape, generator=torch.Generator().manual_seed(1))
    whole = gauge(images)
    assert statistics(images).isfinite().all()
    for chosen in (slice(0, 1), slice(3, 4), slice(60, 70), slice(1, 130)):
        part = Reading(**{name: own[chosen] for name, own in columns(whole).items()})
        assert equal(gauge(images[chosen]), part)


def test_one_plain_state_dict_and_settings_for_json_hold_all_of_it():
    gauge, (images, keys) = fitted(MIXED), held_out()
    settings = type(gauge.settings).from_dict(json.loads(json.dumps(gauge.settings.to_dict())))
    again = Gauge(settings)
    again.load_state_dict({name: own.clone() for name, own in gauge.state_dict().items()})
    damaged = operators.parse(MIXED)(images, keys)
    assert again.kinds == gauge.kinds and equal(again(damaged), gauge(damaged))
    assert not list(gauge.parameters())
    wrapped = torch.nn.ModuleDict({"a": gauge}).half()  # inside a network of less precision it keeps its own
    assert equal(wrapped["a"](damaged), again(damaged))


def test_the_same_images_and_seed_give_the_same_gauge_and_another_seed_another(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fit, "_STEPS", 20)
    images = digits().subset(torch.arange(120))
    one, same, other = (
        fit_gauge(images, operators.RandomMask(0.5), preprocessing=GREY, seed=seed).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["first_weight"], other["first_weight"])


def test_what_a_gauge_cannot_learn_from_is_refused():
    few = MemoryImages(torch.randint(0, 255, (20, 1, 32, 32), dtype=torch.uint8))
    with pytest.raises(InputError, match="at least 60 images, got 20"):
        fit_gauge(few, operators.RandomMask(0.5), preprocessing=GREY)
    images = digits().subset(torch.arange(80))
    for text, said in (
        ("RandomMask(0.0)", "does nothing to an image"),
        ("Sometimes(RandomMask(0.5), 0.0)", "damages no"),
    ):
        with pytest.raises(InputError, match=said):
            fit_gauge(images, operators.parse(text), preprocessing=GREY)
    for nothing in (lambda pixels, keys: pixels, lambda pixels, keys: pixels.clone()):
        with pytest.raises(InputError, match=r"damages no image of digits/train.*give a damage that does"):
            fit_gauge(images, nothing, preprocessing=GREY)
    with pytest.raises(InputError, match="at least 12 pixels a side, got"):
        fitted(MASK)(torch.rand(2, 1, 8, 8))


# beside its encoder


def saved(folder: Path) -> Encoder:
    encoder = load_encoder("small(width=4)")
    encoder.set_gauge(fitted(MASK))
    save_encoder(encoder, folder, provenance={})
    return encoder


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_an_encoder_is_saved_and_loaded_with_its_gauge(tmp_path: Path):
    encoder, (images, _) = saved(tmp_path), held_out()
    again = load_encoder(tmp_path)
    assert equal(again.gauge(images), encoder.gauge(images)) and equal(
        again.clone().gauge(images), encoder.gauge(images)
    )
    assert again.state().keys() == load_encoder("small(width=4)").state().keys()
    again.set_gauge(None)
    save_encoder(again, tmp_path, provenance={})  # an encoder without one leaves none behind
    with pytest.raises(InputError, match="has no gauge: take the whole run folder .* or fit one"):
        load_encoder(tmp_path).gauge(images)


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_foreign_damaged_and_cut_off_files_are_refused_in_one_line(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match):
            load_encoder(tmp_path)
        saved(tmp_path)

    saved(tmp_path)
    about, numbers = tmp_path / "gauge.json", tmp_path / "gauge.safetensors"
    numbers.write_bytes(numbers.read_bytes()[:-9])
    refused("gauge.safetensors and .*gauge.json are not as they were written together")
    numbers.unlink()
    refused("has a gauge.json and no gauge.safetensors: harden again, or remove gauge.json")
    about.write_text(about.read_text()[:100])
    refused("is not readable JSON")
    weights = load_file(tmp_path / "encoder.safetensors")
    save_file({name: own * 2 for name, own in weights.items()}, tmp_path / "encoder.safetensors")
    refused("belongs to another encoder")
    for change, said in (
        ({"format": 7}, "has format 7, expected 1"),
        ({"kinds": []}, "does not describe a gauge"),
        ({"kinds": 3}, "does not describe a gauge"),
        ({"kinds": [{"name": "x", "none": 0, "top": 1e999, "end": 1}]}, "does not describe a gauge"),
        ({"kinds": [{"name": "x", "none": 0, "top": 1, "end": None}]}, "does not describe a gauge"),
        ({"kinds": [{"name": "x", "none": None, "top": None, "end": None}] * 2000}, "does not describe a gauge"),
        ({"kinds": [{"name": "x", "none": 0, "top": 0, "end": 0}]}, "does not describe a gauge"),
        ({"kinds": [{"name": "x", "none": None, "top": None, "end": None}] * 2}, "not as they were written together"),
        ({"kinds": [{"name": "RandomMask", "none": 0, "top": 0.5, "end": 0.5}]}, "not as they were written together"),
    ):
        about.write_text(json.dumps(json.loads(about.read_text()) | change))
        refused(said)
    strange = load_file(numbers)
    save_file(strange | {"centre": strange["centre"] * torch.nan}, numbers)
    import hashlib

    known = json.loads(about.read_text())
    settings = json.dumps({name: known[name] for name in ("kinds", "preprocessing")}, sort_keys=True)
    own = {"numbers": hashlib.sha256(numbers.read_bytes() + settings.encode()).hexdigest()}
    about.write_text(json.dumps(known | own))
    refused("centre holds other than finite float32 numbers")


def test_a_summary_counts_what_a_count_by_hand_does():
    gauge, operator = fitted(MIXED), operators.parse(MIXED)
    images = digits("test")
    found = gauge_summary(gauge, images, operator, seed=5, unseen={"fog": operators.Corruption("fog", 5)})
    text = json.dumps(asdict(found))
    assert "NaN" not in text and "Infinity" not in text
    assert [row.kind for row in found.confusion] == ["clean", "RandomMask", "GaussianNoise", "JPEG", "fog"]
    assert all(abs(sum(row.said.values()) - 1) < 1e-6 for row in found.confusion)
    pixels = images.read(torch.arange(len(images))).float() / 255
    clean = gauge(pixels)
    assert found.confusion[0].said["clean"] == pytest.approx((clean.kind == 0).float().mean().item())
    assert found.clean_called_damaged == pytest.approx((clean.kind > 0).float().mean().item())
    keys = random.keys(3, images.index)
    assert found.confusion[0].worse is None and found.confusion[-1].beyond is None
    made = operators.parse("OneOf(RandomMask((0.0, 0.9)), RandomMask((0.9, 1.0)))")(pixels, keys)
    hurt, level = (
        gauge(made),
        drawn(operators.parse("OneOf(RandomMask((0.0, 0.9)), RandomMask((0.9, 1.0)))"), keys).level,
    )
    for share, part in ((found.confusion[1].beyond, level <= 0.9), (found.confusion[1].worse, level > 0.9)):
        assert share == pytest.approx(hurt.beyond[part].float().mean().item(), abs=0.08)
    hurt, made = gauge(operators.parse(MIXED)(pixels, keys)), drawn(operators.parse(MIXED), keys)
    assert found.told == pytest.approx((hurt.kind == made.kind).float().mean().item(), abs=0.03)
    fog = gauge(operators.Corruption("fog", 5)(pixels, random.keys(0, images.index)))
    assert found.confusion[-1].damaged == pytest.approx(fog.damaged.mean().item(), abs=0.03)
    assert found.coverage is not None and 0.85 < found.coverage <= 1 and 0.9 < found.auc <= 1
    assert found.auc_mild is not None and found.auc_mild <= found.auc and found.calibration_error < 0.05
    assert found.within < 0.06 and sum(row.images for row in found.levels) == 4 * len(images)
    masks = [row for row in found.levels if row.kind == "RandomMask" and not row.beyond]
    assert [row.level for row in masks] == sorted(row.level for row in masks) and len(masks) == 8
    assert all(row.told is not None and abs(row.level - row.told) < 0.06 and row.called > 0.7 for row in masks)


def test_the_area_and_the_calibration_error_are_those_of_scikit_learn_and_of_a_loop():
    from sklearn.metrics import roc_auc_score

    generator = torch.Generator().manual_seed(0)
    high, low = (
        torch.rand(80, generator=generator).round(decimals=1),
        torch.rand(50, generator=generator).round(decimals=1),
    )
    wanted = roc_auc_score([1] * 80 + [0] * 50, torch.cat([high, low]).tolist())
    assert share_above(high, low) == pytest.approx(wanted)
    nothing = torch.zeros(130)
    kind = torch.tensor([1] * 80 + [0] * 50)
    true = Sample(torch.zeros(130, 2), kind, kind, nothing, nothing, nothing > 0)
    chance, error = torch.cat([high, low]), 0.0
    weight = [0.5 / 80] * 80 + [0.5 / 50] * 50
    for part in range(15):
        inside = [i for i, one in enumerate(chance.tolist()) if min(int(one * 15), 14) == part]
        error += abs(sum(weight[i] * (chance[i].item() - kind[i].item()) for i in inside))
    assert summaries._calibration_error(chance, true) == pytest.approx(error, abs=1e-6)


def test_a_look_after_an_export_has_numbers() -> None:
    """At a size that no look has had before, so that all that depends on it is made while the graph is traced."""

    class Extent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gauge = Gauge(
                Settings((KindScale("RandomMask", 0.0, 0.95, 1.0),), Preprocessing((0.0,) * 3, (1.0,) * 3, None))
            )

        def forward(self, images: Tensor) -> Tensor:
            return self.gauge(images).damaged

    network, images = Extent().eval(), torch.rand(2, 3, 25, 25, generator=torch.Generator().manual_seed(0))
    program = torch.export.export(network, (images,))
    torch.testing.assert_close(program.module()(images), network(images))
