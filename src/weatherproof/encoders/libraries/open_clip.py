"""Encoders from open_clip: `open_clip:NAME/TAG`, the visual tower with its projection.

The tag names the published weights: it decides mean, std and QuickGELU.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from weatherproof.encoders.adapter import Release, expectations, input_size, no_options, stem
from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.messages import one_line, some, unknown_model
from weatherproof.encoders.origin import Place, not_published
from weatherproof.encoders.padding import Padding, pad, padded
from weatherproof.encoders.preprocessing import Preprocessing, supported_interpolation
from weatherproof.errors import InputError, unknown
from weatherproof.sizes import Size, in_pixels, sides

_VISUAL = "visual."  # the name of the tower in a CLIP model; all else in its weights belongs to the text
_MISSING = "open_clip is not installed: pip install 'weatherproof[clip]'"


def build_open_clip(name: str, options: Mapping[str, Any], num_classes: int | None, size: Size | None) -> Encoder:
    """The visual tower with random weights, without the text tower, which may need files from elsewhere.

    Raises:
        InputError: open_clip is not installed, unknown name or tag, or a number of classes: CLIP has no classifier.
    """
    try:
        import open_clip
        from open_clip.model import _build_vision_tower
    except ImportError:
        raise InputError(_MISSING) from None

    text = f"open_clip:{name}"
    no_options(text, options)
    if num_classes:
        raise InputError(f"{text} has no classifier for {num_classes} classes: leave num_classes out and fit a probe")
    _, config, published = described(name)
    vision = config["vision_cfg"] | {"timm_model_pretrained": False, "output_tokens": False}
    own, borrowed = input_size(vision.get("image_size", 224)), "timm_model_name" in vision
    quick_gelu, padding = bool(config.get("quick_gelu") or published.get("quick_gelu")), None
    if size is not None and not borrowed:
        vision["image_size"], padding = _built_for(text, vision, size, own)

    def build() -> Any:
        return _build_vision_tower(config["embed_dim"], vision, quick_gelu)

    tower = build()
    grid = getattr(tower, "grid_size", None)  # of vision transformers written in open_clip itself
    converted = None if grid is None else partial(_resampled, grid)
    if borrowed and size is not None and size != own and hasattr(tower.trunk, "set_input_size"):
        larger, padding = _set_size(text, tower, size)
        converted = partial(_moved, build, larger)
    if padding is not None:
        pad(tower, padding)
    return Encoder(
        text, tower, None,
        names=Names(head=None, body=_VISUAL, ignored=rf"(?!{_VISUAL})", converted=converted),
        feature_dim=config["embed_dim"], num_classes=None,
        preprocessing=Preprocessing(
            mean=tuple(published.get("mean", open_clip.OPENAI_DATASET_MEAN)),
            std=tuple(published.get("std", open_clip.OPENAI_DATASET_STD)),
            size=size or own,
            interpolation=supported_interpolation(published.get("interpolation", "bicubic")),
        ),
    )  # fmt: skip


def open_clip_place(name: str) -> Place:
    """Where open_clip publishes the weights that a name and a tag stand for.

    Raises:
        InputError: open_clip is not installed, unknown name or tag, or no tag.
    """
    try:
        import open_clip
    except ImportError:
        raise InputError(_MISSING) from None

    model, _, published = described(name)
    tag = name.partition("/")[2]
    if not tag:
        tags = [f"open_clip:{model}/{known}" for known in open_clip.list_pretrained_tags_by_model(model)]
        raise not_published(f"open_clip:{model}", f" without a tag, only for {some(tags, 6)}" if tags else "")
    text, address = f"open_clip:{name}", str(published.get("hf_hub") or "")
    if not address:
        return Place(text, url=str(published["url"]))
    repo, _, file = address.rpartition("/")
    safe = f"{file.rpartition('.')[0]}.safetensors"
    files = (safe, file) if file else ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return Place(text, repo, tuple(dict.fromkeys(files)))


def described(name: str) -> tuple[str, dict[str, Any], Mapping[str, Any]]:
    """Of NAME or NAME/TAG the architecture's name, open_clip's configuration of it, and what it publishes under the tag
    (without one nothing). Raises `InputError` for a name or tag that open_clip does not know."""
    import open_clip

    model, _, tag = name.partition("/")
    known = open_clip.list_models()
    if model not in known:
        raise unknown_model("open_clip", model, known, "open_clip.list_models()")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag and tag not in tags:
        raise unknown(f"tag of open_clip:{model}", tag, tags)
    return model, open_clip.get_model_config(model), open_clip.get_pretrained_cfg(model, tag) if tag else {}


def _built_for(text: str, vision: Mapping[str, Any], size: Size, own: Size) -> tuple[Size, Padding | None]:
    """The size for which one of open_clip's own towers is built that sees this one, and how it pads it. Raises
    `InputError` for one that it cannot have."""
    if not isinstance(vision.get("layers"), int):  # a ResNet, whose attention at the end is built for one number
        if not isinstance(size, int):
            raise InputError(f"{text} takes squares alone, as open_clip builds it, and {in_pixels(size)} is none")
        return size, None
    return (size, None) if size == own else padded(text, size, (int(vision.get("patch_size", 16)),) * 2)


def _set_size(text: str, tower: Any, size: Size) -> tuple[Size, Padding | None]:
    """The same of one of timm's, which gets that size."""
    embed = getattr(tower.trunk, "patch_embed", None)
    larger, padding = padded(text, size, tuple(getattr(embed, "patch_size", (1, 1))))
    try:
        tower.set_input_size(sides(larger))
    except (RuntimeError, TypeError, AssertionError, ValueError, AttributeError) as error:
        raise InputError(f"{text} cannot be built for {in_pixels(size)} pixels: {one_line(error)}") from None
    return larger, padding


def _moved(build: Callable[[], Any], size: Size, state: dict[str, Tensor]) -> Mapping[str, Tensor]:
    """The state of one of timm's towers at another size, as open_clip makes it after it has loaded the weights."""
    tower = build()
    tower.load_state_dict({name.removeprefix(_VISUAL): value for name, value in state.items()})
    tower.set_input_size(sides(size))
    return {_VISUAL + name: value for name, value in tower.state_dict().items()}


def open_clip_releases(name: str) -> list[Release]:
    """What open_clip publishes for a bare name, after what the bare name itself stands for."""
    try:
        import open_clip
    except ImportError:
        return []
    if name not in open_clip.list_models():
        return []
    config = open_clip.get_model_config(name)

    def activation(published: Mapping[str, Any]) -> list[str]:
        if not isinstance(config["vision_cfg"].get("layers"), int):  # ResNets and timm's towers have their own
            return []
        return ["QuickGELU" if config.get("quick_gelu") or published.get("quick_gelu") else "GELU"]

    bare = expectations(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD, None, "bicubic", *activation({}))
    releases = [Release(f"open_clip:{name}", (), None, bare)]
    for tag in open_clip.list_pretrained_tags_by_model(name):
        published = open_clip.get_pretrained_cfg(name, tag)
        expected_words = expectations(
            published.get("mean", open_clip.OPENAI_DATASET_MEAN), published.get("std", open_clip.OPENAI_DATASET_STD),
            None, supported_interpolation(published.get("interpolation", "bicubic")),
            *activation(published),
        )  # fmt: skip
        hub = str(published.get("hf_hub") or "").rstrip("/").rpartition("/")[2]
        files = (*(f"{name}{mark}{tag}" for mark in "-._"), stem(published.get("url")), hub)
        releases.append(
            Release(f"open_clip:{name}/{tag}", tuple(file for file in files if file != name), tag, expected_words)
        )
    return releases


def _resampled(grid: tuple[int, int], state: dict[str, Tensor]) -> Mapping[str, Tensor]:
    from open_clip.model import resize_pos_embed

    resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=grid)))
    return state
