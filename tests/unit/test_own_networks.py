"""Networks of the user's own: in the hand, from a file, and back again; held against the network itself."""

import copy
import json
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

import weatherproof as wp
from weatherproof.cli import main
from weatherproof.encoders import Encoder, Preprocessing, load_encoder, save_encoder
from weatherproof.encoders.adapters import LoRA, merged
from weatherproof.errors import InputError
from weatherproof.verbs.outcome import Outcome

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
NORMALISED = (IMAGES - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
pytestmark = pytest.mark.filterwarnings("ignore:.*is taken as its classifier")


class Body(nn.Module):
    """Six features of an image, given in one of many ways."""

    def __init__(self, way: str = "pooled", channels: int = 3) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(channels, 6, 3, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)
        if way == "class token":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 6))

    def forward(self, pixels: Tensor) -> Any:
        if self.way == "in place":
            pixels.mul_(2)
        maps = F.relu(self.norm(self.conv(pixels)))
        pooled, tokens = maps.mean(dim=(2, 3)), maps.flatten(2).mT
        match self.way:
            case "map":
                return maps
            case "tokens":
                return tokens
            case "class token":
                return torch.cat([pooled[:, None] + self.cls_token, tokens], dim=1)
            case "tuple":
                return pooled, maps
            case "mapping":
                return OrderedDict(last_hidden_state=tokens, pooler_output=pooled)
            case "only tokens in a mapping":
                return {"hidden_states": None, "last_hidden_state": tokens}
            case "classifier":
                return self.fc(pooled)
            case "half precision":
                return pooled.half()
            case "no gradient":
                return pooled.detach()
            case "classifier in a mapping":
                return {"logits": self.fc(pooled)}
            case "nothing":
                return None
            case "numbers of a batch":
                return pooled.sum()
            case "not a number":
                return pooled * torch.nan
            case "constant":
                return torch.ones_like(pooled)
            case "two heads":
                return (self.fc(pooled) + self.fc(2 * pooled)) / 2
        return pooled


def network_and_encoder(way: str = "pooled", **given: Any) -> tuple[Body, Encoder]:
    torch.manual_seed(3)
    network = Body(way).eval()
    return network, load_encoder(network, **({"mean": MEAN, "std": STD, "size": 32} | given)).eval()


@pytest.mark.parametrize(
    "way", ["pooled", "map", "tokens", "class token", "tuple", "mapping", "only tokens in a mapping", "in place"]
)
@pytest.mark.filterwarnings("ignore:Body changes its pixels before its first layer")
@torch.no_grad()
def test_the_embedding_is_what_the_network_gives(way: str) -> None:
    network, encoder = network_and_encoder(way)
    taken = NORMALISED * 2 if way == "in place" else NORMALISED
    expected = F.relu(network.norm(network.conv(taken))).mean(dim=(2, 3))
    torch.testing.assert_close(encoder(IMAGES), expected)
    assert (encoder.name, encoder.feature_dim, encoder.head) == ("module:Body", 6, None)
    assert encoder.state().keys() == network.state_dict().keys()
    torch.testing.assert_close(encoder.clone()(IMAGES), encoder(IMAGES))


@pytest.mark.parametrize("way", ["classifier", "classifier in a mapping"])
@torch.no_grad()
def test_a_last_linear_layer_is_the_networks_classifier(way: str) -> None:
    with pytest.warns(UserWarning, match=r"Body: its last layer, fc \(6 to 4\), is taken as its classifier"):
        network, encoder = network_and_encoder(way)
    expected = network(NORMALISED)
    torch.testing.assert_close(encoder.logits(IMAGES), expected if way == "classifier" else expected["logits"])
    assert (encoder.feature_dim, encoder.num_classes) == (6, 4)
    assert encoder.state().keys() == network.state_dict().keys()
    assert load_encoder(network, mean=MEAN, std=STD, size=32, num_classes=0).head is None
    assert isinstance(network.fc, nn.Linear), "the network that was given stays as it is"


def test_what_two_heads_give_together_is_an_embedding() -> None:
    assert network_and_encoder("two heads")[1].head is None and network_and_encoder("two heads")[1].feature_dim == 4


@torch.no_grad()
def test_torchvisions_resnet_in_the_hand_is_the_one_by_its_name(tmp_path: Path) -> None:
    import torchvision
    from safetensors.torch import save_file

    network = torchvision.models.resnet18().eval()
    save_file(network.state_dict(), tmp_path / "resnet18.safetensors")
    by_name = load_encoder(f"torchvision:resnet18@{tmp_path / 'resnet18.safetensors'}", size=64).eval()
    expected = by_name.preprocessing
    in_hand = load_encoder(network, mean=expected.mean, std=expected.std, size=64).eval()
    images = torch.rand(2, 3, 80, 80, generator=torch.Generator().manual_seed(1))
    assert torch.equal(in_hand(images), by_name(images)) and torch.equal(in_hand.logits(images), by_name.logits(images))


def test_timms_networks_say_what_they_expect() -> None:
    import timm

    network = timm.create_model("vit_tiny_patch16_224", img_size=48, num_classes=5)
    encoder = load_encoder(network, size=48)
    assert encoder.preprocessing == Preprocessing((0.5,) * 3, (0.5,) * 3, 48, interpolation="bicubic")
    assert (encoder.feature_dim, encoder.num_classes) == (192, 5)


def test_grey_and_one_number_for_all_channels() -> None:
    grey = load_encoder(Body(channels=1), mean=(0.5,), std=(0.5,), size=32).eval()
    assert grey(torch.rand(2, 3, 32, 32)).shape == (2, 6)
    assert network_and_encoder(mean=0, std=1)[1].preprocessing.mean == (0.0, 0.0, 0.0)


class Normalising(Body):
    def forward(self, pixels: Tensor) -> Any:
        return super().forward((pixels - 0.45) / 0.22)


def test_pixels_that_are_normalised_twice_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"changes its pixels before its first layer.*normalised twice; give mean=0"):
        load_encoder(Normalising(), mean=MEAN, std=STD, size=32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_encoder(Normalising(), mean=0, std=1, size=32)
        load_encoder(Body(), mean=MEAN, std=STD, size=32)


def test_half_precision_becomes_float32_and_constant_embeddings_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="has weights in bfloat16: its copy has them in float32"):
        encoder = load_encoder(Body().bfloat16(), mean=MEAN, std=STD, size=32)
    assert {own.dtype for own in encoder.parameters()} == {torch.float32}
    with pytest.warns(UserWarning, match="the same embedding for two different pictures"):
        network_and_encoder("constant")


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, partial(torch.compile, backend="eager")], ids=["parallel", "compiled"]
)
@torch.no_grad()
def test_what_wraps_a_network_is_taken_off(wrap: Callable[[nn.Module], nn.Module]) -> None:
    network, encoder = network_and_encoder("classifier")
    given = load_encoder(wrap(network), mean=MEAN, std=STD, size=32).eval()
    assert (given.name, given.state().keys()) == ("module:Body", network.state_dict().keys())
    assert torch.equal(given(IMAGES), encoder(IMAGES))
    assert load_encoder(wrap(encoder)) is encoder


@torch.no_grad()
def test_an_encoder_in_the_hand_sees_another_size_or_says_why_not(tmp_path: Path) -> None:
    _, encoder = network_and_encoder("pooled")
    larger, images = load_encoder(encoder, size=48), torch.rand(2, 3, 48, 48)
    assert torch.equal(larger(images), encoder.body((images - encoder.mean) / encoder.std))
    assert (encoder.preprocessing.size, larger.preprocessing.size) == (32, 48)
    assert load_encoder(encoder) is load_encoder(encoder, size=32) is encoder
    vit = load_encoder("timm:vit_tiny_patch16_224(depth=1)@random", size=32).eval()
    save_encoder(vit, tmp_path, provenance={})
    assert torch.equal(load_encoder(vit, size=48)(images), load_encoder(tmp_path, size=48)(images))
    with pytest.raises(InputError, match="lenet cannot see 48x48 pixels .*: load it at that size"):
        load_encoder(load_encoder("lenet@random"), size=48)
    for given in ({"mean": 0, "std": 1}, {"num_classes": 3}):
        with pytest.raises(InputError, match="module:Body has a mean, std and classes of its own: leave them out"):
            load_encoder(encoder, **given)


class Locked(Body):
    def __deepcopy__(self, memo: object) -> "Locked":
        raise TypeError("cannot pickle a lock")


class Stateful(Body):
    def get_extra_state(self) -> object:
        return {"step": 3}


@pytest.mark.parametrize(
    ("network", "given", "said"),
    [
        (Body(), {"mean": None, "std": None}, "does not say what pixels it expects: wp.load_encoder"),
        (Body(), {"std": None}, "mean and std go together"),
        (Body(), {"mean": float("nan")}, r"expected a finite mean for each channel, got \(nan, nan, nan\)"),
        (Body(), {"std": (0.2, float("nan"), 0.2)}, "expected a finite std above 0 for each channel"),
        (Body(), {"std": 0}, "expected a finite std above 0 for each channel"),
        (Body(), {"mean": "grey"}, "mean and std are numbers in units of .0, 1., got 'grey'"),
        (Body(), {"mean": (123.7, 116.3, 103.5)}, "in units of 0 to 255: divide by 255"),
        (Body(), {"mean": (0.5,), "std": (0.5,)}, r"fails on pixels of shape \[2, 1, 32, 32\]: RuntimeError"),
        (Body("nothing"), {}, "Body gives a NoneType for 2 images: expected a tensor"),
        (Body("numbers of a batch"), {}, r"Body gives torch.float32 of shape \[\] for 2 images"),
        (Body("not a number"), {}, "numbers that are not finite"),
        (nn.Flatten(), {}, "a Flatten has no weights"),
        (Stateful(), {}, r"keeps what is no tensor in its state \(_extra_state\), which no weights file holds"),
        (Locked(), {}, "cannot be copied: TypeError: cannot pickle a lock"),
        (7, {"mean": None, "std": None}, "a run folder or a torch.nn.Module, got a int"),
        ("small", {}, "mean and std are those of a network in the hand: 'small' has its own"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(network: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        load_encoder(network, **({"mean": MEAN, "std": STD, "size": 32} | given))
    assert "\n" not in str(error.value)


# and back again


@torch.no_grad()
def test_a_network_in_the_hand_comes_back_with_one_of_its_build(tmp_path: Path) -> None:
    _, encoder = network_and_encoder("classifier")
    save_encoder(encoder, tmp_path, provenance={})
    with pytest.raises(InputError, match=r"is a Body that was given as a network.*like=network"):
        load_encoder(tmp_path)
    for like in (Body("classifier"), encoder):
        again = load_encoder(tmp_path, like=like).eval()
        assert torch.equal(again.logits(IMAGES), encoder.logits(IMAGES))
        assert again.preprocessing == encoder.preprocessing
    with pytest.raises(InputError, match="do not fit"):
        load_encoder(tmp_path, like=nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(5400, 4)))
    with pytest.raises(InputError, match="fails on pixels of shape"):
        load_encoder(tmp_path, like=Body("classifier", channels=4))


def test_embeddings_of_another_precision_become_float32() -> None:
    network, encoder = network_and_encoder("half precision")
    assert encoder(IMAGES).dtype == torch.float32
    assert torch.equal(encoder(IMAGES), network(NORMALISED).float())


def test_what_gives_no_gradient_is_not_trained(tmp_path: Path) -> None:
    _, encoder = network_and_encoder("no gradient")
    given: dict[str, Any] = {"epochs": 1, "batch_size": 16, "workers": 0, "device": "cpu", "out": tmp_path / "run"}
    for train in (
        lambda: wp.harden(encoder, "digits", operator="RandomMask(0.5)", **given),
        lambda: wp.train("supervised", "digits", encoder=encoder, **given),
    ):
        with pytest.raises(InputError, match="no gradient reaches the weights of module:Body: it computes without"):
            train()
        assert not (tmp_path / "run").exists()


@torch.no_grad()
def test_an_expanded_buffer_comes_back_and_is_merged(tmp_path: Path) -> None:
    network = Body()
    network.register_buffer("grid", torch.rand(6).expand(4, 6))
    network.register_forward_hook(lambda own, _, output: output + own.grid[0])
    encoder = load_encoder(network, mean=MEAN, std=STD, size=32).eval()
    save_encoder(encoder, tmp_path, provenance={})
    for again in (load_encoder(tmp_path, like=network), merged(LoRA(2).attach(encoder))):
        assert torch.equal(again(IMAGES), encoder(IMAGES))


FILE = """
import torch, weatherproof as wp
from torch import nn

def make():
    return wp.load_encoder(nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU()), mean=0.5, std=0.25, size=32)

def silent():
    return nn.Conv2d(3, 6, 5)

def number():
    return 7

net = make()
"""


@torch.no_grad()
def test_a_file_of_the_users_own_makes_an_encoder_and_a_run_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(FILE)
    encoder = load_encoder(f"{file}:make", seed=4).eval()
    assert encoder.name == f"{file}:make" and encoder.feature_dim == 6
    assert torch.equal(load_encoder(f"{file}:make", seed=4).eval()(IMAGES), encoder(IMAGES))
    assert load_encoder(f"{file}:net").feature_dim == 6
    save_encoder(encoder, tmp_path / "run", provenance={})
    assert torch.equal(load_encoder(tmp_path / "run").eval()(IMAGES), encoder(IMAGES))
    weights = load_encoder(f"{file}:make@{tmp_path / 'run' / 'encoder.safetensors'}", size=16).eval()
    assert weights.preprocessing.size == 16 and torch.equal(weights.state()["0.weight"], encoder.state()["0.weight"])
    for name, said in (("silent", "does not say what pixels"), ("number", "gives a int"), ("mak", "did you mean make")):
        with pytest.raises(InputError, match=said):
            load_encoder(f"{file}:{name}")
    with pytest.raises(InputError, match="no file"):
        load_encoder(f"{tmp_path / 'none.py'}:make")
    file.write_text(FILE + "\n# another\n")
    with pytest.raises(InputError, match="has changed since the encoder was saved"):
        load_encoder(tmp_path / "run")


@pytest.mark.slow
def test_the_command_line_hardens_it_behind_a_gate_and_audits_what_comes_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run = tmp_path / "own.py", tmp_path / "run"
    file.write_text(FILE.replace("mean=0.5, std=0.25", "mean=(0.5,), std=(0.25,)").replace("Conv2d(3", "Conv2d(1"))
    options = ["--epochs", "0.2", "--test-images", "20", "--realizations", "1", "--workers", "0", "--device", "cpu"]
    assert main(["harden", f"{file}:make", "digits", *options, "--batch-size", "128", "--out", str(run)]) == 0
    assert json.loads((run / "encoder.json").read_text())["name"] == f"{file}:make"
    assert main(["audit", str(run), "digits", "--gauge", "--workers", "0", "--out", str(tmp_path / "audit")]) == 0
    assert main(["harden", f"{file}:make", "digits", *options, "--batch-size", "128", "--out", str(run)]) == 0
    assert "finished already" in capsys.readouterr().out


def test_python_hardens_a_network_in_the_hand_and_a_finished_run_gives_it_back(tmp_path: Path) -> None:
    network = Body(channels=1)
    encoder = load_encoder(network, mean=(0.5,), std=(0.25,), size=32).eval()
    small: dict[str, Any] = {
        "epochs": 0.2, "batch_size": 128, "test_images": 20, "realizations": 1, "workers": 0, "device": "cpu",
        "keep": "hardened", "keep_clean": 0, "probe_images": 100, "out": tmp_path / "run",
    }  # fmt: skip
    run, again = wp.harden(encoder, "digits", **small), wp.harden(encoder, "digits", **small)
    grey = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.encoder.eval()(grey), run.encoder.eval()(grey))
        assert torch.equal(load_encoder(tmp_path / "run", like=network).eval()(grey), run.encoder(grey))
    with pytest.raises(InputError, match="does not say what pixels it expects"):
        wp.audit(network, "digits", out=tmp_path / "other")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "like=network" in page and "weatherproof audit" not in page  # no command line could load it


def test_a_network_that_says_what_it_expects_goes_into_a_verb_as_it_is(tmp_path: Path) -> None:
    import timm

    def audited(network: nn.Module) -> Outcome:
        return wp.audit(
            network, "digits", operator="RandomMask(0.5)", size=32, test_images=20, realizations=1, workers=0,
            device="cpu", out=tmp_path / "run",
        )  # fmt: skip

    network = timm.create_model("resnet10t", num_classes=0)
    run = audited(network)
    assert run.records[0]["model"] == "module:ResNet" and run.records == audited(network).records
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert re.fullmatch(r"module:ResNet@[0-9a-f]{12}", recipe["model"]) and recipe["size"] == 32
    other = timm.create_model("resnet10t", num_classes=0)  # with other weights
    with pytest.raises(InputError, match="holds another run: setting 'model' is"):
        audited(other)


class Plain(nn.Module):
    """As small as a network is that every verb takes: it says what pixels it expects, as timm's do."""

    pretrained_cfg = {"mean": (0.5,), "std": (0.25,), "input_size": (1, 16, 16)}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 8, 3, stride=2), nn.Linear(8, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.fc(F.relu(self.conv(pixels)).mean(dim=(2, 3)))


PART: dict[str, Any] = {"workers": 0, "device": "cpu"}
MEASURED = PART | {"test_images": 20, "realizations": 1}
TRAINED = MEASURED | {"epochs": 0.1, "batch_size": 128}
VERBS: dict[str, Callable[[nn.Module, Path], Any]] = {
    "probe": lambda network, out: wp.probe(network, "digits", **PART, test_images=20, out=out),
    "audit": lambda network, out: wp.audit(network, "digits", operator="RandomMask(0.5)", **MEASURED, out=out),
    "pretrain": lambda network, out: wp.pretrain(
        "simclr", "digits", encoder=network, views="SimCLR(16)", epochs=0.1, batch_size=128, **PART, out=out
    ),
    "train": lambda network, out: wp.train("supervised", "digits", encoder=network, **TRAINED, out=out),
    "finetune": lambda network, out: wp.finetune(network, "digits", probe_images=100, **TRAINED, out=out),
    "embed": lambda network, out: wp.embed(network, "digits", **PART, out=out / "embeddings.npz"),
    "export": lambda network, out: wp.export(network, to="torch", images="digits", out=out),
    "harden": lambda network, out: wp.harden(
        network, "digits", keep="hardened", keep_clean=0, probe_images=100, **TRAINED, out=out
    ),
    "doctor": lambda network, out: wp.doctor(plan=network, size=16, seconds=0.01, out=out),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_a_plain_network(verb: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = Plain()
    before = copy.deepcopy(network.state_dict())
    assert VERBS[verb](network, tmp_path / "out") is not None
    assert any((tmp_path / "out").iterdir())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()), "it stays as it is"
