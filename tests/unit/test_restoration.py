"""Restoration in pixel space."""

import importlib.util

import numpy as np
import pytest
import torch
from oracles.restoration_modules import decoder
from skimage.restoration import denoise_nl_means, estimate_sigma
from torch import Tensor, nn

from weatherproof import random, restoration
from weatherproof.errors import InputError
from weatherproof.operators import GaussianNoise, RandomMask
from weatherproof.readouts import evaluating
from weatherproof.restoration import DeepDecoder, NonLocalMeans, Restored, wavelet_sigma
from weatherproof.restoration.deep_decoder import decode, initial_weights, usable_stages

QUICK = DeepDecoder(steps=60, channels=16, lr=0.02)


def smooth(size: int = 32, count: int = 1, channels: int = 3) -> Tensor:
    """Slow waves, each image with phases of its own."""
    y, x = torch.meshgrid(torch.linspace(0, 3, size), torch.linspace(0, 3, size), indexing="ij")
    phase = torch.arange(count * channels).view(count, channels, 1, 1)
    return 0.5 + 0.4 * torch.sin(x * (1 + phase % 2) + y + phase)


def keys(count: int) -> Tensor:
    return random.keys(0, torch.arange(count))


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


@pytest.mark.parametrize("channels", [1, 3])
def test_nonlocal_means_is_scikit_image_on_each_image(channels: int) -> None:
    noisy = GaussianNoise(0.1, clip=False)(smooth(24, 2, channels), keys(2))
    restored = NonLocalMeans()(noisy, keys(2))
    assert restored.dtype == torch.float32 and restored.shape == noisy.shape
    for image, ours in zip(noisy, restored, strict=True):
        pixels = image.permute(1, 2, 0).double().numpy()
        expected = denoise_nl_means(
            pixels, patch_size=7, patch_distance=11, h=0.1, fast_mode=True, sigma=wavelet_sigma(pixels), channel_axis=-1
        )
        np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), expected.reshape(pixels.shape), atol=1e-6)


def test_nonlocal_means_makes_noisy_images_better_and_draws_nothing() -> None:
    clean = smooth()
    noisy = GaussianNoise(0.1, clip=False)(clean, keys(1))
    assert psnr(NonLocalMeans()(noisy), clean) > psnr(noisy, clean) + 3
    assert NonLocalMeans.deterministic and torch.equal(NonLocalMeans()(noisy), NonLocalMeans()(noisy, keys(1)))
    assert not torch.equal(NonLocalMeans(sigma=0.5)(noisy), NonLocalMeans()(noisy))


@pytest.mark.parametrize(
    ("shape", "expected"),
    # scikit-image 0.26 estimate_sigma with PyWavelets 1.9, averaged over channels; its filter has 12 digits
    [((32, 32, 3), 0.09359635985441113), ((31, 40, 1), 0.09047186078970244)],
)
def test_the_noise_estimate_agrees_with_scikit_image(shape: tuple[int, int, int], expected: float) -> None:
    i, j, k = np.indices(shape)
    image = np.sin(12.9898 * i + 78.233 * j + 37.719 * k) * 0.5 + 0.5
    image[5:9] = 0  # zero detail in there does not count
    assert wavelet_sigma(image) == pytest.approx(expected, rel=1e-6)
    if importlib.util.find_spec("pywt"):
        assert wavelet_sigma(image) == pytest.approx(estimate_sigma(image, channel_axis=-1, average_sigmas=True))


def test_the_noise_estimate_finds_the_noise() -> None:
    noise = random.normal_fields(keys(1), (64, 64, 3))[0].double().numpy()
    assert wavelet_sigma(0.5 + 0.2 * noise) == pytest.approx(0.2, rel=0.05)
    assert wavelet_sigma(np.zeros((8, 8, 3))) == 0.0


def test_the_decoder_is_the_one_of_the_original_code() -> None:
    weights = initial_weights(keys(2), 8, 3, 4, torch.device("cpu"))
    z = torch.rand(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    gains = [w for w in weights if w.dim() == 4]
    for number, gain in enumerate(gains):  # trained values, so that gains and offsets are seen to be in the right place
        gain += 0.1 * (number + 1)
    made = decode(weights, z, 3)
    for image in range(2):
        reference = decoder(8, 3, 3)
        for parameter, weight in zip(reference.parameters(), weights, strict=True):
            parameter.data = weight[image].view(parameter.shape).clone()
        torch.testing.assert_close(made[image], reference(z[image : image + 1])[0], atol=1e-5, rtol=1e-4)
    assert made.shape == (2, 3, 32, 32)


def test_the_first_convolutions_are_drawn_as_torch_draws_them() -> None:
    weights = initial_weights(keys(3), 256, 3, 2, torch.device("cpu"))
    theirs = nn.Conv2d(256, 256, 1, bias=False).weight.detach()
    assert float(weights[0].abs().max()) == pytest.approx(float(theirs.abs().max()), rel=1e-3)
    assert float(weights[0].std()) == pytest.approx(float(theirs.std()), rel=0.02)
    assert not torch.equal(weights[0][0], weights[0][1])


@pytest.mark.parametrize(
    ("size", "stages"), [((224, 224), 5), ((64, 64), 4), ((32, 32), 3), ((28, 28), 3), ((96, 40), 3), ((3, 3), 0)]
)
def test_small_images_get_fewer_stages(size: tuple[int, int], stages: int) -> None:
    assert usable_stages(size, 5) == stages


def test_the_decoder_fits_a_smooth_image_and_fills_in_what_is_missing() -> None:
    clean = smooth()
    damaged = RandomMask(0.5)(clean, keys(1))
    restored = QUICK(damaged, keys(1))
    assert psnr(restored, clean) > 25 > psnr(damaged, clean)
    missing = (damaged == 0).expand_as(clean)
    assert psnr(restored[missing], clean[missing]) > 25


def test_the_mismatched_mask_of_the_paper_is_worse() -> None:
    clean = smooth()
    damaged = RandomMask(0.5)(clean, keys(1))
    wrong = DeepDecoder(steps=60, channels=16, lr=0.02, mismatched_mask=True)(damaged, keys(1))
    assert psnr(wrong, clean) < 15 < psnr(QUICK(damaged, keys(1)), clean) - 5


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 1 << 19])
def test_an_image_is_restored_alike_in_any_company(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weatherproof.restoration.deep_decoder._TOGETHER", together)
    damaged = RandomMask(0.5)(smooth(16, 3), keys(3))
    all_three = QUICK(damaged, keys(3))
    alone = QUICK(damaged[1:2], keys(3)[1:2])
    torch.testing.assert_close(all_three[1:2], alone, atol=1e-3, rtol=0)
    assert psnr(QUICK(damaged[1:2], keys(3)[:1]), alone) < 60  # another key is another draw


def test_a_given_mask_is_used_and_otherwise_what_is_not_black_is_known() -> None:
    damaged = RandomMask(0.5)(smooth(16), keys(1))
    known = (damaged != 0).any(dim=1, keepdim=True)
    torch.testing.assert_close(QUICK(damaged, keys(1)), QUICK(damaged, keys(1), known))
    fills_black = QUICK(damaged, keys(1), torch.ones_like(known))
    assert psnr(fills_black, damaged) > psnr(QUICK(damaged, keys(1)), damaged)
    with pytest.raises(InputError, match=r"mask must be \(1, 1, 16, 16\)"):
        QUICK(damaged, keys(1), known[:, 0])


def test_sizes_that_are_no_multiple_are_cropped_and_grey_stays_grey() -> None:
    damaged = RandomMask(0.3)(smooth(32, 1, 1)[..., :27, :21], keys(1))
    assert QUICK(damaged, keys(1)).shape == (1, 1, 27, 21)


def test_restoring_inside_an_evaluation_needs_no_thought() -> None:
    damaged = RandomMask(0.5)(smooth(16), keys(1))
    with evaluating():
        inside = QUICK(damaged.clone(), keys(1))
    assert torch.equal(inside, QUICK(damaged, keys(1))) and not inside.requires_grad


def test_a_restored_classifier_classifies_what_was_restored() -> None:
    damaged = RandomMask(0.5)(smooth(16, 2), keys(2))
    model = Restored(QUICK, nn.Flatten(), seed=0)
    torch.testing.assert_close(model(damaged, keys(2)), QUICK(damaged, keys(2)).flatten(1))
    torch.testing.assert_close(model(damaged), model(damaged, keys(2)))  # the key of an image's place
    assert model.takes_keys and not model.deterministic and Restored(NonLocalMeans(), nn.Flatten()).deterministic


def test_a_restoration_is_its_text() -> None:
    for text in ("NonLocalMeans()", "DeepDecoder(steps=60, channels=16, lr=0.02)", "DeepDecoder(mismatched_mask=True)"):
        assert repr(restoration.parse(text)) == text
    assert restoration.parse(QUICK) is QUICK
    with pytest.raises(InputError, match="steps must be at least 1"):
        restoration.parse("DeepDecoder(steps=0)")
    with pytest.raises(InputError, match="did you mean NonLocalMeans"):
        restoration.parse("NonlocalMean()")
