"""Mixed chains against a loop over images, the laws of what they draw, and their place among the operators."""

from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from weatherproof import operators, random
from weatherproof.encoders.gate_fit import from_none
from weatherproof.errors import InputError
from weatherproof.operators import JPEG, Chain, GaussianNoise, MixedChains, OneOf, RandomMask, milder
from weatherproof.operators.drawn import drawn, kinds
from weatherproof.operators.mixed_chains import links_of, mixing_weights
from weatherproof.reports.words.records import operator_words

MANY = 20_000
OPS = (GaussianNoise((0.0, 0.2)), RandomMask((0.0, 0.5)), JPEG((20, 90)))
IMAGES = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def _keys(count: int) -> Tensor:
    return random.keys(5, torch.arange(count))


def _alone(op: MixedChains, image: Tensor, key: Tensor) -> Tensor:
    """Algorithm 1 for one image, with numbers that belong to its key alone."""
    first, *others = random.uniforms(random.fold(key, 0), (op.width + 1,))[0].double().tolist()
    m = stats.beta(op.alpha, op.alpha).ppf(first)
    gamma = [stats.gamma(op.alpha).isf(number) for number in others]
    which = random.uniforms(random.fold(key, 1), (op.width, op.depth))[0].tolist()
    lengths = random.uniforms(random.fold(key, 2), (op.width,))[0].tolist()
    mixture = torch.zeros_like(image)
    for chain in range(op.width):
        seen = image
        for place in range(1 + int(lengths[chain] * op.depth)):
            link = op.ops[int(which[chain][place] * len(op.ops))]
            seen = link(seen, random.fold(random.fold(key, 3), place, chain))
        mixture += gamma[chain] / sum(gamma) * seen
    return (1 - m) * image + m * mixture


@pytest.mark.parametrize(
    "op",
    [
        MixedChains(*OPS),
        MixedChains(OPS[0], width=1, depth=1),
        MixedChains(*OPS, width=4, depth=2, alpha=0.4),
        MixedChains(OneOf(*OPS[:2]), Chain(*OPS), depth=4, alpha=20.0),
    ],
    ids=repr,
)
def test_a_batch_is_a_loop_over_its_images(op: MixedChains, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = _keys(12)
    expected = torch.cat([_alone(op, IMAGES[i : i + 1], keys[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(op(IMAGES, keys), expected, rtol=0, atol=2e-6)
    monkeypatch.setattr("weatherproof.operators.mixed_chains.CHUNK", 5 * 4 * IMAGES[0].numel())  # in three pieces
    torch.testing.assert_close(op(IMAGES, keys), expected, rtol=0, atol=2e-6)
    assert op(IMAGES[:0], keys[:0]).shape == (0, 3, 16, 16)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 5.0])
def test_weights_follow_dirichlet_and_beta(alpha: float) -> None:
    weights = mixing_weights(_keys(MANY), 3, alpha)
    assert torch.allclose(weights.sum(1), torch.ones(MANY, dtype=torch.float64)) and weights.min() >= 0
    m = 1 - weights[:, 0]
    assert stats.kstest(m.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01
    inside = m > 1e-9
    for chain in (weights[inside, 1:] / m[inside, None]).T:
        assert stats.kstest(chain.numpy(), stats.beta(alpha, 2 * alpha).cdf).pvalue > 0.01


def test_lengths_and_links_are_uniform() -> None:
    which = random.uniforms(random.fold(_keys(MANY), 1), (2, 4)).double().transpose(0, 1)
    links = links_of(which, random.uniforms(random.fold(_keys(MANY), 2), (2,)).double(), 5, (1, 4))
    assert stats.chisquare((links < 5).sum(2).flatten().bincount(minlength=5)[1:].numpy()).pvalue > 0.01
    assert stats.chisquare(links[links < 5].bincount(minlength=5).numpy()).pvalue > 0.01


def test_it_has_no_level_and_grows_by_those_of_its_operators() -> None:
    op = MixedChains(RandomMask((0.0, 0.8)), GaussianNoise(0.2), width=2, alpha=0.5)
    (kind,) = kinds(op)
    told = drawn(op, _keys(9))
    assert kind.scale is None and told.kind.tolist() == [1] * 9 and told.level.isnan().all()
    assert from_none(op) == (op,)
    assert milder(op, 0.5) == MixedChains(RandomMask((0.0, 0.4)), GaussianNoise(0.1), width=2, alpha=0.5)


def test_its_words_hold_its_settings() -> None:
    assert operator_words("MixedChains(RandomMask(0.5), GaussianNoise(0.1))") == (
        "mixed chains of 50 % of the pixels missing and Gaussian noise (σ 0.1)"
    )
    assert operator_words("MixedChains(RandomMask(0.5), width=2)").endswith("missing (width=2)")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "at least one operator"),
        ("3", "expected an operator, got 3"),
        ("RandomMask(0.5), width=0", "width of MixedChains must be from 1 to 10, got 0"),
        ("RandomMask(0.5), depth=11", "depth of MixedChains must be from 1 to 10, got 11"),
        ("RandomMask(0.5), depth=(1, 3)", "depth of MixedChains must be a whole number"),
        ("RandomMask(0.5), alpha=0", "alpha of MixedChains must be from 0.1 to 100, got 0"),
    ],
)
def test_settings_out_of_range(settings: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        operators.parse(f"MixedChains({settings})")


def test_what_cannot_be_mixed_is_refused_in_python_too() -> None:
    made: Any = MixedChains
    with pytest.raises(InputError, match="width of MixedChains must be a whole number"):
        made(RandomMask(0.5), width=1.5)
