"""From an encoder's text to its text tower: `open_clip:NAME/TAG`, `transformers:ORG/NAME`."""

from collections.abc import Callable
from dataclasses import dataclass

from weatherproof.encoders.towers.open_clip import open_clip_source, open_clip_tower
from weatherproof.encoders.towers.tower import TextTower, TowerSource
from weatherproof.encoders.towers.transformers import transformers_source, transformers_tower
from weatherproof.errors import InputError, shown


@dataclass(frozen=True)
class _Library:
    """Where a library's text towers come from, and how they are made. Both take what stands after "LIBRARY:"."""

    source: Callable[[str], TowerSource]
    tower: Callable[[TowerSource, bool], TextTower]


_LIBRARIES = {
    "open_clip": _Library(open_clip_source, open_clip_tower),
    "transformers": _Library(transformers_source, transformers_tower),
}


def tower_source(text: str) -> TowerSource:
    """Where the text tower of the encoder of this text is, without reading it.

    Raises:
        InputError: an encoder that knows no words, or no such file.
    """
    library, _, name = text.partition(":")
    if "/" in text and ":" not in text and "@" not in text:
        raise InputError(f"no folder {shown(text)}: expected a run folder, or an encoder with words")
    if library not in _LIBRARIES:
        raise InputError(
            f"{shown(text)} knows no words: those of CLIP and its like do, open_clip:NAME/TAG or transformers:ORG/NAME"
        )
    return _LIBRARIES[library].source(name)


def text_tower(text: str | TowerSource, *, quiet: bool = False) -> TextTower:
    """The text tower that belongs to the image encoder of this text, on the CPU.

    Args:
        text: of the encoder, such as "open_clip:ViT-B-32/openai@clip.safetensors", whose file holds both towers.
        quiet: without the warnings that `load_encoder` gives of the same file.

    Raises:
        InputError: an encoder that knows no words, a file that holds the image tower alone or weights that do not fit,
            a library that is not installed, or a tokenizer that is not here.
    """
    source = text if isinstance(text, TowerSource) else tower_source(text)
    return _LIBRARIES[source.text.partition(":")[0]].tower(source, quiet)
