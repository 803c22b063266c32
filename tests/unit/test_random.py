"""Randomness that belongs to the image."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from weatherproof import random

int64 = st.integers(-(2**63), 2**63 - 1)


def splitmix(x):
    """The finaliser of splitmix64, in Python's unbounded integers."""
    mask = 2**64 - 1
    x &= mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


@given(st.lists(int64, min_size=1, max_size=5), int64)
def test_fold_is_splitmix(values, number):
    keys = random.fold(torch.tensor(values, dtype=torch.int64), number)
    step = 0x9E3779B97F4A7C15
    salt = splitmix(number + step)
    assert [k % 2**64 for k in keys.tolist()] == [splitmix(((v % 2**64) ^ salt) + step) for v in values]


@settings(deadline=None)
@given(st.permutations(range(20)), st.integers(1, 20))
def test_any_order_and_batch_size_gives_the_same_draw(order, size):
    keys = random.keys(3, torch.arange(20))
    order = torch.tensor(order)
    for draw in (
        lambda k: random.uniform(k, 2, 3),
        lambda k: random.integers(k, 7),
        lambda k: random.normal_fields(k, (2, 5, 5)),
        lambda k: random.uniform_fields(k, (4,)),
        lambda k: random.permutations(k, 9),
    ):
        assert torch.equal(torch.cat([draw(keys[part]) for part in order.split(size)]), draw(keys)[order])


def test_draws_have_their_distributions():
    keys = random.keys(0, torch.arange(20000))
    assert stats.kstest(random.uniform(keys).numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(random.uniform(random.fold(keys, 1), 2, 5).numpy(), "uniform", args=(2, 3)).pvalue > 1e-3
    assert stats.chisquare(random.integers(keys, 10).bincount().numpy()).pvalue > 1e-3
    fields = random.normal_fields(keys[:200], (100,))
    assert stats.kstest(fields.flatten().numpy(), "norm").pvalue > 1e-3
    first = random.permutations(keys[:5000], 10)[:, 0]
    assert stats.chisquare(first.bincount().numpy()).pvalue > 1e-3


def test_uses_of_one_key_are_independent():
    keys = random.keys(0, torch.arange(20000))
    a, b = random.uniform(random.fold(keys, 0)), random.uniform(random.fold(keys, 1))
    c = random.uniform(random.keys(1, torch.arange(20000)))
    assert torch.corrcoef(torch.stack([a, b, c])).fill_diagonal_(0).abs().max() < 0.03


def test_permutations_are_permutations_and_epochs_differ():
    rows = random.permutations(random.keys(0, torch.arange(5)), 50)
    assert torch.equal(rows.sort(dim=1).values, torch.arange(50).expand(5, 50))
    assert not torch.equal(random.order(0, 0, 100), random.order(0, 1, 100))
    assert torch.equal(random.order(0, 1, 100), random.order(0, 1, 100))


def test_framework_seed_leaves_no_trace():
    before = torch.get_rng_state()
    with random.framework_seed(1, 2):
        first = torch.rand(3)
    with random.framework_seed(1, 2):
        assert torch.equal(torch.rand(3), first)
    with random.framework_seed(1, 3):
        assert not torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_counted_fields_belong_to_the_image():
    """Whatever the batch and its order; more numbers begin with the same ones."""
    keys = random.keys(3, torch.arange(12))
    whole = random.words(keys, (3, 5, 7))
    order = torch.tensor([5, 2, 11])
    assert torch.equal(random.words(keys[order], (3, 5, 7)), whole[order])
    assert torch.equal(random.words(keys, (200,))[:, :105], whole.flatten(1))
    assert random.words(keys, (1,)).shape == (12, 1)


def test_words_are_uniform_and_independent():
    found = random.words(random.keys(0, torch.arange(64)), (16384,))
    counts = found.flatten().bincount(minlength=65536).double()
    expected = found.numel() / 65536
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 65535) < 5 * (2 * 65535) ** 0.5
    centred = found.double() - 32767.5
    rows = torch.corrcoef(centred)  # between images
    assert (rows - torch.eye(64)).abs().max() < 5 / 16384**0.5
    for lag in (1, 2, 3, 4, 128):  # within an image
        lagged = (centred[:, lag:] * centred[:, :-lag]).mean() / centred.var()
        assert abs(lagged) < 5 / found.numel() ** 0.5


def test_keys_a_step_apart_share_no_words():
    """A counter that started at the key itself would give both images one sequence, shifted."""
    keys = torch.tensor([5, 5 - 7046029254386353131])
    first, second = random.words(keys, (4096,))
    assert (first[4:] == second[:-4]).float().mean() < 0.01
    assert (first[:-4] == second[4:]).float().mean() < 0.01


def test_normals_and_uniforms_have_their_distribution():
    keys = random.keys(1, torch.arange(16))
    normal, uniform = random.normals(keys, (3, 64, 64)).double(), random.uniforms(keys, (3, 64, 64)).double()
    n = normal.numel()
    assert abs(normal.mean()) < 5 / n**0.5
    assert abs(normal.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((normal**4).mean() - 3) < 5 * (96 / n) ** 0.5
    for z in (-3.0, -1.0, 0.5, 2.0, 3.5):
        p = torch.special.ndtr(torch.tensor(z, dtype=torch.float64))
        assert abs((normal < z).double().mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
    assert 0 < uniform.min() and uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert abs(uniform.var() - 1 / 12) < 5 * (1 / 180 / n) ** 0.5


def murmur(x):
    """MurmurHash3's 32-bit finaliser, in Python's own integers."""
    x ^= x >> 16
    x = x * 0x85EBCA6B % 2**32
    x ^= x >> 13
    x = x * 0xC2B2AE35 % 2**32
    return x ^ x >> 16


@given(int64)
def test_words_are_a_hash_of_key_and_place(key):
    low, high = splitmix(key % 2**64) % 2**32, splitmix(key % 2**64) >> 32
    expected = []
    for place in (1, 2, 3):
        x = (murmur(place) ^ low) * 0x85EBCA6B % 2**32
        x = (x ^ x >> 13 ^ high) * 0xC2B2AE35 % 2**32
        x ^= x >> 16
        expected += [x & 0xFFFF, x >> 16]
    assert random.words(torch.tensor([key], dtype=torch.int64), (6,))[0].tolist() == expected


def test_numbers_of_a_huge_image_are_those_of_a_small_one():
    """Beyond what is kept in memory, lanes are hashed anew."""
    key = random.keys(0, torch.arange(1))
    many = random.words(key, (2 * random._MOST_CACHED + 5,))
    assert torch.equal(many[:, :1000], random.words(key, (1000,)))
