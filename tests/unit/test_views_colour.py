"""Colour and blur of views against torchvision on the same parameters."""

import pytest
import torch
from torchvision.transforms.v2 import functional as torchvision

from weatherproof import random, views
from weatherproof.errors import InputError
from weatherproof.views import ColorJitter, RandomBlur, RandomGrayscale, adjust
from weatherproof.views.blur import gaussian_blur
from weatherproof.views.colour import ORDERS

COUNT = 24
TOLERANCE = {"rtol": 0, "atol": 2e-6}  # float32 against torchvision in float64


def pictures():
    """Noise, flat levels with ties between channels, grey, and the corners of the colour cube."""
    images = torch.rand(COUNT, 3, 13, 19, generator=torch.Generator().manual_seed(1))
    images[0] = images[0, :1]
    images[1:4] = (images[1:4] * 3).round() / 3
    images[4:6] = images[4:6].round()
    return images


IMAGES = pictures()
KEYS = random.keys(3, torch.arange(COUNT))
FACTORS = torch.linspace(0, 2, COUNT)
SHIFTS = torch.linspace(-0.5, 0.5, COUNT)
THEIRS = {
    "brightness": torchvision.adjust_brightness, "contrast": torchvision.adjust_contrast,
    "saturation": torchvision.adjust_saturation, "hue": torchvision.adjust_hue,
}  # fmt: skip


def each(images, function, *numbers):
    """torchvision's function on each image with its number, in float64."""
    rows = zip(images.double(), *(x.tolist() for x in numbers), strict=True)
    return torch.stack([function(*row) for row in rows]).float()


def adjusted(name, images, numbers):
    """Each image after our operation with its number."""
    out = images.clone()
    dict(zip(THEIRS, adjust.OPERATIONS, strict=True))[name](numbers)(out, slice(0, len(out)))
    return out


@pytest.mark.parametrize("name", THEIRS)
def test_an_operation_is_torchvisions(name):
    numbers = SHIFTS if name == "hue" else FACTORS
    out = adjusted(name, IMAGES, numbers)
    torch.testing.assert_close(out, each(IMAGES, THEIRS[name], numbers), **TOLERANCE)


@pytest.mark.parametrize("shift", [-0.5, -1 / 3, -1 / 6, -0.05, 0.0, 0.1, 1 / 6, 0.2, 1 / 3, 0.5])
def test_every_pixel_gets_the_shift_of_hue_of_its_image(shift):
    shifts = torch.full((COUNT,), shift, dtype=torch.float64).float()
    torch.testing.assert_close(
        adjusted("hue", IMAGES, shifts), each(IMAGES, torchvision.adjust_hue, shifts), **TOLERANCE
    )


def test_hue_keeps_grey_as_it_is_and_a_third_of_the_circle_moves_the_channels():
    grey = IMAGES[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(adjusted("hue", grey, SHIFTS), grey)
    moved = adjusted("hue", IMAGES, torch.full((COUNT,), 1 / 3))
    torch.testing.assert_close(moved, IMAGES.roll(1, dims=1), **TOLERANCE)


def test_greyscale_is_torchvisions():
    grey = torch.stack([torchvision.rgb_to_grayscale(image, 3) for image in IMAGES.double()]).float()
    torch.testing.assert_close(adjust.greyscale(IMAGES), grey, **TOLERANCE)
    out = RandomGrayscale(0.5)(IMAGES, KEYS)
    for image, before, wanted in zip(out, IMAGES, grey, strict=True):
        assert torch.equal(image, before) or torch.allclose(image, wanted, **TOLERANCE)


def test_jitter_is_torchvisions_operations_in_the_drawn_order_with_the_drawn_factors():
    jitter = ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8)
    drawn = jitter.draw(KEYS)
    expected = IMAGES.double()
    for image, (order, *factors) in zip(expected, drawn.tolist(), strict=True):
        for operation in ORDERS[int(order)]:
            image.copy_(list(THEIRS.values())[operation](image, factors[operation]))
    torch.testing.assert_close(jitter(IMAGES, KEYS), expected.float(), rtol=0, atol=1e-5)  # errors of four operations
    changed = (drawn[:, 0] < 24).float().mean()
    assert 0 < changed < 1


def test_orders_and_factors_are_uniform():
    count = 12_000
    drawn = ColorJitter(0.8, 1.5, 0.4, 0.1).draw(random.keys(0, torch.arange(count)))
    counts = drawn[:, 0].long().bincount(minlength=24)
    assert len(counts) == 24 and ((counts - count / 24) ** 2 / (count / 24)).sum() < 60  # chi^2 of 23: 49.7 at 1e-3
    for column, (low, high) in enumerate([(0.2, 1.8), (0.0, 2.5), (0.6, 1.4), (-0.1, 0.1)], start=1):
        values = (drawn[:, column] - low) / (high - low)
        assert values.min() >= 0 and values.max() <= 1
        assert abs(values.mean() - 0.5) < 0.015 and abs(values.var() - 1 / 12) < 0.004
    often = ColorJitter(0.8, p=0.3).draw(random.keys(0, torch.arange(count)))[:, 0] < 24
    assert abs(often.float().mean() - 0.3) < 0.02


def test_an_order_is_a_permutation():
    assert {tuple(sorted(order)) for order in ORDERS[:24]} == {(0, 1, 2, 3)}
    assert len(set(ORDERS)) == 25


@pytest.mark.parametrize("kernel_size", [1, 3, 9, 23])
def test_blur_is_torchvisions(kernel_size):
    sigma = torch.linspace(0.1, 2.5, COUNT)
    images = torch.rand(COUNT, 3, 13, 24)
    expected = each(images, lambda x, s: torchvision.gaussian_blur(x, [kernel_size] * 2, [s] * 2), sigma)
    torch.testing.assert_close(gaussian_blur(images, sigma, kernel_size), expected, **TOLERANCE)


def test_a_random_blur_blurs_by_its_sigma():
    op = RandomBlur((0.1, 2.0), 9, p=0.5)
    sigma = op.draw(KEYS)[:, 0]
    assert (sigma == 0).any() and sigma[sigma > 0].min() >= 0.1 and sigma.max() <= 2
    out = op(IMAGES, KEYS)
    for image, before, s in zip(out, IMAGES, sigma.tolist(), strict=True):
        wanted = torchvision.gaussian_blur(before.double(), [9, 9], [s, s]).float() if s else before
        torch.testing.assert_close(image, wanted, **TOLERANCE)


def test_a_blur_without_a_size_reaches_four_sigma():
    assert RandomBlur((0.1, 2.0)).reach == 8 and RandomBlur(1.2).reach == 5
    with pytest.raises(InputError, match="more than 8 pixels a side, got 8x13"):
        RandomBlur((2.0, 2.0))(IMAGES[:, :, :8, :13], KEYS)


def test_grey_images_stay_grey():
    grey = IMAGES[:, :1].contiguous()
    assert torch.equal(RandomGrayscale(1.0)(grey, KEYS), grey)
    assert torch.equal(ColorJitter(0, 0, 0.8, 0.2)(grey, KEYS), grey)
    torch.testing.assert_close(
        adjusted("contrast", grey, FACTORS), each(grey, torchvision.adjust_contrast, FACTORS), **TOLERANCE
    )


@pytest.mark.parametrize("op", [ColorJitter(0.4), ColorJitter(0, 0, 0.4), RandomGrayscale(1.0)], ids=repr)
def test_other_numbers_of_channels_are_refused(op):
    with pytest.raises(InputError, match="1 or 3 channels, got 4"):
        op(torch.rand(COUNT, 4, 8, 8), KEYS)


@pytest.mark.parametrize(
    "text",
    [
        "ColorJitter(-0.1)", "ColorJitter(hue=0.6)", "ColorJitter(p=1.1)", "RandomGrayscale(-0.1)",
        "RandomBlur((2.0, 0.1))", "RandomBlur(1.0, 4)", "RandomBlur(1.0, p=2.0)",
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(text):
    with pytest.raises(InputError, match="got"):
        views.parse(text)
