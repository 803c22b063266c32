"""Position by position: the dense term, where maps come from, and how many positions find themselves."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from weatherproof import random
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, adapters, embedded_with_map, load_encoder, map_place
from weatherproof.errors import InputError
from weatherproof.evaluation.positions import position_recall
from weatherproof.methods import Hardening, KeepClean
from weatherproof.objectives import Dense, StudentTeacher, gram_distance, parse_dense, position_distance
from weatherproof.operators import GaussianNoise, RandomMask
from weatherproof.training import Plan, harden_encoder
from weatherproof.views import HorizontalFlip

N = 12
PIXELS = torch.randint(1, 256, (N, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = MemoryImages(PIXELS, torch.arange(N) % 4)
PLAN = Plan(2.0, 6, 1e-3, device="cpu")


def _random(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _load(text: str, size: int | None = None, seed: int = 0) -> Encoder:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*randomly initialised")
        return load_encoder(f"{text}@random", size=size, seed=seed).eval()


def _batch() -> tuple[Tensor, Tensor, Tensor, Tensor, Callable[[Tensor], Tensor]]:
    index = torch.arange(N)
    return PIXELS.float() / 255, index % 4, index, random.keys(3, index), lambda rows: rows


# the equations, with loops


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def test_the_distances_are_their_equations() -> None:
    student, teacher = _random(1, 2, 5, 2, 3), _random(2, 2, 5, 2, 3)
    places = [(row, column) for row in range(2) for column in range(3)]
    for i in range(2):
        s, t = ([maps[i, :, row, column] for row, column in places] for maps in (student, teacher))
        apart = sum(1 - _cosine(a, b) for a, b in zip(s, t, strict=True)) / 6
        gram = sum((_cosine(s[p], s[q]) - _cosine(t[p], t[q])) ** 2 for p in range(6) for q in range(6)) / 36
        assert float(position_distance(student, teacher)[i]) == pytest.approx(apart, rel=1e-5)
        assert float(gram_distance(student, teacher)[i]) == pytest.approx(gram, rel=1e-5)
        assert float(Dense(0.5, gram=3.0)(student, teacher)[i]) == pytest.approx(0.5 * (apart + 3 * gram), rel=1e-5)


def test_a_turned_map_keeps_its_gram_matrix() -> None:
    maps = _random(1, 3, 4, 2, 2)
    turn = torch.linalg.qr(_random(2, 4, 4)).Q
    turned = torch.einsum("dc,bchw->bdhw", turn, maps)
    assert gram_distance(turned, maps).max() < 1e-10 and position_distance(turned, maps).min() > 0.1


@pytest.mark.parametrize("dense", [Dense(), Dense(0.5, gram=2.0)], ids=repr)
def test_its_gradient_is_right_and_of_the_student_alone(dense: Dense) -> None:
    student, teacher = _random(1, 2, 3, 2, 2, dtype=torch.float64), _random(2, 2, 3, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda maps: dense(maps, teacher), student.requires_grad_())
    black = torch.zeros(1, 3, 2, 2, requires_grad=True)
    dense(black, torch.zeros(1, 3, 2, 2)).sum().backward()
    assert black.grad is not None and black.grad.isfinite().all()


def test_bfloat16_maps_are_compared_in_float32() -> None:
    student, teacher = _random(1, 2, 8, 3, 3).bfloat16(), _random(2, 2, 8, 3, 3).bfloat16()
    exact = Dense(gram=1.0)(student.float(), teacher.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Dense(gram=1.0)(student, teacher), exact)


def test_a_weight_or_a_text_makes_a_dense_term() -> None:
    assert parse_dense(0) is parse_dense(0.0) is parse_dense("Dense(0.0)") is None
    assert parse_dense(0.5) == parse_dense("Dense(0.5)") == Dense(0.5)
    assert parse_dense(repr(Dense(0.5, gram=2.0))) == Dense(0.5, gram=2.0)
    for bad in (-1.0, float("nan"), "Dense(1.0, gram=-2)", "Dens()"):
        with pytest.raises(InputError) as caught:
            parse_dense(bad)
        assert "\n" not in str(caught.value)


def test_the_recall_of_positions_counts_those_that_find_themselves() -> None:
    clean = torch.eye(4).view(1, 4, 2, 2)  # position p is the unit vector e_p
    swapped = clean.clone().flatten(2)[:, :, [1, 0, 2, 3]].view(1, 4, 2, 2)
    dark = clean * torch.tensor([1.0, 1.0, 0.0, 1.0]).view(1, 1, 2, 2)  # one position has no direction: no place is it
    found = position_recall(torch.cat([clean, 7 * clean, swapped]), clean.expand(3, -1, -1, -1))
    assert found.tolist() == [1.0, 1.0, 0.5]
    assert position_recall(dark, clean).tolist() == [1.0]  # of equals nobody is nearer
    flat = torch.ones(1, 4, 2, 2)
    assert position_recall(flat, flat).tolist() == [1.0]  # as everywhere, an exact copy is no rival


# where maps come from


@pytest.mark.parametrize(
    ("text", "size", "module", "shape"),
    [
        ("small", None, "block3", (64, 2, 2)),
        ("resnet20", None, "layer3", (64, 4, 4)),
        ("torchvision:squeezenet1_0", 64, "", (512, 3, 3)),
        ("timm:resnet10t", 64, "layer4", (512, 2, 2)),
        ("timm:vit_tiny_patch16_224", 64, "norm", (192, 4, 4)),
        ("open_clip:ViT-S-32-alt", 64, "ln_post", (384, 2, 2)),
    ],
)
def test_the_last_map_comes_from_the_pass_that_embeds(
    text: str, size: int | None, module: str, shape: tuple[int, int, int]
) -> None:
    if text.startswith("open_clip"):
        pytest.importorskip("open_clip", reason="open_clip is an extra")
    encoder = _load(text, size)
    place = map_place(encoder, 16)
    assert (place.module, place.shape) == (module, shape)
    images, passes = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)), []
    handle = encoder.body.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        embeddings, maps = embedded_with_map(encoder, images, place)
        handle.remove()
        assert torch.equal(embeddings, encoder(images)) and len(passes) == 1
        assert maps.shape == (3, *shape) and torch.equal(maps, encoder.see(images, place=place).maps)
    assert not any(part._forward_hooks for part in encoder.modules())


def test_a_map_averaged_over_its_positions_is_the_embedding() -> None:
    encoder = _load("resnet20")
    with torch.no_grad():
        embeddings, maps = embedded_with_map(encoder, torch.rand(2, 3, 16, 16), map_place(encoder, 16))
    torch.testing.assert_close(maps.mean(dim=(2, 3)), embeddings)


def test_tokens_lie_in_rows_of_their_patches() -> None:
    """What only one patch of the image changes most is that patch's place."""
    encoder = _load("timm:vit_tiny_patch16_224", 64)
    images = torch.zeros(1, 3, 64, 64)
    other = images.clone()
    other[:, :, 16:32, 32:48] = 1  # row 1, column 2 of 4 x 4
    with torch.no_grad():
        one, two = (encoder.see(own, place=map_place(encoder)).maps for own in (images, other))
    assert one is not None and two is not None
    assert int((one - two).norm(dim=1).flatten().argmax()) == 1 * 4 + 2


def test_a_network_without_positions_is_refused_in_one_line() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    with pytest.raises(InputError, match="Sequential keeps no positions apart at 32x32 pixels.*dense 0") as caught:
        map_place(flat)
    assert "\n" not in str(caught.value)


# in hardening


def _hardening(dense: Dense | None, **settings: object) -> Hardening:
    student = settings.pop("student", None) or _load("small", seed=1)
    method = Hardening(
        student,
        _load("small"),
        GaussianNoise(0.3),
        StudentTeacher(),
        HorizontalFlip(),
        dense=dense,
        side=16,
        **settings,
    )  # type: ignore[arg-type]
    return method.train()


def test_the_term_is_added_to_the_loss_as_its_equation_says() -> None:
    plain, dense = _hardening(None)(*_batch()), _hardening(Dense(0.5))(*_batch())
    assert "dense" not in plain and dense["dense"] > 0
    torch.testing.assert_close(dense["loss"], plain["loss"] + dense["dense"])
    assert torch.equal(dense["cosine"], plain["cosine"])
    assert not dense["dense"].requires_grad


def test_one_crop_feeds_both_maps() -> None:
    """A student that is the teacher, on images without damage: every position is where it should be, flipped or not."""
    encoder = _load("small")
    method = Hardening(
        encoder.clone(), encoder, RandomMask(0.0), StudentTeacher(), HorizontalFlip(), dense=Dense(), side=16
    ).eval()
    assert method(*_batch())["dense"] < 1e-6


def test_it_goes_with_a_promise_and_with_adapters() -> None:
    kept = _hardening(Dense(), keep=KeepClean(0.4, 0.9))(*_batch())
    assert {"dense", "clean_cosine"} <= kept.keys()
    teacher = _load("timm:vit_tiny_patch16_224", 64)
    student = adapters.parse("LoRA(2)").attach(teacher)
    method = Hardening(student, teacher, GaussianNoise(0.3), StudentTeacher(), dense=Dense(), side=16).train()
    method(*_batch())["loss"].backward()
    trained = [p for p in method.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None and p.grad.isfinite().all() for p in trained)


def test_without_augmentation_the_teacher_is_run_again_for_its_maps() -> None:
    student = harden_encoder(
        _load("small"), IMAGES, operator=GaussianNoise(0.3), objective=StudentTeacher(), plan=PLAN, dense=Dense(),
        progress=False,
    )  # fmt: skip
    assert isinstance(student, Encoder)
    with pytest.raises(InputError, match="a dense term needs its maps: drop the cache"):
        Hardening(
            _load("small", seed=1), _load("small"), GaussianNoise(0.3), StudentTeacher(),
            teacher_embeddings=torch.zeros(N, 128), dense=Dense(),
        )  # fmt: skip
    narrow = _load("small(width=8)")
    narrow.feature_dim = 128  # as if its embedding went on from its map
    with pytest.raises(InputError, match=r"maps of one size.* \[64, 4, 4\] and \[32, 4, 4\]"):
        Hardening(_load("small"), narrow, GaussianNoise(0.3), StudentTeacher(), dense=Dense())
