"""How a network of the user's own sees: mean and std by its own classifier, more channels, deep pixels, bad manners."""

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import transforms

import weatherproof as wp
from weatherproof.data import MemoryImages, batches
from weatherproof.encoders import Encoder, check_preprocessing, load_encoder
from weatherproof.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*is taken as its classifier")
LEVELS = (40, 90, 140, 190)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

COLOURED = ("snow", "frost", "jpeg_compression", "spatter", "saturate")
PLAIN = [f"Corruption({name!r}, 3)" for name in wp.operators.COMMON_19 if name not in COLOURED]


class Bright(nn.Module):
    """Says which of four levels of brightness a picture has, of pixels that were normalised by 0.45 and 0.226."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        self.fc = nn.Linear(4, 4)
        nn.init.constant_(self.conv.weight, 1 / 3)
        nn.init.zeros_(self.conv.bias)
        with torch.no_grad():
            self.fc.weight.copy_(torch.eye(4))
            self.fc.bias.zero_()

    def forward(self, pixels: Tensor) -> Tensor:
        level = self.conv(pixels).mean(dim=(2, 3))
        centres = (torch.tensor(LEVELS) / 255 - 0.45) / 0.226
        return self.fc(-(level - centres).square())


def shades(count: int = 80) -> MemoryImages:
    labels = torch.arange(count) % 4
    noise = torch.randint(-15, 16, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    pixels = (torch.tensor(LEVELS)[labels].view(-1, 1, 1, 1) + noise).to(torch.uint8)
    return MemoryImages(pixels, labels, ("0", "1", "2", "3"), name="shades")


def bright(mean: float, std: float) -> Encoder:
    return load_encoder(Bright(), mean=mean, std=std, size=8)


def test_the_right_mean_and_std_are_as_good_as_any() -> None:
    found = check_preprocessing(bright(0.45, 0.226), shades())
    assert found.accuracies["as given"] == 1 and found.better is None and found.advice is None
    assert found.images == 80 and list(found.accuracies) == ["as given", "mean=0, std=1", "ImageNet's mean and std"]
    assert str(found).splitlines()[1].split() == ["as", "given", "100.0%"]


def test_wrong_ones_are_told_from_better_ones() -> None:
    encoder = bright(0, 1)
    before = encoder.preprocessing
    found = check_preprocessing(encoder, shades())
    assert found.better == "ImageNet's mean and std" and encoder.preprocessing == before
    assert "mean=0, std=1" not in found.accuracies, "what it was given is not tried twice"
    by_hand = {}
    for name, (mean, std) in {"as given": ((0.0,), (1.0,)), "ImageNet's mean and std": IMAGENET}.items():
        pixels = (shades().pixels.float() / 255 - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
        by_hand[name] = float((Bright()(pixels).argmax(dim=1) == shades().labels).float().mean())
    assert found.accuracies == pytest.approx(by_hand)
    assert (
        found.advice is not None and "right on 25% of 80 images with the mean and std that it was given" in found.advice
    )


def test_outputs_in_another_order_and_few_images() -> None:
    plain = shades()
    turned = MemoryImages(plain.pixels, 3 - plain.labels, plain.classes)
    assert check_preprocessing(bright(0.45, 0.226), turned).accuracies["as given"] == 0
    assert check_preprocessing(bright(0.45, 0.226), turned, outputs=(3, 2, 1, 0)).accuracies["as given"] == 1
    few = check_preprocessing(bright(0, 1), shades(), most=8)
    assert few.images == 8 and few.better is None, "eight images decide nothing"


@pytest.mark.parametrize(
    ("network", "images", "said"),
    [
        (nn.Conv2d(3, 4, 3), shades(), "has no classifier of its own"),
        (Bright(), MemoryImages(shades().pixels), "some without a label"),
        (Bright(), MemoryImages(shades().pixels, shades().labels + 3), "7 classes, and .* 4 outputs"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_refused(network: nn.Module, images: MemoryImages, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_preprocessing(load_encoder(network, mean=0, std=1, size=8), images)


# more channels, and 16 bits


def satellite(path: Path, channels: int = 4, kind: Any = np.uint16, first: bool = False) -> Path:
    """Three classes by which channel is bright: 24 images to learn from and 12 to test on, of 16 x 16 pixels."""
    draws, top = np.random.default_rng(0), 1 if kind == np.float32 else np.iinfo(kind).max
    arrays: dict[str, Any] = {}
    for split, count in (("train", 24), ("test", 12)):
        labels = np.arange(count) % 3
        pixels = draws.random((count, 16, 16, channels)) * 0.5
        pixels[np.arange(count), :, :, labels % channels] += 0.4
        pixels = (pixels * top).astype(kind)
        arrays |= {
            f"{split}_images": pixels.transpose(0, 3, 1, 2) if first else pixels,
            f"{split}_labels": labels[:, None],
        }
    np.savez_compressed(path, **arrays)
    return path


class Bands(nn.Module):
    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, stride=2)

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.relu(self.conv(pixels)).mean(dim=(2, 3))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_an_npz_file_is_read_as_it_is_stored(tmp_path: Path, kind: Any, channels: int) -> None:
    last, first = (satellite(tmp_path / f"{i}.npz", channels, kind, bool(i)) for i in (0, 1))
    images = wp.load_images(f"npz:{last}", "test")
    with np.load(last) as file:
        stored = file["test_images"].astype(np.float64) / (1 if kind == np.float32 else np.iinfo(kind).max)
    (batch,) = batches(images, 12)
    assert (images.channels, images.image_size, images.classes, len(images)) == (
        channels,
        (16, 16),
        ("0", "1", "2"),
        12,
    )
    assert np.abs(batch.images.permute(0, 2, 3, 1).numpy() - stored).max() < 1e-5
    (other,) = batches(wp.load_images(f"npz:{first}", "test"), 12)
    assert torch.equal(batch.images, other.images) and batch.labels.tolist() == [0, 1, 2] * 4


def test_deep_images_of_many_channels_are_resized_channel_by_channel(tmp_path: Path) -> None:
    file = satellite(tmp_path / "s.npz", 5)
    small, whole = (wp.load_images(f"npz:{file}", "test", size=size) for size in ((8, 12), None))
    assert small.image_size == (8, 12) and small.read(torch.arange(2)).dtype == torch.uint16
    plane = whole.read(torch.tensor([3]))[0, 4].numpy().astype(np.float32)
    wanted = np.asarray(Image.fromarray(plane).resize((12, 8), Image.Resampling.BILINEAR, (0, 8 / 3, 16, 40 / 3)))
    assert np.abs(small.read(torch.tensor([3]))[0, 4].numpy().astype(float) - wanted).max() < 1


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pixels": np.zeros((2, 8, 8))}, "holds 'pixels': expected train_images"),
        ({"train_images": np.zeros((2, 8, 8, 3), np.int32)}, "is int32"),
        ({"train_images": np.full((2, 8, 8, 3), 2.5)}, "goes from 2.5 to 2.5: expected floats"),
        ({"train_images": np.full((2, 8, 8, 3), np.nan)}, "expected floats"),
        ({"train_images": np.zeros((2, 8), np.uint8)}, r"is uint8 \[2, 8\]"),
        ({"train_images": np.zeros((2, 8, 8), np.uint8), "train_labels": np.zeros(3, int)}, "3 labels for 2 images"),
        ({"train_images": np.zeros((2, 8, 8), np.uint8), "train_labels": np.zeros((2, 5), int)}, "one whole number"),
        ({"train_images": np.zeros((2, 8, 8), np.uint8), "train_labels": np.array([-1, 0])}, "from 0"),
        ({"train_images": np.array([{}, {}])}, "Object arrays cannot be loaded"),
        ({"test_images": np.zeros((2, 8, 8), np.uint8)}, "has no split 'train': it has test"),
    ],
)  # fmt: skip
def test_what_an_npz_file_cannot_hold_is_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=said) as error:
        wp.load_images(f"npz:{tmp_path / 'a.npz'}")
    assert "\n" not in str(error.value)


def test_npz_files_that_are_none_are_refused(tmp_path: Path) -> None:
    file = satellite(tmp_path / "s.npz")
    (tmp_path / "half.npz").write_bytes(file.read_bytes()[:-200])
    (tmp_path / "text.npz").write_text("no numbers")
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "one.npy", np.zeros(3))
    for name in ("half.npz", "text.npz", "empty.npz", "one.npy", "none.npz", "."):
        with pytest.raises(InputError, match=r"cannot read|is one array|no file"):
            wp.load_images(f"npz:{tmp_path / name}")
    with pytest.raises(InputError, match="stay as they are: leave out channels=3"):
        wp.load_images(f"npz:{file}", channels=3)


def test_channels_come_first_in_memory() -> None:
    with pytest.raises(InputError, match=r"expected uint8 or uint16 pixels \[n, channels, H, W\]"):
        MemoryImages(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))
    assert MemoryImages(torch.zeros(2, 13, 32, 32, dtype=torch.uint16)).channels == 13


@pytest.mark.parametrize("network", [Bands, lambda: timm.create_model("test_resnet", in_chans=4, num_classes=0)])
def test_a_network_of_four_channels_is_hardened_saved_loaded_and_audited(tmp_path: Path, network: Any) -> None:
    file, made = satellite(tmp_path / "s.npz"), network()
    encoder = load_encoder(made, mean=0.5, std=0.25, size=16)
    assert encoder.preprocessing.mean == (0.5,) * 4
    quick: dict[str, Any] = {"test_images": 12, "realizations": 1, "workers": 0, "device": "cpu"}
    harden = {"keep": "hardened", "keep_clean": 0, "epochs": 1, "batch_size": 8, "operator": "RandomMask(0.5)"}
    run = wp.harden(encoder, f"npz:{file}", **harden, **quick, out=tmp_path / "run")
    again = load_encoder(tmp_path / "run", like=encoder).eval()
    pixels = torch.rand(3, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(pixels), run.encoder.eval()(pixels))
    audit = wp.audit(again, f"npz:{file}", operator="GaussianNoise(0.2)", **quick, out=tmp_path / "audit")
    assert audit.records and (tmp_path / "run" / "report.html").is_file()
    with pytest.raises(InputError, match="for 4 channels cannot see images with 3; give images of 4 channels"):
        again(torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize(
    "operator", ["RandomMask(0.5)", "GaussianNoise(0.2)", "GaussianBlur(1.0)", "UniformNoise(0.2)", *PLAIN]
)
def test_operators_that_know_no_colours_take_any_number_of_channels(operator: str) -> None:
    images, keys = torch.rand(3, 5, 16, 16), wp.random.keys(0, torch.arange(3))
    assert wp.operators.parse(operator)(images, keys).shape == images.shape


@pytest.mark.parametrize("name", COLOURED)
def test_corruptions_of_photographs_are_refused_for_other_channels(name: str) -> None:
    with pytest.raises(InputError, match="1 or 3 channels, got 5"):
        wp.operators.Corruption(name, 3)(torch.rand(2, 5, 32, 32), wp.random.keys(0, torch.arange(2)))


# bad manners


class Rude(Bands):
    """Multiplies what it is given in place, drops half of it in train mode."""

    def __init__(self) -> None:
        super().__init__(3)
        self.drop = nn.Dropout(0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        pixels.mul_(2)
        return self.drop(super().forward(pixels))


@pytest.mark.filterwarnings("ignore:Rude changes its pixels")
@torch.no_grad()
def test_a_network_in_train_mode_that_works_in_place_is_read_in_evaluation_mode() -> None:
    network = Rude().train()
    encoder = load_encoder(network, mean=0, std=1, size=16)
    assert network.training and encoder.body.training, "modes stay as they are"
    images = torch.rand(3, 3, 16, 16)
    before = images.clone()
    expected = nn.functional.relu(network.conv(images * 2)).mean(dim=(2, 3))
    torch.testing.assert_close(encoder.eval()(images), expected)
    assert torch.equal(images, before), "the caller's images stay as they are"


def test_a_network_without_numbers_is_refused() -> None:
    with torch.device("meta"):
        network = Bands(3)
    with pytest.raises(InputError, match="its weights are on the device meta, which holds no numbers"):
        load_encoder(network, mean=0, std=1, size=16)


def test_half_precision_anywhere_becomes_float32() -> None:
    network = Bands(3)
    network.conv.half()
    with pytest.warns(UserWarning, match="weights in float16"):
        encoder = load_encoder(network, mean=0, std=1, size=16)
    assert encoder(torch.rand(1, 3, 16, 16)).dtype == torch.float32


def test_a_network_on_another_device_is_copied_to_the_cpu_and_stays_where_it_is(cuda: torch.device) -> None:
    network = Bands(3)
    here = load_encoder(network, mean=0, std=1, size=16).eval()
    there = load_encoder(network.to(cuda), mean=0, std=1, size=16).eval()
    assert {own.device.type for own in network.parameters()} == {"cuda"}
    assert {own.device.type for own in there.parameters()} == {"cpu"}
    pixels = torch.rand(2, 3, 16, 16)
    assert torch.equal(there(pixels), here(pixels))


def test_so_does_an_encoder_and_one_without_numbers_is_refused() -> None:
    encoder = load_encoder("small(width=4)@random", size=16)
    assert load_encoder(encoder) is encoder
    with pytest.raises(InputError, match="the encoder small cannot be used: its weights are on the device meta"):
        load_encoder(encoder.clone().to("meta"))
    half = encoder.clone().half()
    with pytest.warns(UserWarning, match="weights in float16: its copy has them in float32"):
        again = load_encoder(half)
    assert again(torch.rand(1, 3, 16, 16)).dtype == torch.float32 and half.mean.dtype == torch.float16


@pytest.mark.parametrize(
    ("name", "value", "count"), [("conv.weight", torch.nan, "1 NaN of 24"), ("fc.bias", torch.inf, "1 infinite of 4")]
)
def test_numbers_of_no_use_are_refused_by_name(name: str, value: float, count: str) -> None:
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 1), mean=nn.Flatten(), fc=nn.LazyLinear(4)))
    network(torch.rand(1, 3, 16, 16))
    network.get_parameter(name).data.view(-1)[0] = value
    with pytest.raises(InputError, match=f"a Sequential: the weights are not finite numbers, {name} has {count}"):
        load_encoder(network, mean=0, std=1, size=16)


def test_statistics_of_no_use_are_refused_and_masks_are_not() -> None:
    network = nn.Sequential(Bands(3), nn.BatchNorm1d(8))
    network.register_buffer("mask", torch.full((2, 2), -torch.inf))
    assert load_encoder(network, mean=0, std=1, size=16).feature_dim == 8
    network[1].running_var[3] = torch.nan  # type: ignore[index]
    with pytest.raises(InputError, match="1.running_var has 1 NaN of 8"):
        load_encoder(network, mean=0, std=1, size=16)


def test_weights_that_are_not_there_yet_are_made_by_the_first_pictures() -> None:
    encoder = load_encoder(nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU()), mean=0, std=1, size=16)
    assert encoder.feature_dim == 8


def test_a_network_of_other_channels_says_how_many() -> None:
    with pytest.raises(InputError, match="its first layer takes 4 channels: give a mean and a std for each"):
        load_encoder(Bands(4), mean=(0.5,) * 3, std=(0.5,) * 3, size=16)


def test_harden_warns_of_pixels_by_training_images_alone(tmp_path: Path) -> None:
    plain = shades(160)
    for split, part in (("train", slice(0, 120)), ("test", slice(120, 160))):
        for i in range(part.start, part.stop):
            place = tmp_path / "photos" / split / str(i % 4)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(plain.pixels[i].permute(1, 2, 0).numpy()).save(place / f"{i}.png")
    quick: dict[str, Any] = {
        "keep": "hardened", "keep_clean": 0, "epochs": 0.1, "batch_size": 8, "operator": "RandomMask(0.5)",
        "test_images": 8, "realizations": 1, "device": "cpu", "workers": 0,
    }  # fmt: skip
    with pytest.warns(UserWarning, match="right on 25% of 96 images with the mean and std that it was given, and on"):
        wp.harden(bright(0, 1), tmp_path / "photos", **quick, out=tmp_path / "wrong")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        wp.harden(bright(0.45, 0.226), tmp_path / "photos", **quick, out=tmp_path / "right")
    assert not any("own classifier is right on" in str(one.message) for one in said)


# normalisation that is missing, or happens twice


def warnings_of(network: nn.Module, mean: Any, std: Any, size: int) -> list[str]:
    """What is said of the pixels of a network in the hand."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        load_encoder(network, mean=mean, std=std, size=size)
    return [str(one.message) for one in found if "is taken as its classifier" not in str(one.message)]


FAR = "are far from the running statistics of its first batch norm, and with"


@pytest.mark.parametrize("name", ["resnet20", "lite0"])
def test_a_trained_network_tells_a_missing_and_a_double_normalisation(name: str, data_dir: Path) -> None:
    if name == "resnet20":
        (mean, std), size, right = IMAGENET, 32, "ImageNet's mean and std"
        network: nn.Module = load_encoder(f"resnet20@{data_dir / 'resnet20-12fca82f.th'}").body
    else:
        (mean, std), size, right = ((0.5,) * 3, (0.5,) * 3), 128, "mean=0.5, std=0.5"
        network = timm.create_model("tf_efficientnet_lite0")
        network.load_state_dict(load_file(data_dir / "tf_efficientnet_lite0.safetensors"))
    assert warnings_of(network, mean, std, size) == []
    (missing,) = warnings_of(network, 0, 1, size)
    assert f"{FAR} {right} they are near" in missing
    inside = nn.Sequential(nn.Sequential(transforms.Normalize(mean, std)), network)
    assert warnings_of(inside, 0, 1, size) == []
    (twice,) = warnings_of(inside, mean, std, size)
    assert "changes its pixels before its first layer" in twice


class Functional(nn.Module):
    """A network that resizes and normalises by functions alone."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, torch.tensor(mean), torch.tensor(std)

    def forward(self, pixels: Tensor) -> Any:
        resized = nn.functional.interpolate(pixels, (32, 32), mode="bilinear")
        return self.network((resized - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1))


def test_a_double_normalisation_that_no_module_does_is_told_by_the_batch_norm(data_dir: Path) -> None:
    network = Functional(load_encoder(f"resnet20@{data_dir / 'resnet20-12fca82f.th'}").body, *IMAGENET)
    assert warnings_of(network, 0, 1, 48) == []
    (twice,) = warnings_of(network, *IMAGENET, 48)
    assert f"{FAR} mean=0, std=1 they are near" in twice


def test_networks_that_no_batch_norm_speaks_for_are_not_warned_of(data_dir: Path) -> None:
    squeezenet = torchvision.models.squeezenet1_0()
    squeezenet.load_state_dict(torch.load(data_dir / "squeezenet1_0-deepcompression.pth", weights_only=True))
    for network in (squeezenet, torchvision.models.resnet18(), Bands(3)):
        for mean, std in (IMAGENET, (0, 1), (0.5, 0.25)):
            assert warnings_of(network, mean, std, 64) == [], type(network)


class Patches(nn.Module):
    """A linear patch embedding behind transforms."""

    def __init__(self, *before: Any) -> None:
        super().__init__()
        self.before, self.embed = transforms.Compose(before), nn.Linear(3 * 16 * 16, 8)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = nn.functional.unfold(self.before(pixels), 16, stride=16)
        return self.embed(patches.mT)


def test_a_normalisation_of_its_own_is_found_wherever_it_stands_before_the_first_layer() -> None:
    own = transforms.Normalize(*IMAGENET)
    networks = [nn.Sequential(transforms.Resize(24), own, Bands(3)), Patches(own), Patches(transforms.Resize(48), own)]
    for network in networks:
        (twice,) = warnings_of(network, *IMAGENET, 32)
        assert "changes its pixels before its first layer" in twice
        assert warnings_of(network, 0, 1, 32) == []
    assert warnings_of(Patches(transforms.Normalize(0.0, 1.0)), *IMAGENET, 32) == []
