"""Small CLIP models with random weights, of the libraries' own classes, for tests."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

NAME = "weatherproof-tiny"
KINDS: dict[str, dict[str, Any]] = {  # beside the plain one
    NAME: {},
    f"{NAME}-quick": {"quick_gelu": True},
    f"{NAME}-custom": {"custom_text": True, "init_logit_bias": -3.0},
}


def add_models(folder: Path) -> None:
    """Make the models known to open_clip: 16 numbers of an image of 32 pixels, texts of up to 24 tokens."""
    import open_clip

    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    for name, more in KINDS.items():
        config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, **more}
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def make_model(name: str = NAME, seed: int = 0) -> Any:
    """One of them with random weights."""
    import open_clip

    logging.disable(logging.WARNING)  # that it has no pretrained weights
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return open_clip.create_model(name).eval()
    finally:
        logging.disable(logging.NOTSET)


def save_model(model: Any, file: Path) -> str:
    """Its weights in a file; the path."""
    from safetensors.torch import save_file

    save_file({name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}, file)
    return str(file)


def transformers_model(folder: Path, kind: str, seed: int = 0) -> Any:
    """A small CLIP, SigLIP or SigLIP 2 with random weights and a tokenizer of single words, in a folder."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")

    words = ["<pad>", "<s>", "</s>", "<unk>", "a", "photo", "of", "cat", "dog", "fire", "truck", ".", *"cdefgikortu▁"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**size, "vocab_size": len(words), "max_position_embeddings": 12, "pad_token_id": 0, "bos_token_id": 1,
            "eos_token_id": 2}  # fmt: skip
    vision = {**size, "patch_size": 8, **({"num_patches": 16} if kind == "Siglip2" else {"image_size": 32})}
    config = getattr(transformers, f"{kind}Config")(text_config=text, vision_config=vision)
    if kind == "CLIP":
        config.projection_dim = 8
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    if kind != "CLIP":
        with torch.no_grad():
            model.logit_scale.fill_(2.0)
            model.logit_bias.fill_(-5.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, transformers.AutoTokenizer.from_pretrained(folder)  # SigLIP 2's own reads letters
