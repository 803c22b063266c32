"""The noise corruptions, and noise on some of the pixels, against their distributions."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from weatherproof import operators, random
from weatherproof.data import MemoryImages
from weatherproof.data.statistics import pixel_std, save_pixel_std
from weatherproof.errors import InputError
from weatherproof.operators import NonUniformNoise, PatchGaussian, UniformNoise
from weatherproof.operators.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from weatherproof.operators.severities import PARAMETERS

PHOTONS = [c for table in PARAMETERS.values() for (c,) in table["shot_noise"]]


def keys(n, seed=0):
    return random.keys(seed, torch.arange(n))


def grey(level, *shape):
    return torch.full(shape, level, dtype=torch.uint8)


def anything(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def every_word_once(monkeypatch):
    """The random words of one 256 x 256 image become 0, 1, ..., 65,535: what comes out is the distribution itself."""

    def words(keys, shape, device="cpu"):
        return torch.arange(65536, dtype=torch.int32).view(len(keys), *shape)

    monkeypatch.setattr(random, "words", words)
    monkeypatch.setattr(random, "shorts", lambda *use: words(*use).sub(32768).to(torch.int16))


@pytest.mark.parametrize("photons", [*sorted({*PHOTONS, 0.4, 2.5}), pytest.param(10_000, marks=pytest.mark.slow)])
def test_shot_noise_is_poisson_to_one_word(photons, monkeypatch):
    every_word_once(monkeypatch)
    for level in (0, 1, 37, 128, 254, 255):
        out = shot_noise(grey(level, 1, 1, 256, 256), keys(1), photons).flatten().long()
        cumulative = out.bincount(minlength=256).cumsum(0).numpy() / 65536
        # counts at which the level is still at most k; every one from `photons` on gives 255
        most = [max(c for c in range(math.ceil(photons)) if 255 * c < (k + 1) * photons) for k in range(255)]
        expected = stats.poisson.cdf(most, photons * level / 255)
        assert np.abs(cumulative[:-1] - expected).max() <= 0.5 / 65536 + 1e-9


def test_shot_noise_is_drawn_for_each_value():
    levels = torch.tensor([3, 60, 200], dtype=torch.uint8).repeat_interleave(64 * 64).view(1, 3, 64, 64)
    out = shot_noise(levels.expand(20, -1, -1, -1), keys(20), 255).double() / 255  # one photon, one level
    for level, values in zip((3, 60, 200), out.transpose(0, 1).flatten(1).double(), strict=True):
        mean = level / 255
        assert abs(values.mean() - mean) < 5 * math.sqrt(mean / 255 / values.numel())
        assert abs(values.var() * 255 / mean - 1) < 0.05
    flat = out.transpose(0, 1).flatten(1)
    assert (torch.corrcoef(flat) - torch.eye(3)).abs().max() < 0.02
    assert torch.corrcoef(out.flatten(1) - levels.flatten() / 255).fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("photons", [0, -1, 10_001, float("nan")])
def test_shot_noise_refuses_what_its_table_cannot_hold(photons):
    with pytest.raises(InputError, match="photons above 0 and at most 10,000"):
        shot_noise(grey(128, 1, 1, 2, 2), keys(1), photons)


@pytest.mark.parametrize("fraction", [0.01, 0.27])
def test_impulse_noise_replaces_its_share_by_black_and_white_alike(fraction, monkeypatch):
    images = torch.randint(1, 255, (40, 3, 32, 32), dtype=torch.uint8)
    out = impulse_noise(images, keys(40), fraction)
    changed = out != images
    assert set(out[changed].tolist()) == {0, 255}
    n = changed.numel()
    assert abs(changed.float().mean() - fraction) < 5 * math.sqrt(fraction / n)
    assert abs((out[changed] == 255).float().mean() - 0.5) < 5 * math.sqrt(0.25 / (fraction * n))
    together = (changed[:, 0] & changed[:, 1]).float().mean()
    assert abs(together - fraction**2) < 5 * math.sqrt(fraction**2 / (n / 3))  # each channel on its own
    every_word_once(monkeypatch)
    out = impulse_noise(grey(128, 1, 1, 256, 256), keys(1), fraction)
    assert int((out == 0).sum()) == int((out == 255).sum()) == round(fraction * 32768)


@pytest.mark.parametrize("sigma", [0.04, 0.1, 0.38])
@pytest.mark.parametrize("noise", [gaussian_noise, speckle_noise])
def test_gaussian_and_speckle_noise_are_normal(noise, sigma):
    """Each level k is reached as often as x + scale n lies between k and k + 1."""
    for level in (20, 128, 240):
        out = noise(grey(level, 10, 3, 64, 64), keys(10), sigma)
        scale = 255 * sigma * (level / 255 if noise is speckle_noise else 1)
        expected = np.diff(stats.norm.cdf([-np.inf, *range(1, 256), np.inf], level, scale)) * out.numel()
        found = out.flatten().bincount(minlength=256).numpy()
        often = expected > 20
        chi_square = ((found - expected)[often] ** 2 / expected[often]).sum()
        assert stats.chi2.sf(chi_square, often.sum()) > 1e-4
        assert abs(found[~often].sum() - expected[~often].sum()) < 5 * math.sqrt(expected[~often].sum() + 1)
        assert (torch.corrcoef(out.transpose(0, 1).flatten(1).double()) - torch.eye(3)).abs().max() < 0.05
    assert speckle_noise(grey(0, 1, 1, 8, 8), keys(1), sigma).max() == 0


@pytest.mark.parametrize("noise", [gaussian_noise, shot_noise, impulse_noise, speckle_noise])
def test_noise_belongs_to_the_image_and_leaves_it_alone(noise):
    images = anything(6, 3, 9, 14)
    before = images.clone()
    out = noise(images, keys(6), 0.3)
    assert torch.equal(images, before) and out.shape == images.shape
    for i in range(6):
        assert torch.equal(noise(images[i : i + 1], keys(6)[i : i + 1], 0.3)[0], out[i])
    assert not torch.equal(noise(images, keys(6, seed=1), 0.3), out)
    turned = images.transpose(2, 3)  # not contiguous
    assert torch.equal(noise(turned, keys(6), 0.3), noise(turned.contiguous(), keys(6), 0.3))


@pytest.mark.gpu
@pytest.mark.parametrize("noise", [gaussian_noise, shot_noise, impulse_noise, speckle_noise])
def test_noise_is_the_same_on_a_gpu(noise, cuda):
    images = anything(4, 3, 32, 32)
    on_gpu = noise(images.to(cuda), keys(4), 0.3).cpu()
    difference = on_gpu.int() - noise(images, keys(4), 0.3).int()  # a sum may round to the other side of a level
    assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 1e-3


def box(changed):
    """First row, last row, first column, last column of what changed in each image."""
    rows, columns = changed.any(dim=(1, 3)).int(), changed.any(dim=(1, 2)).int()
    ends = [
        f(line)
        for line in (rows, columns)
        for f in (lambda x: x.argmax(1), lambda x: x.size(1) - 1 - x.flip(1).argmax(1))
    ]
    return torch.stack(ends, dim=1)


def test_patch_is_a_square_around_a_uniform_centre_cut_at_the_borders():
    images = torch.full((6000, 3, 12, 20), 0.5)
    out = PatchGaussian(5, 0.1, fixed_sigma=True)(images, keys(6000))
    changed = out != images
    top, bottom, left, right = box(changed).unbind(1)
    assert torch.equal(changed.all(dim=1).sum(dim=(1, 2)), (bottom - top + 1) * (right - left + 1))  # all of the box
    # The centre c is uniform: rows c - 2 to c + 2, cut at the borders, so that c is known from either end.
    for low, high, side in ((top, bottom, 12), (left, right, 20)):
        centre = torch.where(low > 0, low + 2, high - 2)
        assert torch.equal(low, (centre - 2).clamp(min=0)) and torch.equal(high, (centre + 2).clamp(max=side - 1))
        assert stats.chisquare(centre.bincount(minlength=side).numpy()).pvalue > 1e-3
    noise = (out - images)[changed]
    assert stats.kstest(noise.numpy(), "norm", args=(0, 0.1)).pvalue > 1e-3


def test_patch_of_an_even_size_reaches_further_before_its_centre():
    """floor(W / 2) pixels before, ceil(W / 2) from the centre on: of 4 pixels, 2 and 2."""
    out = PatchGaussian(4, 0.1, fixed_sigma=True)(torch.full((3000, 1, 9, 9), 0.5), keys(3000))
    top, bottom, *_ = box(out != 0.5).unbind(1)
    assert set(zip(top.tolist(), bottom.tolist(), strict=True)) == {
        (max(c - 2, 0), min(c + 1, 8)) for c in range(9)
    }  # fmt: skip


def test_patch_sizes_and_levels_are_drawn_per_image():
    out = PatchGaussian((1, 4), 0.1)(torch.full((8000, 1, 80, 80), 0.5), keys(8000))
    changed = out != 0.5
    top, bottom, left, right = box(changed).unbind(1)
    inside = (top > 0) & (bottom < 79) & (left > 0) & (right < 79)
    size = (bottom - top + 1)[inside]
    assert stats.chisquare(size.bincount(minlength=5)[1:].numpy()).pvalue > 1e-3
    level = PatchGaussian(200, 0.1)(torch.full((500, 1, 40, 40), 0.5), keys(500)).flatten(1).std(1)
    assert stats.kstest(level.numpy(), "uniform", args=(0, 0.1)).pvalue > 1e-3
    loud = PatchGaussian(200, 1.0, fixed_sigma=True)(torch.rand(4, 3, 8, 8), keys(4))
    assert loud.min() == 0 and loud.max() == 1


@pytest.mark.parametrize("size", [0, 2.5, (0, 3), (4, 2), (1, 2, 3)])
def test_patch_refuses_a_size_that_is_none(size):
    with pytest.raises(ValueError):
        operators.parse(f"PatchGaussian({size}, 0.1)")


def std_file(folder, std):
    file = folder / "std.npy"
    np.save(file, std)
    return str(file)


@pytest.mark.parametrize(("side", "count"), [(28, 118), (32, 154)])
def test_noisy_sets_replace_the_papers_number_of_pixels(side, count, tmp_path):
    images = torch.full((50, 3, side, side), -1.0)
    for op in (UniformNoise(), NonUniformNoise(std=std_file(tmp_path, np.random.default_rng(0).random((side, side))))):
        out = op(images, keys(50))
        changed = (out != -1).all(dim=1)
        assert torch.equal((out != -1).any(dim=1), changed) and set(changed.sum(dim=(1, 2)).tolist()) == {count}
        assert torch.equal(out[:, 0], out[:, 1]) and torch.equal(out[:, 0], out[:, 2])  # grey
        assert stats.kstest(out[:, 0][changed].numpy(), "uniform").pvalue > 1e-3


def test_uniform_noise_goes_everywhere_alike():
    changed = UniformNoise(0.3)(torch.full((20_000, 1, 4, 5), -1.0), keys(20_000))[:, 0] != -1
    share = changed.float().mean(dim=0)
    assert (share - 0.3).abs().max() < 5 * math.sqrt(0.3 * 0.7 / 20_000)


def test_non_uniform_noise_draws_one_after_the_other_in_proportion_to_the_weights(tmp_path):
    std = np.array([[0.0, 0.004], [0.02, 0.3]])
    weight = (1 / (std + 1 / 255)).ravel()
    draws = 40_000
    out = NonUniformNoise(0.5, std=std_file(tmp_path, std))(torch.full((draws, 1, 2, 2), -1.0), keys(draws))
    changed = (out != -1).flatten(1)
    for a, b in itertools.combinations(range(4), 2):
        total = weight.sum()
        expected = weight[a] / total * weight[b] / (total - weight[a]) + weight[b] / total * weight[a] / (
            total - weight[b]
        )
        got = float((changed[:, a] & changed[:, b]).float().mean())
        assert abs(got - expected) < 5 * math.sqrt(expected / draws)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((3, 4, 4)), "expected floats, height x width.*float64 3x4x4"),
        (np.zeros((4, 4), dtype=int), "expected floats"),
        (np.full((4, 4), np.nan), "negative or not a number"),
        (np.full((4, 4), -0.1), "negative or not a number"),
        (np.array([[None]]), "cannot read .*allow_pickle"),
    ],
)
def test_a_std_file_of_something_else_is_refused(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        NonUniformNoise(std=std_file(tmp_path, content))


def test_a_std_file_that_is_none_or_of_another_size_is_refused(tmp_path):
    with pytest.raises(InputError, match="needs std=FILE.npy"):
        operators.parse("NonUniformNoise(0.15)")
    with pytest.raises(InputError, match="no file"):
        NonUniformNoise(std=str(tmp_path / "none.npy"))
    (tmp_path / "text.npy").write_text("not numbers")
    with pytest.raises(InputError, match="cannot read"):
        NonUniformNoise(std=str(tmp_path / "text.npy"))
    np.savez(tmp_path / "several.npz", a=np.zeros((4, 4)))
    with pytest.raises(InputError, match="several arrays"):
        NonUniformNoise(std=str(tmp_path / "several.npz"))
    op = NonUniformNoise(std=std_file(tmp_path, np.zeros((4, 6))))
    with pytest.raises(InputError, match=r"height x width 4x6, these are of 6x4: make it"):
        op(torch.rand(1, 1, 6, 4), keys(1))


@pytest.mark.parametrize("shape", [(700, 3, 4, 5), (2, 1, 3, 3)])
def test_pixel_std_is_numpys(shape, tmp_path):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    pixels[:, :, 1, 2] = 255  # the largest sums, and no deviation
    expected = (pixels.numpy() / 255).std(axis=0, ddof=1).mean(axis=0)
    std = pixel_std(MemoryImages(pixels))
    np.testing.assert_allclose(std.numpy(), expected, rtol=1e-9, atol=1e-12)
    assert std[1, 2] == 0
    save_pixel_std(MemoryImages(pixels), tmp_path / "std.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "std.npy"), std.numpy())
    assert [file.name for file in tmp_path.iterdir()] == ["std.npy"]
    out = NonUniformNoise(std=str(tmp_path / "std.npy"))(pixels[:2] / 255, keys(2))
    assert out.shape == (2, *shape[1:])


def test_pixel_std_refuses_what_has_none(tmp_path):
    one = MemoryImages(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    with pytest.raises(InputError, match="two images or more, 'memory' has 1"):
        pixel_std(one)
    two = MemoryImages(torch.zeros(2, 1, 2, 2, dtype=torch.uint8))
    with pytest.raises(InputError, match="cannot write"):
        save_pixel_std(two, tmp_path / "nowhere" / "std.npy")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    file = tmp_path / "std.npy"
    file.write_bytes(b"old")
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(InputError, match="no space left on the disk of .*std.npy"):
        save_pixel_std(MemoryImages(torch.zeros(2, 1, 2, 2, dtype=torch.uint8)), file)
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
