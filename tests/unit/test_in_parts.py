"""A batch in parts against one pass over all of it, where gradients by the pixels are taken, and differentiated."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from weatherproof import load_encoder, random
from weatherproof.data import MemoryImages
from weatherproof.encoders import Encoder, Preprocessing
from weatherproof.errors import InputError
from weatherproof.methods import LayerwiseSimCLR, SimCLR, Supervised, layer_projectors
from weatherproof.methods.feature_contrast import FeatureContrastive
from weatherproof.methods.feature_settings import FeatureSettings
from weatherproof.objectives import InputGradient, NTXent
from weatherproof.objectives.input_gradient import METHODS
from weatherproof.operators import GaussianNoise
from weatherproof.training import Plan, fit
from weatherproof.training.footprint import peak_bytes
from weatherproof.training.passes import passes
from weatherproof.views import Twice

NOISE = GaussianNoise((0.1, 0.4))
PIXELS = torch.randint(0, 256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
IMAGES = MemoryImages(PIXELS, torch.arange(12) % 4)
LAYERS = ("layer1", "layer2", "embedding")


class Body(nn.Module):
    """Smooth, and without what ties images together, unless asked for."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.Tanh())
        self.layer2 = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.Softplus())
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(216, 6))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.last(self.layer2(self.layer1(pixels)))


def encoder(norm: bool = False) -> Encoder:
    with random.framework_seed(1):
        return Encoder("tiny", Body(norm), None, feature_dim=6, preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3, 8))


def penalised(kind: str, way: str, norm: bool = False) -> nn.Module:
    penalty, own = InputGradient(50.0, way), encoder(norm)
    with random.framework_seed(2):
        if kind == "layers":
            projectors = layer_projectors(own, LAYERS)
            return LayerwiseSimCLR(own, Twice(NOISE), projectors, NTXent(), LAYERS, penalty=penalty).double()
        if kind == "views":
            return SimCLR(own, Twice(NOISE), nn.Linear(6, 5), NTXent(), penalty).double()
        return Supervised(own, nn.Linear(6, 4), NOISE, None, penalty).double()


def contrasted() -> nn.Module:
    settings = FeatureSettings(k=40)
    with random.framework_seed(2):
        return FeatureContrastive(
            encoder(), nn.Linear(6, 4), settings.partner("fcl"), settings.objective("fcl"), 0.05, start=0, ramp=0,
            layer="layer1",
        ).double()  # fmt: skip


def trained(method: nn.Module, **how: Any) -> dict[str, Tensor]:
    """Weights after a step of plain SGD."""
    plan = Plan(1.0, 12, 0.05, optimizer="sgd", schedule="constant", momentum=0.0, device="cpu", **how)
    fit(method, IMAGES, plan, progress=False)
    return method.state_dict()


def same(method: nn.Module, **how: Any) -> None:
    start = copy.deepcopy(method.state_dict())
    parted = trained(copy.deepcopy(method), **how)
    for name, value in trained(method).items():
        torch.testing.assert_close(parted[name], value, atol=1e-10, rtol=1e-10, msg=name)
    assert max(float((parted[name] - value).abs().max()) for name, value in start.items()) > 1e-4


@pytest.mark.parametrize("way", METHODS)
@pytest.mark.parametrize("kind", ["views", "layers"])
def test_a_penalty_of_the_whole_batch_in_parts(kind: str, way: str) -> None:
    """The loss ties all images together, each layer's its own way; the weights are those of one big batch."""
    same(penalised(kind, way), micro_batch=5)


def test_other_gradients_by_the_pixels_in_parts() -> None:
    same(penalised("labels", "exact"), micro_batch=5)
    same(contrasted(), micro_batch=5)  # its utility, and a contrast at an inner layer


@pytest.mark.parametrize("way", ["finite", "gradients"])
def test_blocks_once_more_for_a_penalty_without_second_derivatives(way: str) -> None:
    with random.framework_seed(2):
        own = load_encoder("resnet20@random")
        method = SimCLR(own, Twice(NOISE), nn.Linear(64, 5), NTXent(), InputGradient(1.0, way)).double()
    same(method, checkpoint_gradients=True)


def test_an_exact_penalty_is_not_recomputed_by_blocks() -> None:
    for kind in ("views", "layers", "labels"):
        with pytest.raises(InputError, match="micro_batch saves memory, and so does"):
            trained(penalised(kind, "exact"), checkpoint_gradients=True)


@pytest.mark.parametrize("way", METHODS)
def test_batch_normalisation_counts_each_image_once(way: str) -> None:
    method = penalised("layers", way, norm=True)
    with pytest.warns(UserWarning, match="batch normalisation"):
        weights = trained(method, micro_batch=8)
    assert all(value.isfinite().all() for value in weights.values())
    assert weights["encoder.body.layer1.1.num_batches_tracked"] == 3  # parts of the 24 views


@pytest.mark.parametrize(("kind", "share"), [("views", 1 / 3), ("layers", 0.6)])
def test_a_penalty_in_parts_takes_less_memory(kind: str, share: float) -> None:
    """Of a network whose maps are hardly larger than its images, of which each layer's penalty keeps a gradient."""
    method = penalised(kind, "exact")
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    batch = (PIXELS.double() / 255).repeat(4, 1, 1, 1), torch.zeros(48, dtype=torch.int64), torch.arange(48)
    keys = random.keys(0, batch[2])

    def step() -> None:
        method(*batch, keys, lambda rows: rows)["loss"].backward(inputs=weights)

    whole = peak_bytes(step)
    with passes(method, Plan(1.0, 48, 0.1, micro_batch=6), weights):
        assert peak_bytes(step) < share * whole
