"""Embeddings from inner layers, against the network run piece by piece."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from weatherproof.encoders import ENCODERS, Encoder, load_encoder, stages, tapped
from weatherproof.encoders.taps import widths
from weatherproof.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")

STAGES = {
    "small(channels=3)": ("block1", "block2", "block3", "embedding"),
    "lenet": ("pool1", "pool2", "embedding"),
    "resnet20": ("layer1", "layer2", "embedding"),
    "resnet20(preact=True)": ("layer1", "layer2", "embedding"),
    "resnet56": ("layer1", "layer2", "embedding"),
    "resnet18-cifar": ("layer1", "layer2", "layer3", "embedding"),
    "resnet50-cifar": ("layer1", "layer2", "layer3", "embedding"),
    "resnetv2-50": ("layer1", "layer2", "layer3", "embedding"),
    "torchvision:resnet18": ("layer1", "layer2", "layer3", "embedding"),
    "timm:resnet18": ("layer1", "layer2", "layer3", "embedding"),
    "timm:resnetv2_50": ("stages.0", "stages.1", "stages.2", "embedding"),
}
WIDTHS = {
    "small(channels=3)": (16, 32, 64, 128),
    "lenet": (32, 64, 128),
    "resnet20": (16, 32, 64),
    "resnet20(preact=True)": (16, 32, 64),
    "resnet56": (16, 32, 64),
    "resnet18-cifar": (64, 128, 256, 512),
    "resnet50-cifar": (256, 512, 1024, 2048),
    "resnetv2-50": (256, 512, 1024, 2048),
    "torchvision:resnet18": (64, 128, 256, 512),
    "timm:resnet18": (64, 128, 256, 512),
    "timm:resnetv2_50": (256, 512, 1024, 2048),
}


def _images(n: int = 3, side: int = 32) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def _load(name: str) -> Encoder:
    return load_encoder(f"{name}@random", size=64 if ":" in name else None)


def _hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_every_native_encoder_has_stages() -> None:
    assert {name.partition("(")[0] for name in STAGES} >= ENCODERS.keys()


@pytest.mark.parametrize("name", STAGES)
def test_stages_and_their_widths(name: str) -> None:
    encoder = _load(name)
    assert stages(encoder) == STAGES[name]
    modes = [module.training for module in encoder.modules()]
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert widths(encoder, stages(encoder)) == WIDTHS[name]
    assert [module.training for module in encoder.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_a_resnet_run_piece_by_piece() -> None:
    encoder = load_encoder("resnet20").eval()
    images = _images()
    body = encoder.body
    x = relu(body.bn1(body.conv1((images - encoder.mean) / encoder.std)))
    first = body.layer1(x)
    second = body.layer2(first)
    expected = [first.mean(dim=(2, 3)), second.mean(dim=(2, 3)), body.layer3(second).mean(dim=(2, 3))]
    for mine, theirs in zip(tapped(encoder, images, stages(encoder)), expected, strict=True):
        assert torch.equal(mine, theirs)


def test_a_small_net_run_piece_by_piece() -> None:
    encoder = load_encoder("small(channels=3)").eval()
    images = _images()
    maps = [encoder.body.block1(images)]
    for block in (encoder.body.block2, encoder.body.block3):
        maps.append(block(maps[-1]))
    expected = [*(m.mean(dim=(2, 3)) for m in maps), encoder.body.last(maps[-1]).flatten(1)]
    for mine, theirs in zip(tapped(encoder, images, stages(encoder)), expected, strict=True):
        assert torch.equal(mine, theirs)


def test_stages_of_a_lenet_are_not_linear_in_the_pixels() -> None:
    encoder = load_encoder("lenet").eval()
    first, second = torch.rand(2, 1, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    halves = [tapped(encoder, images, ["pool1"])[0] for images in (first, second, (first + second) / 2)]
    assert (halves[2] - (halves[0] + halves[1]) / 2).abs().max() > 1e-3


def test_order_of_the_layers_is_the_callers() -> None:
    encoder = load_encoder("resnet20").eval()
    rows = tapped(encoder, _images(), ["embedding", "layer1", "layer2.0", "layer1"])
    assert [row.shape[1] for row in rows] == [64, 16, 32, 16]
    assert torch.equal(rows[1], rows[3])
    assert torch.equal(rows[0], encoder(_images()))


def test_gradients_flow_through_the_taps() -> None:
    encoder = load_encoder("resnet20")
    images = _images().requires_grad_()
    tapped(encoder, images, ["layer1"])[0].sum().backward()
    assert images.grad is not None and images.grad.any()
    assert encoder.body.layer1[0].conv1.weight.grad is not None
    assert all(p.grad is None for p in encoder.body.layer2.parameters())


def test_the_pass_ends_where_nobody_asks_for_more() -> None:
    encoder = load_encoder("resnet20").eval()
    ran: list[str] = []
    for name in ("layer1", "layer2", "layer3"):
        getattr(encoder.body, name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    short = tapped(encoder, _images(), ["layer2", "layer1"])
    assert ran == ["layer1", "layer2"]
    whole = tapped(encoder, _images(), ["layer2", "layer1", "embedding"])
    assert torch.equal(short[0], whole[0]) and torch.equal(short[1], whole[1])


class Overwriting(nn.Module):
    """A network that works in place on what its layer gave, as some of torchvision's do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.twice, self.unused = nn.ReLU(), nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer1(images)
        x.mul_(0)
        return self.twice(self.twice(self.layer2(x)))


def test_a_map_that_is_overwritten_later() -> None:
    net = Overwriting()
    (rows,) = tapped(net, _images(), ["layer1"])
    torch.testing.assert_close(rows, net.layer1(_images()).mean(dim=(2, 3)))


def test_hooks_go_whatever_happens() -> None:
    encoder = load_encoder("resnet20")
    tapped(encoder, _images(), stages(encoder))
    tapped(encoder, _images(), ["layer1"])
    with pytest.raises(InputError, match="cannot see images with 2"):
        tapped(encoder, _images()[:, :2], stages(encoder))
    with pytest.raises(RuntimeError):
        tapped(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(7, 7)), _images(), ["0", "embedding"])
    net = Overwriting()
    with pytest.raises(InputError):
        tapped(net, _images(), ["layer1", "twice", "embedding"])
    assert _hooks(encoder) == _hooks(net) == 0


def test_layers_that_cannot_be_tapped() -> None:
    net = Overwriting()
    with pytest.raises(InputError, match="names of layers to tap, got none"):
        tapped(net, _images(), [])
    with pytest.raises(InputError, match="no layer 'layr1': expected layer1"):
        tapped(net, _images(), ["layr1"])
    with pytest.raises(InputError, match="twice runs more than once"):
        tapped(net, _images(), ["twice", "embedding"])
    with pytest.raises(InputError, match="does not run its module unused"):
        tapped(net, _images(), ["unused", "embedding"])
    vit = load_encoder("timm:vit_tiny_patch16_224@random", size=32)
    with pytest.raises(InputError, match=r"blocks.0 gives \[3, 5, 192\], expected \[batch, features\] or a map"):
        tapped(vit, _images(), ["blocks.0"])


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "torchvision:squeezenet1_0"])
def test_no_stages(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} has no stages that we know") as caught:
        stages(load_encoder(f"{name}@random", size=32))
    assert len(str(caught.value)) < 400
