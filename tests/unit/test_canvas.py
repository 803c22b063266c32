"""Whole images of unlike sizes: read, batched, cropped as torchvision crops the file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as reference

import weatherproof as wp
from weatherproof import random, views
from weatherproof.canvas import Canvas, padded, picked, sides
from weatherproof.data import batches, load_images
from weatherproof.data.decoding import Decoder
from weatherproof.errors import InputError
from weatherproof.methods import Hardening
from weatherproof.objectives import StudentTeacher
from weatherproof.operators import RandomMask
from weatherproof.readouts import Adam, fit_probe
from weatherproof.training import Plan, fit
from weatherproof.views import RandomResizedCrop

SIZES = [(90, 60), (40, 100), (64, 64), (37, 51), (120, 80), (30, 31)]  # (width, height)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for split in ("train", "test"):
        for number, (width, height) in enumerate(SIZES):
            file = tmp_path / split / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
    return tmp_path


def pixels(path: str) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def test_a_crop_is_torchvisions_of_the_whole_image(photographs: Path) -> None:
    """Pixel by pixel, with the box that was drawn: of each image in a batch of unlike sizes."""
    images = load_images(photographs, "train", longest=500)
    (batch,) = batches(images, 8)
    assert isinstance(batch.images, Canvas)
    assert batch.images.sizes.tolist() == [list(pixels(path).shape[1:]) for path in images.paths]
    crop, keys = RandomResizedCrop(24), random.keys(3, batch.index)
    found, boxes = crop(batch.images, keys), crop.draw(keys, *sides(batch.images))
    for path, own, (top, left, height, width) in zip(images.paths, found, boxes.tolist(), strict=True):
        file = pixels(path)
        assert top + height <= file.shape[1] and left + width <= file.shape[2]
        expected = reference.resized_crop(file, top, left, height, width, [24, 24], antialias=True)
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=0)


def test_boxes_are_those_of_each_size_alone() -> None:
    """What is drawn for an image does not depend on the others of its batch, and covers the whole of it."""
    crop, keys = RandomResizedCrop(24), random.keys(0, torch.arange(4000))
    height, width = torch.tensor([375, 500, 20, 300]).repeat(1000), torch.tensor([500, 333, 500, 40]).repeat(1000)
    boxes = crop.draw(keys, height, width)
    for kind in range(4):
        rows = slice(kind, None, 4)
        alone = crop.draw(keys[rows], int(height[kind]), int(width[kind]))
        assert torch.equal(boxes[rows], alone)
    landscape = boxes[0::4]
    top, left, rows_, columns = landscape.double().unbind(1)
    assert int((top + rows_).max()) == 375 and int((left + columns).max()) == 500 and int(left.min()) == 0
    share, ratio = rows_ * columns / (375 * 500), columns / rows_
    assert share.min() > 0.07 and share.max() > 0.95 and 0.73 < ratio.min() < 0.8 and 1.28 < ratio.max() < 1.36


def test_training_crops_reach_the_edges_that_a_centre_crop_cuts_off(tmp_path: Path) -> None:
    """A wide image with a red edge: of the whole image the crops see it, of its centre never."""
    pixels = np.zeros((60, 180, 3), np.uint8)
    pixels[:, :20, 0] = 255
    for name in ("train/a", "test/a"):
        (tmp_path / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / name / "0.png")
    crop, keys = RandomResizedCrop(16), random.keys(0, torch.arange(200))
    seen = {}
    for how, settings in {"whole": {"longest": 500}, "centre": {"size": 56, "crop_fraction": 0.875}}.items():
        (batch,) = batches(load_images(tmp_path, "train", **settings), 1)
        seen[how] = crop(batch.images.expand(200, -1, -1, -1).contiguous(), keys).amax(dim=(1, 2, 3)) > 0.5
    assert 0.05 < seen["whole"].float().mean() < 0.6 and not seen["centre"].any()


def test_longer_sides_are_shrunk(tmp_path: Path) -> None:
    Image.new("RGB", (900, 300), "red").save(tmp_path / "a.jpg")
    Image.new("RGB", (200, 100), "red").save(tmp_path / "b.jpg")
    decoder = Decoder(longest=300)
    assert decoder.file(str(tmp_path / "a.jpg")).shape == (3, 100, 300)
    assert decoder.file(str(tmp_path / "b.jpg")).shape == (3, 100, 200)
    assert decoder.keeps((3, 300, 20)) and not decoder.keeps((3, 301, 20)) and not decoder.keeps((1, 20, 20))
    for settings in ({"longest": 0}, {"longest": 9000}, {"longest": 20, "size": 20}):
        with pytest.raises(InputError, match="longest is a number of pixels"):
            Decoder(**settings)
    stored = wp.load_images("digits", "test", longest=5)
    assert stored.image_size == (5, 5) and tuple(stored.read(torch.arange(2)).shape) == (2, 1, 5, 5)


def test_a_canvas_says_what_it_is() -> None:
    images = [torch.full((3, h, w), 9, dtype=torch.uint8) for h, w in ((4, 6), (5, 2))]
    pixels, sizes = padded(images)
    assert tuple(pixels.shape) == (2, 3, 5, 6) and sizes.tolist() == [[4, 6], [5, 2]]
    canvas = Canvas.of(pixels.float(), sizes)
    assert isinstance(canvas, Canvas) and canvas.isnan().sum() == 3 * (2 * 30 - 24 - 10)
    for rows in (slice(1, 2), torch.tensor([1])):
        one = picked(canvas, rows)
        assert isinstance(one, Canvas) and one.sizes.tolist() == [[5, 2]]
    assert isinstance(canvas[0:1], Canvas) and not isinstance(canvas[0], Canvas) and not isinstance(canvas * 1, Canvas)
    assert sides(canvas[0]) == (5, 6) == sides(torch.zeros(1, 3, 5, 6))
    assert not isinstance(Canvas.of(torch.zeros(2, 3, 5, 6), torch.tensor([[5, 6]] * 2)), Canvas)


@pytest.mark.parametrize(
    "text",
    ["MoCoV2(16)", "InstDis(16)", "SimCLR(16)", "URRL(MoCoV2(16), AugMix('all', 16))", "AugMixMoCo(16)", "Jigsaw(18)"],
)
def test_every_family_cuts_out_of_whole_images(text: str, photographs: Path) -> None:
    """The looks at an image are those at it alone."""
    family = views.parse(text)
    (batch,) = batches(load_images(photographs, "train", longest=500), 8)
    keys = random.keys(1, batch.index)
    together = family(batch.images, keys)
    assert all(bool(look.isfinite().all()) for look in together)
    for place, (height, width) in enumerate(batch.images.sizes.tolist()):
        alone = family(torch.Tensor(batch.images)[place : place + 1, :, :height, :width], keys[place : place + 1])
        for look, own in zip(together, alone, strict=True):
            torch.testing.assert_close(look[place : place + 1], own, atol=2e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:small.* no weights given")
def test_training_and_probe_on_whole_images(photographs: Path) -> None:
    """The same with and without workers; without a crop there is no number, and so no training."""
    images = load_images(photographs, "train", longest=500)
    augment = views.parse("Chain(RandomResizedCrop(16), HorizontalFlip())")
    losses = []
    for workers in (0, 1):
        teacher = wp.load_encoder("small(width=4, channels=3)")
        method = Hardening(teacher.clone(), teacher, RandomMask(0.5), StudentTeacher(), augment)
        plan = Plan(epochs=2, batch_size=3, lr=1e-3, workers=workers, device="cpu")
        losses.append([row["loss"] for row in fit(method, images, plan, progress=False)])
    assert losses[0] == losses[1] and len(losses[0]) >= 1
    head = fit_probe(teacher, images, num_classes=2, operator=augment, fit=Adam(2))
    assert bool(head.weight.isfinite().all())
    with pytest.raises(InputError, match="not finite"):
        fit_probe(teacher, images, num_classes=2, fit=Adam(1))
