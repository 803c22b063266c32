"""Operators against the paper's definitions and independent implementations."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from weatherproof import operators, random
from weatherproof.errors import InputError
from weatherproof.operators import (
    JPEG,
    Chain,
    CommonCorruptions,
    Contrast,
    Corruption,
    GaussianBlur,
    GaussianNoise,
    OneOf,
    RandomMask,
    Sometimes,
    UniformNoise,
    kind_ladders,
    ladder,
)


def keys(n, seed=0):
    return random.keys(seed, torch.arange(n))


@pytest.mark.parametrize(("side", "p", "removed"), [(224, 0.5, 25088), (224, 0.75, 37632), (224, 0.9, 45158)])
def test_mask_removes_the_papers_number_of_pixels(side, p, removed):
    out = RandomMask(p)(torch.ones(2, 3, side, side), keys(2))
    gone = (out == 0).all(dim=1)
    assert gone.flatten(1).sum(1).tolist() == [removed, removed]
    assert torch.equal((out == 0).any(dim=1), gone)  # shared by the channels


@pytest.mark.parametrize("hundredths", range(0, 101))
def test_mask_removes_floor_of_the_fraction_as_written(hundredths):
    out = RandomMask(hundredths / 100)(torch.ones(1, 1, 10, 10), keys(1))
    assert int((out == 0).sum()) == hundredths


def test_mask_range_is_uniform_and_places_are_uniform():
    out = RandomMask((0.5, 0.95))(torch.ones(4000, 1, 8, 8), keys(4000))
    share = (out == 0).float().mean(dim=(1, 2, 3))
    assert 0.48 < share.min() and share.max() <= 0.95
    assert abs(share.mean() - (0.725 - 0.5 / 64)) < 0.01  # floor takes half a pixel on average
    per_place = (out == 0).float().mean(dim=0).flatten()
    assert (per_place - per_place.mean()).abs().max() < 5 * math.sqrt(0.25 / 4000)


def test_noise_is_normal_and_independent_over_channels():
    out = GaussianNoise(0.3, clip=False)(torch.full((8, 3, 64, 64), 0.5), keys(8)) - 0.5
    assert stats.kstest(out.flatten().numpy(), "norm", args=(0, 0.3)).pvalue > 1e-3
    flat = out.transpose(0, 1).reshape(3, -1)
    assert (torch.corrcoef(flat) - torch.eye(3)).abs().max() < 0.03


def test_noise_range_is_drawn_per_image():
    out = GaussianNoise((0.1, 0.3), clip=False)(torch.zeros(500, 1, 32, 32), keys(500))
    sigma = out.flatten(1).std(1)
    assert stats.kstest(sigma.numpy(), "uniform", args=(0.1, 0.2)).pvalue > 1e-3


@pytest.mark.parametrize(("size", "sigma", "side"), [(21, 5.0, 48), (37, 9.0, 48), (5, 0.7, 9)])
def test_blur_agrees_with_torchvision_and_scipy(size, sigma, side):
    from torchvision.transforms.functional import gaussian_blur

    images = torch.rand(3, 3, side, side + 5)
    out = GaussianBlur(sigma, size)(images, keys(3))
    torch.testing.assert_close(out, gaussian_blur(images, [size, size], [sigma, sigma]), rtol=0, atol=3e-6)
    truncate = (size // 2) / sigma
    expected = ndimage.gaussian_filter(images.double().numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=truncate)
    np.testing.assert_allclose(out.numpy(), expected, atol=3e-6)


def test_blur_range_uses_each_images_own_sigma():
    images = torch.rand(6, 1, 32, 32)
    op = GaussianBlur((0.5, 3.0))
    sigma = random.uniform(random.fold(keys(6), 0), 0.5, 3.0).double()
    for i, s in enumerate(sigma.tolist()):
        single = GaussianBlur(s, kernel_size=13)(images[i : i + 1], keys(1))
        torch.testing.assert_close(op(images, keys(6))[i : i + 1], single, rtol=0, atol=1e-6)


def test_blur_default_kernel_is_the_papers():
    assert GaussianBlur(5.0).radius == 10 and GaussianBlur(9.0).radius == 18
    with pytest.raises(ValueError, match=r"21 pixels needs images of more than 10"):
        GaussianBlur(5.0)(torch.rand(1, 1, 8, 8), keys(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_writes_and_reads_at_the_images_own_quality(channels):
    images = torch.randint(0, 256, (6, channels, 24, 40), generator=torch.Generator().manual_seed(0)).float() / 255
    op = JPEG((10, 95))
    drawn = random.uniform(random.fold(keys(6), 0), 10, 95).double().round().int().tolist()
    assert len(set(drawn)) > 3
    for image, quality, out in zip(images, drawn, op(images, keys(6)), strict=True):
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "JPEG", quality=quality)
        expected = np.asarray(Image.open(file)).reshape(pixels.shape)
        np.testing.assert_array_equal((out * 255).round().byte().permute(1, 2, 0).numpy(), expected)


def test_contrast_is_the_benchmarks_formula_with_each_images_own_amount():
    images = torch.rand(5, 3, 7, 9, dtype=torch.float64).float()
    amount = random.uniform(random.fold(keys(5), 0), 0.2, 0.9).double().numpy()[:, None, None, None]
    pixels = images.double().numpy()
    mean = pixels.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(
        Contrast((0.2, 0.9))(images, keys(5)).numpy(), (pixels - mean) * (1 - amount) + mean, atol=1e-6
    )
    assert torch.equal(Contrast(0.0)(images, keys(5)), images)
    assert Contrast(1.0)(images, keys(5)).flatten(2).std(dim=2).max() < 1e-6


def test_a_range_of_severities_gives_each_image_what_its_own_severity_gives():
    images = torch.rand(40, 3, 16, 16)
    for name in ("fog", "jpeg_compression", "gaussian_noise"):
        op = Corruption(name, (2, 4))
        severities = op.draw(keys(40))
        assert set(severities.tolist()) == {2, 3, 4}
        for severity in (2, 3, 4):
            chosen = severities == severity
            one = Corruption(name, severity)(images[chosen], keys(40)[chosen])
            assert torch.equal(op(images, keys(40))[chosen], one)
        as_bytes = (images * 255).byte()
        assert torch.equal(op(as_bytes, keys(40))[:5], op(as_bytes[:5], keys(40)[:5]))


def test_sometimes_and_oneof_draw_their_shares():
    marked = OneOf(RandomMask(1.0), GaussianNoise(0.0), GaussianNoise(0.0))(torch.ones(6000, 1, 2, 2), keys(6000))
    assert abs((marked == 0).float().mean() - 1 / 3) < 0.03
    marked = Sometimes(RandomMask(1.0), 0.2)(torch.ones(6000, 1, 2, 2), keys(6000))
    assert abs((marked == 0).float().mean() - 0.2) < 0.03


def test_chain_members_draw_independently():
    twice = Chain(RandomMask(0.5), RandomMask(0.5))(torch.ones(500, 1, 8, 8), keys(500))
    assert abs((twice == 0).float().mean() - 0.75) < 0.01


def test_user_operator_from_a_file(tmp_path):
    file = tmp_path / "dust.py"
    file.write_text("def darker(images, keys):\n    return images * 0.5\n")
    text = f"{file}:darker"
    assert torch.equal(operators.parse(text)(torch.ones(1, 1, 2, 2), keys(1)), torch.full((1, 1, 2, 2), 0.5))
    inside = operators.parse(f"Chain('{text}', RandomMask(0.5))")
    assert operators.parse(repr(inside)) == inside
    for bad in (f"{file}:lighter", f"{tmp_path}/none.py:darker"):
        with pytest.raises(InputError):
            operators.parse(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RandomMsk(0.5)", "did you mean RandomMask"),
        ("RandomMask(", "cannot read the operator"),
        ("OneOf(my/own.py:f, RandomMask(0.5))", "put the path in quotes, 'my/own.py:f'"),
        ("OneOf('own.py:f', RandomMask(0.5)", "write it like Name"),
        ("RandomMask(2)", r"number in \[0, 1\]"),
        ("RandomMask((0.9, 0.1))", "ordered pair"),
        ("RandomMask()", "missing a required argument: 'fraction'.*it is RandomMask"),
        ("RandomMask(0.5, 1)", "too many positional"),
        ("GaussianNoise(-1)", r"in \[0, 1\]"),
        ("GaussianBlur(1, 4)", "odd"),
        ("JPEG(0)", r"quality must be a number in \[1, 100\]"),
        ("Contrast((0.5, 1.5))", r"amount must be a number in \[0, 1\]"),
        ("Corruption('fog', (3, 6))", "1, 2, 3, 4 or 5, or an ordered pair"),
        ("Corruption('fog', (4, 2))", r"ordered pair \(low, high\) of them, got \(4, 2\)"),
        ("1 + 1", "expected a call"),
        ("RandomMask(__import__('os'))", "unknown operator '__import__'"),
        ("Chain(3)", r"Chain\(3\)"),
        ("OneOf()", "at least one"),
        ("Sometimes(RandomMask(0.5), 1.5)", "p must be"),
    ],
)
def test_bad_text_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as caught:
        operators.parse(text)
    if text != "Chain(3)":  # under test the type checker speaks first, at length
        assert "\n" not in str(caught.value)


def test_ladder_holds_the_trained_levels_and_goes_beyond():
    levels = [level for level, _ in ladder(RandomMask((0.5, 0.95)), 32)]
    assert {0.5, 0.95} < set(levels) and max(levels) > 0.95 and levels == sorted(levels)
    assert all(rung.radius < 32 for _, rung in ladder(GaussianBlur(5.0), 32))
    assert ladder(Chain(RandomMask(0.5)), 32) == []
    qualities = [level for level, _ in ladder(JPEG((30, 80)), 32)]
    assert qualities == sorted(qualities, reverse=True) and {30, 80} < set(qualities)  # the mildest first
    assert [level for level, _ in ladder(Contrast(0.6), 32)] == [0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.95]
    for operator in (RandomMask((0.2, 0.995)), GaussianNoise((0.1, 0.8)), GaussianBlur((1, 12))):
        levels = [level for level, _ in ladder(operator, 224)]
        assert levels[-1] > levels[-2] == getattr(operator, "fraction", getattr(operator, "sigma", None))[1]
    assert [level for level, _ in ladder(UniformNoise(0.4), 32)] == [0.02, 0.05, 0.15, 0.3, 0.4, 0.5, 0.75]
    assert ladder(RandomMask(1.0), 32)[-1][0] == 1 and ladder(GaussianNoise(1.0), 32)[-1][0] == 1  # nothing is beyond


def test_a_mixture_has_a_ladder_for_each_kind_that_an_image_meets_alone():
    both = Chain(GaussianBlur(1.0), GaussianNoise(0.1))
    mixed = OneOf(RandomMask((0.1, 0.3)), Sometimes(GaussianNoise(0.4), 0.8), both, RandomMask(0.8))
    mask, noise = kind_ladders(mixed, 32)
    assert (mask.family, mask.trained) == ("RandomMask", ((0.1, 0.3), (0.8, 0.8)))
    assert [level for level, _ in mask.rungs] == [0.1, 0.25, 0.3, 0.5, 0.75, 0.8, 0.9, 0.96, 0.99]
    assert (noise.trained, noise.rungs) == (((0.4, 0.4),), ladder(GaussianNoise(0.4), 32))
    assert [kind.rungs for kind in kind_ladders(RandomMask(0.5), 32)] == [ladder(RandomMask(0.5), 32)]
    assert kind_ladders(both, 32) == []
    (jpeg,) = kind_ladders(JPEG((30, 80)), 32)
    assert (jpeg.trained, [level for level, _ in jpeg.rungs][:3]) == (((20, 70),), [10, 20, 25])


def test_a_corruption_has_a_ladder_of_its_severities_and_none_beyond():
    fog = [(level, Corruption("fog", level)) for level in (1, 2, 3, 4, 5)]
    assert ladder(Corruption("fog", 3), 32) == ladder(Corruption("fog", (2, 5)), 32) == fog
    kinds = kind_ladders(CommonCorruptions(only="noise", severity=(2, 4)), 32)
    assert [own.family for own in kinds] == ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"]
    assert {own.trained for own in kinds} == {((2, 4),)} and [level for level, _ in kinds[0].rungs] == [1, 2, 3, 4, 5]
