"""Weather corruptions and their parts against their definitions, written out pixel by pixel."""

import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from weatherproof import random
from weatherproof.errors import InputError
from weatherproof.operators import colour, edges, plasma, textures, weather
from weatherproof.operators import spatter as liquid
from weatherproof.operators.severities import PARAMETERS
from weatherproof.operators.zoom import centre_zoom

NAMES = ("snow", "frost", "fog", "brightness", "spatter")
EVERY = [
    pytest.param(numbers, name, severity, id=f"{numbers}-{name}-{severity}")
    for numbers in ("imagenet", "cifar")
    for name in NAMES
    for severity in range(1, 6)
]


def keys(n, seed=0):
    return random.keys(seed, torch.arange(n))


def photos(n, *shape, seed=0):
    """Smooth images on 8-bit levels, with black, white and grey pixels among them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.nn.functional.avg_pool2d(torch.rand(n, *shape, generator=generator), 3, 1, 1)
    images[:, :, 0, 0], images[:, :, 0, 1], images[:, :, 1, 0] = 0, 1, 0.4
    return images.mul_(255).round_().div_(255)


@pytest.mark.parametrize(("numbers", "name", "severity"), EVERY)
def test_an_image_gets_the_same_in_any_batch_and_stays_as_it_is(numbers, name, severity):
    images = photos(5, 3, 40, 52)
    before = images.clone()
    function = getattr(weather, name)
    values = PARAMETERS[numbers][name][severity - 1]
    out = function(images, keys(5), *values)
    assert torch.equal(images, before)
    assert out.shape == images.shape and out.dtype == torch.float32 and bool(out.isfinite().all())
    alone = torch.cat([function(images[i : i + 1], keys(5)[i : i + 1], *values) for i in (4, 1)])
    torch.testing.assert_close(out[[4, 1]], alone, rtol=0, atol=1e-6)
    assert not torch.equal(out, images)
    if name != "brightness":
        assert not torch.equal(out, function(images, keys(5, seed=1), *values))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 8, 8), (3, 33, 200), (3, 300, 50)])
def test_grey_small_and_oblong_images(name, shape):
    images = photos(3, *shape)
    out = getattr(weather, name)(images, keys(3), *PARAMETERS["cifar"][name][4])
    assert out.shape == images.shape and bool(out.isfinite().all())


def through_hsv(images, change):
    out = images.double().clone()
    for image in out:
        for y, x in np.ndindex(*image.shape[1:]):
            image[:, y, x] = torch.tensor(colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*image[:, y, x].tolist()))))
    return out.float()


@pytest.mark.parametrize("amount", [0.05, 0.3, 0.5, -0.2])
def test_brightness_is_a_change_of_v(amount):
    images = photos(2, 3, 9, 8)
    expected = through_hsv(images, lambda h, s, v: (h, s, min(max(v + amount, 0), 1)))
    torch.testing.assert_close(weather.brightness(images, keys(2), amount), expected, rtol=0, atol=2e-7)
    grey = photos(2, 1, 9, 8)
    torch.testing.assert_close(weather.brightness(grey, keys(2), amount), (grey + amount).clamp(0, 1))


@pytest.mark.parametrize(("multiply", "add"), [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2), (1, -0.3)])
def test_saturation_is_a_change_of_s(multiply, add):
    images = photos(2, 3, 9, 8)
    expected = through_hsv(images, lambda h, s, v: (h, min(max(s * multiply + add, 0), 1), v))
    torch.testing.assert_close(colour.scale_saturation(images, multiply, add), expected, rtol=0, atol=2e-7)
    grey = photos(2, 1, 9, 8)
    as_colour = colour.scale_saturation(grey.expand(-1, 3, -1, -1), multiply, add)
    torch.testing.assert_close(colour.scale_saturation(grey, multiply, add), colour.luminance(as_colour))


def diamond_square(noise, side, decay):
    m, step, w, draws = np.zeros((side, side)), side, 100.0, iter(noise)
    while step >= 2:
        half = step // 2
        for at, neighbours in (
            ((half, half), ((0, 0), (0, step), (step, 0), (step, step))),
            ((0, half), ((0, 0), (0, step), (half, half), (-half, half))),
            ((half, 0), ((0, 0), (step, 0), (half, half), (half, -half))),
        ):
            for y in range(0, side, step):
                for x in range(0, side, step):
                    mean = sum(m[(y + dy) % side, (x + dx) % side] for dy, dx in neighbours) / 4
                    m[y + at[0], x + at[1]] = mean + w * w * next(draws)
        step, w = half, w / decay
    m -= m.min()
    return m / m.max()


@pytest.mark.parametrize("decay", [3, 1.75])
@pytest.mark.parametrize("side", [32, 64])
def test_plasma_is_diamond_square_on_a_torus(side, decay):
    noise = random.uniforms(keys(3), (side * side - 1,)).double() * 2 - 1
    expected = diamond_square(noise[2].tolist(), side, decay)
    np.testing.assert_allclose(plasma.plasma(keys(3), side, decay, "cpu")[2].numpy(), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("side", "crop", "decay", "deviation"),
    [
        (256, 224, 2, 0.146), (256, 224, 1.7, 0.162), (256, 224, 1.5, 0.175), (256, 224, 1.4, 0.181),
        (32, 32, 3, 0.146), (32, 32, 2.5, 0.149), (32, 32, 2, 0.162), (32, 32, 1.75, 0.163),
    ],
)  # fmt: skip
def test_plasma_has_the_statistics_of_the_benchmarks(side, crop, decay, deviation):
    maps = plasma.plasma(keys(240), side, decay, "cpu")[:, :crop, :crop].flatten(1)
    assert maps.mean().item() == pytest.approx(0.5, abs=0.03)
    # Theirs is an average over 60 maps, with a standard error of .003.
    assert maps.std(1).mean().item() == pytest.approx(deviation, abs=0.0125)


def test_plasma_covers_the_image():
    assert [plasma.side(*size) for size in ((32, 32), (28, 20), (33, 5), (224, 224), (20, 257))] == [
        32,
        32,
        64,
        256,
        512,
    ]


def test_fog_is_its_formula_with_the_brightest_value_of_the_clean_image():
    images = photos(2, 3, 20, 24) * torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)
    clouds = plasma.plasma(random.fold(keys(2), 0), 32, 2.5, "cpu")[:, None, :20, :24]
    top = torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)
    expected = (images + 0.75 * clouds) * top / (top + 0.75)
    torch.testing.assert_close(weather.fog(images, keys(2), 0.75, 2.5), expected)
    black = torch.zeros(1, 3, 32, 32)
    assert torch.equal(weather.fog(black, keys(1), 1.5, 2.0), black)


def planes(source, at):
    """Texture `at` of a set, [channels, height, width]."""
    start, height, width = (int(part[at]) for part in (source.starts, source.heights, source.widths))
    return source.pixels[start : start + source.channels * height * width].view(source.channels, height, width)


def spectral_slope(field):
    """Of the power averaged over rings, on logarithmic axes."""
    power = np.abs(np.fft.fft2(field - field.mean())) ** 2
    frequency = np.hypot(np.fft.fftfreq(field.shape[0])[:, None], np.fft.fftfreq(field.shape[1]))
    ring = np.digitize(frequency, np.geomspace(0.01, 0.5, 20))
    means = [(np.log(frequency[ring == r].mean()), np.log(power[ring == r].mean())) for r in range(1, 20)]
    return stats.linregress(*np.array(means).T).slope


@pytest.mark.parametrize(
    ("at", "size", "mean", "std", "slope"),
    [
        (0, (600, 900), (78, 149, 166), (27, 16, 15), -1.4),
        (1, (315, 560), (201, 205, 214), (21, 22, 23), -1.7),
        (3, (350, 527), (138, 153, 165), (28, 28, 30), -1.0),
        (4, (495, 660), (112, 123, 135), (44, 43, 42), -1.8),
    ],
)
def test_synthetic_frost_has_the_photographs_statistics(at, size, mean, std, slope):
    texture = planes(textures.textures(224, 224, 3, None, "cpu"), at).double()
    assert tuple(texture.shape[1:]) == size
    np.testing.assert_allclose(texture.mean((1, 2)).numpy(), mean, atol=1.5)
    np.testing.assert_allclose(texture.std((1, 2)).numpy(), std, atol=1.5)
    assert spectral_slope(texture[1].numpy()) == pytest.approx(slope, abs=0.1)


def test_frost_of_cifar_is_shrunk_to_a_fifth():
    source = textures.textures(32, 32, 3, None, "cpu")
    sizes = list(zip(source.heights.tolist(), source.widths.tolist(), strict=True))
    assert sizes == [(120, 180), (63, 112), (63, 112), (70, 105), (99, 132)]


@pytest.mark.parametrize("size", [(32, 32), (96, 96), (224, 224), (500, 400), (33, 700), (700, 33), (8, 8)])
def test_frost_textures_exceed_any_image(size):
    source = textures.textures(*size, 1, None, "cpu")
    assert int(source.heights.min()) >= 1.1 * size[0] and int(source.widths.min()) >= 1.1 * size[1]
    assert source.crops(keys(4), *size).shape == (4, 1, *size)


def save_numbered(folder, count, height, width, block=1):
    """Textures that say where a crop comes from: red is the file, green the row of blocks, blue the column."""
    rows, columns = np.arange(height)[:, None] // block, np.arange(width) // block
    for number in range(count):
        pixels = np.stack(np.broadcast_arrays(number, rows, columns), axis=-1)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"frost{number}.png")


def test_frost_takes_crops_uniformly_from_the_users_files(tmp_path):
    save_numbered(tmp_path, 4, 300, 350, block=5)  # shrunk to a fifth for images of CIFAR's size: 60 x 70
    (tmp_path / "notes.txt").write_text("not an image")
    crops = textures.textures(32, 32, 3, str(tmp_path), "cpu").crops(keys(4000), 32, 32)
    number, top, left = (crops[:, i, 0, 0].long() for i in range(3))
    for channel, expected in enumerate((
        number[:, None, None].expand(-1, 32, 32),
        (top[:, None, None] + torch.arange(32)[:, None]).expand(-1, 32, 32),
        (left[:, None, None] + torch.arange(32)).expand(-1, 32, 32),
    )):  # fmt: skip
        assert torch.equal(crops[:, channel].long(), expected)
    assert stats.chisquare(torch.bincount(number, minlength=4).numpy()).pvalue > 1e-4
    assert stats.chisquare(torch.bincount(top).numpy()).pvalue > 1e-4 and int(top.max()) == 60 - 32 - 1
    assert stats.chisquare(torch.bincount(left).numpy()).pvalue > 1e-4 and int(left.max()) == 70 - 32 - 1


def test_frost_is_its_formula(tmp_path):
    save_numbered(tmp_path, 1, 250, 255)
    images = photos(2, 3, 224, 224)
    out = weather.frost(images, keys(2), 0.7, 0.6, str(tmp_path))
    crops = textures.textures(224, 224, 3, str(tmp_path), "cpu").crops(keys(2), 224, 224)
    assert torch.equal(crops[0, 1, :, 0], crops[0, 1, 0, 0] + torch.arange(224, dtype=torch.uint8))
    torch.testing.assert_close(out, 0.7 * images + 0.6 * crops.float() / 255)


def test_synthetic_frost_mixes_as_the_reference_does():
    source = textures.textures(32, 32, 3, None, "cpu")
    chosen = random.integers(random.fold(keys(20000), 0), len(source.starts))
    counts = torch.bincount(source.heights[chosen])[[120, 63, 70, 99]]
    assert stats.chisquare(counts.numpy(), 20000 * np.array([0.2, 0.4, 0.2, 0.2])).pvalue > 1e-4


def test_frost_says_what_is_wrong_with_a_folder(tmp_path):
    images = photos(1, 3, 32, 32)
    with pytest.raises(InputError, match="no folder .*missing"):
        weather.frost(images, keys(1), 1.0, 0.4, str(tmp_path / "missing"))
    with pytest.raises(InputError, match=f"no frost texture in '{tmp_path}'"):
        weather.frost(images, keys(1), 1.0, 0.4, str(tmp_path))
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot read .*broken.png"):
        weather.frost(images, keys(1), 1.0, 0.4, str(tmp_path))


@pytest.mark.parametrize("numbers", [(0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8), (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8)])
def test_snow_is_its_definition(numbers):
    mean, std, zoom, threshold, radius, sigma, keep = numbers
    images = photos(2, 3, 40, 36)
    field = random.normals(random.fold(keys(2), 0), (1, 40, 36)) * std + mean
    flakes = centre_zoom(field, zoom)[1, 0].double().numpy()
    flakes = np.floor(255 * np.clip(np.where(flakes < threshold, 0, flakes), 0, 1))
    angle = np.deg2rad(random.uniform(random.fold(keys(2), 1), -135, -45)[1].double().item())
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    rows, columns = np.mgrid[:40, :36]
    layer = np.zeros((40, 36))
    for i, weight in enumerate(weights):
        y = np.clip(rows + math.ceil(i * math.sin(angle) - 0.5), 0, 39)
        x = np.clip(columns + math.ceil(i * math.cos(angle) - 0.5), 0, 35)
        layer += weight / sum(weights) * flakes[y, x]
    layer = np.rint(layer) / 255
    x = images[1].double().numpy()
    grey = np.tensordot([0.299, 0.587, 0.114], x, 1)
    expected = keep * x + (1 - keep) * np.maximum(x, 1.5 * grey + 0.5) + layer + layer[::-1, ::-1]
    out = weather.snow(images, keys(2), *numbers)[1].numpy()
    wrong = np.abs(out - expected) > 1e-5  # a flake exactly on a level may fall to either side
    assert wrong.mean() < 2e-3 and np.abs(out - expected).max() < 1.01 / 255 * 2


def plain_canny(levels, low, high):
    """Pixel by pixel, as the algorithm is written."""
    height, width = levels.shape
    framed = np.pad(levels.astype(int), 1, mode="edge")
    dx, dy = np.zeros((2, height, width), dtype=int)
    for (i, j), w in np.ndenumerate(np.array([[1, 2, 1]]) * np.array([[-1], [0], [1]])):
        dy += w * framed[i : i + height, j : j + width]
        dx += w * framed[j : j + height, i : i + width]
    size = np.pad(np.abs(dx) + np.abs(dy), 1)
    weak = np.zeros((height, width), dtype=bool)
    for y, x in np.ndindex(height, width):
        angle = math.degrees(math.atan2(abs(dy[y, x]), abs(dx[y, x])))
        here = size[y + 1, x + 1]
        if angle < 22.5:
            peak = here > size[y + 1, x] and here >= size[y + 1, x + 2]
        elif angle > 67.5:
            peak = here > size[y, x + 1] and here >= size[y + 2, x + 1]
        else:
            s = -1 if (dx[y, x] < 0) != (dy[y, x] < 0) else 1
            peak = here > size[y, x + 1 - s] and here > size[y + 2, x + 1 + s]
        weak[y, x] = peak and here > low
    labels, _ = ndimage.label(weak, np.ones((3, 3)))
    return np.isin(labels, np.unique(labels[weak & (size[1:-1, 1:-1] > high)])) & weak


def blobs(n, height, width, sigma=1.0, seed=0):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(n, height, width)), (0, sigma, sigma))
    return np.clip(np.rint(128 + 90 * field / field.std()), 0, 255).astype(np.int16)


def lying(fields):
    return torch.from_numpy(np.ascontiguousarray(fields.transpose(1, 2, 0)))


@pytest.mark.parametrize(("sigma", "low", "high"), [(0.7, 50, 150), (2.0, 50, 150), (2.0, 10, 260)])
def test_edges_are_cannys(sigma, low, high):
    levels = blobs(4, 33, 47, sigma)
    levels[1] = levels[1] // 64 * 64  # equal neighbours
    out = edges.canny(lying(levels), low, high)
    for i in range(4):
        np.testing.assert_array_equal(out[..., i].numpy(), plain_canny(levels[i], low, high))
    assert 0.01 < out.float().mean() < 0.5


def raster_chamfer(edge, limit):
    """The two raster scans of the classical algorithm, one with the upper half of the mask and one with the lower."""
    height, width = edge.shape
    d = np.full((height + 4, width + 4), 1e9)
    d[2:-2, 2:-2][edge] = 0
    steps = [(-1, 0, 1.0), (0, -1, 1.0), (-1, -1, 1.4), (-1, 1, 1.4)]
    steps += [(-1, -2, 2.1969), (-1, 2, 2.1969), (-2, -1, 2.1969), (-2, 1, 2.1969)]
    for sign in (1, -1):
        for y in range(height)[::sign]:
            for x in range(width)[::sign]:
                near = min(d[y + 2 + sign * dy, x + 2 + sign * dx] + cost for dy, dx, cost in steps)
                d[y + 2, x + 2] = min(d[y + 2, x + 2], near)
    return np.minimum(d[2:-2, 2:-2], limit)


@pytest.mark.parametrize("size", [(50, 61), (9, 70), (3, 2)])
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.2])
def test_distance_is_the_chamfer_distance_of_two_scans(size, share):
    mask = np.random.default_rng(3).random((4, *size)) < share
    mask[0] = False
    mask[1] = False
    mask[1, 1, 0] = True
    out = edges.distance(lying(mask), 20)
    for i in range(4):
        np.testing.assert_allclose(out[..., i].numpy(), raster_chamfer(mask[i], 20), atol=1e-5)


def plain_water(field):
    """The water of one field, with the borders and roundings of the benchmark's 8-bit images."""
    drops = np.clip(np.floor(255 * field), 0, 255)
    near = raster_chamfer(plain_canny(drops, 50, 150), 20)
    box = np.ones((3, 3))
    depth = np.floor(ndimage.correlate(near, box, mode="mirror") / 9 + 1e-6).astype(int)
    counts = np.bincount(depth.ravel(), minlength=256)
    first = np.flatnonzero(counts)[0]
    even = depth
    if counts[first] < depth.size:
        table = np.cumsum(counts) - counts[first]
        even = np.rint(table * (255 / (depth.size - counts[first])))[depth]
    relief = np.clip(ndimage.correlate(even, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mode="mirror"), 0, 255)
    return drops * np.rint(ndimage.correlate(relief.astype(float), box, mode="mirror") / 9)


@pytest.mark.parametrize("numbers", [(0.65, 0.3, 3.0, 0.68, 0.6, 0), (0.62, 0.1, 0.7, 0.7, 0.5, 0)])
def test_spattered_water_is_its_definition(numbers):
    mean, std, sigma, threshold, intensity, _ = numbers
    images = photos(3, 3, 48, 40)
    out = weather.spatter(images, keys(3), *numbers)
    field = (random.normals(random.fold(keys(3), 0), (48, 40)) * std + mean).double().numpy()
    wet = 0
    for i in range(3):
        smooth = ndimage.gaussian_filter(field[i], sigma, mode="nearest", truncate=4)
        smooth[smooth < threshold] = 0
        water = plain_water(smooth)
        mask = water / max(water.max(), 1) * intensity
        expected = images[i] + torch.from_numpy(mask).float() * torch.tensor([175, 238, 238]).view(3, 1, 1) / 255
        np.testing.assert_allclose(out[i].numpy(), expected.numpy(), atol=1e-5)
        wet += (mask > 0).mean() / 3
    assert 0.02 < wet < 0.8


def test_spattered_mud_is_its_definition():
    images = photos(3, 3, 48, 40)
    out = weather.spatter(images, keys(3), 0.65, 0.3, 1.0, 0.65, 1.5, 1)
    field = (random.normals(random.fold(keys(3), 0), (48, 40)) * 0.3 + 0.65).double().numpy()
    for i in range(3):
        mud = (ndimage.gaussian_filter(field[i], 1.0, mode="nearest", truncate=4) > 0.65).astype(float)
        mask = ndimage.gaussian_filter(mud, 1.5, mode="nearest", truncate=4)
        mask = torch.from_numpy(np.where(mask < 0.8, 0, mask)).float()
        expected = images[i] * (1 - mask) + mask * torch.tensor([63, 42, 20]).view(3, 1, 1) / 255
        torch.testing.assert_close(out[i], expected, rtol=0, atol=1e-5)
        assert 0.05 < (mask > 0).float().mean() < 0.6


def test_without_a_drop_spatter_leaves_the_image():
    images = photos(2, 3, 32, 32)
    assert torch.equal(weather.spatter(images, keys(2), 0.5, 0.01, 1.0, 0.9, 0.5, 0), images)


def test_equalisation_leaves_an_image_of_one_level():
    one, two = torch.full((6, 6), 7.0), torch.tensor([3.0, 20.0]).repeat(6, 3)
    out = liquid._equalised(torch.stack((one, two)))
    assert torch.equal(out[0], one) and torch.equal(out[1], torch.tensor([0.0, 255.0]).repeat(6, 3))


def test_spatter_says_when_an_image_is_too_small():
    with pytest.raises(InputError, match="at least 2 pixels a side, got 1x9"):
        weather.spatter(torch.rand(1, 3, 1, 9), keys(1), 0.65, 0.3, 1.0, 0.68, 0.5, 0)
