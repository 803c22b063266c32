"""The gate: the original to the bit where the gauge says clean, the hardened one inside the range, smooth between."""

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, Gauge, Preprocessing, Reading, load_encoder, map_place, save_encoder
from weatherproof.encoders.adapters import Adaptation, Full, LoRA, Norms, load_adapters, save_adapter, switched
from weatherproof.encoders.gate import Gated, gated
from weatherproof.encoders.gate_fit import SHUT, Clean, fit_gate
from weatherproof.encoders.gauge import KindScale, Settings
from weatherproof.errors import InputError
from weatherproof.operators import OneOf, RandomMask
from weatherproof.verbs.gating import gate_notes

LOW, HIGH = 0.2, 0.6
SETTINGS = Settings((KindScale("RandomMask", 0.0, 1.0, 1.0),), Preprocessing((0.0,) * 3, (1.0,) * 3, None))


class Brightness(Gauge):
    """Says that an image is as damaged as its first pixel is bright, and beyond where its last pixel is white."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)

    def forward(self, images: Tensor) -> Reading:
        extent = images[:, 0, 0, 0]
        nothing = torch.zeros_like(extent)
        return Reading(extent, extent, extent, nothing.long(), nothing, extent, images[:, 0, -1, -1] == 1)


class Zeros(Gauge):
    """Counts black pixels, as a mask leaves them."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__(SETTINGS)
        self.offset = offset

    def forward(self, images: Tensor) -> Reading:
        extent = (images.sum(dim=1) == 0).float().mean(dim=(1, 2)) + self.offset
        return Reading(extent, extent, extent, torch.zeros_like(extent).long(), extent, extent, extent > 5)


class DamagedOrNot(Zeros):
    """Says of every image with a black pixel that it is damaged, and no more."""

    def forward(self, images: Tensor) -> Reading:
        extent = (super().forward(images).extent > 0).float()
        return Reading(extent, extent, extent, extent.long(), extent, extent, extent > 5)


def pair(adaptation: Adaptation, text: str = "resnet20") -> tuple[Encoder, Encoder]:
    with warnings.catch_warnings(action="ignore"):
        original = load_encoder(text, num_classes=3).eval()
    hardened = adaptation.attach(original).eval()
    with torch.no_grad():
        for name, value in hardened.named_parameters():
            if not name.startswith("head") and value.data_ptr() not in {p.data_ptr() for p in original.parameters()}:
                value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(len(name))))
    return original, hardened


def images(*extents: float) -> Tensor:
    pixels = torch.rand(len(extents), 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.9
    pixels[:, 0, 0, 0] = torch.tensor(extents)
    return pixels


every = pytest.mark.parametrize("adaptation", [Full(), LoRA(2), Norms()], ids=repr)


@every
@torch.no_grad()
def test_a_batch_of_one_kind_is_that_of_one_encoder(adaptation: Adaptation) -> None:
    original, hardened = pair(adaptation)
    gate = gated(original, hardened, Brightness(), LOW, HIGH)
    clean, damaged = images(0.0, 0.1, 0.2), images(0.6, 0.7, 3.0)
    assert not torch.allclose(original(damaged), hardened(damaged), atol=1e-3)
    for batch, expected in ((clean, original), (damaged, hardened)):
        assert torch.equal(gate(batch), expected(batch))
        assert torch.equal(gate.logits(batch), expected.logits(batch))
        both, alone = gate.see(batch, judged=True), expected.see(batch, judged=True)
        assert torch.equal(both.embeddings, alone.embeddings) and torch.equal(both.logits, alone.logits)


@every
@torch.no_grad()
def test_a_mixed_batch_gives_each_image_what_its_extent_says(adaptation: Adaptation) -> None:
    original, hardened = pair(adaptation)
    gate = gated(original, hardened, Brightness(), LOW, HIGH)
    extents = (0.5, 0.0, 0.9, 0.3, 0.1, 0.4)
    batch = images(*extents)
    w = torch.tensor([0.84375, 0, 1, 0.15625, 0, 0.5]).view(-1, 1)  # 3 x^2 - 2 x^3 of x = (extent - 0.2) / 0.4
    torch.testing.assert_close(gate.share(batch), w.flatten())
    torch.testing.assert_close(gate(batch), (1 - w) * original(batch) + w * hardened(batch), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gate.logits(batch), original.head(gate(batch)), rtol=1e-4, atol=1e-5)  # type: ignore[misc]
    assert torch.equal(gate(batch)[[1, 4]], original(batch[[0, 1, 3, 4, 5]])[[1, 3]])


@torch.no_grad()
def test_beyond_is_the_hardened_ones_unless_the_image_is_clean() -> None:
    gate = gated(*pair(Norms()), Brightness(), LOW, HIGH)
    batch = images(0.3, 0.1)
    batch[:, 0, -1, -1] = 1
    assert gate.share(batch).tolist() == [1, 0]


def test_each_network_sees_only_the_images_that_need_it() -> None:
    gate = gated(*pair(Full()), Brightness(), LOW, HIGH)
    seen: dict[str, int] = {}
    for name, body in (("original", gate.body), ("hardened", gate.hardened.body)):
        body.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: len(given[0])}))
    for extents, expected in (
        ((0.0, 0.1), {"original": 2}),
        ((0.7, 0.8, 0.9), {"hardened": 3}),
        ((0.0, 0.3, 0.9, 0.8), {"original": 2, "hardened": 3}),
    ):
        seen.clear()
        gate(images(*extents))
        assert seen == expected


@every
@torch.no_grad()
def test_a_map_is_that_of_who_saw_the_image(adaptation: Adaptation) -> None:
    original, hardened = pair(adaptation)
    gate = gated(original, hardened, Brightness(), LOW, HIGH).eval()
    place, batch = map_place(gate, 16), images(0.0, 0.9, 0.3, 0.1, 0.5)
    seen, share = gate.see(batch, place=place), gate.share(batch).view(-1, 1, 1, 1)
    one, two = (own.see(batch, place=place).maps for own in (original, hardened))
    assert seen.maps is not None and one is not None and two is not None
    assert torch.equal(seen.embeddings, gate(batch)) and not torch.equal(one, two)
    torch.testing.assert_close(seen.maps, (1 - share) * one + share * two)


def test_with_an_adapter_there_is_one_backbone() -> None:
    original, hardened = pair(LoRA(2))
    gate = gated(original, hardened, Brightness(), LOW, HIGH)
    backbone, adapter = (sum(p.numel() for p in own.parameters()) for own in (original, hardened))
    assert sum(p.numel() for p in gate.parameters()) == adapter < 1.2 * backbone
    own = {p.data_ptr() for p in gate.parameters()}
    assert not own & {p.data_ptr() for p in (*original.parameters(), *hardened.parameters())}


def test_gradients_reach_the_pixels_and_no_weight_trains() -> None:
    gate = gated(*pair(LoRA(2)), Brightness(), LOW, HIGH)
    gate.requires_grad_(False)
    batch = images(0.0, 0.3, 0.9).requires_grad_()
    gate(batch).square().sum().backward()
    assert batch.grad is not None and bool((batch.grad.flatten(1).abs().amax(dim=1) > 0).all())
    with pytest.raises(InputError, match="does not train"):
        gate.requires_grad_()


@pytest.mark.parametrize("adaptation", [Full(), Norms()], ids=repr)
def test_it_comes_back_whatever_was_in_memory(adaptation: Adaptation, tmp_path: Path) -> None:
    """A network is built without numbers before its own are read: what is there until then may be anything."""
    gate = gated(*pair(adaptation, "timm:test_resnet@random"), Gauge(SETTINGS), LOW, HIGH)
    save_encoder(gate, tmp_path, provenance={})
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        again = load_encoder(tmp_path)
    finally:
        torch.use_deterministic_algorithms(False)
    own, theirs = gate.state(), again.state()
    assert own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)


@every
@torch.no_grad()
def test_saved_loaded_and_cloned_it_is_the_same(adaptation: Adaptation, tmp_path: Path) -> None:
    gauge = Gauge(SETTINGS)
    for value in gauge.buffers():
        if value.is_floating_point() and not value.isnan().any():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.1)
    gauge.platt.copy_(torch.tensor([0.0, 5.0]))  # sees damage everywhere, more or less of it
    gate = gated(*pair(adaptation), gauge, 0.1, 3.0).eval()
    batch = images(*torch.linspace(0, 1, 16).tolist())
    save_encoder(gate, tmp_path, provenance={})
    again = load_encoder(tmp_path).eval()
    assert isinstance(again, Gated) and (again.low, again.high) == ((0.1,), (3.0,))
    assert torch.equal(again.share(batch), gate.share(batch)) and 0 < gate.share(batch).max()
    own, theirs = gate.state(), again.state()
    assert own.keys() == theirs.keys() and all(torch.equal(own[name], theirs[name]) for name in own)
    for twin in (again, gate.clone()):
        assert torch.equal(twin(batch), gate(batch))
    assert load_encoder(tmp_path, num_classes=0).head is None
    file = f"resnet20@{tmp_path}/encoder.safetensors"
    if adaptation == Full():
        with pytest.warns(UserWarning, match="taken is the outermost, not hardened"):
            assert torch.equal(load_encoder(file).eval()(batch), gate.original(batch))
    else:
        with pytest.raises(InputError, match="do not fit resnet20"):  # half of a gate is not its encoder
            load_encoder(file)

    (tmp_path / "gauge.json").unlink()
    with pytest.raises(InputError, match="a gate without its gauge"):
        load_encoder(tmp_path)
    about = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps(about | {"gate": {"low": "x"}}))
    with pytest.raises(InputError, match="does not describe an encoder"):
        load_encoder(tmp_path)


def test_what_cannot_stand_behind_a_gate_is_refused() -> None:
    original, hardened = pair(LoRA(2))
    with pytest.raises(InputError, match="was hardened without one"):
        gated(original, hardened, None, LOW, HIGH)
    with pytest.raises(InputError, match="low < high"):
        gated(original, hardened, Brightness(), 0.5, 0.5)
    with pytest.raises(InputError, match=r"each of the 1 kinds that its gauge tells \(RandomMask\), got 2"):
        gated(original, hardened, Brightness(), (0.5, 0.6), 0.7)
    with pytest.raises(InputError, match="no adapter on"):
        gated(original, switched(hardened, None), Brightness(), LOW, HIGH)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="name is resnet20 and small"):
        gated(original, pair(Full(), "small")[0], Brightness(), LOW, HIGH)
    other = original.clone()
    with torch.no_grad():
        next(other.body.parameters()).add_(1)
    with pytest.raises(InputError, match="belongs to other weights"):
        gated(other, hardened, Brightness(), LOW, HIGH)
    with torch.no_grad():
        next(other.head.parameters()).add_(1)  # type: ignore[union-attr]
    with pytest.raises(InputError, match="one classifier"):
        gated(original, other, Brightness(), LOW, HIGH)
    gate = gated(original, hardened, Brightness(), LOW, HIGH)
    with pytest.raises(InputError, match="a gate already"):
        gated(original, gate, Brightness(), LOW, HIGH)


@pytest.mark.parametrize("adaptation", [LoRA(2), Norms()], ids=repr)
def test_no_adapter_is_put_on_a_gate(adaptation: Adaptation, tmp_path: Path) -> None:
    original, hardened = pair(adaptation)
    save_adapter(hardened, tmp_path, provenance={})
    ways: tuple[Callable[[Encoder], Encoder], ...] = (
        adaptation.attach, lambda on: load_adapters(on, {"a": tmp_path}), lambda on: load_adapters(on, {})
    )  # fmt: skip
    for before in ((original, hardened), (original, pair(Full())[1])):
        gate = gated(*before, Brightness(), LOW, HIGH)
        for put in ways:
            with pytest.raises(InputError, match=r"is a gate .* encoder\.original or encoder\.hardened"):
                put(gate)
        assert torch.equal(load_adapters(gate.original, {"a": tmp_path})(images(0.5)), original(images(0.5)))


class Turned(torch.nn.Module):
    """Embeds an image as a point on a circle, turned away from (1, 0) by slope times the share of black pixels, or by
    the least angle that it ever turns where there are any; where there are any, it lies aside of the circle, too."""

    def __init__(self, slope: float, least: float, aside: float) -> None:
        super().__init__()
        self.slope, self.least, self.aside = torch.nn.Parameter(torch.tensor(slope)), least, aside

    def forward(self, pixels: Tensor) -> Tensor:
        black = (pixels.sum(dim=1) == 0).float().mean(dim=(1, 2))
        angle = self.slope * black + self.least * (black > 0)
        return torch.stack([angle.cos(), angle.sin(), self.aside * (black > 0)], dim=1)


def turned(slope: float, least: float, aside: float = 0.0, *, judged: bool = False) -> Encoder:
    """With a classifier, if judged, that says which of (1, 0) and (0, 1) is nearer and does not look aside."""
    head = torch.nn.Linear(3, 2, bias=False) if judged else None
    if head is not None:
        torch.nn.init.eye_(head.weight).data.mul_(5)
    body = Turned(slope, least, aside)
    return Encoder("turned", body, head, feature_dim=3, preprocessing=SETTINGS.preprocessing, num_classes=2)


PIXELS = torch.randint(1, 256, (400, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("operator", [RandomMask((0.0, 0.95)), RandomMask((0.5, 0.95))], ids=repr)
def test_the_gate_opens_where_the_hardened_one_comes_nearer(operator: RandomMask) -> None:
    # 1 rad x share of black pixels, against 0.3 rad: they cross at 0.3
    (low,), (high,) = fit_gate(turned(1.0, 0.0), turned(0.0, 0.3), MemoryImages(PIXELS), operator, Zeros())
    assert 0.2 < low < 0.3 < high < 0.4


def test_a_gate_stays_shut_where_the_hardened_one_is_no_gain_even_if_all_damage_looks_the_same() -> None:
    worse, shut = (turned(1.0, 0.0), turned(2.0, 0.0)), tuple((end,) for end in SHUT)
    assert fit_gate(*worse, MemoryImages(PIXELS), RandomMask((0.0, 0.95)), Zeros()) == shut
    assert fit_gate(*worse, MemoryImages(PIXELS), RandomMask(0.5), DamagedOrNot()) == shut


class Shaken(torch.nn.Module):
    """Embeds images of one colour around a circle, wider by `radius` (rad, from the pole), where damage shakes them
    along it, the more the more pixels are black."""

    def __init__(self, radius: float, shaking: float) -> None:
        super().__init__()
        self.radius, self.shaking = torch.nn.Parameter(torch.tensor(radius)), shaking

    def forward(self, pixels: Tensor) -> Tensor:
        black = (pixels.sum(dim=1) == 0).float().flatten(1)
        aside = black @ torch.randn(black.shape[1], generator=torch.Generator().manual_seed(1)) / black.shape[1] ** 0.5
        angle = 2 * math.pi * pixels.amax(dim=(1, 2, 3)) + self.shaking * aside
        wide = self.radius.sin()
        return torch.stack([self.radius.cos().expand_as(angle), wide * angle.cos(), wide * angle.sin()], dim=1)


def shaken(radius: float, shaking: float) -> Encoder:
    body = Shaken(radius, shaking)
    return Encoder("shaken", body, None, feature_dim=3, preprocessing=SETTINGS.preprocessing)


@torch.no_grad()
def test_what_holds_images_further_apart_is_not_better_for_that() -> None:
    pixels = PIXELS[:, :1, :1, :1].expand(-1, 3, 8, 8).contiguous()
    asked = MemoryImages(pixels), RandomMask((0.0, 0.95)), Zeros()
    original, hardened = shaken(0.3, 0.05), shaken(0.5, 0.3)

    def contrast(encoder: Encoder) -> float:  # as hardening measures it
        return float(F.cross_entropy(encoder(pixels / 255) @ original(pixels / 255).T / 0.1, torch.arange(len(pixels))))

    assert contrast(hardened) < contrast(original) - 0.2
    assert fit_gate(original, hardened, *asked) == tuple((end,) for end in SHUT)
    (low,), (high,) = fit_gate(shaken(0.3, 0.3), shaken(0.3, 0.05), *asked)
    assert low < high < 0.2, "where fewer lose their neighbours, it opens"


def test_a_gate_that_stays_shut_says_why() -> None:
    both = pair(LoRA(2))
    assert gate_notes(gated(*both, Brightness(), LOW, HIGH), borne=True) == []
    shut = gated(*both, Brightness(), *SHUT)
    (nothing,), (short,) = gate_notes(shut, borne=True), gate_notes(shut, borne=False)
    assert nothing.startswith("the gate stays shut") and "as good under this damage" in nothing
    assert "train for longer" in short and "train" not in nothing


@torch.no_grad()
def test_what_the_gauge_cannot_read_is_the_originals() -> None:
    original, hardened = pair(Full())
    gate = gated(original, hardened, Brightness(), LOW, HIGH)
    batch = images(torch.nan, 0.9)
    assert gate(batch)[0].isnan().all() and torch.equal(gate(batch)[1:], hardened(batch[1:]))


def test_clean_images_keep_their_original() -> None:
    black = PIXELS.clone()
    black[:9, :, :7] = 0  # 9 of 400 clean images look damaged to the gauge, 2 of which are within the half per cent
    black[9:200, :, :4] = 0
    (low,), (high,) = fit_gate(turned(1.0, 0.0), turned(0.0, 0.1), MemoryImages(black), RandomMask((0.0, 1.0)), Zeros())
    assert 0.875 <= low < high
    (low,), (high,) = fit_gate(turned(1.0, 0.0), turned(0.0, 0.1), MemoryImages(PIXELS), RandomMask(0.9), Zeros(7.0))
    assert 7 <= low < high, "a gauge that sees damage everywhere"


def test_a_gate_before_a_classifier_opens_before_its_answers_change() -> None:
    # the original answers otherwise from a quarter of pi on, the hardened one nowhere
    judged = turned(1.0, 0.0, judged=True), turned(0.0, 0.3, 5.0, judged=True)
    asked = MemoryImages(PIXELS), RandomMask((0.0, 0.95)), Zeros()
    (low,), (high,) = fit_gate(*judged, *asked)
    assert low < math.pi / 4 and high < 1
    shut = tuple((end,) for end in SHUT)
    assert fit_gate(*judged, *asked, by="embeddings") == shut
    assert fit_gate(*judged[::-1], *asked) == shut
    bare = turned(1.0, 0.0), turned(0.0, 0.3, 5.0)
    assert fit_gate(*bare, *asked) == shut
    with pytest.raises(InputError, match="no classifier"):
        fit_gate(*bare, *asked, by="answers")


def test_clean_images_that_look_damaged_may_be_the_hardened_ones_where_the_answer_is_the_same() -> None:
    # the original answers otherwise from a share of pi / 4 on, the hardened one nowhere
    judged = turned(1.0, 0.0, judged=True), turned(0.0, 0.3, 5.0, judged=True)
    half, most = PIXELS.clone(), PIXELS.clone()
    half[:100, :, :4], most[:100, :, :7] = 0, 0
    ends = [fit_gate(*judged, MemoryImages(own), RandomMask((0.0, 0.95)), Zeros())[0][0] for own in (half, most)]
    assert ends[0] < 0.5 and ends[1] >= 0.875


@pytest.mark.parametrize("seed", range(20))
def test_what_clean_images_may_lose_against_a_loop(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 700, (), generator=draw))
    extent = torch.rand(count, generator=draw) * (torch.rand(count, generator=draw) < 0.3)
    kind, lost = torch.randint(2, (count,), generator=draw), torch.rand(count, generator=draw).double() ** 3
    clean = Clean(kind, extent, torch.zeros(count, 1), None, lost)
    for own in (0, 1):
        # of all extents at which the gate could begin for every kind, the lowest that costs at most 0.5 % of them
        tried = sorted({0.0, *extent.tolist()})
        begin = next(low for low in tried if float(lost[extent > low].sum()) <= 0.005 * count)
        below = extent[(kind == own) & (extent <= begin)].tolist()
        assert clean.least(own) == max(below, default=0.0)


@pytest.mark.parametrize(
    ("both", "operator", "gauge", "found"),
    [
        (
            (turned(1.0, 0.0), turned(0.0, 0.3)), RandomMask((0.0, 0.95)), Zeros(),
            (0.260869562625885, 0.30434784293174744),
        ),
        ((turned(1.0, 0.0), turned(0.0, 0.1)), RandomMask(0.9), Zeros(7.0), (7.11616849899292, 7.154891490936279)),
        (
            (turned(1.0, 0.0, judged=True), turned(0.0, 0.3, 5.0, judged=True)), RandomMask((0.0, 0.95)), Zeros(),
            (0.0, 0.043478261679410934),
        ),
    ],
)  # fmt: skip
def test_one_kind_has_the_extents_of_a_gate_with_one_pair_for_all(
    both: tuple[Encoder, Encoder], operator: RandomMask, gauge: Gauge, found: tuple[float, float]
) -> None:
    """To the last bit: measured before there were several."""
    assert fit_gate(*both, MemoryImages(PIXELS), operator, gauge) == tuple((end,) for end in found)


MASKED, BLEACHED = 0, 1  # the kinds of `BlackOrWhite`, and the places of its numbers


class BlackOrWhite(Gauge):
    """Two kinds: counts black pixels and white ones, and takes an image for what it has more of."""

    def __init__(self) -> None:
        kinds = (KindScale("RandomMask", 0.0, 1.0, 1.0), KindScale("bleached"))
        super().__init__(Settings(kinds, SETTINGS.preprocessing))

    def forward(self, images: Tensor) -> Reading:
        black, white = ((images == value).all(dim=1).float().mean(dim=(1, 2)) for value in (0, 1))
        extent = torch.maximum(black, white)
        kind = torch.where(extent == 0, 0, torch.where(black >= white, 1 + MASKED, 1 + BLEACHED))
        return Reading(extent, extent, extent, kind, extent, extent, extent > 5)


def bleached(images: Tensor, keys: Tensor) -> Tensor:
    return torch.where(RandomMask((0.0, 0.95))(images, keys).sum(dim=1, keepdim=True) == 0, 1.0, images)


class TurnedByWhite(Turned):
    """Turned as far again as pixels are white; not at all where this is none of its weaknesses."""

    def __init__(self, slope: float, least: float, white: float) -> None:
        super().__init__(slope, least, 0.0)
        self.white = white

    def forward(self, pixels: Tensor) -> Tensor:
        angle = self.white * (pixels == 1).all(dim=1).float().mean(dim=(1, 2))
        x, y, aside = super().forward(pixels).unbind(1)
        return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos(), aside], dim=1)


def by_white(slope: float, least: float, white: float) -> Encoder:
    body = TurnedByWhite(slope, least, white)
    return Encoder("turned", body, None, feature_dim=3, preprocessing=SETTINGS.preprocessing)


def test_each_kind_has_its_own_extents_and_what_the_original_bears_stays_its_own() -> None:
    # masks turn the original by 1 rad x share against 0.3 rad; white pixels leave it, and turn the hardened one
    both, mixed = (by_white(1.0, 0.0, 0.0), by_white(0.0, 0.3, 1.0)), OneOf(RandomMask((0.0, 0.95)), bleached)
    low, high = fit_gate(*both, MemoryImages(PIXELS), mixed, BlackOrWhite())
    assert 0.2 < low[MASKED] < 0.3 < high[MASKED] < 0.4
    assert (low[BLEACHED], high[BLEACHED]) == SHUT
    alone = fit_gate(turned(1.0, 0.0), turned(0.0, 0.3), MemoryImages(PIXELS), RandomMask((0.0, 0.95)), Zeros())
    assert (low[MASKED], high[MASKED]) == (alone[0][0], alone[1][0]), "another kind changes nothing of one"
    nothing, _ = fit_gate(*both, MemoryImages(PIXELS), RandomMask((0.0, 0.95)), BlackOrWhite())
    assert nothing[BLEACHED] == SHUT[0], "no image was taken for it"


def test_clean_images_keep_their_original_over_all_kinds_together() -> None:
    looks_damaged = PIXELS.clone()
    looks_damaged[:3, :, :7] = 0
    looks_damaged[3:6, :, :4] = 255
    both, mixed = (by_white(1.0, 0.0, 1.0), by_white(0.0, 0.1, 0.0)), OneOf(RandomMask((0.0, 1.0)), bleached)
    low, _ = fit_gate(*both, MemoryImages(looks_damaged), mixed, BlackOrWhite())
    told = BlackOrWhite()(looks_damaged.float() / 255)
    given = told.extent > torch.tensor([torch.inf, *low])[told.kind]
    assert given.sum() <= 0.005 * len(PIXELS) and low[MASKED] >= 0.875 and low[BLEACHED] >= 0.5
    assert low[BLEACHED] < 0.875, "a kind is held by the clean images that are taken for it"


class Coloured(Brightness):
    """Of two kinds: the second where the pixel beside the first is bright."""

    def __init__(self) -> None:
        Gauge.__init__(self, BlackOrWhite().settings)

    def forward(self, images: Tensor) -> Reading:
        told = super().forward(images)
        return replace(told, kind=1 + (images[:, 0, 0, 1] > 0.5).long())


@torch.no_grad()
def test_an_image_is_ruled_by_the_extents_of_the_kind_that_it_is_taken_for(tmp_path: Path) -> None:
    original, hardened = pair(Full())
    gate = gated(original, hardened, Coloured(), (LOW, SHUT[0]), (HIGH, SHUT[1])).eval()
    batch = images(0.9, 0.9, 0.4, 0.9)
    batch[:, 0, 0, 1] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    batch[3, 0, -1, -1] = 1  # beyond, of a kind for which it is shut
    torch.testing.assert_close(gate.share(batch), torch.tensor([1.0, 0.0, 0.5, 0.0]))
    torch.testing.assert_close(gate(batch)[[0]], hardened(batch)[[0]])
    torch.testing.assert_close(gate(batch)[[1, 3]], original(batch)[[1, 3]])

    gate.set_gauge(Gauge(BlackOrWhite().settings))
    save_encoder(gate, tmp_path, provenance={})
    about = json.loads((tmp_path / "encoder.json").read_text())
    assert about["gate"] == {"low": [LOW, SHUT[0]], "high": [HIGH, SHUT[1]], "adapter": None}
    again = load_encoder(tmp_path)
    assert isinstance(again, Gated) and (again.low, again.high) == (gate.low, gate.high)
    assert (again.clone().low, again.clone().high) == (gate.low, gate.high)

    def with_gate(**ends: object) -> Encoder:
        (tmp_path / "encoder.json").write_text(json.dumps(about | {"gate": ends | {"adapter": None}}))
        return load_encoder(tmp_path)

    one = with_gate(low=0.1, high=3.0)  # as before there were extents of each kind
    assert isinstance(one, Gated) and (one.low, one.high) == ((0.1, 0.1), (3.0, 3.0))
    assert one.extra_settings() == {"gate": {"low": 0.1, "high": 3.0, "adapter": None}}
    with pytest.raises(InputError, match=r"2 kinds that its gauge tells \(RandomMask, bleached\), got 3"):
        with_gate(low=[0.1, 0.2, 0.3], high=[0.2, 0.3, 0.4])


def test_notes_name_the_kinds_for_which_a_gate_stays_shut_and_those_without_a_level() -> None:
    def notes(*shut: bool) -> list[str]:
        low, high = zip(*(SHUT if own else (LOW, HIGH) for own in shut), strict=True)
        return gate_notes(gated(*both, BlackOrWhite(), low, high), borne=False)

    both = pair(Norms())
    level = "of bleached the gauge tells whether an image is damaged, not how much: there is no curve"
    assert notes(False, False) == [level] and gate_notes(both[0], borne=False) == []
    (masks, told), (either, again) = notes(True, False), notes(True, True)
    assert told == again == level
    assert masks.startswith("the gate stays shut for missing pixels, and") and "bleached" not in masks
    assert either.startswith("the gate stays shut, and all images get the original")


def test_where_a_gate_opens_is_asked_of_a_gauge_on_images() -> None:
    both = turned(1.0, 0.0), turned(0.0, 0.3)
    with pytest.raises(InputError, match="hardened without one"):
        fit_gate(*both, MemoryImages(PIXELS), RandomMask(0.5), None)
    with pytest.raises(InputError, match="holds no images"):
        fit_gate(*both, MemoryImages(PIXELS[:0]), RandomMask(0.5), Zeros())
    with pytest.raises(InputError, match=r"damages no image of memory.*give a damage that does"):
        fit_gate(*both, MemoryImages(PIXELS), lambda pixels, keys: pixels.clone(), Zeros())
