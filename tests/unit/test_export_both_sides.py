"""A CLIP of transformers goes out with its text side, and is asked in words by transformers alone."""

import json
from pathlib import Path
from typing import Any

import local_hub
import numpy as np
import pytest
import torch
from clip_models import transformers_model
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

import weatherproof as wp
from weatherproof.data import MemoryImages
from weatherproof.encoders import save_encoder
from weatherproof.errors import InputError

NAMES = ["cat", "dog", "fire truck"]
PIXELS = {"size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}


@pytest.fixture(scope="module")
def images() -> MemoryImages:
    return MemoryImages(torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8), name="noise")


def origin(folder: Path, kind: str) -> tuple[Any, Any]:
    """The model in a folder as the hub lays one out, and its tokenizer."""
    made: tuple[Any, Any] = transformers_model(folder, kind)
    told = {"image_processor_type": "ViTImageProcessor", **PIXELS}
    if kind == "Siglip2":
        told |= {"image_processor_type": "Siglip2ImageProcessor", "size": None, "max_num_patches": 16, "patch_size": 8}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return made


def trained(text: str, folder: Path) -> wp.encoders.Encoder:
    """What a run leaves: the image side with other weights, and with what it began."""
    encoder = wp.load_encoder(text)
    with torch.no_grad():
        for value in encoder.body.parameters():
            value.mul_(1.1)
    save_encoder(encoder, folder, provenance={})
    (folder / "recipe.yaml").write_text(f"verb: harden\nencoder: {text}\n")
    return encoder.eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["CLIP", "Siglip", "Siglip2"])
def test_both_sides_are_loaded_by_transformers_alone(kind: str, images: MemoryImages, tmp_path: Path) -> None:
    """Words find images there as they do here: hardened images, and texts as they were."""
    transformers = pytest.importorskip("transformers")
    before, tokenizer = origin(tmp_path / "origin", kind)
    text = f"transformers:{tmp_path / 'origin'}"
    encoder = trained(text, tmp_path / "run")
    done = wp.export(tmp_path / "run", images=images, to="hub", out=tmp_path / "out")
    assert done.status == 0 and not any("text side" in note for note in done.notes), done.notes

    model = transformers.AutoModel.from_pretrained(done.file).eval()
    processor = transformers.AutoProcessor.from_pretrained(done.file)
    pictures = [Image.fromarray(np.asarray(images[place][0]).transpose(1, 2, 0)) for place in range(3)]
    prompt = "{}" if kind == "Siglip2" else "a photo of a {}."  # its tokenizer reads letters
    prompts = [prompt.format(name) for name in NAMES]
    more = {"patch_size": 8, "max_num_patches": 16} if kind == "Siglip2" else {}  # its processor asks for others
    given = processor(text=prompts, images=pictures, padding="max_length", max_length=12, return_tensors="pt", **more)
    if kind != "CLIP":
        given.pop("attention_mask", None)
    logits = model(**given).logits_per_image
    readout = wp.readouts.zero_shot(text, NAMES, [prompt])
    pixels = images.read(torch.arange(3)).float() / 255
    torch.testing.assert_close(logits, readout.head(normalize(encoder(pixels), dim=1)), rtol=1e-4, atol=1e-4)
    own, then = model.state_dict(), before.state_dict()
    assert all(torch.equal(own[name], then[name]) for name in own if name.startswith(("text", "logit")))
    again = transformers.AutoTokenizer.from_pretrained(done.file)
    assert again(prompts).input_ids == tokenizer(prompts).input_ids
    card = (done.file / "README.md").read_text()
    assert 'AutoModel.from_pretrained("FOLDER")' in card and "zero-shot-image-classification" in card


def test_without_a_text_side_the_image_side_goes_out_alone_and_a_note_says_why(
    images: MemoryImages, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    origin(tmp_path / "origin", "CLIP")
    whole = load_file(tmp_path / "origin" / "model.safetensors")
    alone = {name: value for name, value in whole.items() if name.startswith(("vision_model", "visual_projection"))}
    save_file(alone, tmp_path / "image.safetensors", metadata={"format": "pt"})
    for after, why in {
        "@random": "has random weights",
        f"@{tmp_path / 'image.safetensors'}": "has no logit_scale",
    }.items():
        text = f"transformers:{tmp_path / 'origin'}{after}"
        done = wp.export(text, images=images, to="hub", out=tmp_path / f"out{len(after)}")
        assert done.status == 0
        assert [why in note for note in done.notes if "without its text side" in note] == [True], done.notes
        assert json.loads((done.file / "config.json").read_text())["architectures"] == ["CLIPVisionModelWithProjection"]
        transformers.CLIPVisionModelWithProjection.from_pretrained(done.file)


def test_a_changed_origin_gives_no_text_side(images: MemoryImages, tmp_path: Path) -> None:
    """Without its words the library would make a tokenizer that knows none; a model of other shapes is not the one."""
    pytest.importorskip("transformers")
    origin(tmp_path / "origin", "CLIP")
    text = f"transformers:{tmp_path / 'origin'}"
    trained(text, tmp_path / "run")
    (tmp_path / "origin" / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    done = wp.export(tmp_path / "run", images=images, to="hub", out=tmp_path / "wordless")
    assert done.status == 0 and any("origin has no tokenizer" in note for note in done.notes), done.notes
    with pytest.raises(InputError, match="the tokenizer of .* cannot be read"):  # the library refuses what it was
        wp.readouts.zero_shot(text, NAMES, ["{}"])
    (tmp_path / "origin" / "tokenizer_config.json").unlink()  # or takes one by the network's kind
    with pytest.raises(InputError, match="has no tokenizer .*reads no words"):
        wp.readouts.zero_shot(text, NAMES, ["{}"])
    (tmp_path / "tokenizer.json").rename(tmp_path / "origin" / "tokenizer.json")
    weights = load_file(tmp_path / "origin" / "model.safetensors")
    config = json.loads((tmp_path / "origin" / "config.json").read_text())
    config["vision_config"]["patch_size"] = 16
    (tmp_path / "origin" / "config.json").write_text(json.dumps(config))
    weights["vision_model.embeddings.patch_embedding.weight"] = torch.zeros(16, 3, 16, 16)
    weights["vision_model.embeddings.position_embedding.weight"] = torch.zeros(5, 16)
    save_file(weights, tmp_path / "origin" / "model.safetensors", metadata={"format": "pt"})
    done = wp.export(tmp_path / "run", images=images, to="hub", out=tmp_path / "other")
    assert done.status == 0 and any("another image side" in note for note in done.notes), done.notes


def test_the_text_side_is_of_the_commit_that_the_image_side_is_from(images: MemoryImages, tmp_path: Path) -> None:
    with local_hub.running(tmp_path / "cache") as hub:
        for seed in (0, 1):
            transformers_model(tmp_path / f"files{seed}", "CLIP", seed)
            files = {file.name: file.read_bytes() for file in (tmp_path / f"files{seed}").iterdir()}
            told = json.dumps({"image_processor_type": "ViTImageProcessor", **PIXELS}).encode()
            commit = hub.publish("org/name", files | {"preprocessor_config.json": told}, tag=f"v{seed}")
            if seed == 0:
                trained("transformers:org/name", tmp_path / "run")
        (tmp_path / "cache" / "hub" / "models--org--name" / "refs" / "main").write_text(commit)
        done = wp.export(tmp_path / "run", images=images, to="hub", out=tmp_path / "out")
    assert done.status == 0 and not any("text side" in note for note in done.notes)
    made, first = load_file(done.file / "model.safetensors"), load_file(tmp_path / "files0" / "model.safetensors")
    assert all(torch.equal(made[name], first[name]) for name in first if name.startswith(("text", "logit")))
