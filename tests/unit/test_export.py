"""What is exported gives the encoder's numbers, in programs without this package, or is not called done."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import weatherproof as wp
from weatherproof.cli import main
from weatherproof.encoders import Encoder, Gauge, Preprocessing, Reading, save_encoder
from weatherproof.encoders.adapters import LoRA
from weatherproof.encoders.gate import Gated, gated
from weatherproof.encoders.gauge import KindScale, Settings
from weatherproof.encoders.gauge.statistics import statistics
from weatherproof.errors import InputError
from weatherproof.readouts import Readout, save_readout
from weatherproof.verbs.export import hub as hub_room
from weatherproof.verbs.export import programs
from weatherproof.verbs.export.checking import Look, chosen, compared
from weatherproof.verbs.export.graph import Graph, Shape, expected, place_of
from weatherproof.verbs.export.hub import push

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*randomly initialised"),
    pytest.mark.filterwarnings("ignore:.*is taken as its classifier"),
]
DAMAGE = "RandomMask((0.0, 0.95))"


def a_gauge(preprocessing: Preprocessing) -> Gauge:
    """One that says something else of every image; it was never fitted."""
    gauge = Gauge(Settings((KindScale("RandomMask", 0.0, 0.95, 0.99), KindScale("fog")), preprocessing))
    generator = torch.Generator().manual_seed(0)
    pixels = wp.load_images("digits", channels=3, size=32).read(torch.arange(64)).float() / 255
    rows = statistics(pixels)
    gauge.centre.copy_(rows.mean(0))
    gauge.scale.copy_(rows.std(0) + 0.1)
    for name in ("first_weight", "second_weight", "third_weight", "direct_weight"):
        value = getattr(gauge, name)
        value.copy_(torch.randn(value.shape, generator=generator) / len(value) ** 0.5)
    gauge.edges.copy_(torch.linspace(0.1, 1, 5).expand(2, -1))
    gauge.whitening.copy_(torch.eye(len(gauge.whitening)))
    gauge.widening.fill_(0.05)
    return gauge


def moved(encoder: Encoder) -> Encoder:
    with torch.no_grad():
        for value in encoder.body.parameters():
            value.mul_(1.1)
    return encoder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a classifier of its own and a readout, of grey images of 16 pixels."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    save_encoder(wp.load_encoder("small(width=4)", num_classes=3, size=16), folder, provenance={})
    save_readout(Readout(nn.Linear(32, 4), ("a", "b", "c", "d"), unit_length=True), folder, provenance={})
    return folder


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a hardening behind a gate, with numbers that a page would show."""
    folder = tmp_path_factory.mktemp("runs") / "gate"
    original = wp.load_encoder("small(width=4)", num_classes=3, size=16).eval()
    hardened = moved(original.clone())
    provenance = {"trained_on": DAMAGE}
    both = gated(original, hardened, a_gauge(original.preprocessing), (0.2, 0.1), (0.6, 3.0))  # masks, and fog
    save_encoder(both, folder, provenance=provenance)
    save_encoder(hardened, folder / "hardened", provenance=provenance)
    recipe = {
        "verb": "harden",
        "encoder": "small(width=4)@/home/somebody/w.pth",
        "images": "digits",
        "operator": DAMAGE,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    record = dict.fromkeys(("readout", "label_fraction", "corruption", "severity", "attack", "trained_on", "protocol"))
    rows = [
        record | {"metric": "cosine", "value": value, "stderr": 0.0125, "realizations": 3, "seeds": [0], "images": 360,
                  "model": model, "data": "digits/test", "operator": "RandomMask(0.5)"}
        for model, value in (("teacher", 0.4375), ("hardened", 0.8125))
    ]  # fmt: skip
    (folder / "results.json").write_text(json.dumps({"records": rows}))
    return folder


def pictures(count: int, side: int = 16, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(count))


class Bright(Gauge):
    """Tells an image as damaged as its first pixel is bright."""

    def look(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, 0]

    def reading(self, rows: Tensor) -> Reading:
        nothing = torch.zeros_like(rows)
        return Reading(rows, rows, rows, nothing.long(), nothing, rows, rows > 2)

    def forward(self, images: Tensor) -> Reading:
        return self.reading(self.look(images))


@pytest.mark.parametrize("lora", [False, True])
@torch.no_grad()
def test_a_graph_mixes_a_batch_as_the_gate_does(lora: bool) -> None:
    original = wp.load_encoder("resnet20", num_classes=3).eval()
    hardened = LoRA(2).attach(original).eval() if lora else moved(original.clone())
    for name, value in hardened.named_parameters():
        if name.endswith("up"):
            value.fill_(0.1)
    gate = gated(
        original, hardened, Bright(Settings((KindScale("fog"),), Preprocessing((0.0,) * 3, (1.0,) * 3, None))), 0.2, 0.6
    )
    images = pictures(6, 32, 3)
    images[:, 0, 0, 0] = torch.tensor([0.0, 0.3, 0.5, 0.9, float("nan"), 0.2])
    made = Graph(gate, None, Shape(32, 32, False))(images)
    weight = torch.tensor([0, 0.15625, 0.84375, 1, torch.nan, 0])  # 3 x^2 - 2 x^3 of x = (extent - 0.2) / 0.4
    torch.testing.assert_close(made["weight"], weight, equal_nan=True)
    torch.testing.assert_close(made["embedding"], gate(images), rtol=1e-4, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(made["logits"], gate.logits(images), rtol=1e-4, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(made["embedding"][0], original(images[:1])[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(made["embedding"][3], hardened(images[3:4])[0], rtol=1e-4, atol=1e-5)


def run_onnx(file: Path, images: np.ndarray) -> dict[str, Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file.read_bytes())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(None, {"images": images})), strict=True))


@pytest.mark.slow
def test_onnx_of_a_run_with_a_readout(plain: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import onnx

    done = wp.export(plain, images="digits", pixels="uint8", out=tmp_path / "out")
    assert (done.status, done.file.name) == (0, "encoder.onnx")
    assert {file.name for file in done.folder.iterdir()} - {".lock"} == {"encoder.onnx", "export.json", "recipe.yaml"}
    encoder, readout = wp.load_encoder(plain).eval(), wp.readouts.load_readout(plain)
    assert readout is not None
    for count, side in ((1, 16), (5, 16), (2, 40)):  # resized inside
        eight = (pictures(count, side) * 255).to(torch.uint8)
        found = run_onnx(done.file, eight.numpy())
        with torch.no_grad():
            seen = encoder.see(eight.float() / 255, judged=True)
            embedding, own = seen.embeddings, seen.logits
            logits = readout.head(nn.functional.normalize(embedding, dim=1))
        assert found.keys() == {"embedding", "logits", "own_logits", "patches"}
        for name, wanted in (("embedding", embedding), ("logits", logits), ("own_logits", own)):
            torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            found["patches"].mean(dim=(2, 3)).shape, embedding[:, : found["patches"].shape[1]].shape
        )
    model = onnx.load(done.file)
    onnx.checker.check_model(model)
    told = {own.key: own.value for own in model.metadata_props}
    assert json.loads(told["classes"]) == ["a", "b", "c", "d"] and json.loads(told["input"])["pixels"].startswith(
        "uint8"
    )
    assert (model.producer_name, model.opset_import[0].version) == ("weatherproof", done.about["opset"])
    assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim if d.dim_param] == [
        "batch",
        "height",
        "width",
    ]
    assert str(Path(wp.__file__).parent) not in done.file.read_bytes().decode("latin-1")  # no stack traces


def by_command(run: Path, to: str, out: Path) -> Any:
    """What export.json says after the command line, in a process whose shapes nobody checks: that makes constants of
    them."""
    words = [sys.executable, "-m", "weatherproof", "export", str(run), "--to", to, "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified on 32 images of digits/test" in done.stdout
    return json.loads((out / "export.json").read_text())


@pytest.mark.slow
def test_onnx_of_a_gate_and_its_gauge(gate: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    about = by_command(gate, "onnx", tmp_path / "out")
    assert about["verified"]["conditions"][1] == DAMAGE and about["kinds"] == ["clean", "RandomMask", "fog"]
    encoder = wp.load_encoder(gate).eval()
    assert isinstance(encoder, Gated)
    for count in (1, 7):
        images = pictures(count) ** 3
        found, wanted = (
            run_onnx(tmp_path / "out" / "encoder.onnx", images.numpy()),
            expected(encoder, None, images, place=place_of(encoder, Shape(16, 16, True))),
        )
        assert found.keys() == wanted.keys() and "weight" in found
        for name, own in wanted.items():
            torch.testing.assert_close(found[name], own, rtol=1e-3, atol=1e-4, equal_nan=True)
        torch.testing.assert_close(found["embedding"], encoder(images).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_torch_program_runs_in_a_process_without_this_package(gate: Path, tmp_path: Path) -> None:
    by_command(gate, "torch", tmp_path / "out")
    images, encoder = pictures(3), wp.load_encoder(gate).eval()
    torch.save({"images": images, "wanted": encoder(images).detach()}, tmp_path / "given.pt")
    code = (
        "import sys, torch; given = torch.load(sys.argv[2])\n"
        "found = torch.export.load(sys.argv[1]).module()(given['images'])\n"
        "torch.testing.assert_close(found['embedding'], given['wanted'], rtol=1e-4, atol=1e-5)\n"
        "assert 'weatherproof' not in sys.modules; print(sorted(found))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "out" / "encoder.pt2"), str(tmp_path / "given.pt")],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "weight" in ran.stdout


def test_a_torch_program(plain: Path, tmp_path: Path) -> None:
    done = wp.export(plain, to="torch", images="digits", out=tmp_path / "out")
    found = torch.export.load(done.file).module()(pictures(1))
    torch.testing.assert_close(found["embedding"], wp.load_encoder(plain).eval()(pictures(1)))
    assert done.file.name == "encoder.pt2" and done.about["verified"]["batches"] == [1, 2, 3, 28]


def test_hub_for_timm(tmp_path: Path) -> None:
    import timm

    done = wp.export("timm:test_vit@random", to="hub", size=96, out=tmp_path / "out")
    model = timm.create_model(f"local-dir:{done.file}", pretrained=True).eval()
    told = timm.data.resolve_model_data_config(model)
    encoder = wp.load_encoder("timm:test_vit@random", size=96).eval()
    mean, std = (torch.tensor(told[name]).view(-1, 1, 1) for name in ("mean", "std"))
    images = pictures(2, 96, 3)
    torch.testing.assert_close(model((images - mean) / std), encoder.logits(images))
    assert (told["input_size"], told["crop_pct"]) == ((3, 96, 96), 1.0)


def test_options_of_timm_come_back_from_a_run_and_from_the_hub_layout(tmp_path: Path) -> None:
    import timm

    text = "timm:test_vit(patch_size=8, depth=2)@random"
    encoder = wp.load_encoder(text, size=32, num_classes=3).eval()
    save_encoder(encoder, tmp_path / "run", provenance={})
    back, images = wp.load_encoder(tmp_path / "run").eval(), pictures(2, 32, 3)
    plain = timm.create_model("test_vit", img_size=32, patch_size=8, depth=2, num_classes=3)
    assert {k: v.shape for k, v in encoder.state().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    assert torch.equal(back(images), encoder(images)) and back.options == {"patch_size": 8, "depth": 2}
    save_file(encoder.state(), tmp_path / "weights.safetensors")
    named = wp.load_encoder(f"timm:test_vit(patch_size=8, depth=2)@{tmp_path}/weights.safetensors", size=32).eval()
    assert torch.equal(named.logits(images), encoder.logits(images))
    done = wp.export(text, to="hub", size=32, out=tmp_path / "out")
    model = timm.create_model(f"local-dir:{done.file}", pretrained=True, num_classes=0).eval()
    assert len(model.blocks) == 2
    assert model.patch_embed.patch_size == (8, 8)
    assert "`timm:test_vit(patch_size=8, depth=2)`" in (done.file / "README.md").read_text()


def test_a_card_calls_hardened_what_was_hardened_alone(tmp_path: Path) -> None:
    """Pretraining, and a readout under damage, promise nothing of the embeddings of damaged images."""
    encoder = wp.load_encoder("small(width=4)@random", size=16)
    for verb, seen in (("pretrain", "SimCLR(16)"), ("harden", DAMAGE)):
        save_encoder(encoder, tmp_path / verb, provenance={"trained_on": seen})
        (tmp_path / verb / "recipe.yaml").write_text(yaml.safe_dump({"verb": verb, "images": "digits"}))
        done = wp.export(tmp_path / verb, to="hub", out=tmp_path / f"{verb}-out")
        card = (done.file / "README.md").read_text()
        assert "`small(width=4" in card and f"`{seen}` by weatherproof" in card
        assert ("hardened against" in card) == ("gives for the clean one" in card) == (verb == "harden"), card
        assert done.about["hardened_against"] == (seen if verb == "harden" else None)


def test_hub_for_torchvision(tmp_path: Path) -> None:
    from torchvision import models

    done = wp.export("torchvision:shufflenet_v2_x0_5@random", to="hub", size=32, out=tmp_path / "out")
    told = json.loads((done.file / "config.json").read_text())
    model = models.get_model(told["architecture"], weights=None, **told["arguments"]).eval()
    model.load_state_dict(load_file(done.file / "model.safetensors"))
    images, encoder = pictures(2, 32, 3), wp.load_encoder("torchvision:shufflenet_v2_x0_5@random", size=32).eval()
    mean, std = (torch.tensor(told["preprocessing"][name]).view(-1, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(model((images - mean) / std), encoder.logits(images))


@pytest.mark.slow
def test_hub_for_open_clip_with_the_text_side_of_the_file(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    whole = open_clip.create_model("ViT-S-32-alt", pretrained_text=False, force_image_size=64).eval()
    save_file({k: v.clone() for k, v in whole.state_dict().items()}, tmp_path / "clip.safetensors")
    done = wp.export(f"open_clip:ViT-S-32-alt@{tmp_path / 'clip.safetensors'}", to="hub", size=64, out=tmp_path / "out")
    model = open_clip.create_model(f"local-dir:{done.file}").eval()
    text = torch.randint(1, 99, (1, model.context_length))
    assert torch.equal(model.encode_text(text), whole.encode_text(text))
    assert torch.equal(model.visual.state_dict()["proj"], whole.visual.state_dict()["proj"])
    assert {file.name for file in done.file.iterdir()} == {
        "README.md",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    half = {k: v.clone() for k, v in whole.state_dict().items() if k.startswith("visual.")}
    save_file(half, tmp_path / "image.safetensors")
    alone = wp.export(
        f"open_clip:ViT-S-32-alt@{tmp_path / 'image.safetensors'}", to="hub", size=64, out=tmp_path / "alone"
    )
    assert alone.status == 0 and any("without its text side" in note for note in alone.notes)


def test_hub_of_a_gate_is_its_hardened_network_with_a_card_of_its_numbers(gate: Path, tmp_path: Path) -> None:
    done = wp.export(gate, to="hub", out=tmp_path / "out")
    assert any("hardened one alone" in note for note in done.notes)
    state, hardened = load_file(done.file / "model.safetensors"), load_file(gate / "hardened" / "encoder.safetensors")
    assert state.keys() == hardened.keys() and all(torch.equal(state[name], hardened[name]) for name in state)
    card = (done.file / "README.md").read_text()
    for words in (DAMAGE, "0.438 ± 0.013", "0.812 ± 0.013", "unknown: look at the base model", "digits/test", "w.pth"):
        assert words in card, (words, card)
    assert "/home/somebody" not in card and str(tmp_path) not in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "weatherproof"


@pytest.mark.parametrize(("to", "name"), [("torch", "encoder.pt2"), ("onnx", "encoder.onnx")])
def test_what_is_not_verified_is_not_left_under_its_name(
    to: str, name: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    words = ["export", str(plain), "--to", to, "--images", "digits", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    real = getattr(programs, f"{to}_run")

    def wrong(*given: Any) -> Any:
        run = real(*given)
        return lambda images: {name: own + 0.01 for name, own in run(images).items()}

    with monkeypatch.context() as patch:
        patch.setattr(f"weatherproof.verbs.export.verb.{to}_run", wrong)
        assert main(words) == 1
    assert "NOT verified: embedding differs by 0.01" in capsys.readouterr().out
    names = {file.name for file in (tmp_path / "out").iterdir()} - {".lock"}
    assert names == {f"{name}.failed", "export.json", "recipe.yaml"}
    assert main(words) == 0
    assert not (tmp_path / "out" / f"{name}.failed").exists()


def test_images_that_cannot_be_read_are_left_out_of_the_comparison(tmp_path: Path) -> None:
    for i in range(40):
        Image.new("L", (8, 8), i).save(tmp_path / f"{i:02}.png")
    (tmp_path / "00.png").write_bytes(b"no image")
    images = wp.load_images(tmp_path, "all", channels=1, memory_budget=0)
    with pytest.warns(UserWarning, match="1 of 40 images"):
        pixels = chosen(images, 1)
    assert pixels.shape == (31, 1, 8, 8) and int(pixels.max() * 255) == 39


def test_what_a_comparison_finds() -> None:
    one = Look("clean", torch.zeros(4, 1))
    base = {"embedding": torch.tensor([[1.0], [2.0], [4.0], [0.0]]), "kind": torch.tensor([0, 1, 0, 0])}
    base["level"] = torch.tensor([0.1, 0.2, torch.nan, 0.3])

    def told(**changed: Tensor) -> Any:
        return compared([one], lambda _: base, lambda _: base | changed)

    assert told().failures() == []
    near = told(embedding=base["embedding"] + 0.003)
    assert near.failures() == [] and near.differences["embedding"].relative == pytest.approx(0.00075, rel=1e-3)
    assert "embedding differs by 0.008" in told(embedding=base["embedding"] + 0.008).failures()[0]
    assert "level differs on 1 of 4" in told(level=base["level"].nan_to_num(0.5)).failures()[0]
    assert "differs on 1 of 4" in told(embedding=torch.tensor([[1.0], [torch.nan], [4.0], [0.0]])).failures()[0]
    flipped = told(kind=torch.tensor([0, 0, 0, 0]), embedding=base["embedding"].index_fill(0, torch.tensor(1), 9.0))
    assert flipped.failures() == ["the gauge tells 1 of 4 images otherwise"]
    with pytest.raises(InputError, match="embedding came as"):
        told(embedding=base["embedding"].double())


class Own(nn.Module):
    """A network of somebody's, with an operator of their choice."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(3, 5), function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(self.layer(images.mean(dim=(2, 3))))


def encoder_of(function: Any) -> Encoder:
    return wp.load_encoder(Own(function), mean=0, std=1, size=16)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.special.bessel_j0, r"as ONNX: its operator \S*bessel_j0\S* has no ONNX form"),
        (lambda rows: rows.reshape(len(rows), 5), "works for one number of images alone"),
        (lambda rows: rows if float(rows.abs().sum()) >= 0 else -rows, "cannot be traced by torch.export"),
        (lambda rows: rows if rows.mean() > -9 else -rows, "cannot be traced by torch.export: GuardOnDataDependent"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_named(
    function: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match=message):
        wp.export(encoder_of(function), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "torch.ops" not in capsys.readouterr().err


def test_a_network_in_the_hand_goes_to_a_folder(tmp_path: Path) -> None:
    network = Own(torch.tanh)
    done = wp.export(wp.load_encoder(network, mean=0, std=1, size=16), to="hub", out=tmp_path / "out")
    assert done.status == 0
    fresh = Own(torch.tanh)
    fresh.load_state_dict(load_file(done.file / "model.safetensors"))
    assert torch.equal(fresh(pictures(2, 16, 3)), network(pictures(2, 16, 3)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"to": "tflite"}, "unknown form 'tflite'"),
        ({"pixels": "int4"}, "unknown kind of pixels"),
        ({"opset": 11}, "opset must be from 18 to"),
        ({"push": "me/mine"}, "--push puts the folder of --to hub"),
        ({"to": "hub", "pixels": "uint8"}, "normalise their pixels themselves"),
        ({"to": "hub", "push": "../evil"}, "is called ORG/NAME"),
        ({"to": "hub", "push": "me/mine"}, "--push needs a token"),
        ({"images": "nowhere"}, "no folder 'nowhere'"),
        ({"encoder": "resnet20"}, "no weights are published for resnet20: give a file, resnet20@FILE, or random"),
        ({"encoder": "nothing"}, "unknown encoder 'nothing'"),
        ({"encoder": "."}, "is no finished run: encoder.json"),
        ({"encoder": "resnet20@random", "to": "torch"}, "takes images of any size, and a file has one"),
        ({"out": "full"}, "holds other files and no run"),
    ],
)  # fmt: skip
def test_bad_input_leaves_nothing(
    given: dict[str, Any], message: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=message):
        wp.export(**{"encoder": plain, **given})
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["full", "mine.txt"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_named(package: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in {"onnx", "onnxscript", "onnxruntime"}:
        monkeypatch.setitem(sys.modules, other, None if other == package else sys)
    with pytest.raises(InputError, match=rf"{package} is not installed: pip install 'weatherproof\[onnx\]'"):
        wp.export(plain, out=tmp_path / "out")


def test_a_folder_is_pushed(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Api:
        def create_repo(self, name: str, **given: Any) -> str:
            calls.append((name, given))
            return f"https://hub/{name}"

        def upload_folder(self, **given: Any) -> None:
            calls.append({file.name for file in Path(given["folder_path"]).iterdir()})
            if given["repo_id"].startswith("other"):
                raise OSError("403 Forbidden")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    done = wp.export(plain, to="hub", images="digits", push="me/mine", out=tmp_path / "out")
    assert calls == [
        ("me/mine", {"repo_type": "model", "private": True, "exist_ok": True}),
        {"README.md", "config.json", "model.safetensors"},
    ]
    assert any("https://hub/me/mine" in line for line in done.lines)
    assert "hf_secret" not in "".join(
        file.read_text(errors="replace") for file in done.folder.rglob("*") if file.is_file()
    )
    with pytest.raises(InputError, match="other/one was not pushed: 403 Forbidden; the files are in"):
        wp.export(plain, to="hub", images="digits", push="other/one", out=tmp_path / "out")
    assert (done.file / "model.safetensors").is_file()


def test_a_full_disk_leaves_nothing(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", lambda _: None)
    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("weatherproof.verbs.export.hub.layout.write_atomically", full)
        with pytest.raises((InputError, OSError), match="No space left|no space left"):
            wp.export(plain, to="hub", images="digits", out=tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == []


def test_the_layouts_are_those_of_the_libraries() -> None:
    assert {*hub_room.folder.LAYOUTS} == {"timm", "torchvision", "open_clip", "transformers"}
    assert push.require_hub is hub_room.require_hub


def test_ctrl_c_before_there_is_a_file_leaves_no_folder(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as early:
        early.setattr("weatherproof.verbs.export.verb.looks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            wp.export(plain, to="hub", images="digits", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = wp.export(plain, to="hub", images="digits", size=16, out=tmp_path / "out")  # with other options
    assert done.status == 0
