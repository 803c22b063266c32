"""What verbs have in common: options that stand once, with their help, and what is done around the work."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from textwrap import fill
from types import UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypedDict, TypeVar, cast, get_args, get_origin, get_type_hints

import torch
from torch import nn

from weatherproof.cluster import job
from weatherproof.encoders import load_encoder
from weatherproof.errors import unknown
from weatherproof.readouts import Readout
from weatherproof.sizes import size_of, size_words
from weatherproof.spec import fits
from weatherproof.training.plan import PlanOptions, StepOptions
from weatherproof.training.run import refusals_leave_nothing
from weatherproof.verbs.inputs import device_of, require_counts, require_pace
from weatherproof.verbs.outcome import check_arguments

P = ParamSpec("P")
R = TypeVar("R")


CropFraction = Annotated[
    float | None,
    "the part of the resized shorter side that the centred square keeps: with size 224, 0.875 is the published "
    "Resize(256), CenterCrop(224). By default 1.",
]


class ReadOptions(TypedDict, total=False):
    """How images are read."""

    size: Annotated[
        int | str | None,
        "side in pixels at which the images are read, or rows x columns such as 224x288; by default the encoder's own.",
    ]
    batch_size: Annotated[int, "images per forward pass."]
    device: Annotated[str, "auto, cpu or cuda."]
    workers: Annotated[int, "processes that decode images when they do not fit into memory."]


class CorruptionOptions(TypedDict, total=False):
    """How common corruptions are made."""

    parameters: Annotated[
        Literal["auto", "imagenet", "cifar"],
        "the corruptions' numbers: imagenet (made for 224 pixels), cifar (for 32) or auto: the nearer one, with "
        "lengths scaled to the images' size.",
    ]
    glass: Annotated[
        Literal["copy", "swap"], "how glass blur displaces pixels: copy, as in the published data, or swap."
    ]
    frost: Annotated[
        str | Path | None,
        "folder of frost photographs. Without: synthetic textures, not comparable with published frost.",
    ]
    jpeg_quality: Annotated[int | None, "pass corrupted images through JPEG; the published ImageNet-C has 85."]


class MeasureOptions(ReadOptions, total=False):
    """How images are read and measured, and where the run goes."""

    test_images: Annotated[int | None, "measure on at most so many test images."]
    processes: Annotated[
        int, "share the measurement out over so many processes, on their own GPUs where there are several."
    ]
    out: Annotated[str | Path, "the run folder."]
    seed: Annotated[int, "of every random draw."]


class DamageOptions(MeasureOptions, total=False):
    """`MeasureOptions` of what is measured under damage too."""

    realizations: Annotated[int, "draws of the damage that each measured number is the mean of."]
    minutes: Annotated[
        float | None,
        "of the measurement: start nothing new after that time; the numbers under damage then rest on fewer images and "
        "say on how many. The same command goes on from there.",
    ]


class WordOptions(TypedDict, total=False):
    """Classes by words, of an encoder that has a text tower."""

    classes: Annotated[
        str | Path | Sequence[str] | Readout | None,
        "judge by words, without a label: a text file with one class name a line, or folder<TAB>words where the "
        "images' folder is called otherwise; imagenet is ImageNet's 1,000. The encoder is a CLIP, whose file holds its "
        "text tower too.",
    ]
    prompts: Annotated[
        str | Path | Sequence[str] | None,
        "how classes are said to the text tower: a file with one template a line, each with one {}, or openai-80; by "
        "default seven of these.",
    ]


class PretrainOptions(PlanOptions, MeasureOptions, total=False):
    """A training, and its measurement on clean images."""


class TrainOptions(StepOptions, DamageOptions, total=False):
    """A training, and its measurement under damage."""


class HardenOptions(WordOptions, TrainOptions, total=False):
    """The same, of an encoder that may know words."""


# Of options that nobody gives, in all verbs; what differs between them stands in their `verb(...)`.
DEFAULTS = TrainOptions(
    size=None, device="auto", workers=2, realizations=3, test_images=2000, processes=1, minutes=None,
    seed=0, warmup_epochs=0.0, accumulate=1,
    precision="32-true", devices=1, strategy="ddp", checkpoint_seconds=30.0, tensorboard=False, tracker=None,
    micro_batch=None, checkpoint_gradients=False, compile=False,
)  # fmt: skip

CORRUPTIONS = CorruptionOptions(parameters="auto", glass="copy", frost=None, jpeg_quality=None)


class Feed(TypedDict):
    """How a model is fed."""

    seed: int
    device: torch.device
    batch_size: int
    workers: int


def feed_of(options: MeasureOptions) -> Feed:
    """How a model is fed under these options. Raises `InputError` for a device that is not there."""
    where = device_of(options["device"])
    return Feed(seed=options["seed"], device=where, batch_size=options["batch_size"], workers=options["workers"])


class Pace(TypedDict):
    """How long a measurement may take, and what of the machine."""

    minutes: float | None
    processes: int


def pace_of(options: MeasureOptions) -> Pace:
    """How fast these options measure."""
    return Pace(minutes=cast(DamageOptions, options).get("minutes"), processes=options["processes"])


def require_counted(options: MeasureOptions, **counts: int | None) -> None:
    """Raise `InputError` where an option that counts something, or one of these, is below 1 or beyond counting."""
    own = cast(DamageOptions, options)  # or less of them
    require_counts(
        test_images=own["test_images"], batch_size=own.get("batch_size"), realizations=own.get("realizations"), **counts
    )
    require_pace(**pace_of(options))


_ENCODERS = {"encoder", "model", "teacher"}  # arguments that may be a network in the hand


def verb(**defaults: object) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a verb of a function, whose options from ``**options: Unpack[...]`` join its signature and its docstring:
    Python's help, the command line and recipes see one flat list.

    A network in the hand becomes an encoder. The function gets every option; one without a default, here or in
    `DEFAULTS`, only where it is given, and None is not given. What its own docstring says of an option goes before what
    stands at the option.

    In a job of several processes a training is shared by all of them: `devices` is their number.

    A misspelt option, or an argument that nothing can be done with, is an `InputError`; and after any error each run
    folder is as it was, unless there is something in it that is worth keeping.
    """
    known: dict[str, object] = {**DEFAULTS, **CORRUPTIONS, **defaults}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        shared = _shared(function, known)
        flat = _joined(inspect.signature(function), shared)

        @wraps(function)
        @refusals_leave_nothing()
        def call(*args: P.args, **options: P.kwargs) -> R:
            for name in options:
                if name not in flat.parameters:
                    raise unknown(f"option of {function.__name__}", name, flat.parameters)
            bound = flat.bind(*args, **options)
            bound.apply_defaults()
            _with_size(bound.arguments)
            _with_lists(bound.arguments, flat)
            if (own := job()) is not None and "devices" in bound.arguments:
                bound.arguments["devices"] = own.world
            check_arguments(bound.arguments)
            for name in _ENCODERS & bound.arguments.keys():
                if isinstance(network := bound.arguments[name], nn.Module):
                    bound.arguments[name] = load_encoder(network, size=bound.arguments.get("size"))
            for name, option in shared.items():
                if option.may_be_left_out and bound.arguments[name] is None:
                    del bound.arguments[name]
            return function(*bound.args, **bound.kwargs)

        call.__doc__ = _with_help(inspect.getdoc(function) or "", shared)
        call.__annotations__ = {n: p.annotation for n, p in flat.parameters.items()} | {
            "return": flat.return_annotation
        }
        vars(call)["__signature__"] = flat
        return call

    return decorate


def _with_size(arguments: dict[str, Any]) -> None:
    """The size as its text where it is no square, which a recipe and the command line have room for."""
    if arguments.get("size") is not None:
        arguments["size"] = size if isinstance(size := size_of(arguments["size"]), int) else size_words(size)


def _with_lists(arguments: dict[str, Any], flat: inspect.Signature) -> None:
    """A single value as a list of one, where nothing but a list is asked for."""
    for name, value in arguments.items():
        hint = flat.parameters[name].annotation
        choices = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        items = [get_args(own)[0] for own in choices if get_origin(own) is list]
        others = [own for own in choices if get_origin(own) is not list]
        if any(fits(value, own) for own in items) and not any(fits(value, own) for own in others):
            arguments[name] = [value]


@dataclass(frozen=True)
class _Option:
    """One of the options behind ``**options: Unpack[...]``."""

    hint: Any
    help: str
    default: object

    @property
    def may_be_left_out(self) -> bool:
        return self.default is None and not fits(None, self.hint)

    def parameter(self, name: str) -> inspect.Parameter:
        hint = self.hint | None if self.may_be_left_out else self.hint
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=self.default, annotation=hint)


def _shared(function: Callable[..., object], known: Mapping[str, object]) -> dict[str, _Option]:
    packed = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.VAR_KEYWORD]
    if not packed:
        return {}
    (options,) = get_args(get_type_hints(function)[packed[0]])
    hints = get_type_hints(options, include_extras=True)
    return {n: _Option(get_args(hint)[0], get_args(hint)[1], known.get(n)) for n, hint in hints.items()}


def _joined(signature: inspect.Signature, shared: Mapping[str, _Option]) -> inspect.Signature:
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    return signature.replace(parameters=[*own, *(option.parameter(name) for name, option in shared.items())])


def _with_help(doc: str, shared: Mapping[str, _Option]) -> str:
    described = {*re.findall(r"^    (\w+): ", doc, re.MULTILINE)}
    lines = [
        fill(f"{name}: {option.help}", 112, initial_indent=" " * 4, subsequent_indent=" " * 8)
        for name, option in shared.items()
        if name not in described
    ]
    return "\n".join([doc, *lines])
