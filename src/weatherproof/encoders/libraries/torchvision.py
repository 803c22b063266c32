"""Encoders from torchvision: `torchvision:NAME`, for every classification model it has.

`torchvision:NAME/WEIGHTS` names the published weights, such as `torchvision:vit_b_16/IMAGENET1K_SWAG_E2E_V1`: they
decide mean, std, size and interpolation. By default the first ones.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from weatherproof.encoders.adapter import (
    Release,
    classifier_path,
    expectations,
    no_options,
    stem,
    without_head,
)
from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.messages import one_line, unknown_model
from weatherproof.encoders.origin import Place
from weatherproof.encoders.padding import pad, padded
from weatherproof.encoders.preprocessing import Preprocessing, supported_interpolation
from weatherproof.errors import InputError, unknown
from weatherproof.sizes import Size, in_pixels, sides

_CLASSES = 1000  # ImageNet-1k, the default of every torchvision classifier
_RENAMED = (  # as torchvision itself does when it loads its older files
    (r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"),
    (r"\.mlp\.linear_1\.", ".mlp.0."),
    (r"\.mlp\.linear_2\.", ".mlp.3."),
)
_AUXILIARY = r"(AuxLogits|aux1|aux2)\."  # classifiers halfway, used in training only
_HALF = (0.5, 0.5, 0.5)  # what the published weights of the Inception family expect (torchvision: transform_input)


def build_torchvision(name: str, options: Mapping[str, Any], num_classes: int | None, size: Size | None) -> Encoder:
    """A torchvision model with random weights; 0 classes: without its head, None: with torchvision's 1,000 classes.

    Raises:
        InputError: unknown name or weights, or a size that the model cannot have.
    """
    from torchvision import models

    text, (name, _, tag) = f"torchvision:{name}", name.partition("/")
    known = models.list_models(module=models)
    no_options(text, options)
    if name not in known:
        raise unknown_model("torchvision", name, known, "torchvision.models.list_models()")
    published = _published(name)
    if tag and tag not in published:
        raise unknown(f"weights of torchvision:{name}", tag, published)
    expected = published[tag] if tag else next(iter(published.values()))
    settings: dict[str, Any] = {"aux_logits": False, "init_weights": True} if _inception(name) else {}
    if tag:
        size = size or expected.size
    padding = None
    if size is not None and name.startswith("vit_"):
        if not isinstance(size, int):
            raise InputError(f"{text} takes squares alone, as torchvision builds it, and {in_pixels(size)} is none")
        settings["image_size"], padding = padded(text, size, (int(name.rpartition("_")[2]),) * 2)
    if size is not None and name.startswith("maxvit_"):
        settings["input_size"] = sides(size)
    try:
        model = models.get_model(name, weights=None, num_classes=num_classes or _CLASSES, **settings)
    except (AssertionError, ValueError) as error:
        at = "" if size is None else f" for {in_pixels(size)} pixels"
        raise InputError(f"{text} cannot be built{at}: {one_line(error)}") from None

    cropped: Any = expected.size
    side: Size = size or getattr(model, "image_size", cropped)
    converted = partial(_resampled, model.image_size, model.patch_size) if name.startswith("vit_") else None
    if name.startswith("squeezenet"):  # its classifier is a 1x1 convolution on the map, then an average
        path, features, prefix = "classifier", model.classifier[1].in_channels, "features."
        head, body = model.classifier, model.features
    else:
        head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
        path, features, prefix = classifier_path(model, head), head.in_features, ""
        body = without_head(model, path)
    if padding is not None:
        pad(body, padding)
    return Encoder(
        text, body, None if num_classes == 0 else head,
        names=Names(head=path, body=prefix, ignored=_AUXILIARY, renamed=_RENAMED, converted=converted),
        feature_dim=features, num_classes=num_classes or _CLASSES, preprocessing=replace(expected, size=side),
    )  # fmt: skip


def torchvision_place(name: str) -> Place:
    """Where torchvision publishes the weights that a name stands for.

    Raises:
        InputError: unknown name or weights.
    """
    from torchvision import models

    text, (name, _, tag) = f"torchvision:{name}", name.partition("/")
    known = models.list_models(module=models)
    if name not in known:
        raise unknown_model("torchvision", name, known, "torchvision.models.list_models()")
    entries = {entry.name: entry for entry in models.get_model_weights(name)}
    if tag and tag not in entries:
        raise unknown(f"weights of torchvision:{name}", tag, entries)
    return Place(text, url=(entries[tag] if tag else next(iter(entries.values()))).url)


def torchvision_releases(name: str) -> list[Release]:
    """What torchvision publishes for a bare name, the default first."""
    from torchvision import models

    if name not in models.list_models(module=models):
        return []
    releases = []
    for weights in models.get_model_weights(name):
        expected, file = _published(name)[weights.name], stem(weights.url)
        expected_words = expectations(expected.mean, expected.std, expected.size, expected.interpolation)
        releases.append(
            Release(f"torchvision:{name}/{weights.name}", (file, file.rpartition("-")[2]), weights.name, expected_words)
        )
    return releases


def _published(name: str) -> dict[str, Preprocessing]:
    """What each of a model's published weights expects; settings only, nothing is downloaded."""
    from torchvision import models

    found = {}
    for weights in models.get_model_weights(name):
        transforms = weights.transforms()
        found[weights.name] = Preprocessing(
            mean=_HALF if _inception(name) else tuple(transforms.mean),
            std=_HALF if _inception(name) else tuple(transforms.std),
            size=transforms.crop_size[0],
            interpolation=supported_interpolation(transforms.interpolation.value),
        )
    return found


def _inception(name: str) -> bool:
    return name.startswith(("inception", "googlenet"))


def _resampled(side: int, patch: int, state: dict[str, Tensor]) -> Mapping[str, Tensor]:
    from torchvision.models.vision_transformer import interpolate_embeddings

    return interpolate_embeddings(side, patch, OrderedDict(state))
