"""What an operator drew, told from the keys alone, is what it did to the images."""

import numpy as np
import pytest
import torch

from weatherproof import random
from weatherproof.operators import (
    JPEG,
    Chain,
    Contrast,
    Corruption,
    GaussianBlur,
    GaussianNoise,
    NonUniformNoise,
    OneOf,
    PatchGaussian,
    RandomMask,
    Sometimes,
    UniformNoise,
)
from weatherproof.operators.drawn import drawn, kinds

N = 48
KEYS = random.keys(3, torch.arange(N))
IMAGES = torch.rand(N, 3, 20, 20, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25

LEVELLED = {
    "mask": (RandomMask((0.1, 0.9)), lambda level: RandomMask(level)),
    "one mask": (RandomMask(0.5), lambda level: RandomMask(level)),
    "noise": (GaussianNoise((0.05, 0.5)), lambda level: GaussianNoise(level)),
    "blur": (GaussianBlur((0.5, 2.0)), lambda level: GaussianBlur(level, kernel_size=9)),
    "jpeg": (JPEG((10, 95)), lambda level: JPEG(level)),
    "contrast": (Contrast((0.0, 0.9)), lambda level: Contrast(level)),
    "uniform noise": (UniformNoise(0.2), lambda level: UniformNoise(level)),
    "fog": (Corruption("fog", (1, 5)), lambda level: Corruption("fog", int(level))),
    "one severity": (Corruption("pixelate", 3), lambda level: Corruption("pixelate", int(level))),
}


@pytest.mark.parametrize(("operator", "at"), LEVELLED.values(), ids=LEVELLED.keys())
def test_the_operator_at_the_level_that_is_told_does_the_same_to_the_image(operator, at):
    told, damaged = drawn(operator, KEYS), operator(IMAGES, KEYS)
    assert (told.kind == 1).all()
    for i in range(0, N, 6):
        alone = at(told.level[i].item())(IMAGES[i : i + 1], KEYS[i : i + 1])
        torch.testing.assert_close(alone, damaged[i : i + 1], rtol=0, atol=1e-6)


def test_what_is_told_of_a_mixture_is_seen_in_the_images():
    operator = OneOf(RandomMask((0.2, 0.9)), Sometimes(Contrast((0.3, 0.9)), 0.6), Chain(GaussianNoise((0.1, 0.5))))
    told, damaged = drawn(operator, KEYS), operator(IMAGES, KEYS)
    assert set(told.kind.tolist()) == {0, 1, 2, 3}
    for kind, level, before, after in zip(told.kind.tolist(), told.level.tolist(), IMAGES, damaged, strict=True):
        match kind:
            case 0:
                assert torch.equal(before, after) and np.isnan(level)
            case 1:
                assert abs(int((after[0] == 0).sum()) - level * 400) < 1
            case 2:
                assert abs(float(after.std() / before.std()) - (1 - level)) < 0.05
            case 3:
                assert abs(float((after - before).std()) - level) < 0.35 * level and (after != before).all(dim=0).any()


def test_of_others_it_is_told_whether_they_were_applied():
    chain = Chain(Sometimes(RandomMask(0.5), 0.3), Sometimes(Contrast(0.5), 0.4))
    for operator in (Sometimes(PatchGaussian(40, 0.5, fixed_sigma=True), 0.5), chain):
        told = drawn(operator, KEYS)
        touched = (operator(IMAGES, KEYS) != IMAGES).flatten(1).any(dim=1)
        assert torch.equal(told.kind > 0, touched) and 0 < touched.sum() < N
        assert told.level.isnan().all()

    def darker(images, keys):
        return images / 2

    assert [kind.name for kind in kinds(Sometimes(darker))] == ["darker"] and kinds(darker)[0].scale is None


def test_kinds_of_one_family_are_one_and_span_all_its_levels():
    operator = OneOf(
        RandomMask((0.2, 0.4)), Corruption("fog", 2), RandomMask(0.9), JPEG((20, 80)), Corruption("fog", 4)
    )
    found = kinds(operator)
    assert [kind.name for kind in found] == ["RandomMask", "fog", "JPEG"]
    assert [kind.span for kind in found] == [(0.2, 0.9), (2, 4), (80, 20)]
    assert [kind.end(3, side=32) for kind in found] == [1, 5, 1]
    assert kinds(GaussianBlur((0, 2.0)))[0].end(3, side=32) == 6 and kinds(GaussianBlur(5.0))[0].end(3, side=16) == 5
    told = drawn(operator, KEYS)
    assert set(told.kind.tolist()) == {1, 2, 3} and set(told.level[told.kind == 2].tolist()) == {2, 4}


@pytest.mark.parametrize(
    "operator", [RandomMask(0.5), UniformNoise(0.1), Corruption("snow", 3), JPEG(40)], ids=lambda op: type(op).__name__
)
def test_other_levels_of_a_kind_lie_between_those_asked_for(operator):
    (kind,) = kinds(operator)
    top = kind.span[1]
    other = kind.between(top, kind.end(3, side=32))
    (same,) = kinds(other)
    assert same.name == kind.name
    low, high = sorted((top, kind.end(3, side=32)))
    level = drawn(other, KEYS).level
    assert level.min() >= low - 1e-9 and level.max() <= high + 1e-9 and len(level.unique()) > 1


def test_non_uniform_noise_has_its_fraction(tmp_path):
    np.save(tmp_path / "std.npy", np.full((20, 20), 0.2))
    assert (drawn(NonUniformNoise(0.3, std=str(tmp_path / "std.npy")), KEYS).level == 0.3).all()


def test_functions_of_one_name_are_kinds_of_their_own():
    def camera(factor):
        def camera(images, keys):
            return images * factor

        return camera

    dark, darker, mask = camera(0.5), camera(0.25), RandomMask((0.1, 0.9))
    operator = OneOf(dark, darker, mask, mask)
    names = [kind.name for kind in kinds(operator)]
    assert [name.partition("@")[0] for name in names] == ["camera", "camera", "RandomMask"] and len(set(names)) == 3
    assert [kind.name for kind in kinds(OneOf(dark, mask))] == ["camera", "RandomMask"]
    images = torch.ones(len(KEYS), 1, 8, 8)
    seen = operator(images, KEYS).amax(dim=(1, 2, 3))
    wanted = torch.where(seen == 0.5, 1, torch.where(seen == 0.25, 2, 3))
    assert torch.equal(drawn(operator, KEYS).kind, wanted) and set(wanted.tolist()) == {1, 2, 3}
