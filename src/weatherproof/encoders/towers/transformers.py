"""Text towers of transformers: `transformers:ORG/NAME` or `transformers:FOLDER`, CLIP, SigLIP and their like.

Description, tokenizer and weights are those of one commit, that of the image tower, and lie in one folder of the cache.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.checkpoint import Checkpoint
from weatherproof.encoders.digests import sha256_of
from weatherproof.encoders.hub import RANDOM, REVISION, check_revision, fetch, found_on_hub, used_whole
from weatherproof.encoders.libraries.transformers import class_and_config
from weatherproof.encoders.libraries.transformers_options import (
    library,
    quiet,
    settings_in,
    transformers_config,
    transformers_place,
)
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.origin import Place
from weatherproof.encoders.towers.tower import TextTower, TowerSource, scale_of
from weatherproof.encoders.weights import read_checkpoint, read_published
from weatherproof.errors import InputError

_CONFIG, _TOKENIZER = "config.json", "tokenizer_config.json"
_OLDER = ("special_tokens_map.json", "added_tokens.json")  # which newer repositories have in the one above
_VOCABULARIES = (("tokenizer.json",), ("merges.txt", "vocab.json"), ("spiece.model",), ("tokenizer.model",))


def transformers_source(name: str) -> TowerSource:
    """Which model this is: of a hub's the commit, of a folder's or a file's weights their hash.

    Raises:
        InputError: transformers is not installed, or the model is not here and cannot be fetched.
    """
    library()
    place, revision, file = _named_model(name)
    text = f"transformers:{name}"
    if file:
        try:
            return TowerSource(text, sha256_of(Path(file)))
        except OSError as error:
            raise InputError(f"no weights file {file!r} for the words of {place.text}: {error.strerror}") from None
    if place.folder:
        content = hashlib.sha256()
        for one in fetch(place):
            content.update(bytes.fromhex(sha256_of(one.path)))
        return TowerSource(text, content.hexdigest())
    return TowerSource(text, transformers_config(place, revision).commit or "")


def transformers_tower(source: TowerSource, quiet: bool) -> TextTower:
    """The text tower with its tokenizer, logit scale and, of SigLIP, logit bias.

    Raises:
        InputError: as `text_tower`.
    """
    del quiet  # nothing is warned of
    model, folder = whole_model(source)
    tokenizer = _tokenizer(source.text, folder)
    longest = int(model.config.text_config.max_position_embeddings)
    bias = getattr(model, "logit_bias", None)

    def tokens(texts: Sequence[str]) -> dict[str, Tensor]:
        encoded = tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=longest, return_tensors="pt",
            return_attention_mask=not _without_mask(model),
        )  # fmt: skip
        return {key: encoded[key] for key in ("input_ids", "attention_mask") if key in encoded}

    network = _Text(model)
    with torch.inference_mode():
        width = network(tokens(["a"])).shape[1]
    return TextTower(
        source.text, network, tokens, lambda one: len(tokenizer(one).input_ids), longest=longest, feature_dim=width,
        scale=scale_of(model.logit_scale.detach(), source.text), source=source,
        bias=0.0 if bias is None else float(bias.detach().float().flatten()[0]),
    )  # fmt: skip


def whole_model(source: TowerSource) -> tuple[Any, Path]:
    """The model with its text side, and its image side where the weights hold that, and the folder where its tokenizer
    lies.

    Raises:
        InputError: as `text_tower`.
    """
    place, revision, file = _named_model(source.text.removeprefix("transformers:"))
    commit = (source.digest if not file else None) or revision
    folder = Path(place.folder) if place.folder else _described(place, commit)
    if file:
        return _model(source.text, folder, read_checkpoint(file)), folder
    model, _ = used_whole(
        place, None if place.folder else commit, place.text,
        lambda own: _model(source.text, folder, read_published([str(f.path) for f in own])),
    )  # fmt: skip
    return model, folder


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a model's folder that make its tokenizer."""
    names = (_TOKENIZER, *_OLDER, *(name for own in _VOCABULARIES for name in own))
    return [folder / name for name in names if (folder / name).is_file()]


def has_vocabulary(files: Sequence[Path]) -> bool:
    """Whether the words are among them: without, the library makes a tokenizer that knows none, and says nothing."""
    names = {file.name for file in files}
    return any(names.issuperset(own) for own in _VOCABULARIES)


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


def _named_model(name: str) -> tuple[Place, str | None, str]:
    """What an encoder's text names: where the model lies, at which commit or tag, and the file after the @.

    Raises:
        InputError: random weights, or no revision that could be one.
    """
    model, at, after = name.partition("@")
    place = transformers_place(model)
    place = replace(place, beside=(*place.beside, _TOKENIZER, *_VOCABULARIES[0])) if place.repo else place
    if after == RANDOM:
        raise InputError(f"{place.text}@{after} has random weights, which know no words: write {place.text}")
    if at and not after.startswith(REVISION):
        return place, None, after
    revision = after.removeprefix(REVISION) if at else None
    check_revision(place, revision)
    return place, revision, ""


def _described(place: Place, revision: str | None) -> Path:
    """The folder of the cache with the description and the tokenizer of one commit."""
    config = transformers_config(place, revision)
    folder, commit = config.path.parent, config.commit or revision
    if any((folder / own[-1]).is_file() for own in _VOCABULARIES):  # comes last: all else was looked for before it
        return folder
    for file in (_TOKENIZER, *_OLDER):
        found_on_hub(place, (file,), commit)
    for own in _VOCABULARIES:
        if all(found_on_hub(place, (file,), commit) for file in own):
            return folder
    raise InputError(f"{place.repo} on the hub has no tokenizer, so that {place.text} reads no words")


def _model(text: str, folder: Path, weights: Checkpoint) -> Any:
    """The whole model with these weights."""
    network_class, settings = class_and_config("model", settings_in(text, folder / _CONFIG), None)
    try:
        with quiet():
            model, loading = network_class.from_pretrained(
                None, config=settings, state_dict=weights.plain(), output_loading_info=True, dtype=torch.float32
            )
    except InputError:
        raise
    except Exception as error:  # of files that may hold anything
        raise InputError(f"the weights of {text} cannot be read: {one_line(error)}") from None
    if not hasattr(model, "get_text_features") or not hasattr(model, "logit_scale"):
        raise InputError(f"{text} is a {network_class.__name__} and knows no words: CLIP, SigLIP and their like do")
    lost = sorted(name for name in loading["missing_keys"] if not name.startswith("vision_model."))
    if lost:
        raise InputError(
            f"{weights.path} has no {lost[0]}: words need the file of the whole model, with its text tower"
        )
    return model


def _tokenizer(text: str, folder: Path) -> Any:
    try:
        with quiet():
            tokenizer = library().AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # of files that may hold anything, of a library that it lacks
        raise InputError(f"the tokenizer of {text} cannot be read: {one_line(error)}") from None
    names = [*getattr(tokenizer, "vocab_files_names", {}).values()]
    if names and not any((folder / name).is_file() for name in ("tokenizer.json", *names)):
        raise InputError(f"{folder} has no tokenizer ({' or '.join(names)}), so that {text} reads no words")
    return tokenizer
