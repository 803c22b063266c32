"""Every operator and view keeps the contract: add a row and inherit the checks."""

import atexit
import tempfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weatherproof import operators, random, views
from weatherproof.operators import (
    COMMON_19,
    JPEG,
    Chain,
    CommonCorruptions,
    Contrast,
    Corruption,
    GaussianBlur,
    GaussianNoise,
    MixedChains,
    NonUniformNoise,
    OneOf,
    PatchGaussian,
    RandomMask,
    Sometimes,
    UniformNoise,
)
from weatherproof.views import (
    ColorJitter,
    HorizontalFlip,
    PaddedCrop,
    RandomBlur,
    RandomGrayscale,
    RandomResizedCrop,
    Warp,
)

FOLDER = tempfile.TemporaryDirectory()
atexit.register(FOLDER.cleanup)
STD = f"{FOLDER.name}/std.npy"
np.save(STD, np.linspace(0, 0.3, 256).reshape(16, 16))

TABLE = {
    "mask": RandomMask(0.75),
    "mask range": RandomMask((0.5, 0.95)),
    "noise": GaussianNoise(0.3),
    "noise range": GaussianNoise((0.1, 0.3)),
    "noise without clamp": GaussianNoise(0.3, clip=False),
    "blur": GaussianBlur(1.5),
    "blur range": GaussianBlur((0.5, 2.0), kernel_size=7),
    "jpeg": JPEG(30),
    "jpeg range": JPEG((10, 95)),
    "contrast": Contrast(0.7),
    "contrast range": Contrast((0.0, 0.9)),
    "patch": PatchGaussian(7, 0.5),
    "patch range": PatchGaussian((1, 20), 0.5, fixed_sigma=True),
    "uniform noise": UniformNoise(),
    "non-uniform noise": NonUniformNoise(std=STD),
    **{name: Corruption(name, 3) for name in COMMON_19},
    "fog range": Corruption("fog", (1, 5)),
    "common corruptions without a group": CommonCorruptions(without="weather"),
    "contrast severities": Corruption("contrast", (2, 4)),
    "glass swap": Corruption("glass_blur", 3, glass="swap"),
    "fog as jpeg": Corruption("fog", 3, jpeg_quality=85),
    "chain": Chain(Sometimes(GaussianBlur((0.5, 2.0)), 0.8), Sometimes(GaussianNoise((0.05, 0.5)), 0.8)),
    "one of": OneOf(RandomMask((0.5, 0.95)), GaussianNoise(0.2), GaussianBlur(1.0)),
    "mixed chains": MixedChains(GaussianNoise((0.0, 0.2)), GaussianBlur((0.0, 2.0)), JPEG((20, 90))),
    "crop": RandomResizedCrop(16, (0.2, 1.0)),
    "bicubic crop": RandomResizedCrop(16, interpolation="bicubic"),
    "padded crop": PaddedCrop(),
    "flip": HorizontalFlip(),
    "jitter": ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
    "grey": RandomGrayscale(0.5),
    "random blur": RandomBlur((0.1, 1.5)),
    "warp": Warp(degrees=15, translate=0.1, scale=(0.8, 1.2), shear=0.2, elastic=0.05),
}
IMAGES = torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(0))
KEYS = random.keys(7, torch.arange(24))


each_op = pytest.mark.parametrize("op", TABLE.values(), ids=TABLE.keys())


@each_op
def test_keeps_shape_type_range_and_its_input(op):
    before = IMAGES.clone()
    out = op(IMAGES, KEYS)
    assert out.shape == IMAGES.shape and out.dtype == torch.float32
    if "clip=False" not in repr(op):
        assert out.min() >= -1e-6 and out.max() <= 1 + 1e-6
    assert torch.equal(IMAGES, before)


@each_op
def test_works_on_grey_single_and_odd_images(op):
    for shape in ((3, 1, 16, 16), (1, 3, 16, 16)):
        assert op(torch.rand(shape), random.keys(0, torch.arange(shape[0]))).shape == shape
    if not isinstance(op, RandomResizedCrop | NonUniformNoise):  # made for images of one size
        assert op(torch.rand(2, 3, 13, 19), random.keys(0, torch.arange(2))).shape == (2, 3, 13, 19)


@each_op
def test_is_its_text(op):
    assert views.parse(repr(op)) == op
    assert hash(views.parse(repr(op))) == hash(op)


@each_op
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_draw_belongs_to_the_image(op, data):
    """Same keys, same draw, whatever the batch size and the order."""
    order = torch.tensor(data.draw(st.permutations(range(24))))
    size = data.draw(st.integers(1, 24))
    parts = [op(IMAGES[i], KEYS[i]) for i in order.split(size)]
    torch.testing.assert_close(torch.cat(parts), op(IMAGES, KEYS)[order], rtol=0, atol=1e-6)


@each_op
def test_other_keys_give_other_draws(op):
    if getattr(op, "deterministic", False):
        assert torch.equal(op(IMAGES, KEYS), op(IMAGES, KEYS + 1))
    else:
        assert not torch.equal(op(IMAGES, KEYS), op(IMAGES, random.fold(KEYS, 1)))


@each_op
def test_images_of_one_batch_differ(op):
    same = IMAGES[:1].expand(24, -1, -1, -1)
    out = op(same, KEYS)
    assert (len(out.flatten(1).unique(dim=0)) == 1) == bool(getattr(op, "deterministic", False))


def test_the_table_has_every_public_operator():
    used = " ".join(repr(op) for op in TABLE.values())
    several = {"Twice", "Jigsaw"} | {name for name, made in views.TABLE.items() if hasattr(made, "one")}  # views each
    assert [n for n in {**operators.TABLE, **views.TABLE} if n not in used and n not in several] == []
