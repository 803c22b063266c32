"""What the studies of one scale share: encoders kept on disk, and whatever else is made once."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weatherproof.encoders import Encoder, load_encoder
from weatherproof.errors import InputError
from weatherproof.readouts import load_readout
from weatherproof.studies.sets import located
from weatherproof.training import Plan, RunFolder


class Store:
    """A folder of trained encoders.

    Args:
        folder: where they are kept; a killed training goes on from its checkpoint.
        data: the folder that ``$DATA`` stands for.
        seed: of every training.
    """

    def __init__(self, folder: Path, *, data: str | None, seed: int, device: torch.device) -> None:
        self.folder, self.data, self.seed, self.device = folder, data, seed, device
        self._made: dict[Any, Any] = {}
        self._homes: dict[int, Path] = {}  # where an encoder lies, by the object's id

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """From memory, or made now."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def kept(self, recipe: Mapping[str, str], make: Callable[[RunFolder], Any], load: Callable[[str], Any]) -> Any:
        """From memory, from the folder, or made now; the name on disk says what is in it.

        Args:
            recipe: everything that decides what comes out; its "kind" is the name's first word.
            make: trains and saves an encoder into the run folder. Gives it, or a tuple with the encoder first.
            load: reads back what `make` gave.
        """
        name = self.name(recipe)

        def find() -> Any:
            folder = self.folder / name
            if (folder / "encoder.json").is_file():
                found = load(str(folder))
            else:
                run = RunFolder.open(folder, dict(recipe))
                try:
                    found = make(run)
                except InputError:
                    run.discard()
                    raise
                finally:
                    run.close()
            self._homes[id(found[0] if isinstance(found, tuple) else found)] = folder
            return found

        return self.once(name, find)

    def name(self, recipe: Mapping[str, str]) -> str:
        """What the folder of a recipe is called."""
        return f"{recipe['kind']}-{digest(repr(sorted(recipe.items())))}"

    def home(self, encoder: Encoder) -> Path:
        """The folder of an encoder that `kept` gave."""
        return self._homes[id(encoder)]

    def start(self, text: str, size: int | None = None, num_classes: int | None = None) -> Encoder:
        """The encoder that a training starts from; `num_classes` as in `load_encoder`."""
        return load_encoder(located(text, self.data), size=size, num_classes=num_classes, seed=self.seed)

    def plan(self, settings: Mapping[str, Any]) -> Plan:
        """The training plan of a scale's settings."""
        return replace(Plan(**settings), seed=self.seed, device=self.device.type)


def load_classifier(folder: str) -> tuple[Encoder, nn.Module]:
    """An encoder and the head on it, from the folder of a training that saved both."""
    readout = load_readout(folder)
    assert readout is not None
    return load_encoder(folder), readout.head


def digest(settings: str) -> str:
    """Twelve hexadecimal digits that name these settings."""
    return hashlib.sha256(settings.encode()).hexdigest()[:12]
