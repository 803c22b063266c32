"""Encoders from torchvision: `torchvision:NAME`, for every classification model it has."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from weatherproof.encoders.adapter import classifier_path, no_options, without_head
from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.messages import one_line, unknown_model
from weatherproof.encoders.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, supported_interpolation
from weatherproof.errors import InputError

_CLASSES = 1000  # ImageNet-1k, the default of every torchvision classifier
_RENAMED = (  # as torchvision itself does when it loads its older files
    (r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"),
    (r"\.mlp\.linear_1\.", ".mlp.0."),
    (r"\.mlp\.linear_2\.", ".mlp.3."),
)
_AUXILIARY = r"(AuxLogits|aux1|aux2)\."  # classifiers halfway, used in training only
_HALF = (0.5, 0.5, 0.5)  # what the published weights of the Inception family expect (torchvision: transform_input)


def build_torchvision(name: str, options: Mapping[str, Any], num_classes: int | None, size: int | None) -> Encoder:
    """A torchvision model with random weights; 0 classes: without its head, None: with torchvision's 1,000 classes.

    Raises:
        InputError: unknown name, or a size that the model cannot have.
    """
    from torchvision import models

    known = models.list_models(module=models)
    text = f"torchvision:{name}"
    no_options(text, options)
    if name not in known:
        raise unknown_model("torchvision", name, known, "torchvision.models.list_models()")
    inception = name.startswith(("inception", "googlenet"))
    settings: dict[str, Any] = {"aux_logits": False, "init_weights": True} if inception else {}
    if size is not None and name.startswith("vit_"):
        settings["image_size"] = size
    if size is not None and name.startswith("maxvit_"):
        settings["input_size"] = (size, size)
    try:
        model = models.get_model(name, weights=None, num_classes=num_classes or _CLASSES, **settings)
    except (AssertionError, ValueError) as error:
        raise InputError(f"{text} cannot be built for {size}x{size} pixels: {one_line(error)}") from None

    published = next(iter(models.get_model_weights(name))).transforms()  # settings only, nothing is downloaded
    preprocessing = Preprocessing(
        mean=_HALF if inception else IMAGENET_MEAN,
        std=_HALF if inception else IMAGENET_STD,
        size=size or getattr(model, "image_size", published.crop_size[0]),
        interpolation=supported_interpolation(published.interpolation.value),
    )
    if name.startswith("squeezenet"):  # its classifier is a 1x1 convolution on the map, then an average
        path, features, prefix = "classifier", model.classifier[1].in_channels, "features."
        head, body = model.classifier, model.features
    else:
        head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
        path, features, prefix = classifier_path(model, head), head.in_features, ""
        body = without_head(model, path)
    return Encoder(
        text, body, None if num_classes == 0 else head,
        names=Names(head=path, body=prefix, ignored=_AUXILIARY, renamed=_RENAMED),
        feature_dim=features, num_classes=num_classes or _CLASSES, preprocessing=preprocessing,
    )  # fmt: skip
