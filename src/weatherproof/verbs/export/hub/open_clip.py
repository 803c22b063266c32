"""open_clip's layout: open_clip_config.json and open_clip_model.safetensors, for "local-dir:FOLDER".

The text side is that of the file that the training began with, which hardening leaves as it is. Where the file is not
there, or holds none, the image tower goes out alone.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders import Encoder
from weatherproof.encoders.adapter import input_size
from weatherproof.encoders.encoder import Names
from weatherproof.encoders.hub import RANDOM, REVISION
from weatherproof.encoders.towers.open_clip import open_clip_file
from weatherproof.encoders.weights import read_checkpoint
from weatherproof.errors import InputError, one_line
from weatherproof.files import write_atomically
from weatherproof.random import framework_seed
from weatherproof.sizes import Size, in_pixels
from weatherproof.verbs.export.hub.begun import at_its_commit, begun_with
from weatherproof.verbs.export.hub.layout import Outputs, Written, normalised, require_no_padding, write_weights
from weatherproof.verbs.export.hub.licence import licence_on_hub
from weatherproof.verbs.export.subject import Subject

_VISUAL = "visual."


def layout(subject: Subject, folder: Path) -> Written:
    """Raises `InputError` where open_clip is not installed."""
    try:
        import open_clip
    except ImportError:
        raise InputError("open_clip is not installed: pip install weatherproof[clip]") from None

    encoder = subject.encoder
    name, _, tag = encoder.name.removeprefix("open_clip:").partition("/")
    published = open_clip.get_pretrained_cfg(name, tag) if tag else {}
    config: dict[str, Any] = open_clip.get_model_config(name)
    require_no_padding(encoder, "open_clip")
    side = encoder.preprocessing.size
    if side is not None and input_size(config["vision_cfg"].get("image_size", 224)) != side:
        if hasattr(getattr(encoder.body, "trunk", None), "set_input_size"):  # a local-dir: is built at its own size
            raise InputError(
                f"open_clip loads {name} from a folder at its own size alone, not at {in_pixels(side)} pixels: export "
                "it with --to onnx or --to torch"
            )
        config["vision_cfg"]["image_size"] = side
    quick = bool(config.get("quick_gelu") or published.get("quick_gelu"))
    if quick:
        config["quick_gelu"] = True
    text, missing = _text_side(subject, open_clip, name, side, quick)
    if text is None:
        write_weights(folder / "visual.safetensors", {k.removeprefix(_VISUAL): v for k, v in encoder.state().items()})
        options = f", force_image_size={side}" + (", force_quick_gelu=True" if quick else "")
        usage = f'open_clip.create_model("{name}", pretrained_image_path="FOLDER/visual.safetensors"{options})'
        note = f"the image tower alone, without its text side: {missing}"
    else:
        settings = {
            "model_cfg": config,
            "preprocess_cfg": {
                "size": side, "mode": "RGB", "mean": list(encoder.preprocessing.mean),
                "std": list(encoder.preprocessing.std), "interpolation": encoder.preprocessing.interpolation,
                "resize_mode": "squash",
            },
        }  # fmt: skip
        write_weights(folder / "open_clip_model.safetensors", {**text, **encoder.state()})
        write_atomically(folder / "open_clip_config.json", json.dumps(settings, indent=2) + "\n")
        usage = 'open_clip.create_model_and_transforms("local-dir:FOLDER")'
        note = ""

    def load() -> Outputs:
        with framework_seed(0), _silent():
            if text is None:
                model = open_clip.create_model(
                    name, pretrained_image_path=str(folder / "visual.safetensors"), pretrained_text=False,
                    force_image_size=side, force_quick_gelu=quick,
                )  # fmt: skip
            else:
                model = open_clip.create_model(f"local-dir:{folder}")
        return _outputs(model.eval(), encoder)

    return Written(
        "open_clip", load, (usage,), licence=licence_on_hub(encoder), notes=(note,) if note else (),
        tags=("clip", "open_clip"),
    )  # fmt: skip


def _outputs(model: nn.Module, encoder: Encoder) -> Outputs:
    @torch.inference_mode()
    def run(images: Tensor) -> Mapping[str, Tensor]:
        return {"embedding": model.encode_image(normalised(images, encoder.preprocessing))}  # type: ignore[operator]

    return run


def _text_side(
    subject: Subject, open_clip: Any, name: str, side: Size | None, quick: bool
) -> tuple[dict[str, Tensor] | None, str]:
    """The tensors of the text tower in the file that the training began with; else why there are none."""
    try:
        file = _weights_file(subject)
    except InputError as error:
        return None, one_line(error)
    if not file:
        return None, "no weights file is named that it could be in"
    with framework_seed(0), _silent():
        whole = open_clip.create_model(
            name, pretrained_text=False, force_image_size=side, force_quick_gelu=quick
        ).state_dict()  # fmt: skip
    wanted = {key: value for key, value in whole.items() if not key.startswith(_VISUAL)}
    try:
        found = read_checkpoint(file).tensors_for(subject.encoder.name, Names(head=None), wanted)
    except (InputError, OSError) as error:
        return None, one_line(error)
    lost = [key for key, value in wanted.items() if key not in found or found[key].shape != value.shape]
    if lost:
        return None, f"{Path(file).name} has no {lost[0]}"
    return {key: found[key] for key in wanted}, ""


@contextmanager
def _silent() -> Iterator[None]:
    """Inside, no warnings on the log of weights that are not there yet."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _weights_file(subject: Subject) -> str:
    """The file that the training began with: after @, or as published, at the commit that the image tower is from.

    Raises:
        InputError: it is published, and neither in the cache nor to be had.
    """
    name, _, after = at_its_commit(subject, begun_with(subject, "open_clip")).partition("@")
    if after == RANDOM:
        return ""
    if after and not after.startswith(REVISION):
        return after
    if not name or not subject.encoder.origins:  # of a network in the hand nobody knows
        return ""
    return open_clip_file(name, after)
