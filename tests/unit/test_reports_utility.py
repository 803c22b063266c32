"""What the page of a training with labels shows of utility and sensitivity, and the numbers behind it."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from html_page import Strict
from scipy import stats
from torch import Tensor, nn

from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.evaluation import (
    ClassUtility,
    UtilityExamples,
    class_utility,
    rank_correlation,
    utility_and_sensitivity,
    utility_curve,
    utility_examples,
)
from weatherproof.evaluation.utility.means import affordable
from weatherproof.ranks import fractional_ranks
from weatherproof.reports import (
    save_utility_curve,
    save_utility_images,
    save_utility_maps,
    write_comparison,
    write_report,
)
from weatherproof.reports.drawing.shades import css_gradient, scientific, shaded
from weatherproof.reports.parts import read_part
from weatherproof.reports.utility.curve import draw_utility_curve, read_utility_curve
from weatherproof.reports.utility.images import BOTTOM, IMAGES, TOP
from weatherproof.reports.utility.maps import MAPS
from weatherproof.verbs.utility_pictures import save_utility_pictures

EVIL = "<script>alert(1)</script>"
FILES = ("utility_maps.safetensors", "utility_images.safetensors", "utility_curve.json")


class Tiny(nn.Module):
    """An encoder with batch normalisation: in train mode an image's gradient would depend on the others."""

    feature_dim = 5

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.out = nn.Linear(4 * 36, 5)

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(self.out(torch.tanh(self.norm(self.conv(images))).flatten(1)))


def classifier(channels: int = 1, classes: int = 3) -> tuple[Tiny, nn.Linear]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny(channels), nn.Linear(5, classes)


def some_images(labels: list[int], channels: int = 1, classes: tuple[str, ...] = ("a", "b", "c")) -> MemoryImages:
    pixels = np.random.default_rng(1).integers(0, 256, (len(labels), channels, 6, 6), dtype=np.uint8)
    return MemoryImages(torch.from_numpy(pixels), torch.tensor(labels), classes, name="toys/test")


def one_by_one(pair: tuple[nn.Module, nn.Module], images: MemoryImages) -> Tensor:
    """Utility by the definition: an image at a time, all modules in evaluation mode."""
    encoder, head = (part.eval() for part in pair)
    found = []
    for i in range(len(images)):
        x = (images.pixels[i : i + 1].float() / 255).requires_grad_()
        F.cross_entropy(head(encoder(x)), images.labels[i : i + 1]).backward()
        assert x.grad is not None
        found.append(x.grad[0].abs())
    return torch.stack(found)


def picture_of(address: str) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition("base64,")[2]))))


def values_of(address: str) -> np.ndarray:
    """What a map shows, from its colours: 0 to 255."""
    scale = shaded(torch.arange(256.0)[None], 255.0)[:, 0].T.numpy()
    lookup = {tuple(colour): value for value, colour in enumerate(scale.tolist())}
    assert len(lookup) == 256
    return np.array([[lookup[tuple(pixel)] for pixel in row] for row in picture_of(address).tolist()])


def run_folder(path: Path, **more: Any) -> Path:
    path.mkdir(parents=True)
    settings = {"verb": "train", "method": "fcl", "encoder": "lenet", "images": "digits"} | more
    (path / "recipe.yaml").write_text(yaml.safe_dump(settings))
    record = {
        "metric": "top1", "value": 0.9, "stderr": None, "realizations": 1, "seeds": [0], "images": 100, "model": "fcl",
        "readout": "end-to-end", "data": "toys/test", "label_fraction": 1.0, "operator": None, "corruption": None,
        "severity": None, "attack": None, "trained_on": None, "protocol": "aa11",
    }  # fmt: skip
    (path / "results.json").write_text(json.dumps({"records": [record]}))
    return path


def test_rank_correlation_is_spearmans_with_ties_and_without() -> None:
    rng = np.random.default_rng(0)
    first = np.stack([rng.normal(size=60), rng.integers(0, 5, 60), np.zeros(60), rng.integers(0, 3, 60)])
    second = np.stack([first[0] ** 3 + rng.normal(size=60), rng.normal(size=60), rng.normal(size=60), -first[3]])
    found = rank_correlation(torch.from_numpy(first), torch.from_numpy(second))
    for row in (0, 1, 3):
        assert found[row] == pytest.approx(stats.spearmanr(first[row], second[row]).statistic, abs=1e-12)
    assert found[2].isnan() and found[3] == pytest.approx(-1)
    ranks = fractional_ranks(torch.from_numpy(first))
    assert np.array_equal(ranks.numpy(), stats.rankdata(first, axis=1))


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_utility_is_that_of_the_images_one_by_one_and_leaves_the_model_alone(channels: int) -> None:
    images = some_images([0, 2, 2, -1, 0, 1, 2, 0, 2], channels)
    pair = classifier(channels)
    pair[0].train()
    state = {name: tensor.clone() for name, tensor in pair[0].state_dict().items()}
    found = class_utility(pair, images, batch_size=4)
    assert pair[0].training and all(parameter.grad is None for parameter in pair[0].parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in pair[0].state_dict().items())
    labelled = images.subset((images.labels >= 0).nonzero()[:, 0])
    utility = one_by_one(pair, labelled)
    assert found.classes == ("a", "b", "c") and found.counts.tolist() == [3, 1, 4] and found.data == "toys/test"
    for c in range(3):
        own = labelled.labels == c
        torch.testing.assert_close(found.utility[c], utility[own].sum(dim=1).mean(dim=0))
        torch.testing.assert_close(found.images[c], labelled.pixels[own].float().div(255).mean(dim=0))


def test_the_classes_with_most_images_are_shown_in_their_order() -> None:
    images = some_images([3, 1, 1, 0, 3, 3, 2, 2], classes=("a", "b", "c", "d"))
    found = class_utility(classifier(classes=4), images, most=2)
    assert found.classes == ("b", "d") and found.counts.tolist() == [2, 3] and found.left_out == 2
    assert class_utility(classifier(classes=4), images, limit=2).counts.tolist() == [1, 1]  # the first and the last
    with pytest.raises(InputError, match="no image of 'toys/test' has a label"):
        class_utility(classifier(), some_images([-1, -1]))


def test_groups_of_classes_are_means_over_their_images() -> None:
    images = some_images([0, 0, 1, 2, 2, 2, 3], classes=("0", "1", "10", "11"))
    pair = classifier(classes=4)
    found = class_utility(pair, images)
    grouped = found.grouped({"0 and 10": ("0", "10"), "1 and 11": ("1", "11"), "10": ("10",)})
    assert grouped.classes == ("0 and 10", "1 and 11", "10") and grouped.counts.tolist() == [5, 2, 3]
    utility = one_by_one(pair, images)
    torch.testing.assert_close(grouped.utility[0], utility[images.labels % 2 == 0].sum(dim=1).mean(dim=0))
    torch.testing.assert_close(grouped.utility[2], found.utility[2])
    torch.testing.assert_close(grouped.images[2], found.images[2])
    for wrong in ({}, {"0": ()}, {"0": ("0", "7")}):
        with pytest.raises(InputError, match="groups of one or more of the classes"):
            found.grouped(wrong)


def test_utility_and_sensitivity_are_the_jacobians() -> None:
    images = some_images([0, 1, 2, 0, 1], channels=3)
    pair = classifier(channels=3)
    utility, sensitivity = utility_and_sensitivity(pair, images, limit=3)
    chosen = images.subset(torch.tensor([0, 2, 4]))
    torch.testing.assert_close(utility, one_by_one(pair, chosen).flatten(1))
    for i in range(3):
        x = chosen.pixels[i : i + 1].float() / 255
        jacobian = torch.autograd.functional.jacobian(pair[0].eval(), x)
        assert isinstance(jacobian, Tensor)
        torch.testing.assert_close(sensitivity[i], jacobian.reshape(5, -1).norm(dim=0))
    with pytest.raises(InputError, match=r"give \(encoder, head\)"):
        utility_and_sensitivity(nn.Sequential(*pair), images)


def test_as_many_images_as_a_minute_allows() -> None:
    toys = some_images([0, 1, 2])
    assert affordable(Tiny(), toys) == 16 and affordable(Tiny(), toys, most=5) == 5
    large = MemoryImages(torch.zeros(1, 3, 224, 224, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    encoder = Tiny()
    encoder.feature_dim = 2048
    assert affordable(encoder, large) == 0 and 0 < affordable(encoder, large, "cuda") < 16
    assert affordable(nn.Identity(), toys) == 0


def test_a_curve_holds_the_quartiles_of_ranks_in_bins_of_ranks() -> None:
    rng = np.random.default_rng(0)
    utility = np.round(rng.exponential(size=(7, 40)), 1)  # with ties
    sensitivity = utility + rng.normal(size=(7, 40))
    utility[2] = 1.0  # no order: this image is left out
    curve = utility_curve(torch.from_numpy(utility), torch.from_numpy(sensitivity), bins=5)
    kept = [0, 1, 3, 4, 5, 6]
    across = (stats.rankdata(utility[kept], axis=1) - 0.5) / 40
    up = (stats.rankdata(sensitivity[kept], axis=1) - 0.5) / 40
    for i in range(5):
        here = (across >= i / 5) & (across < (i + 1) / 5)
        assert curve.utility[i] == pytest.approx(across[here].mean())
        assert np.allclose(curve.quartiles[i].numpy(), np.quantile(up[here], [0.25, 0.5, 0.75]), atol=1e-6)
    rho = [stats.spearmanr(utility[i], sensitivity[i]).statistic for i in kept]
    assert curve.correlation == pytest.approx(np.mean(rho)) and (curve.images, curve.elements) == (6, 40)


def test_a_curve_without_any_order_has_no_points_and_bad_input_is_refused() -> None:
    flat = utility_curve(torch.zeros(2, 9), torch.rand(2, 9))
    assert flat.images == 0 and len(flat.utility) == 0 and np.isnan(flat.correlation)
    with pytest.raises(InputError, match="of the same elements"):
        utility_curve(torch.zeros(2, 9), torch.zeros(2, 8))
    with pytest.raises(InputError, match="not finite"):
        utility_curve(torch.full((2, 9), torch.nan), torch.zeros(2, 9))


def examples(channels: int = 1, k: int = 7, count: int = 4, seed: int = 0) -> tuple[UtilityExamples, MemoryImages]:
    images = some_images([2, 0, 1, 0, -1, 1, 2, 0], channels)
    return utility_examples(classifier(channels), images, k=k, sigma=0.5, count=count, seed=seed), images


def test_noise_lies_on_the_most_and_on_the_least_useful_elements_alone() -> None:
    found, images = examples(channels=3)
    assert found.labels.tolist() == [0, 0, 1, 2]  # evenly over 0 0 0 1 1 2 2
    places = [int((images.pixels.float() / 255 == image).flatten(1).all(dim=1).nonzero()) for image in found.images]
    assert images.labels[places].tolist() == [0, 0, 1, 2] and len(set(places)) == 4
    pair = classifier(3)
    torch.testing.assert_close(found.utility, one_by_one(pair, images.subset(torch.tensor(places))))
    for changed, expected in ((found.high, found.top), (found.low, found.bottom)):
        moved = (changed != found.images).flatten(1)
        assert [set(row.nonzero()[:, 0].tolist()) for row in moved] == [set(row.tolist()) for row in expected]
    utility = found.utility.flatten(1).numpy()
    for i in range(4):
        order = np.argsort(utility[i])
        assert set(found.top[i].tolist()) == set(order[-7:]) and set(found.bottom[i].tolist()) == set(order[:7])
    with torch.no_grad():
        probabilities = pair[1](pair[0].eval()(found.images)).softmax(dim=1)
    torch.testing.assert_close(found.confidence, probabilities.amax(dim=1))
    assert found.answers.tolist() == probabilities.argmax(dim=1).tolist() and bool(found.keep.all())


def test_an_images_noise_is_its_own() -> None:
    four, _ = examples(count=4)
    seven, _ = examples(count=7)
    assert torch.equal(four.high[0], seven.high[0]) and torch.equal(four.low[-1], seven.low[-1])
    other, _ = examples(count=4, seed=1)
    assert torch.equal(four.utility, other.utility) and not torch.equal(four.high, other.high)
    with pytest.raises(InputError, match="k is 37, but an image has 36"):
        examples(k=37)


def test_the_colour_scale_is_evenly_brighter_and_its_ends_are_right() -> None:
    colours = shaded(torch.arange(256.0)[None], 255.0)[:, 0].T.double() / 255
    linear = torch.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    lightness = torch.where(luminance > 0.008856, 116 * luminance.clamp(min=1e-9) ** (1 / 3) - 16, 903.3 * luminance)
    steps = lightness[16:].diff(n=1).unfold(0, 16, 16).sum(dim=1)
    assert lightness[0] < 8 and lightness[-1] > 88 and bool((steps > 3).all()) and bool((steps < 9).all())
    stops = re.findall("#([0-9a-f]{6})", css_gradient(2))
    assert stops == [bytes((colours[i] * 255).round().int().tolist()).hex() for i in (0, 255)]
    assert bool((shaded(torch.zeros(1, 2), 0.0).unbind(2)[0] == shaded(torch.zeros(1, 2), 1.0)[:, :, 0]).all())
    assert [scientific(v).replace("\N{NO-BREAK SPACE}", " ") for v in (0, 0.25, 3.21e-4, 4.5e7)] == [
        "0",
        "0.25",
        "3.2 × 10⁻⁴",
        "4.5 × 10⁷",
    ]


def maps(classes: int = 3, channels: int = 1, side: int = 8) -> ClassUtility:
    rng = np.random.default_rng(0)
    return ClassUtility(
        classes=tuple("abcdef"[:classes]),
        counts=torch.arange(1, classes + 1) * 600,
        images=torch.from_numpy(rng.integers(0, 256, (classes, channels, side, side)).astype(np.float32) / 255),
        utility=torch.from_numpy(rng.exponential(0.01, (classes, side, side)).astype(np.float32)),
        left_out=2,
        data="toys/test",
    )


@pytest.mark.parametrize(("classes", "channels"), [(3, 1), (1, 1), (2, 3)])
def test_maps_show_what_the_arrays_say(tmp_path: Path, classes: int, channels: int) -> None:
    given = maps(classes, channels)
    save_utility_maps(tmp_path, given)
    shown = read_part(tmp_path, MAPS)
    assert shown is not None and shown.pixelated and (shown.data, shown.left_out) == ("toys/test", 2)
    assert shown.colour is (channels == 3)
    assert [(pair.name, pair.count) for pair in shown.pairs] == [("abc"[i], 600 * (i + 1)) for i in range(classes)]
    for pair, image, utility in zip(shown.pairs, given.images, given.utility, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        assert np.array_equal(picture_of(pair.image), pixels[..., 0] if channels == 1 else pixels)
        wanted = utility / utility.max() * 255
        assert np.abs(values_of(pair.utility) - wanted.numpy()).max() <= 0.51
        assert pair.largest == scientific(float(utility.max()))
    assert read_part(tmp_path / "nowhere", MAPS) is None


def test_large_maps_are_stored_at_the_size_of_the_page(tmp_path: Path) -> None:
    given = replace(maps(side=192), utility=torch.full((3, 192, 192), 0.5))
    save_utility_maps(tmp_path, given)
    shown = read_part(tmp_path, MAPS)
    assert shown is not None and not shown.pixelated and picture_of(next(shown.pairs).utility).shape == (96, 96, 3)
    assert {pair.largest for pair in shown.pairs} == {"0.5"}  # a mean of equal values is that value
    with pytest.raises(InputError, match="at least one class"):
        save_utility_maps(
            tmp_path, ClassUtility((), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1, 2, 2), torch.zeros(0, 2, 2))
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_images_show_what_the_arrays_say(tmp_path: Path, channels: int) -> None:
    found, images = examples(channels, count=3)
    save_utility_images(tmp_path, found)
    shown = read_part(tmp_path, IMAGES)
    assert shown is not None and (shown.k, shown.sigma, shown.elements) == (7, 0.5, 36 * channels)
    assert shown.colour is (channels == 3) and shown.pixelated and shown.data == images.name
    for i, own in enumerate(shown.rows):
        for address, pixels in ((own.image, found.images), (own.high, found.high), (own.low, found.low)):
            wanted = (pixels[i].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            assert np.array_equal(picture_of(address), wanted[..., 0] if channels == 1 else wanted)
        total = found.utility[i].sum(dim=0)
        assert np.abs(values_of(own.utility) - (total / total.max() * 255).numpy()).max() <= 0.51
        assert own.largest == scientific(float(total.max()))
        for address, places, colour in ((own.top, found.top, TOP), (own.bottom, found.bottom, BOTTOM)):
            chosen = np.zeros(36 * channels)
            chosen[places[i].numpy()] = 1
            marks = chosen.reshape(channels, 6, 6).mean(axis=0)
            shade = picture_of(address).astype(float)
            tinted = (np.ptp(shade, axis=2) > 3) & (shade.argmax(axis=2) == np.argmax(colour))
            assert np.array_equal(tinted, marks > 0)
        assert own.truth == images.classes[found.labels[i]] and own.right == (found.labels[i] == found.answers[i])
    assert read_part(tmp_path / "nowhere", IMAGES) is None


def two_curves() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    utility = torch.from_numpy(rng.exponential(size=(8, 100)))
    return {
        "before": utility_curve(utility, torch.from_numpy(rng.exponential(size=(8, 100)))),
        "after": utility_curve(utility, utility + 0.1 * torch.from_numpy(rng.exponential(size=(8, 100)))),
    }


def test_the_plot_draws_the_medians_and_the_quartiles_where_they_are(tmp_path: Path) -> None:
    curves = two_curves()
    save_utility_curve(tmp_path, curves)
    shown = read_utility_curve(tmp_path)
    assert shown is not None and (shown.images, shown.elements) == (8, 100)
    assert [own.name for own in shown.models] == ["before", "after"] and shown.series[0][0].colour == 0
    assert [own.correlation_words for own in shown.models] == [
        f"{curve.correlation:.2f}".replace("-", "\N{MINUS SIGN}") for curve in curves.values()
    ]
    drawn = ET.fromstring(draw_utility_curve(shown))
    diagonal = next(path for path in drawn.iter("path") if path.get("class") == "axis ideal")
    x0, y0, x1, y1 = map(float, re.findall(r"[\d.]+", diagonal.get("d") or ""))  # from (0, 0) to (1, 1)
    bands = [path.get("d") or "" for path in drawn.iter("path") if path.get("class") == "band"]
    lines = [path.get("d") or "" for path in drawn.iter("path") if path.get("class") == "line"]
    for curve, line, band in zip(curves.values(), lines, bands, strict=True):
        points = np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", line), dtype=float)
        edge = np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", band), dtype=float)
        across, up = (points[:, 0] - x0) / (x1 - x0), (points[:, 1] - y0) / (y1 - y0)
        assert np.allclose(across, curve.utility.numpy(), atol=1e-3)
        assert np.allclose(up, curve.quartiles[:, 1].numpy(), atol=1e-3)
        low, high = np.split((edge[:, 1] - y0) / (y1 - y0), 2)
        assert np.allclose(low, curve.quartiles[:, 0].numpy(), atol=1e-3)
        assert np.allclose(high[::-1], curve.quartiles[:, 2].numpy(), atol=1e-3)
    assert f"rank correlation {shown.models[1].correlation_words}" in (drawn.findtext("title") or "")


def test_a_model_without_any_order_says_so(tmp_path: Path) -> None:
    save_utility_curve(tmp_path, {"dead": utility_curve(torch.zeros(2, 9), torch.rand(2, 9)), **two_curves()})
    shown = read_utility_curve(tmp_path)
    assert shown is not None and shown.models[0].correlation_words == "n/a" and shown.models[0].bins == ()
    ET.fromstring(draw_utility_curve(shown))
    assert read_utility_curve(tmp_path / "nowhere") is None
    with pytest.raises(InputError, match="at least one model"):
        save_utility_curve(tmp_path, {})


def test_the_page_holds_all_of_it_and_nothing_from_outside(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    images = some_images([0, 1, 2, 2, 1, 0, 0], channels=3, classes=(EVIL, "b", "c"))
    images.name = EVIL
    encoder, head = classifier(3)
    with torch.no_grad():
        head.bias[0] += 6  # the features are within ±1: it answers the first class whatever it sees
    save_utility_pictures(run, {EVIL: classifier(3), "fcl": (encoder, head)}, images, k=7, sigma=0.5, count=2)
    page = write_report(run).read_text(encoding="utf-8")
    parsed = Strict(page)
    assert "script" not in parsed.tags and page.count("&lt;script&gt;") >= 6
    assert all(address.startswith("data:image/png;base64,") for address in parsed.addresses)
    assert len(parsed.addresses) == 3 * 2 + 2 * 6 and not re.search(r"url\(|@import|https?://", page)
    assert "in loss per unit of pixel value" in page and "sum over its channels" in page
    assert "rank correlation" in page and "7 of 108 values" in page and "7 most useful" in page
    assert page.count("✓ recognised") == page.count("✗ taken for &lt;script&gt;") == 1  # not by colour alone


def test_a_page_without_the_files_says_nothing_of_it(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    assert "What counts in the image" not in write_report(run).read_text(encoding="utf-8")
    save_utility_curve(run, two_curves())
    page = write_report(run).read_text(encoding="utf-8")
    Strict(page)
    assert "What counts in the image" in page and "<img" not in page and "By class" not in page
    other = run_folder(tmp_path / "other")
    assert "rank correlation" not in write_comparison([run, other], tmp_path / "out").read_text(encoding="utf-8")


def test_a_classifier_whose_encoder_is_not_known_has_maps_and_no_plot(tmp_path: Path) -> None:
    images = some_images([0, 1, 2, 2])
    save_utility_pictures(tmp_path, {"whole": nn.Sequential(*classifier())}, images, k=7, sigma=0.5)
    assert [(tmp_path / name).is_file() for name in FILES] == [True, True, False]
    save_utility_pictures(tmp_path, {"fcl": classifier()}, images, k=7, sigma=0.5, sensitivity_images=2)
    shown = read_utility_curve(tmp_path)
    assert shown is not None and shown.images == 2
    with pytest.raises(InputError, match="at least one classifier"):
        save_utility_pictures(tmp_path, {}, images, k=7, sigma=0.5)
