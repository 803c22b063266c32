"""Small CLIP models with random weights, of open_clip's own classes, for tests."""

import json
import logging
from pathlib import Path
from typing import Any

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
