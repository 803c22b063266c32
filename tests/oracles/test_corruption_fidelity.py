"""The package's corruptions against an independent per-image implementation, and that one against known numbers."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from oracles import corruptions_blur as blur
from oracles import corruptions_numpy as oracle
from oracles import corruptions_spatter as spatter
from oracles import corruptions_weather as weather
from oracles.corruptions_statistics import differences, two_sample
from PIL import Image

from weatherproof import load_encoder, load_images, random
from weatherproof.operators import Corruption
from weatherproof.operators.textures import textures
from weatherproof.readouts import OwnHead

Array = np.ndarray[Any, Any]
Corrupt = Callable[[Array, np.random.Generator], Array]

SIDES = {"imagenet": 224, "cifar": 32}
SETS = tuple(SIDES)
RANDOM = tuple(name for name in oracle.PARAMETERS["cifar"] if name not in oracle.DETERMINISTIC)
SEVERITIES = (1, 2, 3, 4, 5)
PICTURES = ("astronaut", "coffee", "chelsea", "rocket", "camera")  # those of scikit-image that need no download
# About 6,000 summaries are tested below: a right implementation would fail once in 170 times.
SIGNIFICANCE = 1e-6
COPIES = {"imagenet": 40, "cifar": 150}
DRAWN_AT = {"imagenet": (1, 3, 5), "cifar": SEVERITIES}


@cache
def pictures(side: int) -> Array:
    """The middle square of each picture at that size: pictures x side x side x 3."""
    found = []
    for name in PICTURES:
        picture = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
        short = min(picture.size)
        left, top = (picture.width - short) // 2, (picture.height - short) // 2
        middle = (left, top, left + short, top + short)
        found.append(np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC, box=middle)))
    return np.stack(found)


@cache
def frost_textures(parameters: str) -> tuple[Array, ...]:
    """The package's own: what is compared is how they are cropped and blended, and how often each is drawn."""
    all_of_them = textures(SIDES[parameters], SIDES[parameters], 3, None, "cpu")
    shapes = zip(all_of_them.starts.tolist(), all_of_them.heights.tolist(), all_of_them.widths.tolist(), strict=True)
    return tuple(
        all_of_them.pixels[start : start + 3 * h * w].view(3, h, w).permute(1, 2, 0).numpy()
        for start, h, w in dict.fromkeys(shapes)
    )


def ours(images: Array, name: str, severity: int, parameters: str) -> Array:
    """Both sides in bytes, images x height x width x 3."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    out = Corruption(name, severity, parameters=parameters)(pixels, random.keys(0, torch.arange(len(images))))
    levels = out.double() * 255
    assert (levels - levels.round()).abs().max() < 1e-3, "the result is not on 8-bit levels"
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def draws(image: Array, count: int, corrupt: Corrupt, seed: int) -> Array:
    return np.stack([corrupt(image, np.random.default_rng((seed, i))) for i in range(count)])


def by_oracle(name: str, severity: int, parameters: str) -> Corrupt:
    frost = frost_textures(parameters) if name == "frost" else None
    return lambda image, rng: oracle.corrupt(image, name, severity, rng, parameters, frost)


def by_formula(formula: Callable[..., Array], *numbers: Any) -> Corrupt:
    """A corruption that the oracle does not have, of x in [0, 1]."""
    return lambda image, rng: weather.to_bytes(formula(image / 255.0, rng, *numbers))


# The oracle against the numbers that are known of the benchmark


@pytest.mark.parametrize(
    ("parameters", "counts", "sums", "centres"),
    [
        ("imagenet", (29, 49, 113, 197, 317), (1, 1, 1, 1.012975, 1.010786),
         (0.034483, 0.020408, 0.008850, 0.005076, 0.003155)),
        ("cifar", (1, 1, 1, 5, 9), (1, 1, 1, 1, 1), (0.844973, 0.619347, 0.445213, 0.2, 0.111111)),
    ],
)  # fmt: skip
def test_defocus_kernels(
    parameters: str, counts: tuple[int, ...], sums: tuple[float, ...], centres: tuple[float, ...]
) -> None:
    settings = oracle.PARAMETERS[parameters]["defocus_blur"]
    kernels = [blur.defocus_kernel(*s) for s in settings]
    assert tuple(int(blur.disk(radius).sum()) for radius, _ in settings) == counts
    assert [k.sum() for k in kernels] == pytest.approx(sums, abs=1e-6)
    assert [k[len(k) // 2, len(k) // 2] for k in kernels] == pytest.approx(centres, abs=1e-6)


@pytest.mark.parametrize(
    ("radius", "sigma", "first", "length"),
    [
        (10, 3, (0.2347, 0.2221, 0.1880, 0.1424), 21),
        (15, 5, (0.1478, 0.1449, 0.1364, 0.1234), 31),
        (15, 8, (0.0950,), 31),
        (15, 12, (0.0650,), 31),
        (20, 15, (0.0522,), 41),
        (6, 1, (0.5703, 0.3459, 0.0772, 0.0063), 13),
    ],
)
def test_motion_taps(radius: int, sigma: float, first: tuple[float, ...], length: int) -> None:
    taps = blur.motion_taps(radius, sigma)
    assert len(taps) == length
    assert taps[: len(first)] == pytest.approx(first, abs=5.1e-5)
    assert any((radius, sigma) in oracle.PARAMETERS[p]["motion_blur"] for p in SETS), (
        "these are not the parameters of any severity"
    )


def test_zoom_geometry() -> None:
    assert blur.zoom_geometry(224, 1.1) == (204, 10, 224, 0)
    assert blur.zoom_geometry(224, 1.3) == (173, 25, 225, 0)
    assert blur.zoom_geometry(32, 1.05) == (31, 0, 33, 0)
    for parameters in SETS:
        for step, count, last in oracle.PARAMETERS[parameters]["zoom_blur"]:
            factors = blur.zoom_factors(step, count, last)
            assert (factors[0], len(factors)) == (1, count)
            assert factors[-1] == pytest.approx(last)
    assert blur.zoom_geometry(32, factors[-1]) == (26, 3, 33, 0)


@pytest.mark.parametrize(
    ("size", "side", "decay", "std"),
    [(256, 224, 2, 0.146), (256, 224, 1.7, 0.162), (256, 224, 1.5, 0.175), (256, 224, 1.4, 0.181),
     (32, 32, 3, 0.146), (32, 32, 2.5, 0.149), (32, 32, 2, 0.162), (32, 32, 1.75, 0.163)],
)  # fmt: skip
def test_plasma_statistics(size: int, side: int, decay: float, std: float) -> None:
    """The known numbers are means over 60 maps, so they carry an error of their own: four of both together."""
    rng = np.random.default_rng(0)
    maps = np.stack([weather.plasma(rng, size, decay)[:side, :side] for _ in range(60)])
    stds, means = maps.std((1, 2)), maps.mean((1, 2))
    assert abs(stds.mean() - std) < 4 * np.sqrt(2 / 60) * stds.std()
    assert abs(means.mean() - 0.5) < 4 * np.sqrt(1 / 60) * means.std()
    if side == size:
        assert maps.min() == 0
        assert maps.max() == 1


def test_pixelated_sides() -> None:
    assert [int(224 * c) for c in oracle.PARAMETERS["imagenet"]["pixelate"]] == [134, 112, 89, 67, 56]
    assert [int(32 * c) for c in oracle.PARAMETERS["cifar"]["pixelate"]] == [30, 28, 27, 24, 20]


def test_edges_and_distances() -> None:
    """A bright square has its own outline as edges; the chamfer distance errs by 2 per cent at most."""
    levels = np.zeros((40, 40), np.uint8)
    levels[10:30, 10:30] = 200
    edges = spatter.canny(levels, 50, 150)
    outline = np.zeros_like(edges)
    outline[9:31, 9:31] = True
    outline[11:29, 11:29] = False
    assert edges.any(0).sum() >= 20
    assert not (edges & ~outline).any()
    point = np.zeros((31, 31), bool)
    point[15, 15] = True
    exact = np.minimum(np.hypot(*(np.mgrid[:31, :31] - 15)), 20)
    assert np.abs(spatter.distance(point, 20) - exact).max() <= 0.02 * 20


# Where nothing is drawn: every value


def check_bytes(images: Array, name: str, parameters: str) -> None:
    for severity in SEVERITIES:
        corrupt = by_oracle(name, severity, parameters)
        expected = np.stack([corrupt(image, np.random.default_rng(0)) for image in images])
        apart = np.abs(ours(images, name, severity, parameters).astype(int) - expected)
        assert apart.max() <= 1, (
            f"severity {severity}: up to {apart.max()} grey levels apart, {(apart > 1).mean():.2%} by more than one"
        )


@pytest.mark.parametrize("parameters", ["cifar", pytest.param("imagenet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", oracle.DETERMINISTIC)
def test_deterministic_corruptions_agree_to_one_grey_level(name: str, parameters: str) -> None:
    check_bytes(pictures(SIDES[parameters]), name, parameters)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("parameters", "source", "count"), [("cifar", "cifar10", 20), ("imagenet", "imagenette", 3)])
def test_deterministic_corruptions_agree_on_benchmark_images(
    parameters: str, source: str, count: int, data_dir: Path
) -> None:
    split = {"cifar10": "test", "imagenette": "val"}[source]
    images = load_images(f"folder:{data_dir / source / split}", size=SIDES[parameters])
    some = images.read(torch.arange(0, len(images), len(images) // count)[:count]).permute(0, 2, 3, 1).numpy()
    for name in oracle.DETERMINISTIC:
        check_bytes(some, name, parameters)


# Where something is drawn: the law


@pytest.mark.parametrize("parameters", ["cifar", pytest.param("imagenet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", RANDOM)
def test_random_corruptions_have_the_same_law(name: str, parameters: str) -> None:
    picture, count = pictures(SIDES[parameters])[0], COPIES[parameters]
    wrong = {}
    for severity in DRAWN_AT[parameters]:
        expected = draws(picture, count, by_oracle(name, severity, parameters), seed=severity)
        copies = np.broadcast_to(picture, (count, *picture.shape))
        if found := differences(picture, ours(copies, name, severity, parameters), expected, SIGNIFICANCE):
            wrong[severity] = found
    assert not wrong


def test_the_law_is_not_told_apart_from_itself() -> None:
    """Two samples of the oracle, for every random corruption."""
    picture = pictures(32)[0]
    for name in RANDOM:
        corrupt = by_oracle(name, 3, "cifar")
        a, b = draws(picture, COPIES["cifar"], corrupt, 1), draws(picture, COPIES["cifar"], corrupt, 2)
        assert not differences(picture, a, b, SIGNIFICANCE), name


def one_noise_for_all_channels(x: Array, rng: np.random.Generator, sigma: float) -> Array:
    return x + sigma * rng.standard_normal(x.shape[:2])[..., None]


def whole_pixels_hit(x: Array, rng: np.random.Generator, share: float) -> Array:
    hit = rng.random(x.shape[:2])[..., None] < share
    return np.where(hit, rng.integers(0, 2, x.shape), x)


def both_ways(x: Array, rng: np.random.Generator, radius: int, sigma: float) -> Array:
    angle = rng.uniform(-45, 45)
    return (blur.streak(x, radius, sigma, angle) + blur.streak(x, radius, sigma, angle + 180)) / 2


def all_from_the_unmoved(x: Array, rng: np.random.Generator, sigma: float, reach: int, rounds: int) -> Array:
    """Glass where every pixel reads its displaced neighbour of before: no chain of copies."""
    x = weather.to_bytes(blur.smooth(x, sigma)) / 255
    height, width = x.shape[:2]
    for _ in range(rounds):
        rows, columns = np.mgrid[:height, :width]
        inside = (slice(reach + 1, height - reach + 1), slice(reach + 1, width - reach + 1))
        rows[inside] += rng.integers(-reach, reach, rows[inside].shape)
        columns[inside] += rng.integers(-reach, reach, rows[inside].shape)
        x = x[rows, columns]
    return blur.smooth(x, sigma)


def swapped(x: Array, rng: np.random.Generator, sigma: float, reach: int, rounds: int) -> Array:
    return blur.glass_blur(x, rng, sigma, reach, rounds, swap=True)


def fog_of_another_decay(x: Array, rng: np.random.Generator, strength: float, decay: float) -> Array:
    return weather.fog(x, rng, strength, 1.25 * decay, size={32: 32, 224: 256}[len(x)])


def snow_without_its_twin(x: Array, rng: np.random.Generator, *numbers: float) -> Array:
    """Twice the layer instead of the layer and its rotated copy."""
    mean, std, zoom, threshold, radius, sigma, keep = numbers
    flakes = blur.centre_zoom(rng.normal(mean, std, x.shape[:2]), zoom)
    flakes[flakes < threshold] = 0
    layer = blur.streak(np.clip(flakes, 0, 1), int(radius), sigma, rng.uniform(-135, -45))[..., None]
    grey = (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    return keep * x + (1 - keep) * np.maximum(x, 1.5 * grey + 0.5) + 2 * layer


@pytest.mark.parametrize(
    ("name", "parameters", "wrong"),
    [
        ("gaussian_noise", "cifar", one_noise_for_all_channels),
        ("impulse_noise", "cifar", whole_pixels_hit),
        ("motion_blur", "cifar", both_ways),
        pytest.param("glass_blur", "imagenet", all_from_the_unmoved, marks=pytest.mark.slow),
        ("glass_blur", "cifar", swapped),
        pytest.param("glass_blur", "imagenet", swapped, marks=pytest.mark.slow),
        ("fog", "cifar", fog_of_another_decay),
        ("snow", "cifar", snow_without_its_twin),
    ],
)
def test_a_wrong_law_is_told_apart(name: str, parameters: str, wrong: Callable[..., Array]) -> None:
    picture, count = pictures(SIDES[parameters])[0], COPIES[parameters]
    numbers = oracle.PARAMETERS[parameters][name][2]
    settings = numbers if isinstance(numbers, tuple) else (numbers,)
    expected = draws(picture, count, by_oracle(name, 3, parameters), seed=1)
    assert differences(picture, draws(picture, count, by_formula(wrong, *settings), seed=2), expected, SIGNIFICANCE)


def test_two_sample_test_keeps_its_level() -> None:
    """Of right samples at most the stated share is rejected, and a shift by one deviation is seen."""
    rng = np.random.default_rng(0)
    p = [two_sample(rng.standard_normal(60), rng.standard_normal(60)) for _ in range(2000)]
    assert np.mean(np.array(p) < 0.01) < 0.015
    assert two_sample(rng.standard_normal(150), rng.standard_normal(150) + 1) < SIGNIFICANCE


# What networks make of them


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "count"), [("resnet20@resnet20-12fca82f.th", 300), ("resnet56@resnet56-4bfd9763.th", 100)]
)
def test_networks_find_them_equally_hard(weights: str, count: int, data_dir: Path) -> None:
    """Top-1 on CIFAR-10 within three standard errors of the paired difference."""
    network, _, file = weights.partition("@")
    model = OwnHead(load_encoder(f"{network}@{data_dir / file}")).eval()
    images = load_images(f"cifar10:{data_dir / 'cifar10'}", "test")
    chosen = torch.arange(0, len(images), len(images) // count)[:count]
    clean, labels = images.read(chosen).permute(0, 2, 3, 1).numpy(), images.labels[chosen].numpy()

    def correct(pixels: Array) -> Array:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255).argmax(1).numpy() == labels

    assert correct(clean).mean() > 0.75  # the set of this folder went through JPEG, which costs some points
    apart = {}
    for name in oracle.PARAMETERS["cifar"]:
        corrupt = by_oracle(name, 3, "cifar")
        expected = np.stack([corrupt(x, np.random.default_rng((7, i))) for i, x in enumerate(clean)])
        gap = correct(ours(clean, name, 3, "cifar")).astype(float) - correct(expected)
        if abs(gap.mean()) > 3 * gap.std() / np.sqrt(count):
            apart[name] = (gap.mean(), gap.std() / np.sqrt(count))
    assert not apart
