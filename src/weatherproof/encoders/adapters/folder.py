"""An adapter in a run folder: adapter.safetensors with its tensors, adapter.json with what it is and whose."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import weatherproof
from weatherproof.encoders.adapters.adapted import Adapted, same_weights
from weatherproof.encoders.adapters.kinds import parse
from weatherproof.encoders.digests import add_tensors
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.folder import write_tensors
from weatherproof.encoders.messages import settings_of
from weatherproof.encoders.weights import read_weights
from weatherproof.errors import InputError, shown
from weatherproof.texts import path_of

WEIGHTS, SETTINGS = "adapter.safetensors", "adapter.json"
FORMAT = 1


@dataclass(frozen=True)
class _Saved:
    """What adapter.json says, of what is needed again."""

    text: str
    name: str
    sha256: str


def body_hash(encoder: Encoder) -> str:
    """SHA-256 of the names, types, shapes and bytes of the weights and statistics that make embeddings, in the order of
    their names."""
    digest = hashlib.sha256()
    add_tensors(digest, encoder.body.state_dict())
    return digest.hexdigest()


def save_adapter(encoder: Encoder, folder: str | Path, *, provenance: Mapping[str, Any]) -> None:
    """Write adapter.safetensors and adapter.json of the adapter that is on, each in one step.

    Args:
        folder: made if it is not there.
        provenance: where the adapter comes from, anything that JSON can hold.

    Raises:
        InputError: no adapter is on.
    """
    adapter = encoder.adapter if isinstance(encoder, Adapted) else None
    if adapter is None:
        raise InputError(f"{encoder.name} has no adapter on: there is none to save")
    settings = {
        "format": FORMAT,
        "weatherproof": weatherproof.__version__,
        "adapter": adapter.text,
        "base": {"name": encoder.name, "options": encoder.options, "sha256": body_hash(encoder)},
        "feature_dim": encoder.feature_dim,
        "num_classes": encoder.num_classes,
        "preprocessing": asdict(encoder.preprocessing),
        "provenance": dict(provenance),
    }
    prefix = encoder.names.body
    tensors = {prefix + name: value for name, value in adapter.state().items()}
    write_tensors(Path(folder), WEIGHTS, tensors, SETTINGS, settings)


def load_adapters(encoder: Encoder, folders: Mapping[str, str | Path], *, active: str | None = None) -> Adapted:
    """An encoder with the adapters of run folders, which all share its weights.

    Args:
        encoder: the one that they were trained on. It is left as it is, and shares its weights with what comes back.
        folders: by the name that the adapter is to have.
        active: the adapter that is on; None: none, until `switched`.

    Raises:
        InputError: a file is missing or damaged, an adapter was trained on other weights, no adapter of that name, or
            an encoder that is a gate.
    """
    here, adapters = body_hash(encoder), {}
    for name, folder in folders.items():
        path = path_of(folder)
        saved = _read(path)
        if saved.sha256 != here:
            raise InputError(
                f"{path / WEIGHTS} belongs to {shown(saved.name)} with weights {shown(saved.sha256[:12])}, and this "
                f"{encoder.name} has others ({here[:12]}): load it on the encoder that it was trained on"
            )
        made = parse(saved.text).attach(encoder, name=name)
        if not isinstance(made, Adapted) or made.adapter is None:
            raise InputError(f"{path / SETTINGS}: {saved.text} is no adapter that has a file of its own")
        state = {own.removeprefix(encoder.names.body): value for own, value in read_weights(path / WEIGHTS).items()}
        made.adapter.load_state(state, source=str(path / WEIGHTS))
        adapters[name] = made.adapter
    return Adapted(same_weights(encoder), adapters, active)


def _read(folder: Path) -> _Saved:
    missing = [name for name in (SETTINGS, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} holds no adapter: {' and '.join(missing)} missing")
    with settings_of(folder / SETTINGS, "an adapter", FORMAT) as settings:
        base = settings["base"]
        return _Saved(str(settings["adapter"]), str(base["name"]), str(base["sha256"]))
