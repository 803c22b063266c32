"""Both sides of a CLIP, a SigLIP and their like in the layout of transformers: words find images after a hardening."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weatherproof.encoders.libraries.transformers import handed_over
from weatherproof.encoders.libraries.transformers_options import library, quiet
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.towers.transformers import has_vocabulary, tokenizer_files, transformers_source, whole_model
from weatherproof.errors import InputError
from weatherproof.verbs.export.hub.begun import at_its_commit, begun_with
from weatherproof.verbs.export.hub.layout import Outputs, Written, normalised
from weatherproof.verbs.export.hub.licence import licence_on_hub
from weatherproof.verbs.export.hub.transformers.pixels import patches_of, size_notes, write_pixels
from weatherproof.verbs.export.subject import Subject

_IMAGES = ("vision_model.", "visual_projection.")  # before the names of the image side


def both_sides(subject: Subject, folder: Path) -> tuple[Written | None, str]:
    """The folder with the text side of the model that the training began with; else why there is none."""
    encoder = subject.encoder
    text = begun_with(subject, "transformers")
    if not text:
        return None, "nothing names the model that it could be in"
    try:
        model, origin = whole_model(transformers_source(at_its_commit(subject, text)))
    except (InputError, OSError) as error:
        return None, one_line(error)
    tokenizer = tokenizer_files(origin)
    if not has_vocabulary(tokenizer):
        return None, f"{origin} has no tokenizer"
    try:
        found = model.load_state_dict(encoder.state(), strict=False)
    except RuntimeError:  # of other shapes
        return None, f"the model of transformers:{text} has another image side, of other shapes"
    lost = [name for name in found.missing_keys if name.startswith(_IMAGES)]
    if strange := [*found.unexpected_keys, *lost]:
        return None, f"the model of transformers:{text} has another image side, {strange[0]} is on one side alone"
    with quiet():
        model.save_pretrained(folder)
    for file in tokenizer:
        shutil.copyfile(file, folder / file.name)
    write_pixels(encoder, model.vision_model, folder)

    def load() -> Outputs:
        with quiet():
            try:
                again = library().AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
                library().AutoTokenizer.from_pretrained(folder)
            except (OSError, ValueError, RuntimeError) as error:
                raise InputError(f"transformers does not load {encoder.name} again: {one_line(error)}") from None
        return _outputs(again, subject)

    own = "".join(f", {name}={value}" for name, value in patches_of(encoder, model.vision_model).items())
    return Written(
        "transformers", load,
        (
            'model = transformers.AutoModel.from_pretrained("FOLDER")',
            'processor = transformers.AutoProcessor.from_pretrained("FOLDER")',
            f'given = processor(text=["a cat"], images=images, padding="max_length", return_tensors="pt"{own})',
            "model(**given).logits_per_image",
        ),
        licence=licence_on_hub(encoder), notes=tuple(size_notes(encoder, model.vision_model)),
        tags=("transformers", "clip", "zero-shot-image-classification"),
    ), ""  # fmt: skip


def _outputs(model: Any, subject: Subject) -> Outputs:
    @torch.inference_mode()
    def run(images: Tensor) -> Mapping[str, Tensor]:
        pixels = normalised(images, subject.encoder.preprocessing)
        given, named = handed_over(model.vision_model, pixels)
        out = model.get_image_features(*given, **named)
        return {"embedding": out if isinstance(out, Tensor) else out.pooler_output}

    return run
