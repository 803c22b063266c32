"""What is kept of a trial's answers: named columns, a row an image, in one file for a block of images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.names import utf8_path

_PLACE = "place"


@dataclass(frozen=True)
class Answers:
    """The answers to some images in one trial, on the CPU.

    Attributes:
        place: which image of the trial each row is about.
        columns: by name, a row an image.
    """

    place: Int64[Tensor, "n"]
    columns: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, column: str) -> Tensor:
        return self.columns[column]

    def at(self, rows: Bool[Tensor, "n"] | Int64[Tensor, "m"]) -> "Answers":
        """Some of the rows, by a mask or by their numbers."""
        return Answers(self.place[rows], {name: own[rows] for name, own in self.columns.items()})

    def of(self, model: str) -> "Answers":
        """The columns of one of several models, by their own names: see `trials.column`."""
        start = f"{model}/"
        own = {name.removeprefix(start): rows for name, rows in self.columns.items() if name.startswith(start)}
        return Answers(self.place, own)


def joined(parts: Iterable[Answers]) -> Answers | None:
    """The answers of several blocks, by place; None where there is none."""
    parts = list(parts)
    if not parts:
        return None
    parts = [part for part in parts if len(part)] or parts[:1]  # a block of unreadable files alone has no columns
    every = pooled(parts)
    return every.at(every.place.argsort())


def pooled(parts: Sequence[Answers]) -> Answers:
    """All answers of several trials, one after the other; an image may be in several of them."""
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0].columns}
    return Answers(torch.cat([part.place for part in parts]), columns)


@dataclass(frozen=True)
class BlockMemory:
    """Keeps the answers to each block for as long as this process lasts."""

    blocks: dict[int, dict[str, Answers]] = field(default_factory=dict)

    def read(self, number: int) -> dict[str, Answers]:
        """By the trials' labels, what is known of a block."""
        return dict(self.blocks.get(number, {}))

    def write(self, number: int, answers: Mapping[str, Answers]) -> None:
        self.blocks[number] = dict(answers)


@dataclass(frozen=True)
class BlockFiles:
    """Keeps the answers to each block of images in a safetensors file of its own.

    Args:
        folder: where the files are.
        plan: what the answers depend on; a file with another plan is refused.
    """

    folder: Path
    plan: str

    def path(self, number: int) -> Path:
        return self.folder / f"block-{number:05}.safetensors"

    def read(self, number: int) -> dict[str, Answers]:
        """By the trials' labels, what is known of a block; nothing where there is no file.

        Raises:
            InputError: it is of another plan, or cannot be read.
        """
        from safetensors import safe_open

        path = self.path(number)
        if not path.is_file():
            return {}
        try:
            with utf8_path(path) as there, safe_open(there, "pt") as file:
                found = (file.metadata() or {}).get("plan")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except Exception as error:  # whatever a damaged file makes of the reader
            raise InputError(f"{path} cannot be read, delete it to measure its images again: {error}") from error
        if found != self.plan:
            raise InputError(
                f"{path} holds answers of another model, or to other images or conditions: delete it, or choose "
                f"another folder"
            )
        return _by_label(tensors)

    def write(self, number: int, answers: Mapping[str, Answers]) -> None:
        """Replace the file, whole or not at all."""
        write_atomically(self.path(number), to_bytes(answers, plan=self.plan))


def to_bytes(answers: Mapping[str, Answers], **about: str) -> bytes:
    """Answers by the trials' labels, as a file has them."""
    from safetensors.torch import save

    tensors = {}
    for label, own in answers.items():
        tensors[f"{label} {_PLACE}"] = own.place.to(torch.int32)
        tensors |= {f"{label} {quote(name, safe='')}": rows.contiguous() for name, rows in own.columns.items()}
    return save(tensors, metadata=about or None)


def from_bytes(content: bytes) -> dict[str, Answers]:
    """What `to_bytes` was given."""
    from safetensors.torch import load

    return _by_label(load(content))


def _by_label(tensors: Mapping[str, Tensor]) -> dict[str, Answers]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        label, _, part = name.rpartition(" ")
        parts.setdefault(label, {})[unquote(part)] = tensor
    return {label: Answers(own.pop(_PLACE).long(), own) for label, own in parts.items()}
