"""Text towers against the libraries' own zero-shot classifiers, and files that hold no words."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import local_hub
import pytest
import torch
from clip_models import KINDS, NAME, add_models, make_model, save_model, transformers_model
from local_hub import Hub
from torch import Tensor, nn

import weatherproof as wp
from weatherproof.data import MemoryImages
from weatherproof.encoders.towers import TextTower, text_tower
from weatherproof.errors import InputError
from weatherproof.readouts import PROMPTS, classifier_of, found_by_words, words_of, zero_shot

NAMES = ["cat", "dog", "fire truck"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    add_models(folder)
    for name in KINDS:
        save_model(make_model(name), folder / f"{name}.safetensors")
    return folder


def text_of(folder: Path, name: str = NAME) -> str:
    return f"open_clip:{name}@{folder / f'{name}.safetensors'}"


def normalised(pixels: Tensor) -> Tensor:
    """As open_clip's own transform does it."""
    from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (pixels - mean) / std


def by_open_clip(model: Any, name: str, pixels: Tensor, prompts: list[str]) -> Tensor:
    """Logits of open_clip's own zero-shot classifier."""
    import open_clip

    rows = open_clip.build_zero_shot_classifier(model, open_clip.get_tokenizer(name), NAMES, prompts)
    with torch.no_grad():
        features = model.encode_image(normalised(pixels), normalize=True)
        logits: Tensor = model.logit_scale.exp() * features @ rows
        return logits if model.logit_bias is None else logits + model.logit_bias


@pytest.mark.parametrize("name", KINDS)
def test_logits_are_those_of_open_clip(name: str, models: Path) -> None:
    pixels = torch.rand(4, 3, 32, 32)
    encoder, model = wp.load_encoder(text_of(models, name)).eval(), make_model(name)
    for prompts in (None, ["a photo of a {}."]):
        readout = zero_shot(text_of(models, name), NAMES, prompts)
        assert readout.spoken is not None and readout.kind == "zero-shot" and len(readout.spoken.digest) == 64
        with torch.no_grad():
            found = classifier_of(encoder, readout)(pixels)
        expected = by_open_clip(model, name, pixels, prompts or list(PROMPTS))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert float((found.amax(dim=1) - found.amin(dim=1)).min()) > 1e-3  # classes differ


def test_words_come_from_a_checkpoint_of_training_too(models: Path, tmp_path: Path) -> None:
    state = make_model().state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "epoch.pt")
    torch.save({k: v.half() for k, v in state.items()}, tmp_path / "half.pt")
    plain = zero_shot(text_of(models), NAMES)
    wrapped = zero_shot(f"open_clip:{NAME}@{tmp_path / 'epoch.pt'}", NAMES)
    assert torch.equal(plain.head.weight, wrapped.head.weight)  # type: ignore[arg-type]
    half = zero_shot(f"open_clip:{NAME}@{tmp_path / 'half.pt'}", NAMES)
    torch.testing.assert_close(half.head.weight, plain.head.weight, atol=0.05, rtol=0.01)


def test_what_has_no_words_says_so(models: Path, tmp_path: Path) -> None:
    model = make_model()
    image = {f"visual.{k}": v.clone() for k, v in model.visual.state_dict().items()}
    torch.save(image, tmp_path / "image.pt")
    damaged = {k: torch.full_like(v, torch.nan) if k == "text_projection" else v for k, v in model.state_dict().items()}
    torch.save(damaged, tmp_path / "nan.pt")
    few = {k: v for k, v in model.state_dict().items() if k != "ln_final.bias"}
    torch.save(few, tmp_path / "few.pt")
    (tmp_path / "cut.safetensors").write_bytes((models / f"{NAME}.safetensors").read_bytes()[:1000])
    for source, said in {
        f"open_clip:{NAME}@{tmp_path / 'image.pt'}": "holds the image tower of .* alone",
        f"open_clip:{NAME}@{tmp_path / 'nan.pt'}": "not finite numbers, text.text_projection has",
        f"open_clip:{NAME}@{tmp_path / 'few.pt'}": "1 missing .text.ln_final.bias.",
        f"open_clip:{NAME}@{tmp_path / 'cut.safetensors'}": "not a readable safetensors file",
        f"open_clip:{NAME}@{tmp_path / 'none.pt'}": "no weights file .* for the words",
        f"open_clip:{NAME}@{tmp_path}": "no weights file",
        f"open_clip:{NAME}": "no weights are published for",
        f"open_clip:{NAME}@random": "has random weights, which know no words",
        "open_clip:ViT-B-33": "unknown open_clip",
        "resnet20": "'resnet20' knows no words",
        "timm:resnet18@x.pt": "knows no words",
        str(tmp_path / "nowhere"): "no folder .*: expected a run folder",
        str(tmp_path): "no recipe.yaml of",
    }.items():
        with pytest.raises(InputError, match=said):
            zero_shot(source, NAMES)
    with pytest.raises(InputError, match=r"of a Linear give classes=wp.readouts.zero_shot"):
        zero_shot(nn.Linear(1, 1), NAMES)  # type: ignore[arg-type]


def test_texts_that_are_too_long_are_refused_and_none_is_cut(models: Path) -> None:
    with pytest.raises(InputError, match=r"has 34 tokens, and open_clip:.* reads 24: say it in fewer words"):
        zero_shot(text_of(models), ["cat", "dog " * 30], ["a {}."])
    with pytest.raises(InputError, match="no text to embed"):
        text_tower(text_of(models)).embed([])


def test_images_are_found_by_words(models: Path) -> None:
    pixels = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    images = MemoryImages(pixels, torch.full((6,), -1), (), name="six")
    encoder, model, tower = wp.load_encoder(text_of(models)).eval(), make_model(), text_tower(text_of(models))
    cosine, place = found_by_words(encoder, images, ["a cat", "a dog in fog"], tower, k=2)
    import open_clip

    with torch.no_grad():
        said = model.encode_text(open_clip.get_tokenizer(NAME)(["a cat", "a dog in fog"]), normalize=True)
        expected = said @ model.encode_image(normalised(pixels / 255), normalize=True).T
    best = expected.topk(2)
    assert torch.equal(place, best.indices)
    torch.testing.assert_close(cosine, best.values, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="the text tower is not that of this encoder"), pytest.warns(UserWarning):
        found_by_words(wp.load_encoder("resnet20"), images, "a cat", tower)


def test_a_missing_library_and_a_tokenizer_that_is_not_here(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(open_clip, "get_tokenizer", offline)
        with pytest.raises(InputError, match="the tokenizer of open_clip:.* could not be fetched .no network."):
            text_tower(text_of(models))
    for library in ("open_clip", "transformers"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            with pytest.raises(InputError, match=rf"{library} is not installed: pip install 'weatherproof\["):
                text_tower(f"{library}:org/name" if library == "transformers" else text_of(models))


def test_a_tower_of_ones_own() -> None:
    network = nn.Embedding(256, 3)
    tower = TextTower(
        "letters", network, lambda texts: torch.tensor([ord(text[0]) for text in texts]), len, 10, 3, scale=2.0, bias=-1
    )
    readout = wp.readouts.text_head(tower, words_of(["cat", "dog"], ["{}"]))
    expected = 2 * nn.functional.normalize(network.weight[[ord("c"), ord("d")]], dim=1)
    torch.testing.assert_close(readout.head.weight.detach(), expected.detach())  # type: ignore[union-attr, operator]
    assert readout.head.bias.tolist() == [-1, -1]  # type: ignore[union-attr, operator]


# transformers


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_logits_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    model, tokenizer = transformers_model(tmp_path, kind)
    readout = zero_shot(f"transformers:{tmp_path}", NAMES, ["a photo of a {}."])
    pixels = torch.rand(4, 3, 32, 32)
    texts = tokenizer([f"a photo of a {n}." for n in NAMES], padding="max_length", max_length=12, return_tensors="pt")
    given = {"input_ids": texts.input_ids} | ({"attention_mask": texts.attention_mask} if kind == "CLIP" else {})
    with torch.no_grad():
        expected = model(pixel_values=pixels, **given).logits_per_image
        image = model(pixel_values=pixels, **given).image_embeds
        found = readout.head(nn.functional.normalize(image, dim=1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_folder_that_transformers_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has none of model.safetensors"):
        text_tower(f"transformers:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", "auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(InputError, match="is not a readable safetensors file"):
        text_tower(f"transformers:{tmp_path}")


def publish(hub: Hub, folder: Path, kind: str, seed: int = 0) -> tuple[Any, Any, str]:
    """A model under "org/name". Returns it with its tokenizer and the commit."""
    made = transformers_model(folder, kind, seed)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    pixels = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if kind == "Siglip2":
        pixels = {**pixels, "size": None, "max_num_patches": 16, "patch_size": 8}
    files["preprocessor_config.json"] = json.dumps({"image_processor_type": "ViTImageProcessor", **pixels}).encode()
    return *made, hub.publish("org/name", files, tag=f"v{seed}")


def library_embeddings(model: Any, tokenizer: Any, kind: str) -> Tensor:
    """By the library itself: the names as unit vectors."""
    texts = tokenizer(NAMES, padding="max_length", max_length=12, return_tensors="pt")
    given = {"input_ids": texts.input_ids} | ({"attention_mask": texts.attention_mask} if kind == "CLIP" else {})
    with torch.no_grad():
        return nn.functional.normalize(model.get_text_features(**given).pooler_output, dim=1)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with local_hub.running(tmp_path / "cache") as found:
        yield found


@pytest.mark.parametrize("kind", ["CLIP", "Siglip", "Siglip2"])
def test_words_by_name_come_from_the_hub_and_then_from_the_cache(
    hub: Hub, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    model, tokenizer, commit = publish(hub, tmp_path / "model", kind)
    tower = text_tower("transformers:org/name")
    assert tower.source is not None and tower.source.digest == commit
    torch.testing.assert_close(tower.embed(NAMES), library_embeddings(model, tokenizer, kind))
    assert wp.load_encoder("transformers:org/name").feature_dim == tower.feature_dim
    assert sorted(set(hub.downloads())) == sorted(
        ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"]
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert torch.equal(text_tower("transformers:org/name").embed(NAMES), tower.embed(NAMES)) and hub.requests == []


def test_words_are_of_the_commit_that_the_image_tower_is_from(hub: Hub, tmp_path: Path) -> None:
    name = "transformers:org/name"
    model, tokenizer, first = publish(hub, tmp_path / "first", "CLIP")
    encoder = wp.load_encoder(name)
    wp.encoders.save_encoder(encoder, tmp_path / "run", provenance={})
    (tmp_path / "run" / "recipe.yaml").write_text(f"encoder: {name}\n")
    other, _, newest = publish(hub, tmp_path / "second", "CLIP", seed=1)
    old, new = library_embeddings(model, tokenizer, "CLIP"), library_embeddings(other, tokenizer, "CLIP")
    torch.testing.assert_close(text_tower(name).embed(NAMES), old)  # the image tower lies in the cache
    for after, wanted in {"v1": new, newest: new, "v0": old, first: old}.items():
        torch.testing.assert_close(text_tower(f"{name}@revision:{after}").embed(NAMES), wanted)
    readout = zero_shot(f"{name}@revision:main", NAMES, ["{}"])
    (tmp_path / "cache" / "hub" / "models--org--name" / "refs" / "main").write_text(newest)
    assert text_tower(name).source != text_tower(f"{name}@revision:v0").source
    of_run = zero_shot(tmp_path / "run", NAMES, ["{}"])
    assert of_run.spoken is not None and of_run.spoken.digest == first
    torch.testing.assert_close(nn.functional.normalize(of_run.head.weight.detach(), dim=1), old)  # type: ignore[union-attr, operator, arg-type]
    assert readout.spoken is not None and readout.spoken.digest == first
    by_file = text_tower(f"{name}@{tmp_path / 'first' / 'model.safetensors'}")
    torch.testing.assert_close(by_file.embed(NAMES), old)


def test_words_by_name_that_are_not_to_be_had(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants
    from safetensors.torch import load_file, save_file

    def refused(text: str) -> str:
        with pytest.raises(InputError) as caught:
            text_tower(text)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    publish(hub, tmp_path / "model", "CLIP")
    assert "org/name has no revision 'v9'" in refused("transformers:org/name@revision:v9")
    assert "is no commit, tag or branch of org/name" in refused("transformers:org/name@revision:")
    assert "random weights, which know no words" in refused("transformers:org/name@random")
    assert "no weights file" in refused(f"transformers:org/name@{tmp_path}")
    image = {k: v for k, v in load_file(tmp_path / "model" / "model.safetensors").items() if not k.startswith("text")}
    save_file(image, tmp_path / "image.safetensors")
    message = refused(f"transformers:org/name@{tmp_path / 'image.safetensors'}")
    assert "image.safetensors has no text_model." in message and "the file of the whole model" in message
    files = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    hub.publish("org/mute", {name: data for name, data in files.items() if "tokenizer" not in name})
    assert "org/mute on the hub has no tokenizer" in refused("transformers:org/mute")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refused("transformers:org/else")
    assert f"config.json of org/else is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set" in message
    assert (
        "`hf download org/else config.json preprocessor_config.json tokenizer_config.json tokenizer.json "
        "model.safetensors`"
    ) in message
