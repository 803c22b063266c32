"""Encoders from timm: `timm:NAME` or `timm:NAME.TAG`, with the preprocessing of timm's own pretrained configuration.

The tag names the release: it decides mean, std, size and interpolation, and which weights the name stands for.
"""

import inspect
import re
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.adapter import (
    Release,
    classifier_path,
    divides,
    expectations,
    input_size,
    multiples,
    require_room,
    stem,
    without_head,
)
from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.heads import Half, TwoHeads
from weatherproof.encoders.messages import one_line, some, unknown_model
from weatherproof.encoders.origin import Place, not_published
from weatherproof.encoders.padding import warn_of_padding
from weatherproof.encoders.preprocessing import Preprocessing, supported_interpolation
from weatherproof.encoders.unfilled import Unfilled, on_meta
from weatherproof.errors import InputError, shown
from weatherproof.random import framework_seed
from weatherproof.sizes import Size, in_pixels, nearest, sides


class PointwiseHead(nn.Module):
    """A 1x1 convolution that serves as classifier, applied to embeddings, with its parameters under their own names."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, embeddings: Tensor) -> Tensor:
        return nn.functional.linear(embeddings.flatten(1), self.weight.flatten(1), self.bias)


_OURS = {
    "num_classes": "those of the images or the weights are taken",
    "img_size": "the size of the images is given beside the encoder, as size or --size",
    "in_chans": "the mean and std that timm publishes fix the channels",
    **dict.fromkeys(("features_only", "out_indices"), "an encoder gives one embedding for an image"),
}  # options of a model that are told in another way


def build_timm(name: str, options: Mapping[str, Any], num_classes: int | None, size: Size | None) -> Encoder:
    """A timm model with random weights; 0 classes: without its head, None: with the classes that timm gives it.

    Args:
        options: of the model's own, such as {"depth": 4}.

    Raises:
        InputError: unknown name or tag, an option that the model does not have, a size that it cannot have, or classes
            for a model with several classifiers.
    """
    import timm

    text = f"timm:{name}"
    if not timm.is_model(name):  # also refuses hf-hub: names, which would be downloaded
        raise unknown_model("timm", name, timm.list_models(), "timm.list_models()")
    settings: dict[str, Any] = dict(options) | ({"num_classes": num_classes} if num_classes else {})
    if options:
        _check_options(timm, text, name, options, settings)
    model, published, settings = create_timm(timm, text, name, settings, size)
    head: Any = model.get_classifier() if hasattr(model, "get_classifier") else nn.Identity()
    second = None
    features = int(getattr(model, "head_hidden_size", None) or model.num_features)
    if _distilled(head):
        first, other = head
        body, path, second, head = _with_both(model, first, other, published.get("classifier"))
    elif not isinstance(head, nn.Module) or _several(head, published.get("classifier")):
        return _without_classifiers(text, name, options, settings, model, published, num_classes, size)
    elif isinstance(head, nn.Identity):
        body, path, head = model, published.get("classifier"), None
        path = path if isinstance(path, str) else None
    else:
        path = classifier_path(model, head)
        path = _inside(model, path, published.get("classifier"), features)
        head = model.get_submodule(path)
        body = without_head(model, path)
        head = PointwiseHead(head) if isinstance(head, nn.Conv2d) else head
    encoder = Encoder(
        text, body, None if num_classes == 0 else head,
        names=Names(
            head=path, second=second, converted=partial(_converted, name, settings, (path, second), num_classes == 0)
        ),
        feature_dim=features,
        num_classes=int(num_classes or model.num_classes),
        preprocessing=_preprocessing(published, size),
        options=options,
    )  # fmt: skip
    _check_embedding(encoder, input_size(published["input_size"][1:]))
    return encoder


def timm_shapes(name: str, options: Mapping[str, Any], size: Size) -> dict[str, torch.Size]:
    """Of all tensors of a model that is built for a size, which takes no memory. Raises `InputError` for one that it
    cannot have."""
    import timm

    with torch.device("meta"), Unfilled(), warnings.catch_warnings(action="ignore"):  # of a padding
        model, _, _ = create_timm(timm, f"timm:{name}", name, dict(options), size)
    return {tensor: value.shape for tensor, value in model.state_dict().items()}


def _check_options(
    timm: Any, text: str, name: str, options: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:  # fmt: skip
    """Raises: InputError, where the model does not have the options, or would fill the memory with them."""
    for option in options:
        if option in _OURS:
            raise InputError(f"{option} is no option of {text}: {_OURS[option]}")
        if option in inspect.signature(timm.create_model).parameters:
            raise InputError(f"{option} is no option of {text}, but of how timm loads it: leave it out")
        if not isinstance(options[option], int | float | str | bool | tuple | list | None):
            raise InputError(f"{option} of {text} must be a number or a word, got {shown(options[option])}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of layers of no size, which are refused
            require_room(text, lambda: timm.create_model(name, pretrained=False, **settings), options)
    except InputError:
        raise
    except (RuntimeError, TypeError, AssertionError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        unknown = "timm knows no " if isinstance(error, KeyError) else ""  # in a table such as that of its norm layers
        raise InputError(f"{text} cannot be built with {shown(dict(options))}: {unknown}{one_line(error)}") from None


def timm_place(name: str) -> Place:
    """Where timm publishes the weights that a name stands for.

    Raises:
        InputError: unknown name or tag, or timm publishes none for it.
    """
    import timm

    if not timm.is_model(name):
        raise unknown_model("timm", name, timm.list_models(), "timm.list_models()")
    try:
        published = timm.get_pretrained_cfg(name)
    except RuntimeError as error:  # no such tag
        raise InputError(f"timm:{name}: {one_line(error)}") from None
    text, tags = f"timm:{name}", timm.list_pretrained(f"{name.partition('.')[0]}.*")
    if published is None or not published.has_weights or not (published.hf_hub_id or published.url):
        raise not_published(text, f", only for {some([f'timm:{tag}' for tag in tags], 6)}" if tags else "")
    if not published.hf_hub_id:
        return Place(text, url=str(published.url))
    file = published.hf_hub_filename or "pytorch_model.bin"
    safe = "model.safetensors" if file == "pytorch_model.bin" else f"{file.rpartition('.')[0]}.safetensors"
    return Place(text, published.hf_hub_id.partition("@")[0], tuple(dict.fromkeys((safe, file))))


def timm_releases(name: str) -> list[Release]:
    """What timm publishes for a name without a tag, the default first."""
    import timm

    if "." in name or not timm.is_model(name):
        return []
    default = timm.get_pretrained_cfg(name)
    found: dict[str, Any] = {tagged: timm.get_pretrained_cfg(tagged) for tagged in timm.list_pretrained(f"{name}.*")}
    releases = []
    for tagged, cfg in sorted(found.items(), key=lambda item: item[1].tag != getattr(default, "tag", None)):
        expected_words = expectations(
            cfg.mean, cfg.std, input_size(cfg.input_size[1:]), supported_interpolation(cfg.interpolation)
        )
        files = (tagged, str(cfg.hf_hub_id or "").rpartition("/")[2], stem(str(cfg.url or "")))
        releases.append(Release(f"timm:{tagged}", files, cfg.tag, expected_words))
    return releases


def _converted(
    name: str, settings: Mapping[str, Any], heads: tuple[str | None, ...], headless: bool, state: dict[str, Tensor]
) -> Mapping[str, Tensor]:
    """The state as timm's own loading makes it: older names, and position embeddings resampled to the model's size.

    Raises:
        ValueError: timm leaves some of the model's tensors at their random start.
    """
    import timm

    with framework_seed(0):
        plain = timm.create_model(name, pretrained=False, **settings)
        classes = getattr(plain, "num_classes", None)
        if headless:  # timm loads all or nothing
            own = tuple(f"{head}." for head in heads if head is not None)
            state |= {k: v for k, v in plain.state_dict().items() if k.startswith(own) and k not in state}

        def loaded(given: dict[str, Tensor]) -> dict[str, Tensor]:
            overlay = {"state_dict": given, "num_classes": classes, "label_offset": 0}
            model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **settings)
            return dict(model.state_dict())

        filled_state = loaded(state)
        # what comes from a file without a number has none: a few models are loaded without a word of what is missing
        empty = loaded({k: torch.full_like(v, torch.nan) if v.is_floating_point() else v for k, v in state.items()})
    left_out = [k for k, v in empty.items() if v.is_floating_point() and not bool(v.isnan().all())]
    if left_out:
        raise ValueError(f"timm finds no weights for {left_out[0]}")
    return filled_state


def _distilled(head: object) -> bool:
    """Whether it is two classifiers, whose answers are averaged."""
    return isinstance(head, list | tuple) and len(head) == 2 and not any(map(_is_list, head))


def _several(head: nn.Module, published: object) -> bool:
    return _is_list(head) or (isinstance(published, list | tuple) and not isinstance(head, nn.Identity))


def _is_list(head: object) -> bool:
    return not isinstance(head, nn.Module) or isinstance(head, nn.ModuleList | nn.ModuleDict)


def _without_classifiers(
    text: str, name: str, options: Mapping[str, Any], settings: Mapping[str, Any], model: Any,
    published: Mapping[str, Any], num_classes: int | None, size: Size | None,
) -> Encoder:  # fmt: skip
    """Of a model whose classifiers look at several places of it at once (CrossViT, EfficientViM, VOLO), what timm gives
    without them."""
    if num_classes:
        raise InputError(f"{text} has several classifiers at once, which are left out: leave num_classes out, too")
    whole = set(model.state_dict())
    model.reset_classifier(0)
    gone = sorted(whole - set(model.state_dict()))
    paths = tuple(dict.fromkeys(one.rpartition(".")[0] for one in gone))
    encoder = Encoder(
        text, model, None,
        names=Names(
            head=None, ignored="|".join(rf"{re.escape(one)}$" for one in gone) or r"(?!)",
            converted=partial(_converted, name, settings, paths, True),
        ),
        feature_dim=int(model.num_features),
        preprocessing=_preprocessing(published, size),
        options=options,
    )  # fmt: skip
    _check_embedding(encoder, input_size(published["input_size"][1:]))
    return encoder


def _preprocessing(published: Mapping[str, Any], size: Size | None) -> Preprocessing:
    return Preprocessing(
        mean=tuple(float(m) for m in published["mean"]),
        std=tuple(float(s) for s in published["std"]),
        size=size or input_size(published["input_size"][1:]),
        channels=int(published["input_size"][0]),
        interpolation=supported_interpolation(published["interpolation"]),
    )


def _with_both(
    model: nn.Module, head: nn.Module, second: nn.Module, names: object
) -> tuple[nn.Module, str | None, str | None, nn.Module | None]:
    """The body, the names of both classifiers, and them as one: of a distilled model, whose answer is their mean."""
    if isinstance(head, nn.Identity):
        first, other = names if isinstance(names, list | tuple) and len(names) == 2 else (None, None)
        return model, first, other, None
    paths = classifier_path(model, head), classifier_path(model, second)
    for place, path in enumerate(paths):
        model.set_submodule(path, Half(place))
    return model, paths[0], paths[1], TwoHeads(head, second)


def _inside(model: nn.Module, path: str, published: object, features: int) -> str:
    """The linear layer that timm publishes as classifier, where that lies in what it gives for one: a head that pools,
    too. Of a classifier of several layers all of them, as far as they do not pool."""
    if not isinstance(published, str) or not published.startswith(f"{path}."):
        return path
    found = dict(model.named_modules()).get(published)
    if not isinstance(found, nn.Linear):
        return path
    return published if found.in_features == features else published.rpartition(".")[0]


def _check_embedding(encoder: Encoder, own: Size) -> None:
    """Look at what comes of one image: a few timm models combine several outputs after their classifier.

    Raises:
        InputError: what comes out without the classifier is not one embedding per image.
    """
    preprocessing = encoder.preprocessing
    assert preprocessing.size is not None
    shape = (1, preprocessing.channels, *sides(preprocessing.size))
    encoder.eval()
    try:
        raw = _raw_output(encoder.body, shape)
        fits = raw.shape[:2] == (1, encoder.feature_dim) and raw.ndim in (2, 4)
    except (RuntimeError, TypeError, AttributeError, IndexError, AssertionError) as error:
        if preprocessing.size != own:
            raise InputError(
                f"{encoder.name} cannot see {in_pixels(preprocessing.size)} pixels: {one_line(error)}"
            ) from None
        raise InputError(f"{encoder.name} does not work without its classifier: {one_line(error)}") from None
    if not fits:
        raise InputError(
            f"{encoder.name} without its classifier gives {list(raw.shape)}, "
            f"not one embedding of {encoder.feature_dim} numbers for each image: it is not supported"
        )
    encoder.train()


def _raw_output(body: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """What a network gives for one image: in shapes alone, where it can be asked for these, else for a black one."""
    try:
        raw: Tensor = on_meta(body, shape)
    except Exception:  # of layers that need numbers
        with torch.no_grad():
            raw = body(torch.zeros(shape))
    return raw


def create_timm(
    timm: Any, text: str, name: str, settings: dict[str, Any], size: Size | None
) -> tuple[Any, Mapping[str, Any], dict[str, Any]]:
    """The model, its published configuration, and its settings; a model whose input is fixed is built for the size, and
    one whose patch does not divide the size pads it, where timm has that."""
    try:
        published = timm.get_pretrained_cfg(name)
        other = size is not None and published and size != input_size(published.input_size[1:])
        if other and published.fixed_input_size:
            settings = settings | {"img_size": size}
        model = timm.create_model(name, pretrained=False, **settings)
    except (RuntimeError, TypeError, AssertionError, ValueError) as error:
        at = f" for {in_pixels(size)} pixels" if size is not None and "img_size" in settings else ""
        raise InputError(f"{text} cannot be built{at}: {one_line(error)}") from None
    # elsewhere a first layer of patches is a convolution as any, which may leave a rest
    named = model.children() if published and published.fixed_input_size else [getattr(model, "patch_embed", None)]
    embed = next((layer for layer in named if isinstance(layer, timm.layers.PatchEmbed)), None)
    if not other or size is None or embed is None or divides(size, embed.patch_size):
        return model, model.pretrained_cfg, settings
    return _padded(timm, text, name, settings, size, embed.patch_size)


def _padded(
    timm: Any, text: str, name: str, settings: dict[str, Any], size: Size, patch: tuple[int, int]
) -> tuple[Any, Mapping[str, Any], dict[str, Any]]:
    """What `create_timm` gives of a model that adds rows and columns to its pixels until its patch divides them."""
    larger = nearest(size, patch)[1]
    settings = settings | {"dynamic_img_size": True, "dynamic_img_pad": True}
    if "img_size" in settings:
        settings["img_size"] = larger
    try:
        model = timm.create_model(name, pretrained=False, **settings)
    except (RuntimeError, TypeError, AssertionError, ValueError):
        raise InputError(
            f"{text} cannot see {in_pixels(size)} pixels, which its patch of {in_pixels(patch)} does not divide: the "
            f"nearest sizes are {multiples(size, patch)}"
        ) from None
    warn_of_padding(text, size, larger, patch, " as timm does it (dynamic_img_pad)")
    return model, model.pretrained_cfg, settings
