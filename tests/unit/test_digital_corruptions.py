"""The digital corruptions against Pillow, SciPy and the definitions in double precision."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import color

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import codec, digital, elastic, suites

IMAGENET, CIFAR = (224, 224), (32, 32)
ELASTIC = [  # side, alpha, sigma, delta: the benchmark's
    (224, 488, 170.8, 24.4), (224, 488, 19.52, 48.8), (224, 12.2, 2.44, 4.88), (224, 29.28, 2.44, 4.88),
    (32, 0, 0, 2.56), (32, 1.6, 6.4, 2.24), (32, 2.56, 1.92, 1.92), (32, 3.2, 0.96, 0.96),
]  # fmt: skip


def keys(n, seed=0):
    return random.keys(seed, torch.arange(n))


def photos(n, height, width, channels=3, seed=0):
    """Smooth shapes and fine noise, on the 8-bit levels."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, channels, height, width))
    smooth = ndimage.gaussian_filter(x, (0, 0, height / 20, width / 20))
    mixed = 0.5 + 0.25 * smooth / smooth.std() + 0.05 * x
    return torch.from_numpy(np.rint(255 * mixed.clip(0, 1)).astype(np.float32)) / 255


def levels_of(images):
    return (images * 255).round().to(torch.uint8)


def bytes_of(images):
    """N x H x W (x 3) uint8, for Pillow."""
    array = levels_of(images).permute(0, 2, 3, 1).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def through_pillow(images, change):
    out = np.stack([np.asarray(change(Image.fromarray(np.ascontiguousarray(x)))) for x in bytes_of(images)])
    return torch.from_numpy(out).reshape(len(images), *images.shape[2:], -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_is_taken_about_each_channels_mean(channels):
    images = photos(3, 40, 57, channels)
    x = images.double().numpy()
    mean = x.mean(axis=(2, 3), keepdims=True)
    out = digital.contrast(levels_of(images), keys(3), 0.3)
    assert np.array_equal(out, np.floor(255 * ((x - mean) * 0.3 + mean) + 3e-4).clip(0, 255))


def test_saturate_is_that_of_hsv():
    images = photos(2, 24, 31)
    hsv = color.rgb2hsv(images.double().numpy(), channel_axis=1)
    hsv[:, 1] = np.clip(hsv[:, 1] * 2 + 0.1, 0, 1)
    expected = color.hsv2rgb(hsv, channel_axis=1)
    assert np.abs(digital.saturate(images, keys(2), 2, 0.1).numpy() - expected).max() < 1e-5


def pixelated(images, factor):
    height, width = images.shape[-2:]
    small, box = (int(width * factor), int(height * factor)), Image.Resampling.BOX
    return through_pillow(images, lambda image: image.resize(small, box).resize((width, height), box))


@pytest.mark.parametrize(
    ("size", "factor"),
    [(IMAGENET, f) for f in (0.6, 0.5, 0.4, 0.3, 0.25)]
    + [(CIFAR, f) for f in (0.95, 0.9, 0.85, 0.75, 0.65)]
    + [((31, 57), 0.6), ((64, 48), 0.1), ((13, 9), 1.0), ((100, 61), 1 / 6), ((5, 200), 0.21)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_pixelate_is_pillows_bit_for_bit(size, factor, channels):
    images = photos(2, *size, channels)
    noise = torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(1)) / 255
    for x in (images, noise):
        assert torch.equal(digital.pixelate(levels_of(x), keys(2), factor), pixelated(x, factor))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 10, 11, 12, 14, 22, 24, 26])
def test_pixelate_rounds_halves_as_pillow_does(count):
    """Windows of `count` pixels that sum to each possible value once: every tie there is.

    Pillow's 1/10, 1/12, 1/14, 1/22 and 1/26 are a bit small, so that these go down.
    """
    sums = torch.arange(255 * count + 1)
    rows = sums[:, None] // count + (torch.arange(count) < sums[:, None] % count)
    images = rows.reshape(1, 1, 1, -1).expand(-1, -1, count, -1) / 255
    factor = 1 / count
    if int(images.shape[3] * factor) * count != images.shape[3]:
        factor += 1e-9  # 1 / count was rounded down
    out = digital.pixelate(levels_of(images), keys(1), factor)
    assert torch.equal(out, pixelated(images, factor))


def test_pixelate_refuses_what_leaves_nothing():
    for factor in (0.05, 0, 1.5):
        with pytest.raises(InputError, match="pixelate by"):
            digital.pixelate(levels_of(torch.rand(1, 3, 16, 40)), keys(1), factor)


def compressed(images, quality):
    def change(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return through_pillow(images, change)


@pytest.mark.parametrize(
    ("size", "quality"),
    [(IMAGENET, q) for q in (25, 18, 15, 10, 7, 85)]
    + [(CIFAR, q) for q in (80, 65, 58, 50, 40)]
    + [((37, 50), 30), ((1, 1), 50), ((8, 3), 100)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(size, quality, channels):
    images = photos(3, *size, channels)
    out = digital.jpeg_compression(levels_of(images), keys(3), quality)
    assert out.shape == images.shape and out.dtype is torch.uint8
    difference = out.int() - compressed(images, quality).int()
    assert difference.abs().max() <= 1  # 0 where both are the same build of libjpeg


@pytest.mark.parametrize("channels", [1, 3])
def test_both_codecs_give_the_same_image(channels):
    image = np.ascontiguousarray(levels_of(photos(1, 45, 70, channels)[0]).permute(1, 2, 0).numpy())
    pillow = codec.with_pillow(image, 20)
    assert pillow.shape == image.shape
    assert np.abs(pillow.astype(int) - codec.fastest()(image, 20)).max() <= 1


def test_jpeg_on_several_threads_keeps_the_order(monkeypatch):
    images = levels_of(photos(7, 72, 80))
    one = digital.jpeg_compression(images, keys(7), 30)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(digital.jpeg_compression(images, keys(7), 30), one)


def test_jpeg_refuses_other_channels_and_qualities():
    with pytest.raises(InputError, match="1 or 3 channels, got 2"):
        digital.jpeg_compression(levels_of(torch.rand(1, 2, 16, 16)), keys(1), 50)
    with pytest.raises(InputError, match="from 1 to 100, got 0"):
        digital.jpeg_compression(levels_of(torch.rand(1, 3, 16, 16)), keys(1), 0)


def sampled(image, rows, columns, mode):
    return np.stack([ndimage.map_coordinates(c, (rows, columns), order=1, mode=mode) for c in image])


def warped(image, read):
    height, width = image.shape[1:]
    y, x = np.mgrid[:height, :width].astype(np.float64)
    columns, rows = (r[0] * x + r[1] * y + r[2] for r in read)
    return sampled(image, rows, columns, "mirror")


def displaced(image, field):
    y, x = np.mgrid[: image.shape[1], : image.shape[2]].astype(np.float64)
    return sampled(image, y + field[1], x + field[0], "reflect")


@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 32), (33, 50)])
def test_elastics_map_sends_the_moved_points_back(height, width):
    reads = elastic.shaken(keys(2000), height, width, 4.0).numpy()
    x, y, s = width // 2, height // 2, min(height, width) // 3
    points = np.array([[x + s, y + s], [x + s, y - s], [x - s, y - s]], dtype=np.float64)
    linear, offset = reads[:, :, :2], reads[:, :, 2]
    moved = np.linalg.solve(linear[:, None], (points - offset[:, None])[..., None])[..., 0]
    moves = (moved - points).reshape(2000, 6)
    assert np.abs(moves).max() < 4.0
    for move in moves.T:
        assert np.abs(np.quantile(move, [0.25, 0.5, 0.75]) - [-2, 0, 2]).max() < 0.4
    assert np.abs(np.corrcoef(moves.T) - np.eye(6)).max() < 0.1


@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 32), (17, 40)])
def test_warp_reads_bilinearly_from_the_mirrored_image(height, width):
    images = photos(4, height, width)
    reads = elastic.shaken(keys(4, seed=2), height, width, 0.2 * min(height, width))
    # Points moved nearly onto a line: coordinates of tens of thousands of pixels.
    reads[3] = torch.tensor([[150.5, -97.25, 1234.7], [-81.3, 160.1, -20000.3]], dtype=torch.float64)
    out = elastic.warp(images, reads)
    for image, read, result in zip(images.double().numpy(), reads.numpy(), out.numpy(), strict=True):
        assert np.abs(result - warped(image, read)).max() < 1e-4


def test_points_on_a_line_give_numbers(monkeypatch):
    monkeypatch.setattr(
        random, "uniforms", lambda keys, shape: torch.tensor([[0.5, 0.5], [0.5, 1.0], [1.0, 1.0]])[None]
    )
    for delta in (40.0, 40.000001):  # c + (10, 10) from all three, exactly and all but
        reads = elastic.shaken(keys(1), 60, 60, delta)
        assert reads.isfinite().all()
        assert elastic.warp(torch.rand(1, 3, 60, 60), reads).isfinite().all()


@pytest.mark.parametrize("sigma", [170.8, 19.52, 6.4, 2.44, 0.96, 0.1])
@pytest.mark.parametrize(("height", "width"), [(224, 224), (32, 32), (70, 19)])
def test_smooth_is_scipys_gaussian_with_repeated_mirrors(sigma, height, width):
    field = torch.rand(2, 2, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = ndimage.gaussian_filter(field.double().numpy(), (0, 0, sigma, sigma), mode="reflect", truncate=3.0)
    assert np.abs(elastic.smooth(field, sigma).numpy() - expected).max() < 1e-6


@pytest.mark.parametrize(("height", "width"), [(64, 64), (20, 45)])
def test_displace_reads_bilinearly_from_the_image_mirrored_at_its_edges(height, width):
    images, field = photos(2, height, width), torch.randn(2, 2, height, width) * 9
    out = elastic.displace(images, field, 2.5)
    for image, shift, result in zip(images.double().numpy(), 2.5 * field.double().numpy(), out.numpy(), strict=True):
        assert np.abs(result - displaced(image, shift)).max() < 1e-4


@pytest.mark.parametrize(("side", "alpha", "sigma", "delta"), ELASTIC)
def test_elastic_transform_is_its_definition(side, alpha, sigma, delta):
    images, k = photos(2, side, side), keys(2, seed=3)
    out = digital.elastic_transform(images, k, alpha, sigma, delta)
    reads = elastic.shaken(random.fold(k, 0), side, side, delta).numpy()
    field = 2 * (random.words(random.fold(k, 1), (2, side, side)).double().numpy() + 0.5) / 65536 - 1
    if alpha:
        field = alpha * ndimage.gaussian_filter(field, (0, 0, sigma, sigma), mode="reflect", truncate=3.0)
    for image, read, shift, result in zip(images.double().numpy(), reads, field, out.numpy(), strict=True):
        expected = warped(image, read)
        assert np.abs(result - (displaced(expected, shift) if alpha else expected)).max() < 1e-3


def test_elastic_transform_draws_for_each_key_and_refuses_what_it_cannot_do():
    out = digital.elastic_transform(photos(1, 32, 32).expand(2, -1, -1, -1), keys(2), 3.2, 0.96, 0.96)
    assert (out[0] - out[1]).abs().mean() > 0.01
    with pytest.raises(InputError, match="at least 3 pixels a side, got 2x9"):
        digital.elastic_transform(torch.rand(1, 3, 2, 9), keys(1), 1, 1, 1)
    with pytest.raises(InputError, match="sigma above 0"):
        digital.elastic_transform(torch.rand(1, 3, 9, 9), keys(1), 1, 0, 1)


CALLS = [
    ("contrast", (0.4,)), ("elastic_transform", (29.28, 2.44, 4.88)), ("elastic_transform", (100, 40.0, 8.0)),
    ("pixelate", (0.3,)), ("jpeg_compression", (15,)), ("saturate", (5, 0.1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "numbers"), CALLS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_result_belongs_to_image_and_key_alone(name, numbers, channels):
    corrupt = getattr(digital, name)
    images, k = photos(5, 48, 72, channels), keys(5)
    if name in suites._ON_BYTES:
        images = levels_of(images)
    before = images.clone()
    together = corrupt(images, k, *numbers)
    assert torch.equal(images, before)
    assert together.shape == images.shape and together.dtype == images.dtype
    apart = torch.cat([corrupt(images[i : i + 1], k[i : i + 1], *numbers) for i in range(5)])
    assert (together.double() - apart.double()).abs().max() < 2e-6
    scattered = corrupt(images.to(memory_format=torch.channels_last), k, *numbers)
    assert (together.double() - scattered.double()).abs().max() < 2e-6


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "numbers"), CALLS)
def test_a_gpu_gives_the_same_result(name, numbers, cuda):
    images, k = photos(3, 48, 72), keys(3)
    here = getattr(digital, name)(images, k, *numbers)
    there = getattr(digital, name)(images.to(cuda), k, *numbers)
    assert there.is_cuda
    assert (here - there.cpu()).abs().max() < 1e-4
