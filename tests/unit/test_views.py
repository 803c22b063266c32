"""Crops, flips and warps against torchvision and closed forms."""

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as torchvision

from weatherproof import random, views
from weatherproof.errors import InputError
from weatherproof.views import HorizontalFlip, RandomResizedCrop, Twice, Warp

BOXES = torch.tensor([[0, 0, 40, 48], [3, 5, 20, 30], [39, 47, 1, 1], [0, 0, 40, 1], [2, 2, 38, 4], [1, 2, 33, 44]])
IMAGES = torch.rand(len(BOXES), 3, 40, 48, generator=torch.Generator().manual_seed(0))


def keys(n, seed=0):
    return random.keys(seed, torch.arange(n))


def expected_crops(boxes, size, mode):
    crops = [
        torchvision.resized_crop(
            image, *box, [size, size], interpolation=InterpolationMode(mode), antialias=True
        )
        for image, box in zip(IMAGES.double(), boxes.tolist(), strict=True)
    ]  # fmt: skip
    return torch.stack(crops).clamp(0, 1).float()


def cut_out(size, mode="bilinear", flips=None):
    crops = RandomResizedCrop(size, interpolation=mode).cut(IMAGES, BOXES, flips)
    return crops(slice(0, len(BOXES)), torch.arange(len(BOXES)))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [7, 32, 40, 64])
def test_a_box_is_cut_out_as_torchvision_does(size, mode):
    out = cut_out(size, mode)
    torch.testing.assert_close(out, expected_crops(BOXES, size, mode), rtol=0, atol=1e-6)


def test_a_crop_is_mirrored_where_that_is_told():
    flips = torch.tensor([True, False, True, False, False, True])
    out, plain = cut_out(32, flips=flips), cut_out(32)
    for image, as_it_is, flip in zip(out, plain, flips, strict=True):
        assert torch.equal(image, as_it_is.flip(-1) if flip else as_it_is)


def test_a_crop_of_everything_at_its_size_is_the_image():
    images = IMAGES[..., :40].contiguous()
    assert torch.equal(RandomResizedCrop(40, (1.0, 1.0), (1.0, 1.0))(images, keys(6)), images)


def test_a_crop_is_torchvisions_on_the_box_that_is_drawn():
    crop = RandomResizedCrop(16)
    boxes = crop.draw(keys(6), 40, 48)
    torch.testing.assert_close(crop(IMAGES, keys(6)), expected_crops(boxes, 16, "bilinear"), rtol=0, atol=1e-6)


def test_images_smaller_than_the_crop_are_enlarged():
    out = RandomResizedCrop(32)(IMAGES[:, :, :1, :2], keys(6))
    assert out.shape == (6, 3, 32, 32) and out.min() >= 0 and out.max() <= 1


def torchvision_boxes(crop, height, width, count):
    image = torch.empty(3, height, width)
    transform = v2.RandomResizedCrop(crop.size, crop.scale, crop.ratio)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [transform.make_params([image]) for _ in range(count)]
    return torch.tensor([[box["top"], box["left"], box["height"], box["width"]] for box in drawn])


@pytest.mark.parametrize("height, width, scale", [(40, 60, (0.08, 1.0)), (32, 32, (0.2, 1.0)), (20, 70, (0.3, 0.9))])
def test_boxes_are_distributed_as_torchvisions(height, width, scale):
    """Two-sample Kolmogorov-Smirnov at a level of 1e-4; and as often the box of the last resort, where there is one."""
    count, crop = 3000, RandomResizedCrop(32, scale)
    ours, theirs = crop.draw(keys(count), height, width), torchvision_boxes(crop, height, width, count)
    assert (ours[:, :2] >= 0).all() and (ours[:, 2:] >= 1).all()
    assert (ours[:, 0] + ours[:, 2] <= height).all() and (ours[:, 1] + ours[:, 3] <= width).all()
    for of in (lambda b: b[:, 0], lambda b: b[:, 1], lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 3] / b[:, 2]):
        assert distance(of(ours), of(theirs)) < 1.627 * 1.37 * math.sqrt(1 / count)
    last = torch.tensor([0, (width - round(height * 4 / 3)) // 2, height, round(height * 4 / 3)])
    if width > 2 * height:
        share = [(boxes == last).all(dim=1).float().mean().item() for boxes in (ours, theirs)]
        assert share[1] > 0.02 and abs(share[0] - share[1]) < 4 * math.sqrt(2 * share[1] / count)


def distance(first, second):
    """Kolmogorov and Smirnov's: the largest difference of the two distribution functions."""
    at = torch.cat([first, second]).double().unique()
    one, two = (torch.searchsorted(x.double().sort().values, at, right=True) / len(x) for x in (first, second))
    return (one - two).abs().max().item()


def test_boxes_of_the_last_resort_are_torchvisions():
    for height, width in ((10, 200), (200, 10), (3, 1), (1, 1)):
        crop = RandomResizedCrop(8, (1.0, 1.0), (0.9, 1.1))
        assert torch.equal(crop.draw(keys(3), height, width), torchvision_boxes(crop, height, width, 3))


@pytest.mark.parametrize(
    "text",
    [
        "RandomResizedCrop(0)",
        "RandomResizedCrop(8, (0.5, 0.2))",
        "RandomResizedCrop(8, (0.0, 1.0))",
        "RandomResizedCrop(8, ratio=(-1.0, 1.0))",
        "RandomResizedCrop(8, interpolation='nearest')",
        "HorizontalFlip(1.5)",
    ],
)
def test_settings_out_of_range_are_refused(text):
    with pytest.raises(InputError, match="got|unknown interpolation"):
        views.parse(text)


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
