"""Pretrained by name, from a hub of our own on this machine, with the libraries' real clients."""

import hashlib
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import local_hub
import pytest
import torch
import yaml
from local_hub import Hub
from safetensors.torch import load, save
from torch import Tensor, nn

import weatherproof as wp
from weatherproof.encoders import Encoder, adapter, likely, load_encoder, save_encoder
from weatherproof.errors import InputError
from weatherproof.verbs.export.hub.licence import licence_on_hub

VISION = {
    "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
TEXT = {
    "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 9,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "projection_dim": 16,
}  # fmt: skip
LAYERS = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
PIXELS = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3,
    "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25],
}  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with local_hub.running(tmp_path / "cache") as found:
        yield found


def refused(text: str, **settings: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError) as caught:
            load_encoder(text, **settings)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    return message


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """With other numbers than any start has."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in (*network.parameters(), *network.buffers()):
            if value.is_floating_point():
                value.add_(0.05 * torch.rand(value.shape, generator=generator))
    return network.eval()


def pictures(encoder: Encoder, side: int | None = None) -> tuple[Tensor, Tensor]:
    """Two images, and what the library's own network is to see of them."""
    side = side or encoder.preprocessing.size or 32
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (encoder.preprocessing.mean, encoder.preprocessing.std))
    return images, (images - mean) / std


def publish_timm(hub: Hub, name: str, seed: int = 0, **settings: Any) -> str:
    import timm

    weights = trained(timm.create_model(name), seed).state_dict()
    repo = str(timm.get_pretrained_cfg(name).hf_hub_id)
    return hub.publish(repo, {"model.safetensors": save(weights)}, **settings)


def publish(hub: Hub, repo: str, network: Any, folder: Path, **pixels: Any) -> dict[str, bytes]:
    from transformers.utils import logging

    logging.disable_progress_bar()
    network.save_pretrained(folder)
    logging.enable_progress_bar()
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    files["preprocessor_config.json"] = json.dumps(PIXELS | pixels).encode()
    hub.publish(repo, files)
    return files


# each library


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    [
        "test_vit2",
        "test_convnext",
        "test_efficientnet",
        pytest.param("convformer_s18", marks=pytest.mark.slow),
        "deit_tiny_distilled_patch16_224",
        pytest.param("levit_128s", marks=pytest.mark.slow),
    ],
)
def test_timm_by_name_is_what_timm_loads(hub: Hub, tmp_path: Path, name: str) -> None:
    import timm

    commit = publish_timm(hub, name)
    ours = load_encoder(f"timm:{name}").eval()
    assert hub.downloads() == ["model.safetensors"]
    if name == "test_vit2":
        assert ours.body.num_reg_tokens > 0
    plain = timm.create_model(name, pretrained=True).eval()
    images, pixels = pictures(ours)
    assert torch.equal(ours.logits(images), plain(pixels))
    assert torch.equal(ours(images), plain.forward_head(plain.forward_features(pixels), pre_logits=True))

    (origin,) = ours.origins
    (data,) = next(iter(hub.repositories.values())).values()
    assert origin.commit == commit and origin.sha256 == hashlib.sha256(data["model.safetensors"]).hexdigest()
    hub.repositories.clear()
    headless = load_encoder(f"timm:{name}", num_classes=0).eval()  # from the cache
    assert headless.head is None and torch.equal(headless(images), ours(images))
    save_encoder(ours, tmp_path / "run", provenance={})
    again = load_encoder(tmp_path / "run").eval()
    assert again.origins == ours.origins and torch.equal(again.logits(images), ours.logits(images))
    written = wp.encoders.read_weights(tmp_path / "run" / "encoder.safetensors")
    assert all(torch.equal(written[key], value) for key, value in plain.state_dict().items())


def licence_in(card: Path) -> str:
    return card.read_text().partition("## Licence\n\n")[2].strip()


def test_the_card_states_the_licence_of_the_base_model(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    files = publish(hub, "org/name", tiny()["vit"](transformers), tmp_path / "files")
    unknown = "unknown: look at the base model"
    pages = {
        "---\nlicense: mit\ntags: [x]\n---\n# A model": "mit, as org/name states on the hub",
        "---\nlicense: other\nlicense_name: own-licence\n---\n": "own-licence, as org/name states on the hub",
        "---\nlicense: [mit, bsd]\n---\n": "mit, bsd, as org/name states on the hub",
        "---\ntags: [x]\n---\n": unknown,
        "---\nlicense: {a: [\n---\n": unknown,
        "# license: mit": unknown,
        "": unknown,
    }
    name = "transformers:org/name@revision:"
    for page, stated in pages.items():
        commit = hub.publish("org/name", {**files, **({"README.md": page.encode()} if page else {})})
        assert licence_on_hub(load_encoder(name + commit)) == stated
    first, second = [*hub.repositories["org/name"]][1:3]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    kept = wp.export(name + first, to="hub", out=tmp_path / "kept")
    assert licence_in(kept.file / "README.md") == "Of the base model: mit, as org/name states on the hub."
    for page_there in (tmp_path / "cache").rglob(f"{second}/README.md"):
        page_there.unlink()
    assert licence_on_hub(load_encoder(name + second)) == unknown


def test_the_card_states_the_licence_that_timm_or_the_hub_does(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    publish_timm(hub, "test_vit")
    known = timm.get_pretrained_cfg("test_vit").license
    done = wp.export("timm:test_vit", to="hub", out=tmp_path / "timm")
    assert known and licence_in(done.file / "README.md").startswith(f"Of the base model: {known}, as timm states for")
    clip = publish_clip(hub, monkeypatch)
    page = b"---\nlicense: mit\n---\n"
    hub.publish("org/tiny", {"open_clip_model.safetensors": save(clip.state_dict()), "README.md": page})
    done = wp.export("open_clip:tiny-clip/mine", to="hub", out=tmp_path / "clip")
    assert licence_in(done.file / "README.md") == "Of the base model: mit, as org/tiny states on the hub."


def tiny() -> dict[str, Callable[[Any], Any]]:
    return {
        "dinov2": lambda t: t.Dinov2Model(t.Dinov2Config(**VISION, mlp_ratio=2)),
        "dinov2 with registers": lambda t: t.Dinov2WithRegistersModel(
            t.Dinov2WithRegistersConfig(**VISION, mlp_ratio=2)
        ),
        "dinov3": lambda t: t.DINOv3ViTModel(t.DINOv3ViTConfig(**VISION)),
        "dinov3 convnext": lambda t: t.DINOv3ConvNextModel(t.DINOv3ConvNextConfig(**LAYERS, image_size=32)),
        "siglip": lambda t: t.SiglipModel(t.SiglipConfig(vision_config=VISION, text_config=TEXT)),
        "siglip2": lambda t: t.Siglip2Model(
            t.Siglip2Config(
                vision_config={k: v for k, v in VISION.items() if k != "image_size"} | {"num_patches": 16},
                text_config=TEXT,
            )
        ),
        "clip": lambda t: t.CLIPModel(t.CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=16)),
        "vit": lambda t: t.ViTModel(t.ViTConfig(**VISION)),
        "vit without pooling": lambda t: t.ViTModel(t.ViTConfig(**VISION), add_pooling_layer=False),
        "vit with classes": lambda t: t.ViTForImageClassification(t.ViTConfig(**VISION, num_labels=5)),
        "dinov2 with classes": lambda t: t.Dinov2ForImageClassification(
            t.Dinov2Config(**VISION, mlp_ratio=2, num_labels=5)
        ),
        "deit with teacher": lambda t: t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**VISION, num_labels=5)),
        "convnext": lambda t: t.ConvNextForImageClassification(t.ConvNextConfig(**LAYERS, num_labels=5)),
        "resnet": lambda t: t.ResNetForImageClassification(
            t.ResNetConfig(embedding_size=8, **LAYERS, layer_type="basic", num_labels=5)
        ),
        "swin": lambda t: t.SwinForImageClassification(
            t.SwinConfig(
                image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, num_labels=5
            )
        ),
        "efficientnet": lambda t: t.EfficientNetForImageClassification(
            t.EfficientNetConfig(width_coefficient=0.25, depth_coefficient=0.1, image_size=32, hidden_dim=320)
        ),
    }


SLOW = {"convnext", "resnet", "swin", "efficientnet", "dinov2 with registers", "dinov2 with classes"}


def theirs(kind: str, network: Any, pixels: Tensor) -> tuple[Tensor, bool]:
    """What the library gives, and whether these are logits."""
    if kind == "siglip2":  # as its processor cuts images of 32 pixels into patches of 8
        patches = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(2, 16, -1)
        mask, shapes = torch.ones(2, 16), torch.tensor([[4, 4], [4, 4]])
        return network.get_image_features(
            patches, pixel_attention_mask=mask, spatial_shapes=shapes
        ).pooler_output, False
    if kind in ("clip", "siglip"):
        return network.get_image_features(pixels).pooler_output, False
    out = network(pixels)
    if "logits" in out:
        return out.logits, True
    return (out.last_hidden_state[:, 0] if out.pooler_output is None else out.pooler_output), False


@torch.no_grad()
@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k in SLOW else k for k in tiny()])
def test_transformers_by_name_is_what_transformers_loads(hub: Hub, tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    network = trained(tiny()[kind](transformers))
    pixels = {"max_num_patches": 16, "patch_size": 8, "size": None} if kind == "siglip2" else {}
    publish(hub, "org/name", network, tmp_path / "files", **pixels)
    ours = load_encoder("transformers:org/name").eval()
    assert sorted(hub.downloads()) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    own = {"add_pooling_layer": False} if kind == "vit without pooling" else {}
    plain = type(network).from_pretrained(tmp_path / "files", **own).eval()
    assert ours.preprocessing.mean == (0.4, 0.5, 0.6) and ours.preprocessing.interpolation == "bicubic"
    images, seen = pictures(ours, 32)
    wanted, logits = theirs(kind, plain, seen)
    assert torch.equal(ours.logits(images) if logits else ours(images), wanted)
    assert ours(images).shape == (2, ours.feature_dim)
    assert (ours.num_classes == wanted.shape[1]) if logits else ours.num_classes is None

    save_encoder(ours, tmp_path / "run", provenance={})
    hub.repositories.clear()  # neither the hub nor its cache
    for file in (tmp_path / "cache").rglob("*.json"):
        file.unlink()
    again = load_encoder(tmp_path / "run").eval()
    assert torch.equal(again(images), ours(images))
    if kind not in ("efficientnet", "resnet", "convnext"):
        larger = load_encoder(tmp_path / "run", size=48).eval()
        named = {"interpolate_pos_encoding": True} if kind in ("vit", "vit without pooling") else {}
        if kind in ("dinov2", "dinov3", "vit"):
            more, wide = pictures(ours, 48)
            torch.testing.assert_close(larger(more), plain(wide, **named).pooler_output, rtol=0, atol=0)
        else:
            assert larger(torch.rand(1, 3, 48, 48)).isfinite().all()


@torch.no_grad()
def test_a_folder_laid_out_as_the_hub_does(hub: Hub, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    network = trained(tiny()["dinov2"](transformers))
    files = publish(hub, "org/name", network, tmp_path / "mine")
    assert "no preprocessor_config.json" in refused(f"transformers:{tmp_path}/mine")
    (tmp_path / "mine" / "preprocessor_config.json").write_bytes(files["preprocessor_config.json"])
    ours = load_encoder(f"transformers:{tmp_path}/mine").eval()
    images, pixels = pictures(ours)
    assert torch.equal(ours(images), network(pixels).pooler_output) and hub.requests == []
    assert ours.origins[0].name == str(tmp_path / "mine" / "model.safetensors")
    (tmp_path / "w.safetensors").write_bytes(files["model.safetensors"])
    by_file = load_encoder(f"transformers:{tmp_path}/mine@{tmp_path}/w.safetensors").eval()
    assert torch.equal(by_file(images), ours(images))
    # a file asks for no download; random weights may have the two small files
    assert "nothing is downloaded for it" in refused(f"transformers:org/name@{tmp_path}/w.safetensors")
    random = load_encoder("transformers:org/name@random").eval()
    assert sorted(hub.downloads()) == ["config.json", "preprocessor_config.json"]
    assert not torch.equal(random(images), ours(images))
    by_file = load_encoder(f"transformers:org/name@{tmp_path}/w.safetensors").eval()
    assert torch.equal(by_file(images), ours(images))


@torch.no_grad()
def test_weights_in_several_files(hub: Hub, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    network = trained(tiny()["dinov2"](transformers))
    files = publish(hub, "org/name", network, tmp_path / "files")
    weights = load(files.pop("model.safetensors"))
    parts: dict[str, dict[str, Tensor]] = {"a.safetensors": {}, "b.safetensors": {}}
    where = {}
    for place, (name, value) in enumerate(weights.items()):
        where[name] = [*parts][place % 2]
        parts[where[name]][name] = value
    index = {"model.safetensors.index.json": json.dumps({"weight_map": where}).encode()}
    hub.publish("org/split", files | index | {name: save(part) for name, part in parts.items()})
    ours = load_encoder("transformers:org/split").eval()
    images, pixels = pictures(ours)
    assert torch.equal(ours(images), network(pixels).pooler_output)
    assert [origin.name for origin in ours.origins] == ["org/split/a.safetensors", "org/split/b.safetensors"]
    for hostile in ({"x": "../../config.json"}, {}, {"x": 3}, []):
        hub.publish("org/split", files | {"model.safetensors.index.json": json.dumps({"weight_map": hostile}).encode()})
        commit = [*hub.repositories["org/split"]][-1]
        refused(f"transformers:org/split@revision:{commit}")


def publish_clip(hub: Hub, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> Any:
    """open_clip:tiny-clip/mine, whose image tower normalises in its own way."""
    open_clip = pytest.importorskip("open_clip", reason="open_clip is an extra")
    from open_clip import factory, pretrained

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-clip", config)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny-clip", {"mine": {"hf_hub": "org/tiny/", "mean": (0.5,) * 3}})
    network = trained(open_clip.create_model("tiny-clip"), seed)
    hub.publish("org/tiny", {"open_clip_model.safetensors": save(network.state_dict())})
    return network


@torch.no_grad()
def test_open_clip_by_name_is_what_open_clip_loads(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip = pytest.importorskip("open_clip", reason="open_clip is an extra")
    publish_clip(hub, monkeypatch)
    ours = load_encoder("open_clip:tiny-clip/mine").eval()
    assert ours.preprocessing.mean == (0.5,) * 3
    images, pixels = pictures(ours)
    plain = open_clip.create_model("tiny-clip", pretrained="mine").eval()
    assert torch.equal(ours(images), plain.encode_image(pixels))
    assert "open_clip:tiny-clip without a tag, only for open_clip:tiny-clip/mine" in refused("open_clip:tiny-clip")


@torch.no_grad()
def test_open_clip_by_name_goes_to_a_hub_with_its_text_side(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, name = publish_clip(hub, monkeypatch), "open_clip:tiny-clip/mine"
    (commit,) = hub.repositories["org/tiny"]
    hardened = load_encoder(name)
    for weight in hardened.parameters():
        weight.add_(0.01)
    save_encoder(hardened, tmp_path / "run", provenance={})
    (tmp_path / "run" / "recipe.yaml").write_text(yaml.safe_dump({"encoder": name}))
    publish_clip(hub, monkeypatch, seed=1)  # the run, and what it began with, stay those of the first commit
    for file in (tmp_path / "cache").rglob("refs/main"):
        file.unlink()
    words = first.state_dict()
    for number, (given, text_side) in enumerate(
        {str(tmp_path / "run"): True, f"{name}@revision:{commit}": True, f"{name}@random": False}.items()
    ):
        done = wp.export(given, to="hub", out=tmp_path / f"out-{number}")
        assert done.status == 0 and any("without its text side" in note for note in done.notes) != text_side
        if text_side:
            found = load((done.file / "open_clip_model.safetensors").read_bytes())
            assert all(torch.equal(found[key], words[key]) for key in words if not key.startswith("visual."))
    newest = wp.export(name, to="hub", out=tmp_path / "newest")
    assert not any("without its text side" in note for note in newest.notes)


@torch.no_grad()
def test_torchvision_by_name_is_what_torchvision_loads(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    weights = models.get_model_weights("squeezenet1_1").IMAGENET1K_V1
    buffer = save_torch(trained(models.get_model("squeezenet1_1", weights=None)).state_dict())
    name = f"squeezenet1_1-{hashlib.sha256(buffer).hexdigest()[:8]}.pth"
    monkeypatch.setattr(weights.value, "url", f"{hub.address}/files/{name}")
    assert name in refused("torchvision:squeezenet1_1") and "put the file there" in refused("torchvision:squeezenet1_1")
    hub.publish("files", {name: buffer})
    hub.repositories["files"] = {"x": {name: buffer}}
    hub.requests.clear()
    ours = load_encoder("torchvision:squeezenet1_1").eval()
    images, pixels = pictures(ours)
    plain = models.get_model("squeezenet1_1", weights="IMAGENET1K_V1").eval()
    assert torch.equal(ours.logits(images), plain(pixels))
    assert len(hub.requests) == 1  # once, for both: one cache
    (origin,) = ours.origins
    assert origin.name == weights.url and origin.commit is None and origin.sha256.startswith(name[-12:-4])
    (half,) = (Path(torch.hub.get_dir()) / "checkpoints").iterdir()
    half.write_bytes(buffer[: len(buffer) // 2])
    assert torch.equal(load_encoder("torchvision:squeezenet1_1").eval().logits(images), plain(pixels))
    assert len(hub.requests) == 2
    hub.repositories["files"] = {"x": {name: buffer[:-10]}}
    half.unlink()
    assert "invalid hash value" in refused("torchvision:squeezenet1_1") and not half.exists()


def save_torch(state: dict[str, Tensor]) -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


# the cache, revisions, the recipe


def test_a_revision_chooses_and_the_cache_is_enough(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    first = publish_timm(hub, "test_efficientnet", 1, tag="v1")
    second = publish_timm(hub, "test_efficientnet", 2)
    newest = load_encoder("timm:test_efficientnet")
    assert newest.origins[0].commit == second
    tagged, pinned = (load_encoder(f"timm:test_efficientnet@revision:{name}") for name in ("v1", first))
    assert tagged.origins == pinned.origins and tagged.origins[0].commit == first
    assert not torch.equal(tagged.state()["conv_stem.weight"], newest.state()["conv_stem.weight"])
    assert len(hub.downloads()) == 2
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert load_encoder("timm:test_efficientnet@revision:v1").origins == tagged.origins
    assert load_encoder("timm:test_efficientnet").origins == newest.origins and hub.requests == []
    assert "names no revision" in refused("timm:test_efficientnet@revision:")
    assert "it has no" in refused("resnet20@revision:v1") and "no revision" in refused(
        "torchvision:resnet18@revision:1"
    )


@pytest.mark.parametrize("verb", ["audit", pytest.param("harden", marks=pytest.mark.slow)])
def test_commit_and_hash_stand_in_the_recipe_and_a_run_needs_no_hub(hub: Hub, tmp_path: Path, verb: str) -> None:
    commit = publish_timm(hub, "test_efficientnet")
    name = "timm/test_efficientnet.r160_in1k/model.safetensors"
    (data,) = hub.repositories["timm/test_efficientnet.r160_in1k"].values()
    settings: dict[str, Any] = {"size": 32, "batch_size": 8, "test_images": 16, "realizations": 1, "device": "cpu"}
    if verb == "harden":
        settings |= {"epochs": 0.01, "keep": "hardened", "operator": "RandomMask(0.5)"}

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(wp, verb)("timm:test_efficientnet", "digits", out=tmp_path / "run", **settings)

    run()
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["files"] == {name: hashlib.sha256(data["model.safetensors"]).hexdigest()}
    assert recipe["commits"] == {name: commit}
    if verb == "harden":
        hub.repositories.clear()
        hub.requests.clear()
        assert load_encoder(tmp_path / "run").origins[0].commit == commit and hub.requests == []
    # the same command, once the library publishes something else
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_symlink():
            file.unlink()
    publish_timm(hub, "test_efficientnet", 7)
    with pytest.raises(InputError, match="model.safetensors has changed since the run in"):
        run()


def test_random_is_said_and_not_warned_of(hub: Hub) -> None:
    for text in ("small", "timm:test_efficientnet", "torchvision:squeezenet1_1"):
        one, other = (load_encoder(f"{text}@random", seed=seed) for seed in (0, 1))
        assert one.origins == ()
        assert any(not torch.equal(v, other.state()[k]) for k, v in one.state().items())
    assert hub.requests == []
    with pytest.warns(UserWarning, match="randomly initialised; add @FILE, or @random"):
        load_encoder("small")


@pytest.mark.usefixtures("every_phase")
def test_a_download_tells_what_it_fetches(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    publish_timm(hub, "test_efficientnet")
    (size,) = (len(data["model.safetensors"]) for data in next(iter(hub.repositories.values())).values())
    load_encoder("timm:test_efficientnet")
    told = capfd.readouterr().err
    whole = -(-size // (1 << 20))
    assert (
        "downloading timm/test_efficientnet.r160_in1k/model.safetensors" in told and f"{whole} of {whole} MB" in told
    ), told
    load_encoder("timm:test_efficientnet")
    assert "downloading" not in capfd.readouterr().err


def test_the_hub_that_the_environment_names_and_the_cache_without_it(hub: Hub, tmp_path: Path) -> None:
    publish_timm(hub, "test_efficientnet")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}

    def python(code: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        told = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return subprocess.run(
            [sys.executable, "-c", code, *words], env={**kept, **told, **more}, capture_output=True, text=True
        )

    load = "from weatherproof.encoders import load_encoder; load_encoder('timm:test_efficientnet')"
    done = python(load)
    assert done.returncode == 0 and hub.downloads() == ["model.safetensors"], done.stderr
    assert [*(tmp_path / "home" / "hub").rglob("snapshots/*/model.safetensors")]
    hub.requests.clear()
    main = "import sys; from weatherproof.__main__ import main; sys.exit(main())"
    export = ("export", "timm:test_vit", "--to", "hub", "--out", str(tmp_path / "out"))  # not in the cache
    offline = python(f"{load}; {main}", *export, HF_HUB_OFFLINE="1")
    assert offline.returncode == 2 and hub.requests == [], offline.stderr
    (line,) = offline.stderr.splitlines()
    assert line.startswith("weatherproof: timm:test_vit: model.safetensors of timm/test_vit.r160_in1k")
    assert f"in the cache {tmp_path / 'home' / 'hub'}, and HF_HUB_OFFLINE is set" in line


# what goes wrong


def test_half_a_download_is_fetched_again_or_refused(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    publish_timm(hub, "test_efficientnet")
    whole = load_encoder("timm:test_efficientnet").state()
    (cached,) = (tmp_path / "cache").rglob("snapshots/*/model.safetensors")
    data = cached.read_bytes()
    for damaged in (data[: len(data) // 2], data[:-1], data[:-1] + bytes([data[-1] ^ 1]), b""):
        cached.resolve().write_bytes(damaged)
        hub.requests.clear()
        again = load_encoder("timm:test_efficientnet").state()
        assert hub.downloads() == ["model.safetensors"] and all(torch.equal(again[k], v) for k, v in whole.items())
        cached.resolve().write_bytes(damaged)
        with monkeypatch.context() as offline:
            offline.setattr(constants, "HF_HUB_OFFLINE", True)
            message = refused("timm:test_efficientnet")
        assert "half of a download" in message and "HF_HUB_OFFLINE is set" in message


def test_a_connection_that_breaks_leaves_nothing_that_is_loaded(hub: Hub, tmp_path: Path) -> None:
    publish_timm(hub, "test_efficientnet")
    hub.cut["model.safetensors"] = 1000
    try:
        load_encoder("timm:test_efficientnet")  # the client itself may try again
    except InputError as error:
        assert "broke off" in str(error)
        assert not [*(tmp_path / "cache").rglob("snapshots/*/model.safetensors")]
        load_encoder("timm:test_efficientnet")


def test_without_network_a_line_says_what_to_fetch_and_where(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    repo = "timm/test_efficientnet.r160_in1k"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nobody + "/{repo_id}/resolve/{revision}/{filename}")
    message = refused("timm:test_efficientnet@revision:v1")
    assert f"{nobody} is not reached" in message and constants.HF_HUB_CACHE in message
    assert f"`hf download {repo} model.safetensors --revision v1`" in message and "@FILE" in message
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused("timm:test_efficientnet")
    message = refused("transformers:org/name")
    assert "`hf download org/name config.json preprocessor_config.json model.safetensors`" in message
    assert "models--org--name into this one" in message and "write transformers:FOLDER" in message
    assert hub.requests == []


def test_what_the_hub_does_not_have(hub: Hub) -> None:
    assert "has no repository timm/test_efficientnet.r160_in1k for you" in refused("timm:test_efficientnet")
    publish_timm(hub, "test_efficientnet")
    assert "has no revision 'v9'" in refused("timm:test_efficientnet@revision:v9")
    hub.gated.add("timm/test_vit.r160_in1k")
    assert "timm/test_vit.r160_in1k is gated: accept its conditions" in refused("timm:test_vit")
    hub.publish("timm/test_nfnet.r160_in1k", {"README.md": b"nothing"})
    assert "has none of model.safetensors, pytorch_model.bin" in refused("timm:test_nfnet")
    assert "no weights are published for timm:test_vit4" in refused("timm:test_vit4")
    pytest.importorskip("transformers", reason="transformers is an extra")
    for name in ("a/b/c", "../../etc", "a@b", "", "-x/y", "a/b\n"):
        refused(f"transformers:{name}")
    for revision in ("../../x", "/etc/passwd", "a b", ".."):
        assert "is no commit, tag or branch" in refused(f"timm:test_efficientnet@revision:{revision}")


def test_pickles_are_refused_and_tensors_in_them_are_not(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    import timm

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("this must never run",))

    repo, weights = "timm/test_efficientnet.r160_in1k", trained(timm.create_model("test_efficientnet")).state_dict()
    hub.publish(repo, {"pytorch_model.bin": pickle.dumps({"weight": Evil()})}, tag="evil")
    hub.publish(repo, {"pytorch_model.bin": save_torch(weights)}, tag="plain")
    hub.publish(repo, {"pytorch_model.bin": pickle.dumps(Evil()), "model.safetensors": save(weights)}, tag="both")
    assert "only tensors are read" in refused("timm:test_efficientnet@revision:evil")
    for tag in ("plain", "both"):
        state = load_encoder(f"timm:test_efficientnet@revision:{tag}").state()
        assert all(torch.equal(state[k], v) for k, v in weights.items())
    assert "never run" not in capsys.readouterr().out


def test_configs_that_ask_for_code_or_say_nothing(hub: Hub) -> None:
    pytest.importorskip("transformers", reason="transformers is an extra")
    pixels = {"preprocessor_config.json": json.dumps(PIXELS).encode()}
    said = {
        "needs code that its repository brings": {"model_type": "mine", "auto_map": {"AutoModel": "evil.Model"}},
        "write timm:NAME": {"architecture": "resnet18"},
        "has no network of the type 'nothing'": {"model_type": "nothing"},
        "has no network of the type None": {},
        "cannot be": {"model_type": "vit", "hidden_size": "many", "image_size": [[]]},
        "holds no settings": [],
    }
    for number, (words, config) in enumerate(said.items()):
        hub.publish(f"org/{number}", pixels | {"config.json": json.dumps(config).encode(), "evil.py": b"raise"})
        assert words in refused(f"transformers:org/{number}")
    hub.publish("org/none", {"config.json": b'{"model_type": "vit"'})
    assert "preprocessor_config.json" in refused("transformers:org/none")
    hub.publish("org/half", {**pixels, "config.json": b'{"model_type": "vit"'})
    assert "config.json cannot be read" in refused("transformers:org/half")
    assert not [path for _, path in hub.requests if path.endswith(".py")]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"hidden_size": 10_000_000}, "would have more than 8,589,934,592 weights, 32 GB: give smaller sizes there"),
        ({"num_hidden_layers": 400}, "would have more than 500 modules and tensors: give smaller sizes there"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers of .* must be at most 500, got 1000000000000"),
    ],
)
@pytest.mark.parametrize("weights", ["", "@random"])
def test_a_folder_of_transformers_that_no_memory_holds(
    tmp_path: Path, config: dict[str, int], words: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_MOST_PARTS", 500)
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    transformers.ViTModel(transformers.ViTConfig(**VISION)).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(said | config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PIXELS))
    assert re.search(words, refused(f"transformers:{tmp_path}{weights}"))


def test_transformers_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert "pip install 'weatherproof[transformers]'" in refused("transformers:org/name")


@pytest.mark.slow
def test_weights_of_another_network_say_whose_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    from safetensors.torch import save_file
    from torchvision import models

    monkeypatch.setattr(likely, "_SECONDS", 60.0)  # whatever else the machine does
    save_file(models.get_model("squeezenet1_1", weights=None).state_dict(), tmp_path / "a.safetensors")
    message = refused(f"torchvision:mobilenet_v3_small@{tmp_path}/a.safetensors")
    assert "missing" in message and message.endswith("these are the weights of torchvision:squeezenet1_1")
    state = timm.create_model("resnet10t", num_classes=7).state_dict()  # with another classifier
    save_file(state, tmp_path / "b.safetensors")
    assert "timm:resnet10t" in refused(f"timm:resnet14t@{tmp_path}/b.safetensors")
    monkeypatch.setattr(likely, "_SECONDS", 0.0)
    assert "these are the weights" not in refused(f"timm:resnet14t@{tmp_path}/b.safetensors")
    monkeypatch.setattr(likely, "_SECONDS", 1.0)
    save_file({"x": torch.rand(3), "y": torch.rand(2, 2)}, tmp_path / "c.safetensors")
    assert "these are the weights" not in refused(f"lenet@{tmp_path}/c.safetensors")


@torch.no_grad()
@pytest.mark.slow
def test_every_distilled_network_of_timm_answers_as_timm_does() -> None:
    import timm

    tried = 0
    for name in (
        "efficientformer_l1", "efficientformerv2_s0", "pit_ti_distilled_224", "swiftformer_xs", "levit_conv_128s",
        "deit_tiny_distilled_patch16_224", "levit_128s",
    ):  # fmt: skip
        plain = trained(timm.create_model(name))
        ours = load_encoder(f"timm:{name}@random").eval()
        ours.load_state(plain.state_dict())
        images, pixels = pictures(ours)
        assert torch.equal(ours.logits(images), plain(pixels)), name
        assert torch.equal(ours(images), plain.forward_head(plain.forward_features(pixels), pre_logits=True)), name
        tried += 1
    assert tried == 7


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    ["crossvit_tiny_240", *(pytest.param(name, marks=pytest.mark.slow) for name in ("efficientvim_m1", "volo_d1_224"))],
)
def test_a_network_of_timm_with_several_classifiers_is_taken_without_them(hub: Hub, tmp_path: Path, name: str) -> None:
    import timm

    publish_timm(hub, name)
    ours = load_encoder(f"timm:{name}").eval()
    plain = timm.create_model(name, pretrained=True).eval()
    plain.reset_classifier(0)
    images, pixels = pictures(ours)
    assert torch.equal(ours(images), plain(pixels)) and ours.head is None and ours.num_classes is None
    save_encoder(ours, tmp_path / "run", provenance={})
    assert torch.equal(load_encoder(tmp_path / "run").eval()(images), ours(images))


def test_transformers_builds_its_network_once_and_keeps_no_map_of_the_file(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    publish(hub, "org/once", trained(transformers.Dinov2Model(config)), tmp_path / "files")
    made: list[object] = []
    begin = transformers.Dinov2Model.__init__
    monkeypatch.setattr(
        transformers.Dinov2Model, "__init__", lambda self, *a, **k: (made.append(self), begin(self, *a, **k))[1]
    )
    encoder = load_encoder("transformers:org/once")
    assert len(made) == 1
    before = {name: value.clone() for name, value in encoder.state().items()}
    with torch.no_grad():
        for value in encoder.parameters():
            value.add_(1.0)
    (file,) = (tmp_path / "cache").rglob("snapshots/*/model.safetensors")
    again = load_encoder("transformers:org/once")
    assert all(torch.equal(value, before[name]) for name, value in again.state().items()), file
    encoder.load_state(before)  # not what stood in it when it was built
    assert all(torch.equal(value, before[name]) for name, value in encoder.state().items())


@torch.no_grad()
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=pytest.mark.slow) if k in SLOW | {"siglip", "dinov3", "vit", "dinov3 convnext"} else k
        for k in tiny()
    ],
)
def test_a_folder_for_the_hub_is_loaded_by_transformers_alone(hub: Hub, tmp_path: Path, kind: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    network = trained(tiny()[kind](transformers))
    pixels = {"max_num_patches": 16, "patch_size": 8, "size": None} if kind == "siglip2" else {}
    publish(hub, "org/name", network, tmp_path / "files", **pixels)
    ours = load_encoder("transformers:org/name").eval()
    for weight in ours.parameters():
        weight.add_(0.01)  # as if hardened
    save_encoder(ours, tmp_path / "run", provenance={})
    done = wp.export(tmp_path / "run", to="hub", out=tmp_path / "out")
    assert done.status == 0 and done.about["library"] == "transformers"
    images, seen = pictures(ours, 32)
    judged = ours.head is not None
    auto = transformers.AutoModelForImageClassification if judged else transformers.AutoModel
    if kind == "clip":
        auto = transformers.CLIPVisionModelWithProjection
    own = {"add_pooling_layer": False} if kind == "vit without pooling" else {}
    plain = auto.from_pretrained(done.file, **own).eval()

    def cut(pixels: Tensor) -> Tensor:
        return pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(2, 16, -1)

    out = plain(cut(seen), torch.ones(2, 16), torch.tensor([[4, 4], [4, 4]])) if kind == "siglip2" else plain(seen)
    if judged:
        torch.testing.assert_close(out.logits, ours.logits(images), rtol=1e-4, atol=1e-5)
    else:
        found = out.image_embeds if kind == "clip" else out.pooler_output
        found = out.last_hidden_state[:, 0] if found is None else found
        torch.testing.assert_close(found, ours(images), rtol=1e-4, atol=1e-5)
    processor = transformers.AutoImageProcessor.from_pretrained(done.file)
    whole = (images * 255).round().to(torch.uint8)
    told = torch.as_tensor(processor([*whole], return_tensors="pt")["pixel_values"])
    mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (ours.preprocessing.mean, ours.preprocessing.std))
    wanted = (whole.float() / 255 - mean) / std
    torch.testing.assert_close(told, cut(wanted) if kind == "siglip2" else wanted, rtol=1e-3, atol=1e-3)


def test_a_network_that_lies_in_its_file_leaves_it_as_it_is(hub: Hub, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28)
    publish(hub, "org/mapped", transformers.Dinov2Model(config), tmp_path / "files")
    encoder = load_encoder("transformers:org/mapped")
    (cached,) = (tmp_path / "cache").rglob("snapshots/*/model.safetensors")
    published, clone = cached.read_bytes(), encoder.clone()
    encoder(torch.rand(2, 3, 28, 28)).sum().backward()
    torch.optim.SGD(encoder.parameters(), 1.0).step()
    assert not all(torch.equal(value, clone.state()[name]) for name, value in encoder.state().items())
    again = load_encoder("transformers:org/mapped").state()
    assert cached.read_bytes() == published
    assert all(torch.equal(value, again[name]) for name, value in clone.state().items())
