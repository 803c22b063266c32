"""Every encoder keeps the contract: add a row and inherit the checks."""

import json
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from weatherproof.encoders import Encoder, load_encoder, read_weights, save_encoder
from weatherproof.errors import InputError


@dataclass(frozen=True)
class Row:
    text: str
    classes: int | None = 7
    size: int | None = None  # smaller than the encoder's own, where it may be, for speed

    def load(self, seed: int = 0) -> Encoder:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*randomly initialised")
            return load_encoder(f"{self.text}@random", num_classes=self.classes, size=self.size, seed=seed)


TABLE = [
    Row("small"),
    Row("small(width=8, channels=3)", classes=None),
    Row("lenet"),
    Row("resnet18-cifar"),
    Row("resnet50-cifar", size=16),
    Row("resnet20"),
    Row("resnet20(preact=True)"),
    Row("resnet56"),
    Row("resnetv2-50"),
    Row("torchvision:resnet18", size=64),
    Row("torchvision:resnet18", classes=0, size=64),
    Row("torchvision:squeezenet1_0", size=64),
    Row("torchvision:mobilenet_v3_small", size=64),
    Row("torchvision:shufflenet_v2_x0_5", size=64),
    Row("timm:resnet10t", size=64),
    Row("timm:mobilenetv3_small_050", size=64),
    Row("timm:test_byobnet", size=64),  # its classifier is a 1x1 convolution
    Row("timm:vit_tiny_patch16_224", size=64),
    Row("open_clip:RN50-quickgelu/openai", classes=None, size=64),
    Row("open_clip:ViT-S-32-alt", classes=None, size=64),
]


LARGE = ("resnet50-cifar", "resnetv2-50", "resnet56", "open_clip:RN50-quickgelu/openai")


@pytest.fixture(
    scope="module",
    params=[pytest.param(row, marks=[pytest.mark.slow] * (row.text in LARGE)) for row in TABLE],
    ids=lambda row: f"{row.text}-{row.classes}",
)
def row(request) -> Row:
    if request.param.text.startswith("open_clip"):
        pytest.importorskip("open_clip", reason="open_clip is an extra")
    return request.param


@pytest.fixture(scope="module")
def made(row) -> Encoder:
    return row.load()


@pytest.fixture
def encoder(made) -> Encoder:
    """A fresh copy for each check, in eval mode."""
    return made.clone().eval()


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor) -> None:
    """Equal up to the rounding of another order of sums, measured against the largest number."""
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@torch.no_grad()
def test_any_image_becomes_one_embedding(encoder):
    for shape in ((2, 3, 32, 32), (2, 1, 32, 32), (1, 3, 28, 28), (2, 3, 37, 45), (1, 1, 33, 29)):
        out = encoder(pixels(*shape))
        assert out.shape == (shape[0], encoder.feature_dim)
        assert out.dtype == torch.float32 and out.isfinite().all()
    close(encoder(pixels(1, 3, 32, 32).double()), encoder(pixels(1, 3, 32, 32)))


@torch.no_grad()
def test_embeddings_belong_to_the_image(encoder):
    images = pixels(3, 3, 32, 32)
    first = encoder(images)
    assert torch.equal(encoder(images), first)
    assert not torch.allclose(first[0], first[1], rtol=1e-5, atol=0)
    close(encoder(images[1:2]), first[1:2])


@torch.no_grad()
def test_grey_is_rgb_with_equal_channels(encoder):
    grey = pixels(2, 1, 32, 32)
    close(encoder(grey.expand(-1, 3, -1, -1)), encoder(grey))


@torch.no_grad()
def test_own_classifier(row, encoder):
    if row.classes:
        assert encoder.num_classes == row.classes
        assert encoder.logits(pixels(2, 3, 40, 40)).shape == (2, row.classes)
    else:
        assert encoder.num_classes is None and encoder.head is None
        with pytest.raises(InputError, match="no classifier"):
            encoder.logits(pixels(2, 3, 40, 40))


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same(row, encoder, tmp_path):
    encoder = encoder.to(memory_format=torch.channels_last)
    save_encoder(encoder, tmp_path / "run", provenance={"from": "a test"})
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["encoder.json", "encoder.safetensors"]
    settings = json.loads((tmp_path / "run" / "encoder.json").read_text())
    assert settings["provenance"] == {"from": "a test"} and settings["name"] == row.text.partition("(")[0]

    again = load_encoder(tmp_path / "run").eval()
    assert (again.name, again.options, again.feature_dim) == (encoder.name, encoder.options, encoder.feature_dim)
    assert (again.num_classes, again.preprocessing) == (encoder.num_classes, encoder.preprocessing)
    own, read = encoder.state(), again.state()
    assert own.keys() == read.keys() and all(torch.equal(own[k], read[k]) for k in own)
    images = pixels(2, 3, 32, 32)
    close(again(images), encoder(images))

    by_file = load_encoder(f"{row.text}@{tmp_path}/run/encoder.safetensors", size=row.size).eval()
    assert by_file.num_classes == encoder.num_classes  # inferred from the file
    assert torch.equal(by_file(images), again(images))


def test_state_has_the_original_names_and_shares_memory(encoder):
    state = encoder.state()
    assert not any(name.split(".")[0] in ("body", "mean", "std") for name in state)
    assert len(state) == len(encoder.state_dict())
    memory = {value.data_ptr() for value in state.values() if value.numel()}
    assert all(p.data_ptr() in memory for p in encoder.parameters())


@torch.no_grad()
def test_a_clone_shares_nothing(encoder):
    before = encoder(pixels(2, 3, 32, 32))
    twin = encoder.clone()
    assert torch.equal(twin(pixels(2, 3, 32, 32)), before)
    own = {p.data_ptr() for p in (*encoder.parameters(), *encoder.buffers()) if p.numel()}
    assert not any(p.data_ptr() in own for p in (*twin.parameters(), *twin.buffers()) if p.numel())
    for parameter in twin.parameters():
        parameter.mul_(0.5).add_(0.1)
    assert torch.equal(encoder(pixels(2, 3, 32, 32)), before)


def test_gradients_reach_the_pixels_and_every_parameter(encoder):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # some networks start with residual branches at zero, which no gradient passes
        for p in encoder.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    encoder.train()
    images = pixels(4, 3, 32, 32).requires_grad_()
    out = encoder(images)
    (out * torch.randn(out.shape, generator=generator)).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    dead = [name for name, p in encoder.body.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not dead
    silent = [name for name, p in encoder.body.named_parameters() if not p.grad.any()]
    assert not silent


def test_random_weights_come_from_the_seed_alone(row, made):
    before = torch.random.get_rng_state()
    same, other = row.load().state(), row.load(seed=1).state()
    assert torch.equal(torch.random.get_rng_state(), before)
    own = made.state()
    assert all(torch.equal(own[name], same[name]) for name in own)
    assert any(not torch.equal(own[name], other[name]) for name in own)


def test_weights_that_do_not_fit_change_nothing(encoder, tmp_path):
    state = {name: value.clone() + 1 for name, value in encoder.state().items()}
    name, value = next((n, v) for n, v in state.items() if n.endswith("weight"))
    state[name] = value[:-1]
    before = {k: v.clone() for k, v in encoder.state().items()}
    with pytest.raises(InputError, match="1 misshapen"):
        encoder.load_state(state)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state().items())
    torch.save(before, tmp_path / "weights.pth")
    assert read_weights(tmp_path / "weights.pth").keys() == before.keys()
