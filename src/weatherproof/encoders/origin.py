"""Where weights come from that a library publishes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weatherproof.errors import InputError


@dataclass(frozen=True)
class Place:
    """Where a library publishes weights.

    Args:
        text: the encoder that they belong to: "timm:resnet10t.c3_in1k".
        repo: of the Hugging Face hub: "timm/resnet10t.c3_in1k"; "": none.
        files: names of the weights in the repository, or in `folder`: the first one that is there is taken.
        url: of a file that is not on the hub.
        folder: on this machine, laid out as a repository of the hub.
        beside: files of the repository that are needed beside the weights.
    """

    text: str
    repo: str = ""
    files: tuple[str, ...] = ("model.safetensors", "pytorch_model.bin")
    url: str = ""
    folder: str = ""
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """A file that weights were read from.

    Args:
        name: "timm/resnet10t.c3_in1k/model.safetensors" on the hub, or an address, or a path.
        sha256: of what it holds.
        commit: of the hub's repository; None: it is not from there.
    """

    name: str
    sha256: str
    commit: str | None = None

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Origin":
        """The inverse of `dataclasses.asdict`, after a journey through JSON."""
        commit = settings["commit"]
        return cls(str(settings["name"]), str(settings["sha256"]), None if commit is None else str(commit))


def not_published(text: str, others: str = "") -> InputError:
    """An `InputError` for a network of which its library publishes no weights."""
    return InputError(
        f"no weights are published for {text}{others}: give a file, {text}@FILE, or random weights, {text}@random"
    )
