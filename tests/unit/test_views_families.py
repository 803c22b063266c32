"""The families of views: their steps, their draws, and what they leave as it is."""

import pytest
import torch

from weatherproof import random, views
from weatherproof.errors import InputError
from weatherproof.views import (
    AugMix,
    AugMixMoCo,
    HorizontalFlip,
    InstDis,
    Jigsaw,
    MoCoV1,
    MoCoV2,
    RandomResizedCrop,
    SimCLR,
    steps,
)
from weatherproof.views.resampling import transposed

KEYS = random.keys(5, torch.arange(20))
IMAGES = torch.rand(20, 3, 29, 37, generator=torch.Generator().manual_seed(2))
FAMILIES = (SimCLR(24), SimCLR(24, 1.0, blur=True), MoCoV1(24), MoCoV2(24), MoCoV2(24, blur=True), InstDis(24))
LARGE = (SimCLR(96), MoCoV2(96), InstDis(96))

each_family = pytest.mark.parametrize("family", FAMILIES, ids=repr)


def test_the_settings_are_the_papers():
    """../spec: official SimCLR, MoCo v1 and v2, MoCo's notebook for CIFAR, PyContrast's and the original InstDis."""
    written = {
        SimCLR(32): "RandomResizedCrop(32, interpolation='bicubic'), HorizontalFlip(), ColorJitter(brightness=0.4, "
        "contrast=0.4, saturation=0.4, hue=0.1, p=0.8), RandomGrayscale(p=0.2)",
        SimCLR(224): "RandomResizedCrop(224, interpolation='bicubic'), HorizontalFlip(), ColorJitter(brightness=0.8, "
        "contrast=0.8, saturation=0.8, hue=0.2, p=0.8), RandomGrayscale(p=0.2), RandomBlur(kernel_size=23, p=0.5)",
        MoCoV1(224): "RandomResizedCrop(224, scale=(0.2, 1.0)), HorizontalFlip(), RandomGrayscale(p=0.2), "
        "ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4)",
        MoCoV2(224): "RandomResizedCrop(224, scale=(0.2, 1.0)), HorizontalFlip(), ColorJitter(brightness=0.4, "
        "contrast=0.4, saturation=0.4, hue=0.1, p=0.8), RandomGrayscale(p=0.2), RandomBlur(p=0.5)",
        MoCoV2(32): "RandomResizedCrop(32), HorizontalFlip(), ColorJitter(brightness=0.4, "
        "contrast=0.4, saturation=0.4, hue=0.1, p=0.8), RandomGrayscale(p=0.2)",
        InstDis(224): "RandomResizedCrop(224), HorizontalFlip(), "
        "ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4), RandomGrayscale(p=0.2)",
        InstDis(32): "RandomResizedCrop(32, scale=(0.2, 1.0)), HorizontalFlip(p=0.0), RandomGrayscale(p=0.2), "
        "ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4)",
    }
    for family, text in written.items():
        assert ", ".join(map(repr, family.steps)) == text


@pytest.mark.parametrize("family", (*FAMILIES, *LARGE), ids=repr)
def test_a_look_is_the_chain_of_its_steps(family):
    """With the keys that `Chain` gives them."""
    images = IMAGES
    for place, step in enumerate(family.steps):
        images = views.parse(repr(step))(images, random.fold(KEYS, place))
    assert torch.equal(family.one(IMAGES, KEYS), images)


@pytest.mark.parametrize("family", [SimCLR, MoCoV1, MoCoV2, InstDis, AugMixMoCo, lambda size: AugMix("all", size)])
def test_views_that_are_no_squares(family):
    """As far from their own shape as the papers' boxes are from squares, and blurred as the shorter side has it."""
    wide = family((24, 40))
    assert views.parse(repr(wide)) == wide
    assert {tuple(look.shape) for look in wide(IMAGES, KEYS)} == {(20, 3, 24, 40)}
    if isinstance(wide, SimCLR | MoCoV1 | MoCoV2 | InstDis):
        crop, own = wide.steps[0], family(24).steps[0]
        assert crop.scale == own.scale and crop.ratio == pytest.approx((3 / 4 * 40 / 24, 4 / 3 * 40 / 24))
        assert repr(family((160, 96)).steps[1:]) == repr(family(96).steps[1:])


@each_family
def test_two_looks_are_drawn_independently(family):
    first, second = family(IMAGES, KEYS)
    assert first.shape == second.shape == (20, 3, 24, 24)
    assert not torch.isclose(first, second).flatten(1).all(dim=1).any()
    assert torch.equal(first, family.one(IMAGES, random.fold(KEYS, 0)))
    assert torch.equal(second, family.one(IMAGES, random.fold(KEYS, 1)))


@pytest.mark.parametrize("family", (*FAMILIES, SimCLR(23, blur=True), Jigsaw(24)), ids=repr)
def test_a_look_depends_on_the_image_and_its_key_alone(family, monkeypatch):
    """To the last bit, whoever else is in the batch and however many are worked on at a time."""
    before = IMAGES.clone()
    whole = family(IMAGES, KEYS)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(steps, "_CHUNK", 3 * 29 * 37 * 4)
    parts = [family(IMAGES[i], KEYS[i]) for i in order.split([1, 2, 9, 8])]
    for looks, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(looks[order], torch.cat(pieces))
        assert looks.min() >= 0 and looks.max() <= 1 and looks.is_contiguous()
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize("family", (*FAMILIES, Jigsaw(24)), ids=repr)
def test_any_batch_any_memory_format(family):
    assert all(len(look) == 0 for look in family(IMAGES[:0], KEYS[:0]))
    grey = family(IMAGES[:3, :1], KEYS[:3])
    assert all(look.shape[1] == 1 for look in grey)
    last = family(IMAGES.contiguous(memory_format=torch.channels_last), KEYS)
    assert all(torch.equal(a, b) for a, b in zip(last, family(IMAGES, KEYS), strict=True))
    assert not any(look.requires_grad for look in family(IMAGES.clone().requires_grad_(), KEYS))


@pytest.mark.parametrize("family", (*FAMILIES, *LARGE, Jigsaw(255), Jigsaw(60, 10)), ids=repr)
def test_a_family_is_its_text(family):
    assert views.parse(repr(family)) == family


def test_a_family_refuses_what_its_steps_refuse():
    for made in (lambda: SimCLR(0), lambda: SimCLR(32, strength=-1.0), lambda: MoCoV2(0)):
        with pytest.raises(InputError, match="got"):
            made()
    with pytest.raises(InputError, match="more than 8 pixels a side"):
        MoCoV2(8, blur=True)(IMAGES, KEYS)


def test_a_patch_is_a_square_of_its_cell_of_the_crop():
    """Found by search: each patch lies in its cell of the puzzle at one place."""
    family = Jigsaw(60)  # cells of 20 pixels, patches of 15
    crop = RandomResizedCrop(60, (0.6, 1.0))
    boxes = crop.draw(random.fold(KEYS, 0), 29, 37)
    crops = crop.cut(IMAGES, boxes, HorizontalFlip().draw(random.fold(KEYS, 1)))
    puzzles = crops(slice(0, len(IMAGES)), torch.arange(len(IMAGES)))
    patches = family(IMAGES, KEYS)
    assert len(patches) == 9 and {p.shape for p in patches} == {(20, 3, 15, 15)}
    found = []
    for number, batch in enumerate(patches):
        row, column = 20 * (number // 3), 20 * (number % 3)
        cells = puzzles[:, :, row : row + 20, column : column + 20]
        windows = cells.unfold(2, 15, 1).unfold(3, 15, 1)  # batch x channels x 6 x 6 x 15 x 15
        same = (windows - batch[:, :, None, None]).abs().amax(dim=(1, 4, 5)) < 1e-6
        assert (same.flatten(1).sum(dim=1) == 1).all()
        found.append(same.flatten(1).float().argmax(dim=1))
    places = torch.stack(found)
    assert len((places // 6).unique()) == len((places % 6).unique()) == 6
    assert abs((places // 6).float().mean() - 2.5) < 0.5 and abs((places % 6).float().mean() - 2.5) < 0.5


def test_a_jigsaw_has_the_papers_numbers_and_refuses_patches_larger_than_cells():
    assert (Jigsaw(255).side, Jigsaw(96).side, Jigsaw(32).side) == (64, 24, 8)
    for made in (lambda: Jigsaw(2), lambda: Jigsaw(30, 11), lambda: Jigsaw(30, 0)):
        with pytest.raises(InputError, match="jigsaw of"):
            made()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 5, 4), (2, 3, 33, 17), (0, 3, 4, 5)])
def test_planes_are_transposed(shape):
    planes = torch.rand(shape)
    out = transposed(planes)
    assert torch.equal(out, planes.mT) and out.is_contiguous()
    assert torch.equal(transposed(planes.mT), planes)
