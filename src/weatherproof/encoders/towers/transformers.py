"""Text towers of transformers: `transformers:ORG/NAME` or `transformers:FOLDER`, CLIP, SigLIP and their like."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.digests import sha256_of
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.towers.tower import TextTower, TowerSource, scale_of
from weatherproof.errors import InputError


def transformers_source(name: str) -> TowerSource:
    """Which model this is: of a folder the hash of its weights, of a hub's the commit.

    Raises:
        InputError: transformers is not installed, or the model is not here and cannot be fetched.
    """
    place = _place(name)
    folder = Path(place)
    if folder.is_dir():
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise InputError(f"{folder} holds no model of transformers: expected config.json and *.safetensors")
        content = hashlib.sha256()
        for file in files:
            content.update(bytes.fromhex(sha256_of(file)))
        return TowerSource(f"transformers:{name}", content.hexdigest())
    config = _read(name, "AutoConfig", place)
    return TowerSource(f"transformers:{name}", str(getattr(config, "_commit_hash", None) or ""))


def transformers_tower(source: TowerSource, quiet: bool) -> TextTower:
    """The text tower with its tokenizer, logit scale and, of SigLIP, logit bias.

    Raises:
        InputError: as `text_tower`.
    """
    del quiet  # nothing is warned of
    name = source.text.removeprefix("transformers:")
    place = _place(name)
    model = _read(name, "AutoModel", place, use_safetensors=True)
    if not hasattr(model, "get_text_features") or not hasattr(model, "logit_scale"):
        raise InputError(
            f"{source.text} is a {type(model).__name__} and knows no words: CLIP, SigLIP and their like do"
        )
    tokenizer = _read(name, "AutoTokenizer", place)
    longest = int(model.config.text_config.max_position_embeddings)
    bias = getattr(model, "logit_bias", None)

    def tokens(texts: Sequence[str]) -> dict[str, Tensor]:
        made = tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=longest, return_tensors="pt",
            return_attention_mask=not _without_mask(model),
        )  # fmt: skip
        return {key: made[key] for key in ("input_ids", "attention_mask") if key in made}

    network = _Text(model)
    with torch.inference_mode():
        width = network(tokens(["a"])).shape[1]
    return TextTower(
        source.text, network, tokens, lambda one: len(tokenizer(one).input_ids), longest=longest, feature_dim=width,
        scale=scale_of(model.logit_scale.detach(), source.text), source=source,
        bias=0.0 if bias is None else float(bias.detach().float().flatten()[0]),
    )  # fmt: skip


class _Text(nn.Module):
    """A model's text features."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        model.requires_grad_(False).eval()
        if hasattr(model, "vision_model"):
            del model.vision_model  # the larger part, and of no use here
        self.model = model

    def forward(self, tokens: dict[str, Tensor]) -> Tensor:
        out = self.model.get_text_features(**tokens)  # type: ignore[operator]
        features: Tensor = out if isinstance(out, Tensor) else out.pooler_output
        return features


def _without_mask(model: nn.Module) -> bool:
    """SigLIP was trained on padded texts without a mask."""
    return "siglip" in str(getattr(model.config, "model_type", ""))


def _place(name: str) -> str:
    """The folder, or the hub's name, of an encoder's text."""
    before, at, folder = name.partition("@")
    return folder if at else before


def _read(name: str, kind: str, place: str, **settings: Any) -> Any:
    try:
        import transformers
    except ImportError:
        raise InputError("transformers is not installed: pip install 'weatherproof[transformers]'") from None
    try:
        return getattr(transformers, kind).from_pretrained(
            place, trust_remote_code=False, local_files_only=Path(place).is_dir(), **settings
        )
    except Exception as error:  # of the hub, of files that may hold anything
        what = {"AutoTokenizer": "tokenizer", "AutoConfig": "description"}.get(kind, "weights")
        raise InputError(f"the {what} of transformers:{name} cannot be read: {one_line(error)}") from None
