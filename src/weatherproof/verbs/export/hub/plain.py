"""For networks of one's own, and those written here: the weights under their own names, and what loads them."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file

from weatherproof.encoders import Encoder
from weatherproof.encoders.own import IN_HAND
from weatherproof.files import write_atomically
from weatherproof.spec import names_a_file
from weatherproof.verbs.export.hub.layout import Outputs, Written, outputs_of, write_weights
from weatherproof.verbs.export.subject import Subject


def layout(subject: Subject, folder: Path) -> Written:
    """config.json says what pixels the network expects; it loads with `load_state_dict`."""
    encoder = subject.encoder
    own = encoder.name.startswith(IN_HAND) or names_a_file(encoder.name)
    name = encoder.name.removeprefix(IN_HAND)
    settings = {
        "network": Path(name.rpartition(":")[0]).name + ":" + name.rpartition(":")[2] if names_a_file(name) else name,
        "options": encoder.options,
        "feature_dim": encoder.feature_dim,
        "num_classes": encoder.num_classes,
        "classifier": None if encoder.head is None else encoder.names.head,
        "preprocessing": asdict(encoder.preprocessing),
    }
    write_weights(folder / "model.safetensors", encoder.state())
    write_atomically(folder / "config.json", json.dumps(settings, indent=2) + "\n")
    return Written(
        "pytorch" if own else "weatherproof", lambda: _outputs(folder, encoder), (_usage(encoder, own),),
        notes=("no library knows this network by name: it loads into the code that made it",) if own else (),
    )  # fmt: skip


def _usage(encoder: Encoder, own: bool) -> str:
    if own:
        return 'network.load_state_dict(safetensors.torch.load_file("FOLDER/model.safetensors"))'
    return f'weatherproof.load_encoder("{encoder.text}@FOLDER/model.safetensors")'


def _outputs(folder: Path, encoder: Encoder) -> Outputs:
    """The same network, emptied, with the file's weights."""
    empty = encoder.clone()
    with torch.no_grad():
        for value in empty.state().values():
            value.zero_()
    empty.load_state(load_file(folder / "model.safetensors"))
    return outputs_of(empty.eval())
