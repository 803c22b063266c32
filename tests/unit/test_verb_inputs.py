"""What a verb asks of a damage before it makes a run folder."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import weatherproof as wp
from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.errors import InputError
from weatherproof.operators import Chain, GaussianNoise, OneOf, RandomMask, Sometimes
from weatherproof.operators.damages import require_damages
from weatherproof.verbs.inputs import require_works

CPU = torch.device("cpu")


def images() -> MemoryImages:
    return MemoryImages(torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8))


def in_place(pixels: Tensor, keys: Tensor) -> Tensor:
    return pixels.mul_(0.5)


def edges(pixels: Tensor, keys: Tensor) -> Tensor:
    """The same for a picture and its negative, and yet not nothing."""
    return (pixels - pixels.roll(1, -1)).abs()


def grey(pixels: Tensor, keys: Tensor) -> Tensor:
    return torch.full_like(pixels, 0.5)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (in_place, "changes the images that it is given: let it work on images.clone()"),
        (grey, "leaves nothing of an image"),
        (RandomMask(1.0), "leaves nothing of an image"),
        (lambda pixels, keys: pixels / 0, "pixels that are not finite"),
    ],
)
def test_a_damage_that_nothing_can_be_learned_from_is_refused(operator: Callable[..., Tensor], message: str) -> None:
    with pytest.raises(InputError) as caught:
        require_works(operator, images(), CPU)
    assert message in str(caught.value)


@pytest.mark.parametrize("operator", [None, edges, RandomMask(0.9), GaussianNoise(1.0), lambda pixels, keys: pixels])
def test_a_damage_that_leaves_something_is_taken(operator: Callable[..., Tensor] | None) -> None:
    require_works(operator, images(), CPU)
    black = MemoryImages(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    require_works(
        operator if operator is not edges else None, black, CPU
    )  # all alike, and still not the operator's fault


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        (lambda pixels, keys: pixels + 0.1 * torch.randn_like(pixels), "for the same images and keys: let it draw"),
        (lambda pixels, keys: pixels - pixels.mean(dim=0), "for an image alone than beside another one"),
        (GaussianNoise(0.5), None),
        (RandomMask((0.0, 0.9)), None),
    ],
)
def test_draws_that_are_not_from_the_keys_are_warned_of(operator: Callable[..., Tensor], said: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        require_works(operator, images(), CPU)
    assert [said in str(one.message) for one in caught if said is not None] == ([] if said is None else [True])
    assert said is not None or not caught


def nothing(pixels: Tensor, keys: Tensor) -> Tensor:
    return pixels.clone()


def seldom(pixels: Tensor, keys: Tensor) -> Tensor:
    """Damages two images of a hundred."""
    return torch.where((random.uniform(keys) < 0.02)[:, None, None, None], 1 - pixels, pixels)


@pytest.mark.parametrize(
    "operator",
    [Chain(), Sometimes(RandomMask(0.5), 0.0), RandomMask((0.0, 0.0)), nothing, OneOf(nothing, Chain(nothing))],
    ids=["chain", "never", "none", "own", "own in others"],
)
def test_what_damages_no_image_is_refused(operator: Callable[..., Tensor]) -> None:
    with pytest.raises(InputError, match="damages no image of memory"):
        require_damages(operator, images(), CPU)


@pytest.mark.parametrize(
    "operator",
    [Sometimes(RandomMask(0.5), 0.001), OneOf(nothing, RandomMask((0.0, 0.5))), seldom],
    ids=["now and then", "one of two", "own, seldom"],
)
def test_what_damages_some_image_is_taken(operator: Callable[..., Tensor]) -> None:
    require_damages(operator, images(), CPU)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda out: wp.corrupt("digits", corruptions="fogg", severities=3, out=out), "unknown corruption 'fogg'"),
        (lambda out: wp.audit("small@random", "digits", fail_under="top2=0.5", out=out), "top2"),
        (lambda out: wp.pretrain("simclr", "digits", encoder="small", labels=2.0, out=out), "2"),
        (lambda out: wp.shard("digits", split="trian", out=out), "trian"),
    ],
    ids=("corruptions", "fail_under", "labels", "split"),
)
def test_a_single_value_is_a_list_of_one(call: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    """Where lists are asked for: not its letters, and no traceback."""
    with pytest.raises(InputError, match=said):
        call(tmp_path / "run")


def test_a_single_corruption_and_a_single_severity(tmp_path: Path) -> None:
    images = wp.load_images("digits", "test").subset(torch.arange(4))
    for name, corruptions, severities in (("one", "brightness", 3), ("two", ["brightness"], [3])):
        wp.corrupt(images, corruptions=corruptions, severities=severities, layout="imagenet-c", out=tmp_path / name)
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text())["operators"] for name in ("one", "two"))
    assert one == two and list(one) == ["brightness"] and len(one["brightness"]) == 1
