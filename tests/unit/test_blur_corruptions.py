"""The blurs of the common corruptions against second implementations: scipy, or the definition in plain loops."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import banded, glass, motion, zoom
from weatherproof.operators.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from weatherproof.operators.lens import defocused, disk

# The benchmark's numbers (Hendrycks & Dietterich 2019): ImageNet's five severities, then CIFAR's.
DISKS = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)]
SMEARS = [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15), (6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)]
STEPS = {
    224: [(0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)],
    32: [(0.01, 7), (0.01, 12), (0.01, 16), (0.01, 21), (0.01, 26)],
}
ALL = [
    (gaussian_blur, (1.5,)),
    (defocus_blur, (3, 0.1)),
    (glass_blur, (0.9, 2, 2)),
    (motion_blur, (10, 3)),
    (zoom_blur, (1, 1.1, 1.25)),
]


def input_of(blur, images: torch.Tensor) -> torch.Tensor:
    """Defocus blur takes bytes, the others pixels."""
    return (images * 255).round().to(torch.uint8) if blur is defocus_blur else images


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    """Noise on 8-bit levels: no structure that could hide a shift by a pixel."""
    draw = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed))
    return draw.float() / 255


def keys(count: int) -> torch.Tensor:
    return random.keys(7, torch.arange(count))


def factors(step: float, count: int) -> list[float]:
    return [round(1 + step * i, 2) for i in range(count)]


@pytest.mark.parametrize(("blur", "numbers"), ALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_gets_the_same_result_in_any_batch_and_is_left_as_it_was(blur, numbers, channels):
    images = input_of(blur, pictures(7, channels, 33, 47))
    before = images.clone()
    together = blur(images, keys(7), *numbers)
    assert together.shape == images.shape and together.dtype == images.dtype and together.is_contiguous()
    assert torch.equal(images, before)
    for i in (0, 4, 6):
        alone = blur(images[i : i + 1], keys(7)[i : i + 1], *numbers)
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)
    scattered = blur(images.to(memory_format=torch.channels_last), keys(7), *numbers)
    torch.testing.assert_close(scattered, together, rtol=0, atol=1e-6)
    flipped = blur(images.flip(0), keys(7).flip(0), *numbers).flip(0)
    torch.testing.assert_close(flipped, together, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("blur", "numbers"), ALL)
def test_keys_decide_exactly_where_something_is_drawn(blur, numbers):
    images = input_of(blur, pictures(1, 3, 40, 40)).expand(2, -1, -1, -1)
    one, other = blur(images, keys(2), *numbers)
    drawn = blur in (glass_blur, motion_blur)
    assert torch.equal(one, other) != drawn


@pytest.mark.parametrize(("blur", "numbers"), [*ALL, (glass_blur, (0.05, 1, 1)), (gaussian_blur, (0.1,))])
def test_a_constant_image_stays(blur, numbers):
    for level in (1, 29, 58, 128, 255):  # x / 255 * 255 falls below x for some levels: the floor of glass blur
        images = input_of(blur, torch.full((1, 3, 40, 36), level / 255))
        torch.testing.assert_close(blur(images, keys(1), *numbers), images, rtol=0, atol=2e-6)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 0.7, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("size", [(32, 32), (45, 70), (17, 9)])
def test_gaussian_blur_equals_scipys(sigma, size):
    images = pictures(2, 3, *size)
    expected = ndimage.gaussian_filter(images.double().numpy(), (0, 0, sigma, sigma), truncate=4, mode="nearest")
    np.testing.assert_allclose(gaussian_blur(images, keys(2), sigma).numpy(), expected, rtol=0, atol=1e-6)


PUBLISHED_DISKS = [  # pixels before softening, sum, centre
    (29, 1, 0.034483), (49, 1, 0.020408), (113, 1, 0.008850), (197, 1.012975, 0.005076), (317, 1.010786, 0.003155),
    (1, 1, 0.844973), (1, 1, 0.619347), (1, 1, 0.445213), (5, 1, 0.2), (9, 1, 0.111111),
]  # fmt: skip


@pytest.mark.parametrize(("numbers", "published"), list(zip(DISKS, PUBLISHED_DISKS, strict=True)))
def test_disks_have_the_published_size_sum_and_centre(numbers, published):
    (radius, alias_sigma), (pixels, total, centre) = numbers, published
    sharp = disk(radius, 0.01)
    assert int((sharp > 0).sum()) == pixels
    kernel = disk(radius, alias_sigma)
    assert float(kernel.sum()) == pytest.approx(total, abs=1e-6)
    assert float(kernel[len(kernel) // 2, len(kernel) // 2]) == pytest.approx(centre, abs=1e-6)


def disk_by_scipy(radius: float, alias_sigma: float) -> np.ndarray:
    half, soft = (8, 1) if radius <= 8 else (int(radius), 2)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    kernel = (y**2 + x**2 <= radius**2).astype(float)
    return ndimage.gaussian_filter(kernel / kernel.sum(), alias_sigma, mode="mirror", radius=soft)


@pytest.mark.parametrize("numbers", DISKS)
def test_defocus_blur_equals_correlation_by_scipy(numbers):
    images = input_of(defocus_blur, pictures(2, 3, 32, 47))
    kernel = disk_by_scipy(*numbers)[None, None]
    for image in (images, torch.full_like(images, 255), images[:, :, :12, :11]):  # the second fills the whole range
        expected = ndimage.correlate(image.double().numpy(), kernel, mode="mirror")
        np.testing.assert_allclose(defocused(image, *numbers).numpy(), expected, rtol=0, atol=6e-4)
        out, whole = defocus_blur(image, keys(2), *numbers).numpy(), np.floor(expected + 3e-4).clip(0, 255)
        sure = np.abs(expected + 3e-4 - np.rint(expected + 3e-4)) > 6e-4  # not too near to the next level
        assert np.array_equal(out[sure], whole[sure])


def draws(key: torch.Tensor, reach: int, height: int, width: int) -> np.ndarray:
    """(dy, dx) of each visited pixel, from the words the operator draws: two digits in base 2 d of word / 65,536."""
    count = height - 2 * reach, width - 2 * reach
    units = random.words(key, count)[0].double().numpy() / 65536 * 2 * reach
    return np.stack([np.floor(units), np.floor(units % 1 * 2 * reach)], -1).astype(int) - reach


def displaced(image: np.ndarray, key: torch.Tensor, reach: int, rounds: int, mode: str) -> np.ndarray:
    """The scans one pixel after the other."""
    image = image.copy()
    height, width = image.shape[-2:]
    for scan in range(rounds):
        drawn = draws(random.fold(key, scan), reach, height, width)
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                dy, dx = drawn[h - reach - 1, w - reach - 1]
                here, there = image[:, h, w].copy(), image[:, h + dy, w + dx].copy()
                image[:, h, w] = there
                if mode == "swap":
                    image[:, h + dy, w + dx] = here
    return image


@pytest.mark.parametrize("mode", glass.MODES)
@pytest.mark.parametrize(("reach", "rounds"), [(1, 2), (2, 1), (2, 3), (3, 2), (4, 2), (9, 1)])
def test_glass_blur_displaces_as_pixel_by_pixel(mode, reach, rounds):
    images, sigma = pictures(3, 3, 40, 53), 0.7
    rough = (banded.gaussian(images, sigma) * 255 + 3e-4).floor() / 255
    pairs = zip(rough, keys(3).split(1), strict=True)
    expected = np.stack([displaced(image.numpy(), key, reach, rounds, mode) for image, key in pairs])
    result = glass_blur(images, keys(3), sigma, reach, rounds, mode)
    assert torch.equal(result, banded.gaussian(torch.from_numpy(expected), sigma))


def test_glass_blur_at_full_size_displaces_as_pixel_by_pixel():
    images = pictures(1, 1, 224, 224)
    expected = displaced(images[0].numpy(), keys(1), 4, 2, "copy")
    result = glass_blur(images, keys(1), 0.1, 4, 2)  # sigma .1: no blur
    assert np.array_equal(result[0].numpy(), expected)


def test_some_copies_of_glass_blur_read_what_was_copied_before():
    scan = glass._displacements(keys(2), 3, pictures(2, 1, 64, 64))
    at_once = (torch.arange(64 * 64).view(64, 64) + scan).int()
    in_turn = glass._copied([scan])
    assert 0.2 < (at_once != in_turn).float().mean() < 0.5  # 3/8 of the sources lie in rows or columns visited before


@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_glass_blur_draws_displacements_uniformly(reach):
    scan = glass._displacements(keys(4), reach, pictures(4, 1, 200, 200))
    visited = scan[:, reach + 1 : 200 - reach + 1, reach + 1 : 200 - reach + 1]
    span = range(-reach, reach)
    counts = torch.tensor([(visited == dy * 200 + dx).sum() for dy in span for dx in span])
    mean = visited.numel() / (2 * reach) ** 2
    assert counts.sum() == visited.numel()
    assert ((counts - mean).abs() < 5 * math.sqrt(mean)).all()
    visited.zero_()
    assert not scan.any()


def smeared(image: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    height, width = image.shape[-2:]
    weights = [math.exp(-i * i / (2 * sigma**2)) for i in range(2 * radius + 1)]
    out = np.zeros(image.shape)
    for i, weight in enumerate(weights):
        dy = math.ceil(i * math.sin(math.radians(degrees)) - 0.5)
        dx = math.ceil(i * math.cos(math.radians(degrees)) - 0.5)
        rows, columns = np.clip(np.arange(height) + dy, 0, height - 1), np.clip(np.arange(width) + dx, 0, width - 1)
        out += weight / sum(weights) * image[:, rows][:, :, columns]
    return out


@pytest.mark.parametrize(("radius", "sigma"), SMEARS)
@pytest.mark.parametrize("size", [(32, 32), (50, 23)])
def test_motion_equals_its_definition_at_all_angles(radius, sigma, size):
    degrees = torch.cat([torch.linspace(-180, 180, 25), torch.linspace(-50, 50, 16)]).roll(11)
    images = pictures(len(degrees), 2, *size)
    result = motion.motion(images, radius, sigma, degrees)
    for image, angle, got in zip(images.double().numpy(), degrees.tolist(), result.numpy(), strict=True):
        np.testing.assert_allclose(got, smeared(image, radius, sigma, angle), rtol=0, atol=3e-6)


def test_motion_blur_draws_angles_within_45_degrees_of_the_x_axis():
    impulse = torch.zeros(200, 1, 61, 61)
    impulse[..., 30, 30] = 1  # reading along +x smears towards -x
    y, x = (motion_blur(impulse, keys(200), 10, 12)[:, 0] > 0).nonzero()[:, 1:].T - 30
    slopes = torch.rad2deg(torch.atan2(-y.double(), -x.double()))[torch.hypot(y.double(), x.double()) > 15]
    assert x.max() == 0
    assert -48 < slopes.min() < -43 and 43 < slopes.max() < 48 and abs(slopes.median()) < 8


@pytest.mark.parametrize(("numbers", "first", "taps"), [
    ((10, 3), [.2347, .2221, .1880, .1424], 21), ((15, 5), [.1478, .1449, .1364, .1234], 31), ((15, 8), [.0950], 31),
    ((15, 12), [.0650], 31), ((20, 15), [.0522], 41), ((6, 1), [.5703, .3459, .0772, .0063], 13),
])  # fmt: skip
def test_smears_have_the_published_weights(numbers, first, taps):
    weights = motion._weights(*numbers)
    assert weights[: len(first)].tolist() == pytest.approx(first, abs=6e-5)
    assert len(weights) <= taps and 1 - 1.5e-6 <= weights.sum() <= 1 + 1e-12


def zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    """The middle enlarged by scipy, with the numpy calls of the benchmark."""
    crops = [math.ceil(side / factor) for side in image.shape[-2:]]
    tops = [(side - crop) // 2 for side, crop in zip(image.shape[-2:], crops, strict=True)]
    crop = image[:, tops[0] : tops[0] + crops[0], tops[1] : tops[1] + crops[1]]
    large = ndimage.zoom(crop, (1, factor, factor), order=1, mode="nearest")
    trims = [(big - side) // 2 for big, side in zip(large.shape[-2:], image.shape[-2:], strict=True)]
    return large[:, trims[0] : trims[0] + image.shape[-2], trims[1] : trims[1] + image.shape[-1]]


@pytest.mark.parametrize("factor", [1, 1.05, 1.1, 1.25, 1.3, 1.75, 2.5, 3, 4.5])
@pytest.mark.parametrize("size", [(32, 32), (224, 224), (31, 50)])
def test_centre_zoom_equals_scipys(factor, size):
    images = pictures(2, 1, *size)
    expected = np.stack([zoomed(image, factor) for image in images.double().numpy()])
    np.testing.assert_allclose(zoom.centre_zoom(images, factor).numpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("side", "step", "count"), [(side, *s) for side, steps in STEPS.items() for s in steps])
def test_zoom_blur_is_the_mean_of_the_image_and_its_zooms(side, step, count):
    images = pictures(2, 3, side, side)
    ranged = np.arange(1, 1 + step * (count - 0.5), step)  # as the benchmark makes them, with their rounding errors
    assert len(ranged) == count
    expected = np.stack(
        [(image + sum(zoomed(image, factor) for factor in ranged)) / (count + 1) for image in images.double().numpy()]
    )
    result = zoom_blur(images, keys(2), *factors(step, count))
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "factor", "expected"),
    [(224, 1.1, (10, 204, 224, 0)), (224, 1.3, (25, 173, 225, 0)), (32, 1.05, (0, 31, 33, 0))],
)
def test_centre_zooms_have_the_published_geometry(side, factor, expected):
    assert zoom._geometry(side, factor) == expected


@pytest.mark.parametrize(("blur", "numbers", "words"), [
    (defocus_blur, (10, .5), r"defocus_blur with a radius of 10 .* more than 10 pixels a side, got 10x30"),
    (glass_blur, (1, 5, 1), r"glass_blur with a reach of 5 .* more than 10 pixels a side, got 10x30"),
    (glass_blur, (1, 1, 1, "exchange"), r"unknown mode of glass_blur 'exchange'.*known: copy, swap"),
    (zoom_blur, (1, .9), r"zoom factor must be at least 1, got 0\.9"),
])  # fmt: skip
def test_bad_input_is_said_in_one_line(blur, numbers, words):
    with pytest.raises(InputError, match=words) as caught:
        blur(input_of(blur, pictures(1, 3, 10, 30)), keys(1), *numbers)
    assert "\n" not in str(caught.value)
