"""The networks meet independent implementations: torchvision's, timm's and open_clip's own, and public weights."""

import csv
import itertools
import re
import warnings

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from weatherproof.encoders import Encoder, load_encoder, save_encoder
from weatherproof.encoders.unfilled import on_meta

pytestmark = pytest.mark.filterwarnings("ignore:.*randomly initialised")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def normalised(encoder: Encoder, images: Tensor) -> Tensor:
    p = encoder.preprocessing
    return (images - torch.tensor(p.mean).view(-1, 1, 1)) / torch.tensor(p.std).view(-1, 1, 1)


def trained_a_little(encoder: Encoder) -> Encoder:
    """Weights and batch-norm statistics that differ from the start."""
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
        side = encoder.preprocessing.size or 32
        encoder.train()(torch.rand(4, encoder.preprocessing.channels, side, side))
    return encoder.eval()


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def same_logits_without_the_package(encoder: Encoder, plain: nn.Module, folder) -> None:
    trained_a_little(encoder)
    save_encoder(encoder, folder, provenance={})
    plain.load_state_dict(load_file(folder / "encoder.safetensors"))
    side = encoder.preprocessing.size or 32
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        assert torch.equal(encoder.logits(images), plain.eval()(normalised(encoder, images)))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", None),
        ("squeezenet1_0", None),
        ("mobilenet_v3_small", None),
        ("densenet121", 64),
        pytest.param("convnext_tiny", 64, marks=pytest.mark.slow),
        pytest.param("vit_b_32", 64, marks=pytest.mark.slow),  # the smallest, 88 M parameters
        pytest.param("swin_t", 64, marks=pytest.mark.slow),
    ],
)
def test_torchvision_is_the_plain_model(name, size, tmp_path):
    from torchvision import models

    encoder = load_encoder(f"torchvision:{name}@random", num_classes=5, size=size)
    settings = {"image_size": size} if name.startswith("vit") else {}
    same_logits_without_the_package(encoder, models.get_model(name, num_classes=5, **settings), tmp_path)


@pytest.mark.parametrize("name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.slow)])
def test_inception_has_one_classifier_and_its_own_normalisation(name):
    from torchvision import models

    encoder = load_encoder(f"torchvision:{name}@random", size=96)
    whole = models.get_model(name, aux_logits=True, init_weights=True, transform_input=True).eval()
    encoder.load_state(whole.state_dict())  # the file that torchvision publishes has the auxiliary classifiers too
    encoder.eval()
    assert (encoder.num_classes, encoder.preprocessing.mean) == (1000, (0.5, 0.5, 0.5))
    images = torch.rand(1, 3, 96, 96)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        expected = whole((images - mean) / std)
        torch.testing.assert_close(encoder.logits(images), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_torchvision_older_names():
    encoder = load_encoder("torchvision:densenet121@random")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", k): v + 1 for k, v in encoder.state().items()}
    assert old.keys() != encoder.state().keys()
    new = {k: v + 1 for k, v in encoder.state().items()}
    encoder.load_state(old)
    assert all(torch.equal(v, new[k]) for k, v in encoder.state().items())


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "test_byobnet"])
def test_timm_is_the_plain_model(name, tmp_path):
    import timm

    encoder = load_encoder(f"timm:{name}@random", num_classes=5)
    configured = timm.get_pretrained_cfg(name)
    assert encoder.preprocessing.mean == configured.mean and encoder.preprocessing.std == configured.std
    assert encoder.preprocessing.size == configured.input_size[-1]
    assert encoder.preprocessing.interpolation == configured.interpolation
    same_logits_without_the_package(encoder, timm.create_model(name, num_classes=5), tmp_path)


def test_a_module_at_two_places_keeps_its_numbers_when_shapes_are_asked():
    twice = nn.Linear(4, 4)
    network = nn.Sequential(twice, nn.Sequential(twice, nn.ReLU()))
    before = twice.weight.clone()
    assert on_meta(network, (2, 4)).shape == (2, 4)
    assert torch.equal(twice.weight, before)


def test_timm_without_classes_and_at_another_size():
    encoder = load_encoder("timm:vit_tiny_patch16_224.augreg_in21k@random", num_classes=0, size=32).eval()
    assert encoder.head is None
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 50, 50)).shape == (1, 192)


@pytest.mark.slow
def test_open_clip_is_the_visual_tower_of_the_whole_model(tmp_path):
    open_clip = pytest.importorskip("open_clip", reason="open_clip is an extra")
    from open_clip.model import CLIP

    config = open_clip.get_model_config("ViT-S-32-alt")
    whole = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"]).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pt")
    encoder = load_encoder(f"open_clip:ViT-S-32-alt@{tmp_path}/whole.pt").eval()
    assert encoder.preprocessing.mean == (0.48145466, 0.4578275, 0.40821073)
    images = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(encoder(images), whole.encode_image(normalised(encoder, images)))
    trained_a_little(encoder)
    missing, unexpected = whole.load_state_dict(encoder.state(), strict=False)
    assert not unexpected and not any(name.startswith("visual.") for name in missing)
    with torch.no_grad():
        assert torch.equal(encoder(images), whole.encode_image(normalised(encoder, images)))


def test_open_clip_rn101():
    pytest.importorskip("open_clip", reason="open_clip is an extra")
    encoder = load_encoder("open_clip:RN101/openai@random").eval()
    assert (encoder.feature_dim, encoder.preprocessing.size) == (512, 224)  # with the projection of the attention pool
    assert encoder.body.attnpool.c_proj.out_features == 512


@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_cifar_stem_resnets_are_torchvisions_with_another_stem(depth):
    from torchvision import models

    plain = models.get_model(f"resnet{depth}", num_classes=10)
    plain.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    plain.maxpool = nn.Identity()
    encoder = load_encoder(f"resnet{depth}-cifar", num_classes=10)
    assert encoder.state().keys() == plain.state_dict().keys()
    trained_a_little(encoder)
    plain.load_state_dict(encoder.state())
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder.logits(images), plain.eval()(normalised(encoder, images)))


@pytest.mark.slow
def test_resnetv2_50_is_timms():
    import timm

    encoder = trained_a_little(load_encoder("resnetv2-50", num_classes=10))
    rename = (
        (r"^conv1", "stem.conv"), (r"^layer(\d)\.", lambda m: f"stages.{int(m[1]) - 1}.blocks."),
        (r"downsample\.", "downsample.conv."), (r"\.bn(\d)\.", r".norm\1."), (r"^bn\.", "norm."), (r"^fc", "head.fc"),
    )  # fmt: skip
    plain = timm.create_model("resnetv2_50", num_classes=10)
    state, shapes = {}, {k: v.shape for k, v in plain.state_dict().items()}
    for name, value in encoder.state().items():
        for pattern, new in rename:
            name = re.sub(pattern, new, name)
        state[name] = value.reshape(shapes.get(name, value.shape))  # timm's classifier is a 1x1 convolution
    plain.load_state_dict(state)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.logits(images), plain.eval()(normalised(encoder, images)), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("resnet20", 269_722),  # the public implementation's own count
        ("resnet56", 853_018),
        ("lenet", 832 + 51_264 + 401_536 + 1_290),
    ],
)
def test_parameter_counts(text, count):
    assert parameters(load_encoder(text, num_classes=10)) == count


def test_option_a_shortcut_by_hand():
    block = load_encoder("resnet20").body.layer2[0]
    x = torch.rand(1, 16, 5, 7)
    out = block.shortcut(x)
    assert out.shape == (1, 32, 3, 4)
    assert not out[:, :8].any() and not out[:, 24:].any()
    for c, i, j in itertools.product(range(16), range(3), range(4)):
        assert out[0, 8 + c, i, j] == x[0, c, 2 * i, 2 * j]


def test_lenet_by_hand():
    encoder = load_encoder("lenet", num_classes=15)
    body = encoder.body
    by_hand = nn.Sequential(
        body.conv1,
        nn.ReLU(),
        nn.MaxPool2d(2),
        body.conv2,
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        body.fc1,
        nn.ReLU(),
    )
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(encoder(images), by_hand((images - 0.1307) / 0.3081))


def test_batch_norm_statistics_move_in_training_only():
    encoder = load_encoder("resnet20")
    before = encoder.body.bn1.running_mean.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.eval()(torch.rand(4, 3, 32, 32))
        assert torch.equal(encoder.body.bn1.running_mean, before)
        encoder.train()(torch.rand(4, 3, 32, 32))
    assert not torch.equal(encoder.body.bn1.running_mean, before)


# public weights on real images


def pixels_of(image: Image.Image) -> Tensor:
    rgb = image.convert("RGB")
    return torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8).view(rgb.height, rgb.width, 3).permute(2, 0, 1)


@torch.no_grad()
def top1(encoder: Encoder, images: list[Tensor], labels: list[int]) -> float:
    encoder.eval()
    guesses = [encoder.logits(batch / 255).argmax(1) for batch in torch.stack(images).split(50)]
    return (torch.cat(guesses) == torch.tensor(labels)).float().mean().item()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file", "measured"),
    [("resnet20", "resnet20-12fca82f.th", 0.8103), ("resnet56", "resnet56-4bfd9763.th", 0.8320)],  # SOURCES.md, 10,000
)
def test_public_cifar_weights(name, file, measured, data_dir):
    classes = sorted(folder for folder in (data_dir / "cifar10" / "test").iterdir() if folder.is_dir())
    per_class = 100 if name == "resnet20" else 20
    files = [(path, c) for c, folder in enumerate(classes) for path in sorted(folder.iterdir())[:per_class]]
    encoder = load_encoder(f"{name}@{data_dir / file}")
    assert encoder.num_classes == 10
    images = []
    for path, _ in files:
        with Image.open(path) as image:
            images.append(pixels_of(image))
    four_sigma = 4 * (measured * (1 - measured) / len(files)) ** 0.5
    assert abs(top1(encoder, images, [c for _, c in files]) - measured) < four_sigma


@pytest.mark.data
@pytest.mark.slow
def test_public_squeezenet_weights(data_dir):
    with (data_dir / "imagenet-samples" / "labels.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))[::10]
    images = []
    for row in rows:
        with Image.open(data_dir / "imagenet-samples" / row["filename"]) as image:
            scale = 256 / min(image.size)
            image = image.convert("RGB").resize((round(image.width * scale), round(image.height * scale)))
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            images.append(pixels_of(image.crop((left, top, left + 224, top + 224))))
    encoder = load_encoder(f"torchvision:squeezenet1_0@{data_dir / 'squeezenet1_0-deepcompression.pth'}")
    assert (encoder.feature_dim, encoder.num_classes) == (512, 1000)
    assert abs(top1(encoder, images, [int(row["index"]) for row in rows]) - 0.613) < 0.2  # 4 sigma of 100 images
