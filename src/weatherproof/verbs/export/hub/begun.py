"""With what the training of an encoder began: there lies the text side of a CLIP, which hardening leaves as it is."""

from collections.abc import Mapping
from pathlib import Path

from weatherproof.texts import Malformed, read_yaml
from weatherproof.verbs.export.subject import Subject

_LONGEST = 8  # runs that were each trained on from another


def begun_with(subject: Subject, library: str) -> str:
    """The text, without "LIBRARY:", of the encoder, or of that with which the first of its runs began; "": nobody says.

    Args:
        library: such as "open_clip".
    """
    text, recipe = subject.text, subject.recipe
    for _ in range(_LONGEST):
        if text.startswith(f"{library}:"):
            return text.partition(":")[2]
        text = str(recipe.get("encoder", ""))
        try:
            recipe = read_yaml(Path(text) / "recipe.yaml")
        except (OSError, Malformed, ValueError):
            recipe = {}
        if not isinstance(recipe, Mapping):
            recipe = {}
    return ""


def at_its_commit(subject: Subject, text: str) -> str:
    """The text with the commit of the hub that the image side is from, where it names published weights."""
    commit = subject.encoder.origins[0].commit if subject.encoder.origins else None
    name, _, after = text.partition("@")
    return f"{name}@revision:{commit}" if commit and (not after or after.startswith("revision:")) else text
