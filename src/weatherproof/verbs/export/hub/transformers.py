"""transformers' layout: what its own `save_pretrained` writes, and a preprocessor_config.json, for
`AutoModel.from_pretrained(FOLDER)`."""

import json
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
from weatherproof.files import write_atomically
from weatherproof.sizes import sides
from weatherproof.verbs.export.hub.layout import Outputs, Written, normalised, require_no_padding
from weatherproof.verbs.export.hub.licence import licence_on_hub
from weatherproof.verbs.export.subject import Subject

_RESAMPLING = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


def layout(subject: Subject, folder: Path) -> Written:
    """Raises `InputError` where the library's network does not take the weights."""
    encoder = subject.encoder
    require_no_padding(encoder, "transformers")
    kind = encoder.options["kind"]
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
    write_atomically(folder / "preprocessor_config.json", json.dumps(_pixels(subject), indent=2) + "\n")
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
    notes = []
    if _resampled(network, subject):
        notes.append("at this size the network has to be asked with interpolate_pos_encoding=True")
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


def _pixels(subject: Subject) -> dict[str, Any]:
    """Of the library's processor that resizes to rows and columns and normalises."""
    preprocessing = subject.encoder.preprocessing
    rows, columns = sides(preprocessing.size or 1)
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": rows, "width": columns},
        "resample": _RESAMPLING[preprocessing.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }


def _resampled(network: Any, subject: Subject) -> bool:
    size = getattr(network.config, "image_size", None)
    wanted = sides(subject.encoder.preprocessing.size or 1)
    return size is not None and (tuple(size) if isinstance(size, list | tuple) else (size, size)) != wanted


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
