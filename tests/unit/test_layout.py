"""Kernels in channels_last: where they lie so, that nothing else changes, and networks that do not bear it."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, Preprocessing, load_encoder
from weatherproof.encoders.layout import convolutions_channels_last, quick_convolutions
from weatherproof.evaluation import evaluate
from weatherproof.objectives import StudentTeacher
from weatherproof.operators import RandomMask
from weatherproof.readouts import embed
from weatherproof.training import Plan, harden_encoder

LAST = torch.channels_last
SIDE = 64


class Cut(nn.Module):
    """Takes its map apart by `view`, as many networks do, counts its passes, and makes in the first what it keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 24, 3, stride=4, padding=1), nn.Conv2d(24, 20, 3, 2, 1)
        self.register_buffer("passes", torch.zeros(()))
        self.grid: Tensor | None = None

    def forward(self, pixels: Tensor) -> Tensor:
        self.get_buffer("passes").add_(1)
        if self.grid is None:
            self.grid = torch.linspace(0, 0.1, 16)
        maps = torch.relu(self.second(torch.relu(self.first(pixels)) * self.grid))
        return maps.view(len(maps), -1)


def encoder(body: nn.Module, features: int, side: int = SIDE) -> Encoder:
    return Encoder("own", body, None, feature_dim=features, preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3, side))


def cut() -> Encoder:
    torch.manual_seed(0)
    return encoder(Cut(), 20 * 8 * 8)


def plain(side: int = SIDE) -> Encoder:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 24, 3, stride=2), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 8, 3)
    return encoder(nn.Sequential(*layers), 8, side)


def images(count: int = 12) -> MemoryImages:
    pixels = torch.randint(
        0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    return MemoryImages(pixels, torch.arange(count) % 2, ("a", "b"))


def lies_last(module: nn.Module) -> list[bool]:
    kernels = [own for own in module.parameters() if own.ndim == 4]
    return [kernel.is_contiguous(memory_format=LAST) and not kernel.is_contiguous() for kernel in kernels]


def test_inside_kernels_lie_in_channels_last_and_afterwards_as_they_did() -> None:
    ours = plain()
    before = {name: (own.data_ptr(), own.stride()) for name, own in ours.named_parameters()}
    values = copy.deepcopy(ours.state_dict())
    with pytest.raises(KeyError), quick_convolutions(nn.Sequential(ours), len):
        assert all(lies_last(ours))
        assert all(torch.equal(own, values[name]) for name, own in ours.state_dict().items())
        raise KeyError  # as where a measurement fails
    assert {name: (own.data_ptr(), own.stride()) for name, own in ours.named_parameters()} == before


def test_a_network_that_takes_its_map_apart_by_view_stays_as_it_is_and_is_not_moved_by_the_trial() -> None:
    ours = cut()
    with pytest.raises(RuntimeError, match="view size"):
        copy.deepcopy(ours).to(memory_format=LAST)(torch.zeros(2, 3, SIDE, SIDE))
    with quick_convolutions(ours):
        assert not any(lies_last(ours))
    convolutions_channels_last(both := nn.ModuleList([plain(), ours]))  # the networks of one method, one of which does
    assert not any(lies_last(both))
    assert float(ours.body.get_buffer("passes")) == 0


def test_a_network_that_takes_its_map_apart_by_view_is_hardened_and_measured() -> None:
    damage, objective = RandomMask((0.0, 0.9)), StudentTeacher()
    student = harden_encoder(
        cut(), images(), operator=damage, objective=objective, plan=Plan(1.0, 4, 1e-3, device="cpu"), progress=False
    )
    assert embed(student, images())[0].shape == (12, 1280)


def test_images_in_channels_last_as_files_are_decoded_go_through_every_network() -> None:
    pixels = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for ours in (plain().eval(), cut()):
        assert torch.equal(ours(pixels.contiguous(memory_format=LAST)), ours(pixels))


@pytest.mark.parametrize("make", [plain, cut])
def test_what_is_measured_is_what_the_network_says(make: type) -> None:
    ours: Encoder = make()
    pixels = images().read(torch.arange(12)).float() / 255
    ours.eval()
    with torch.no_grad():
        expected = ours(pixels)
    found, _ = embed(ours, images(), batch_size=5)
    assert torch.allclose(found, expected, atol=1e-5)

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ours, self.lay = ours, list[bool]()

        def forward(self, seen: Tensor) -> Tensor:
            self.lay += lies_last(self.ours)
            return self.ours(seen)[:, :2]

    model = First()
    (record,) = evaluate({"m": model}, images(), metrics=("top1",))
    right = expected[:, :2].argmax(dim=1) == torch.arange(12) % 2
    assert record.value == pytest.approx(float(right.float().mean()))
    assert set(model.lay) == {make is plain}


def test_networks_of_the_libraries_bear_it() -> None:
    for text in ("torchvision:squeezenet1_0@random", "timm:test_resnet@random"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = load_encoder(text, num_classes=10, size=SIDE)
        with quick_convolutions(ours):
            assert any(lies_last(ours)), text


def test_what_looks_at_small_images_stays_as_it_is() -> None:
    with quick_convolutions(ours := plain(side=32)):
        assert not any(lies_last(ours))
