"""Text towers of open_clip: `open_clip:NAME/TAG` as published, or `@FILE`, of a file that holds both towers."""

import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.checkpoint import Checkpoint
from weatherproof.encoders.digests import sha256_of
from weatherproof.encoders.encoder import Names
from weatherproof.encoders.hub import RANDOM, REVISION, used_whole
from weatherproof.encoders.libraries.open_clip import described, open_clip_place
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.numbers import check_numbers
from weatherproof.encoders.releases import released
from weatherproof.encoders.towers.tower import TextTower, TowerSource, scale_of
from weatherproof.encoders.weights import check_fit, file_and_key, read_checkpoint
from weatherproof.errors import InputError

_TEXT, _SCALE, _BIAS = "text.", "logit_scale", "logit_bias"
# CLIP's first layout has the text tower's parts beside the image tower; the later one has them under "text."
_FLAT = (
    r"^((?:(?:module|_orig_mod|model)\.)*)(?=positional_embedding|text_projection|token_embedding|transformer|ln_final)"
)


def open_clip_source(name: str) -> TowerSource:
    """The file of an encoder's text, and what it holds.

    Raises:
        InputError: no weights are named, or no such file.
    """
    model, _, file = name.partition("@")
    if file == RANDOM:
        raise InputError(f"open_clip:{name} has random weights, which know no words: write open_clip:NAME/TAG")
    path, _ = file_and_key(open_clip_file(model, file))
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise InputError(
            f"no weights file {str(path)!r} for the words of open_clip:{model}: {error.strerror}"
        ) from None
    return TowerSource(f"open_clip:{name}", digest)


def open_clip_tower(source: TowerSource, quiet: bool) -> TextTower:
    """The text tower with the weights of the file, its tokenizer and its logit scale.

    Raises:
        InputError: as `text_tower`.
    """
    name, _, file = source.text.removeprefix("open_clip:").partition("@")
    with warnings.catch_warnings() if quiet else nullcontext():
        if quiet:
            warnings.simplefilter("ignore")
        checkpoint = read_checkpoint(open_clip_file(name, file))
        text = released(f"open_clip:{name}", checkpoint.path, checkpoint.metadata)
        tower, config = _empty(text.removeprefix("open_clip:"))
        state = _text_state(checkpoint, text, tower)
    _fill(tower, state, checkpoint.path, text)
    tokenizer = _tokenizer(text)
    bias = float(state[_BIAS].float().flatten()[0]) if _BIAS in state else 0.0
    return TextTower(
        text, _Pooled(tower), lambda texts: _tokens(tokenizer, texts), lambda one: _count(tokenizer, one),
        longest=tokenizer.context_length, feature_dim=int(config["embed_dim"]), scale=scale_of(state[_SCALE], text),
        bias=bias, source=source,
    )  # fmt: skip


class _Pooled(nn.Module):
    """The tower's pooled embedding, where it gives its tokens too."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Tensor) -> Tensor:
        out = self.tower(tokens)
        pooled: Tensor = out[0] if isinstance(out, tuple) else out
        return pooled


def open_clip_file(name: str, after: str) -> str:
    """The file that stands after the @, or that open_clip publishes: from the cache, else fetched once.

    Raises:
        InputError: of NAME/TAG nothing is published, or it is neither in the cache nor to be had.
    """
    if after and not after.startswith(REVISION):
        return after
    place = open_clip_place(name)
    path, _ = used_whole(place, after.removeprefix(REVISION) or None, f"open_clip:{name}", lambda files: files[0].path)
    return str(path)


def import_open_clip() -> Any:
    """The library. Raises `InputError` where it is not installed."""
    try:
        import open_clip
    except ImportError:
        raise InputError("open_clip is not installed: pip install 'weatherproof[clip]'") from None
    return open_clip


def _empty(name: str) -> tuple[nn.Module, Mapping[str, Any]]:
    """The text tower with random weights, and the model's configuration."""
    import_open_clip()
    from open_clip.model import _build_text_tower

    _, config, published = described(name)
    text = {**config["text_cfg"], "hf_model_pretrained": False}
    quick_gelu = bool(config.get("quick_gelu") or published.get("quick_gelu"))
    try:
        return _build_text_tower(config["embed_dim"], text, quick_gelu), config
    except Exception as error:  # a tower of transformers, whose description lies on a hub
        hub = text.get("hf_model_name")
        if not hub:
            raise
        raise InputError(
            f"the text tower of open_clip:{name} is {hub} of transformers, whose description is not here "
            f"({one_line(error)}): run `hf download {hub} config.json` once, with a network"
        ) from None


def _names() -> Names:
    return Names(head=None, ignored=r"visual\.", renamed=((_FLAT, rf"\1{_TEXT}"),))


def _expected_state(tower: nn.Module) -> dict[str, Tensor]:
    expected = {_TEXT + name: value for name, value in tower.state_dict().items()}
    return expected | {_SCALE: torch.zeros(())}


def _text_state(checkpoint: Checkpoint, text: str, tower: nn.Module) -> dict[str, Tensor]:
    """The text tower's part of the file, under the names of the later layout."""
    expected = _expected_state(tower)
    state = checkpoint.tensors_for(text, _names(), expected)
    state = {k: v for k, v in _names().clean(state).items() if k in expected or k == _BIAS or k.startswith(_TEXT)}
    if not any(name.startswith(_TEXT) for name in state):
        raise InputError(
            f"{checkpoint.path} holds the image tower of {text} alone: classes by words need the file of the whole "
            "model, with its text tower"
        )
    return state


def _fill(tower: nn.Module, state: Mapping[str, Tensor], path: str, text: str) -> None:
    expected = _expected_state(tower)
    filled = {name: value for name, value in state.items() if name != _BIAS}
    if _SCALE in filled:
        filled[_SCALE] = filled[_SCALE].reshape(())
    filled |= {
        k: v for k, v in expected.items() if k.endswith("position_ids") and k not in filled
    }  # not kept by newer files
    check_fit(f"the text tower of {text}", expected, filled)
    check_numbers(path, expected, filled)
    with torch.no_grad():
        for name, value in tower.state_dict().items():
            value.copy_(filled[_TEXT + name])


def _tokenizer(text: str) -> Any:
    open_clip, model = import_open_clip(), re.split(r"[:/]", text)[1]
    try:
        return open_clip.get_tokenizer(model)
    except Exception as error:  # of transformers, of its hub, of a library that it lacks
        hub = open_clip.get_model_config(model)["text_cfg"].get("hf_tokenizer_name")
        way = f"run `hf download {hub} --include '*token*'` once, with a network" if hub else "a network is needed once"
        raise InputError(
            f"the tokenizer of open_clip:{model} is not here and could not be fetched ({one_line(error)}): {way}"
        ) from None


def _tokens(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    tokens: Tensor = tokenizer(list(texts))
    return tokens


def _count(tokenizer: Any, text: str) -> int:
    if hasattr(tokenizer, "encode"):  # CLIP's own, between a mark at the beginning and one at the end
        return len(tokenizer.encode(text)) + 2
    return len(tokenizer.tokenizer(text).input_ids)
