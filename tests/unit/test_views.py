"""Views against torchvision and closed forms."""

import math

import torch
from torchvision.transforms.functional import resized_crop

from weatherproof import random, views
from weatherproof.views import HorizontalFlip, RandomResizedCrop, Twice, Warp


def keys(n):
    return random.keys(0, torch.arange(n))


def test_crop_of_everything_is_a_resize():
    images = torch.rand(2, 3, 32, 32)
    out = RandomResizedCrop(32, (1.0, 1.0), (1.0, 1.0))(images, keys(2))
    torch.testing.assert_close(out, images, rtol=0, atol=1e-5)


def test_crop_agrees_with_torchvision_on_the_same_box():
    """A box of whole pixels, found from the draw itself by cropping the images of the coordinates."""
    images = torch.rand(1, 3, 40, 40)
    op = RandomResizedCrop(20, (0.25, 0.25), (1.0, 1.0))
    for seed in range(40):
        key = random.keys(seed, torch.arange(1))
        ramp = torch.arange(40.0).add(0.5)
        coordinates = torch.stack([ramp[None, :].expand(40, 40), ramp[:, None].expand(40, 40)])[None]
        at = op(coordinates, key)[0, :, 0, 0] - 0.5
        left, top = at.tolist()
        whole = images.double()
        low_left, low_top = math.floor(left), math.floor(top)
        if low_left + 21 > 40 or low_top + 21 > 40:
            continue
        corners = [
            resized_crop(whole, low_top + dy, low_left + dx, 20, 20, [20, 20], antialias=False)
            for dy in (0, 1) for dx in (0, 1)
        ]  # fmt: skip
        fx, fy = left - low_left, top - low_top
        weights = [(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx]
        expected = sum(w * c for w, c in zip(weights, corners, strict=True)).float()
        torch.testing.assert_close(op(images, key), expected, rtol=0, atol=1e-4)


def test_crop_area_and_position_are_uniform():
    ramp = torch.arange(64.0).add(0.5) / 64
    coordinates = torch.stack([ramp[None, :].expand(64, 64), ramp[:, None].expand(64, 64)])[None].expand(
        2000, -1, -1, -1
    )
    out = RandomResizedCrop(64, (0.2, 0.8), (1.0, 1.0))(coordinates, keys(2000))
    width = (out[:, 0, 0, -1] - out[:, 0, 0, 0]) * 64 / 63
    area = width**2
    assert 0.18 < area.min() and area.max() < 0.82 and abs(area.mean() - 0.5) < 0.02
    assert out.min() >= 0 and out.max() <= 1


def test_flip_flips_half():
    images = torch.rand(1, 1, 4, 4).expand(2000, -1, -1, -1)
    out = HorizontalFlip()(images, keys(2000))
    flipped = (out == images.flip(-1)).flatten(1).all(1)
    assert abs(flipped.float().mean() - 0.5) < 0.05
    assert ((out == images).flatten(1).all(1) ^ flipped).all()


def test_warp_without_settings_is_identity_and_turns_by_its_degrees():
    images = torch.rand(4, 1, 16, 16)
    torch.testing.assert_close(Warp()(images, keys(4)), images, rtol=0, atol=1e-5)
    column = torch.zeros(64, 1, 33, 33)
    column[:, :, :, 16] = 1
    turned = Warp(degrees=30)(column, keys(64))[:, 0]
    place = (turned[:, 28] * torch.arange(33.0)).sum(1) / turned[:, 28].sum(1) - 16  # 12 rows below the centre
    angles = torch.atan2(place, torch.tensor(12.0)).rad2deg()
    assert angles.abs().max() < 31 and angles.std() > 10


def test_twice_gives_two_independent_views():
    images = torch.rand(4, 1, 16, 16)
    first, second = Twice(Warp(degrees=20))(images, keys(4))
    assert first.shape == second.shape and not torch.equal(first, second)
    assert repr(views.parse("Twice(HorizontalFlip(p=0.25))")) == "Twice(HorizontalFlip(p=0.25))"
