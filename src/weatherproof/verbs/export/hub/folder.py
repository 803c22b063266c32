"""Which library the encoder's own is, what it wants in a folder, and whether it loads the same network from there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weatherproof.files import write_atomically
from weatherproof.verbs.export.checking import Look, Verdict, compared
from weatherproof.verbs.export.hub import open_clip, plain, timm, torchvision, transformers
from weatherproof.verbs.export.hub.card import model_card
from weatherproof.verbs.export.hub.layout import Layout, outputs_of
from weatherproof.verbs.export.subject import Subject

# By what stands before the colon of an encoder's name. A library of its own layout joins here.
LAYOUTS: Mapping[str, Layout] = {
    "timm": timm.layout,
    "torchvision": torchvision.layout,
    "open_clip": open_clip.layout,
    "transformers": transformers.layout,
}


@dataclass(frozen=True)
class HubFolder:
    """A folder for a hub.

    Attributes:
        library: which loads it.
        verdict: what that library's network gives, beside the encoder.
        lines: how it is loaded.
    """

    library: str
    verdict: Verdict
    lines: tuple[str, ...]


def hub_folder(subject: Subject, folder: Path, checks: list[Look], source: str) -> HubFolder:
    """Write weights, settings and README.md into a folder, and load them again by the library alone.

    Raises:
        InputError: a library that does not take the weights.
    """
    encoder = subject.encoder
    library, colon, _ = encoder.name.partition(":")
    layout = LAYOUTS.get(library, plain.layout) if colon else plain.layout
    folder.mkdir()
    written = layout(subject, folder)
    verdict = compared(checks, outputs_of(encoder), written.load())
    subject.notes.extend(written.notes)
    write_atomically(folder / "README.md", model_card(subject, written, verdict, source))
    return HubFolder(written.library, verdict, tuple(f"load     {line}" for line in written.usage))
