"""AugMix, AugMix (MoCo) and URRL's rule: the laws of what is drawn, the mixture against a loop, whose draw is whose."""

import numpy as np
import pytest
import torch
from oracles.augmix_pillow import mixed
from scipy import stats
from torchvision.transforms.functional import gaussian_blur, rgb_to_grayscale

from weatherproof import random, views
from weatherproof.errors import InputError
from weatherproof.operators import mixed_chains
from weatherproof.operators.mixed_chains import mixing_weights
from weatherproof.types import Images, Keys
from weatherproof.views import URRL, AugMix, AugMixMoCo, HorizontalFlip, MoCoV2, RandomResizedCrop
from weatherproof.views.augmix import mix as augmix_mix
from weatherproof.views.augmix.draws import OPERATIONS, STANDARD, Draws, draw
from weatherproof.views.families import look

MANY = 20_000
FAMILIES = [
    AugMix(),
    AugMix("all", 24, severity=1.0),
    AugMix(width=2, depth=(2, 5), severity=10.0),
    AugMixMoCo(24),
    URRL(MoCoV2(24), AugMix("all", 24)),
]


def _keys(count: int, seed: int = 0) -> Keys:
    return random.keys(seed, torch.arange(count))


def _pictures(count: int, side: int = 32, channels: int = 3) -> Images:
    torch.manual_seed(1)
    small = torch.rand(count, channels, 6, 6)
    return (torch.nn.functional.interpolate(small, (side, side), mode="bilinear") * 255).round() / 255


def _draws(count: int, operations: int = 9, depth: tuple[int, int] = (1, 3), severity: float = 3.0) -> Draws:
    links = [OPERATIONS[name] for name in list(OPERATIONS)[:operations]]
    return draw(_keys(count), links, 3, depth, severity, torch.Size((count, 3, 32, 32)))


def test_the_weights_of_the_chains_follow_dirichlet_and_that_of_the_mixture_beta() -> None:
    weights = mixing_weights(_keys(MANY), 3)
    assert torch.allclose(weights.sum(1), torch.ones(MANY, dtype=torch.float64))
    m = 1 - weights[:, 0]
    chains = (weights[:, 1:] / m[:, None]).numpy()
    assert stats.kstest(m.numpy(), stats.beta(1, 1).cdf).pvalue > 0.01
    for chain in chains.T:
        assert stats.kstest(chain, stats.beta(1, 2).cdf).pvalue > 0.01  # what each weight of Dirichlet(1, 1, 1) follows
    law = stats.dirichlet([1, 1, 1])
    assert np.allclose(np.cov(chains.T), law.cov(), atol=2e-3)
    # On the triangle of all weights the law is uniform, and so are the largest weight's three thirds.
    assert stats.chisquare(np.bincount(chains.argmax(1))).pvalue > 0.01
    assert abs(np.corrcoef(m.numpy(), chains[:, 0])[0, 1]) < 0.03


def test_depth_and_operations_are_uniform_and_independent() -> None:
    draws = _draws(MANY)
    lengths = (draws.link < 9).sum(2)  # beyond the end of a chain stands the number of operations
    assert stats.chisquare(lengths.flatten().bincount()[1:].numpy()).pvalue > 0.01
    assert bool((draws.link.diff(dim=2)[draws.link[..., :-1] == 9] == 0).all())  # an ended chain stays so
    first, second = draws.link[:, :, 0].flatten(), draws.link[:, :, 1].flatten()
    assert stats.chisquare(first.bincount().numpy()).pvalue > 0.01
    both = (first * 9 + second)[second < 9].bincount(minlength=81)  # with replacement: all 81 pairs alike
    assert stats.chisquare(both.numpy()).pvalue > 0.01
    of_chains = (draws.link[0, :, 0] * 9 + draws.link[1, :, 0]).bincount(minlength=81)
    assert stats.chisquare(of_chains.numpy()).pvalue > 0.01


@pytest.mark.parametrize("severity", [1.0, 3.0])
def test_levels_are_uniform_up_to_the_severity_and_signs_fair(severity: float) -> None:
    draws = _draws(MANY, severity=severity)
    shears = draws.parameter[draws.link == STANDARD.index("shear_x")].numpy() / 0.03
    law = stats.uniform(0.1, severity - 0.1)
    assert stats.kstest(np.abs(shears), law.cdf).pvalue > 0.01
    assert abs((shears > 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(len(shears))


def test_the_mixture_is_that_of_a_loop_over_images_with_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's images go through the chains one by one, with the draws that the batch had."""
    images, keys = _pictures(24), _keys(24)
    kept: list[Draws] = []
    monkeypatch.setattr(augmix_mix, "draw", lambda *args: kept.append(draw(*args)) or kept[-1])
    looks = AugMix("all").one(images, keys)
    for i, levels in enumerate((images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()):
        expected = mixed(levels, kept[0].weights[i].tolist(), [_chain(kept[0], chain, i) for chain in range(3)])
        off = (looks[i] - torch.from_numpy(expected).permute(2, 0, 1)).abs() * 255
        assert off.mean() < 0.2 and off.quantile(0.98) < 1.5, i  # a level lost in rotating, then equalized, can grow


def _chain(draws: Draws, chain: int, i: int) -> list[tuple[str, float]]:
    """In Pillow's terms."""
    drawn = zip(draws.link[chain, i].tolist(), draws.parameter[chain, i].tolist(), strict=True)
    named = [(list(OPERATIONS)[link], parameter) for link, parameter in drawn if link < len(OPERATIONS)]
    less_than = {"posterize": 4, "solarize": 256}
    return [(name, less_than[name] - int(x) if name in less_than else x) for name, x in named]


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_a_look_belongs_to_the_key_alone(family: AugMix, monkeypatch: pytest.MonkeyPatch) -> None:
    images, keys = _pictures(20), _keys(20)
    together = family.one(images, keys)
    alone = torch.cat([family.one(images[i : i + 1], keys[i : i + 1]) for i in range(20)])
    assert torch.equal(alone, together)
    turned = torch.arange(19, -1, -1)
    monkeypatch.setattr(mixed_chains, "CHUNK", 7 * images[0].numel())
    assert torch.equal(family.one(images[turned], keys[turned]), together[turned])
    assert not torch.equal(family.one(images, random.fold(keys, 3)), together)


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_two_looks_in_range_and_the_images_as_they_were(family: AugMix) -> None:
    images, keys = _pictures(40), _keys(40)
    before = images.clone()
    first, second = family(images, keys)
    assert torch.equal(images, before)
    side = 32 if getattr(family, "size", 24) is None else 24
    for view in (first, second):
        assert view.shape == (40, 3, side, side) and view.dtype == torch.float32
        assert view.min() >= 0 and view.max() <= 1 + 1e-6
    assert (first - second).abs().flatten(1).mean(1).min() > 1e-4  # no pair of looks is twice the same
    assert family.one(images[:0], keys[:0]).shape == (0, 3, side, side)
    assert views.parse(repr(family)) == family


@pytest.mark.parametrize("family", [AugMix("all"), AugMix("all", 20), AugMixMoCo(28)], ids=repr)
def test_grey_images(family: AugMix) -> None:
    images = _pictures(30, 28, channels=1)
    assert family.one(images, _keys(30)).shape[1] == 1


def test_mocos_operations_are_links_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    images, keys = _pictures(200), _keys(200)
    kept: list[Draws] = []
    monkeypatch.setattr(augmix_mix, "draw", lambda *args: kept.append(draw(*args)) or kept[-1])
    AugMixMoCo(32).one(images, keys)
    counts = kept[0].link[:, :, 0].flatten().bincount()
    assert len(counts) == 16 and stats.chisquare(counts.numpy()).pvalue > 0.01


@pytest.mark.parametrize("link", [13, 14, 15], ids=["jitter", "grey", "blur"])
def test_what_mocos_operations_do_in_a_chain(link: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images, keys = _pictures(30), _keys(30)
    only = torch.full((1, 30, 1), link)
    weights = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(30, 2)
    monkeypatch.setattr(augmix_mix, "draw", lambda *_: Draws(weights, only, torch.zeros(1, 30, 1).double()))
    looks = AugMixMoCo(32, width=1, depth=(1, 1)).one(images, keys)
    plain = look(images, random.fold(keys, 0), RandomResizedCrop(32, (0.2, 1.0)), HorizontalFlip())
    grey = rgb_to_grayscale(plain, 3)
    assert torch.allclose((looks * 255).round(), looks * 255, atol=1e-4)  # levels
    match link:
        case 13:
            assert (looks - plain).abs().flatten(1).mean(1).min() > 0.01
            ratio = looks.flatten(1).mean(1) / plain.flatten(1).mean(1)
            assert ratio.min() < 0.8 and ratio.max() > 1.2  # each image has a brightness of its own
        case 14:
            assert (looks - grey).abs().max() < 1 / 255
        case 15:
            expected = [gaussian_blur(x, [17, 17], [0.1 + 0.1 * step]) for x in plain for step in range(20)]
            off = (torch.stack(expected).view(30, 20, 3, 32, 32) - looks[:, None]).abs().amax((2, 3, 4))
            assert off.amin(1).max() < 0.03  # each is the picture blurred by some sigma of the range
            assert off.argmin(1).unique().numel() > 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("'standart'", "did you mean|standard"),
        ("width=0", "width >= 1"),
        ("depth=(3, 1)", "in order"),
        ("depth=(0, 1)", "from 1"),
        ("severity=0.1", "above 0.1"),
        ("severity=11", "at most 10"),
        ("size=0", "at least 1 pixel"),
        ("size=32, scale=(0.5, 0.2)", "ordered"),
    ],
)
def test_settings_out_of_range(settings: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        views.parse(f"AugMix({settings})")


class _Marked:
    """A family whose looks say which it is and which key they had."""

    def __init__(self, mark: float) -> None:
        self.mark = mark
        self.seen: list[Keys] = []

    def __call__(self, images: Images, keys: Keys) -> tuple[Images, Images]:
        raise AssertionError("URRL asks for single looks")

    def one(self, images: Images, keys: Keys) -> Images:
        self.seen.append(keys)
        return images + self.mark


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_urrl_draws_the_family_for_each_image_and_view(p: float) -> None:
    rep, rob = _Marked(1), _Marked(2)
    images = torch.rand(4000, 1, 1, 1)
    looks = [(look - images).round().flatten() for look in URRL(rep, rob, p)(images, _keys(4000))]
    robust = [look == 2 for look in looks]
    for chosen in robust:
        assert abs(chosen.float().mean() - p) <= 4 * (p * (1 - p) / 4000) ** 0.5
    pairs = (robust[0] & robust[1]).float().mean()
    assert abs(pairs - p * p) <= 4 * (p * p * (1 - p * p) / 4000) ** 0.5  # the coins of the two views are independent
    assert sum(map(len, rob.seen)) == sum(int(chosen.sum()) for chosen in robust)  # each did its own images' work only
    assert sum(map(len, rep.seen)) == 8000 - sum(map(len, rob.seen))


def test_urrl_gives_an_image_what_the_family_gives_it() -> None:
    rep, rob = MoCoV2(24), AugMix("all", 24)
    images, keys = _pictures(30), _keys(30)
    mixed = URRL(rep, rob).one(images, keys)
    first, second = (family.one(images, random.fold(keys, use)) for use, family in ((1, rep), (2, rob)))
    robust = random.uniform(random.fold(keys, 0)) < 0.5
    assert 5 < robust.sum() < 25
    assert torch.equal(mixed, torch.where(robust[:, None, None, None], second, first))


def test_urrl_refuses_families_without_single_looks_and_unlike_shapes() -> None:
    with pytest.raises(InputError, match=r"gives none; expected one such as"):
        URRL(views.HorizontalFlip(), AugMix())
    with pytest.raises(InputError, match="probability p in .0, 1., got 1.5"):
        URRL(MoCoV2(24), AugMix(), p=1.5)
    with pytest.raises(InputError, match=r"differ in shape: .*24, 24.*32, 32.*the same size"):
        URRL(MoCoV2(24), AugMix()).one(_pictures(30), _keys(30))


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_on_a_gpu_as_on_the_cpu(family: AugMix, cuda: torch.device) -> None:
    images, keys = _pictures(40), _keys(40)
    off = (family.one(images.to(cuda), keys).cpu() - family.one(images, keys)).abs()
    assert off.mean() < 1e-3
