"""The encoders written here, by name."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, get_type_hints

from weatherproof.encoders.adapter import require_room
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.lenet import lenet
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.resnet18_cifar import resnet18_cifar
from weatherproof.encoders.resnet50_cifar import resnet50_cifar
from weatherproof.encoders.resnet_cifar import resnet20, resnet56
from weatherproof.encoders.resnetv2 import resnetv2_50
from weatherproof.encoders.small import small
from weatherproof.errors import InputError, shown
from weatherproof.sizes import Size, in_pixels, size_words
from weatherproof.spec import fits, in_words

ENCODERS: Mapping[str, Callable[..., Encoder]] = MappingProxyType(
    {
        "small": small,
        "lenet": lenet,
        "resnet18-cifar": resnet18_cifar,
        "resnet50-cifar": resnet50_cifar,
        "resnet20": resnet20,
        "resnet56": resnet56,
        "resnetv2-50": resnetv2_50,
    }
)


def build_native(name: str, options: Mapping[str, Any], num_classes: int | None, size: Size | None) -> Encoder:
    """A native encoder with random weights, without a head unless `num_classes` is given.

    Raises:
        InputError: an option that the encoder does not have, or another size for one with a fixed input.
    """
    make = ENCODERS[name]
    known = [option for option in inspect.signature(make).parameters if option != "num_classes"]
    strange = sorted(set(options) - set(known))
    if strange:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise InputError(f"{name} has no option {', '.join(strange)}: {has}")
    hints = get_type_hints(make)
    for option, value in options.items():
        if not fits(value, hints[option]):
            raise InputError(f"{option} of {name} must be {in_words(hints[option])}, got {shown(value)}")
    try:
        if options:
            require_room(name, lambda: make(0, **options), options)
        encoder = make(num_classes or 0, **options)
    except (TypeError, RuntimeError) as error:
        raise InputError(f"{name} cannot be built with {shown(dict(options))}: {one_line(error)}") from None
    fixed = encoder.preprocessing.size
    if size is not None and size != fixed:
        if fixed is not None:
            raise InputError(
                f"{name} has a fixed input of {in_pixels(fixed)} pixels: leave out the size {size_words(size)}"
            )
        encoder.set_preprocessing(replace(encoder.preprocessing, size=size))
    return encoder
