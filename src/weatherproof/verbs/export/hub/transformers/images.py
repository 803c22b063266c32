"""transformers' layout: what its own `save_pretrained` writes, and a preprocessor_config.json, for
`AutoModel.from_pretrained(FOLDER)`.

Of a model for images and texts the text side and the tokenizer are those of the model that the training began with,
which hardening leaves as they are (`both`). Where it is not there, or has none, the image side goes out alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.libraries.transformers import (
    classifiers_of,
    hears_pixels,
    plain_network,
    without_pooling,
)
from weatherproof.encoders.libraries.transformers_options import library, quiet
from weatherproof.encoders.messages import one_line
from weatherproof.errors import InputError
from weatherproof.verbs.export.hub.layout import Outputs, Written, normalised, require_no_padding
from weatherproof.verbs.export.hub.licence import licence_on_hub
from weatherproof.verbs.export.hub.transformers.both import both_sides
from weatherproof.verbs.export.hub.transformers.pixels import size_notes, write_pixels
from weatherproof.verbs.export.subject import Subject


def layout(subject: Subject, folder: Path) -> Written:
    """Raises `InputError` where the library's network does not take the weights."""
    encoder = subject.encoder
    require_no_padding(encoder, "transformers")
    kind, missing = encoder.options["kind"], ""
    if kind == "projection" or encoder.options.get("tower"):
        both, missing = both_sides(subject, folder)
        if both is not None:
            return both
    headless = kind == "classifier" and encoder.head is None
    with quiet():
        network = plain_network(encoder.options, encoder.num_classes if encoder.head is not None else None)
        own = {name.removeprefix(encoder.names.body): value for name, value in encoder.state().items()}
        found = network.load_state_dict(own, strict=False)
        heads = classifiers_of(network) if kind == "classifier" else {}
        spared = tuple(f"{head}." for head in heads) if headless else ()
        lost = [name for name in found.missing_keys if not name.startswith(spared)]
        if strange := [*found.unexpected_keys, *lost]:
            raise InputError(f"{encoder.name} does not take these weights: {strange[0]} is on one side alone")
        network.save_pretrained(folder)
    write_pixels(encoder, network, folder)
    name = "AutoModelForImageClassification" if kind == "classifier" else "AutoModel"
    name = type(network).__name__ if kind == "projection" else name
    more = without_pooling(type(network), bool(encoder.options.get("pooler", True)))

    def load() -> Outputs:
        with quiet():
            try:
                model = getattr(library(), name).from_pretrained(folder, dtype=torch.float32, **more).eval()
            except (OSError, ValueError, RuntimeError) as error:
                raise InputError(f"transformers does not load {encoder.name} again: {one_line(error)}") from None
        return _outputs(model, kind == "classifier", headless, subject)

    given = "".join(f", {key}={value}" for key, value in more.items())
    notes = size_notes(encoder, network)
    if missing:
        notes.append(f"the image side alone, without its text side: {missing}")
    if headless:
        notes.append("its classifier was not hardened with it and is random in this folder")
    return Written(
        "transformers", load,
        (
            f'model = transformers.{name}.from_pretrained("FOLDER"{given})',
            'pixels = transformers.AutoImageProcessor.from_pretrained("FOLDER")(images, return_tensors="pt")',
        ),
        licence=licence_on_hub(encoder), notes=tuple(notes),
        tags=("transformers", "image-feature-extraction"),
    )  # fmt: skip


def _outputs(model: Any, judged: bool, headless: bool, subject: Subject) -> Outputs:
    """The library's network, read as an encoder reads it: of a classifier what goes into it, and what comes out."""
    inside: list[Tensor] = []
    for head in classifiers_of(model).values() if judged else ():
        head.register_forward_pre_hook(lambda _, given: inside.append(given[0]))
    asked: nn.Module = hears_pixels(model)

    @torch.inference_mode()
    def run(images: Tensor) -> Mapping[str, Tensor]:
        inside.clear()
        answer = asked(normalised(images, subject.encoder.preprocessing))
        if not judged:
            return {"embedding": answer.mean(dim=(2, 3)) if answer.ndim == 4 else answer}
        raw = torch.stack([one.mean(dim=(2, 3)) if one.ndim == 4 else one for one in inside]).mean(dim=0)
        return {"embedding": raw} if headless else {"embedding": raw, "logits": answer}

    return run
