"""A network that the user has in hand, or that a function of their own makes: `path/to/file.py:make_model`."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.parameter import is_lazy

from weatherproof.encoders.adapter import input_size, without_head
from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.messages import one_line, some
from weatherproof.encoders.numbers import check_finite
from weatherproof.encoders.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    supported_interpolation,
    to_input,
)  # fmt: skip
from weatherproof.errors import InputError, shown
from weatherproof.modes import eval_mode
from weatherproof.sizes import Size, sides
from weatherproof.spec import UserFunction, own_files

IN_HAND = "module:"  # before the class's name, where no text makes the network
_SIDE = 224  # of the pictures that are looked at where the network takes any size
_KEYS = (  # under which other libraries give the embedding, the best one first
    "pooler_output", "image_embeds", "x_norm_clstoken", "embedding", "embeddings", "features", "logits", "out",
    "last_hidden_state",
)  # fmt: skip
_CLASS_TOKENS = ("cls_token", "class_token", "class_embedding")
_FAR = 0.75  # of `_misfit`: networks that get what they expect have below 0.6, trained on photographs below 0.1
_NEARER = 3.0  # times; so much less it is with another normalisation
_ALONE = 1e-2  # of the largest number; by so much may differ what a picture gives alone and beside another
_DEAD = 1e-3  # of the largest variance; a channel below it says nothing
_LARGEST = 2.0  # of a mean or std in units of [0, 1]; ImageNet's are below 0.5, and of 0 to 255 they are above 50


def own_encoder(
    network: nn.Module, preprocessing: Preprocessing | None, *, name: str | None = None, num_classes: int | None = None,
    options: Mapping[str, Any] | None = None, size: Size | None = None,
) -> Encoder:  # fmt: skip
    """An encoder around a copy of the network, which two pictures are shown to.

    The embedding is what the network gives: a tensor [batch, features], a map, which is averaged, or tokens
    [batch, tokens, features], of which the class token is taken where there is one, else the mean; of a tuple the first
    tensor, of a mapping (a model output is one) that under the first of `pooler_output`, `image_embeds`, ... Where that
    is just what the last linear layer gives, the layer is taken as the network's classifier, and what goes into it as
    the embedding; a line says so.

    Args:
        preprocessing: what it expects of pixels; None: as the network itself says (`pretrained_cfg`, as timm's do).
        name: its text; None: that of a network which no text makes.
        num_classes: 0: leave the classifier out.
        size: side of its input, in place of that of the preprocessing.

    Raises:
        InputError: nothing says what pixels it expects, it cannot be copied or run, or gives nothing usable.
    """
    kind = type(network).__qualname__
    expected = preprocessing or _stated_by(network)
    if expected is None:
        raise InputError(
            f"a {kind} does not say what pixels it expects: wp.load_encoder(network, mean=(0.485, 0.456, 0.406), "
            "std=(0.229, 0.224, 0.225), size=224), with those that it was trained with; mean=0, std=1 where it takes "
            "pixels of [0, 1] as they are"
        )
    if size is not None:
        expected = replace(expected, size=size)
    body = _copied(network, kind)
    pixels = _pictures(expected)
    seen = _look(body, pixels, kind)
    first = any(own.rpartition(".")[2] in _CLASS_TOKENS for own, _ in body.named_parameters())
    whole = _embedding(seen.output, first, kind, len(pixels))
    _check_pixels(body, seen, expected, kind)
    path = next((own for own, _, given in reversed(seen.linear) if given is whole), None)
    head = None
    if path is not None:
        head = body.get_submodule(path)
        warnings.warn(
            f"{kind}: its last layer, {path} ({head.in_features} to {head.out_features}), is taken as its classifier, "
            f"and the {head.in_features} numbers that go into it as the embedding",
            UserWarning,
            stacklevel=3,
        )
        body = without_head(body, path)
    plain = isinstance(seen.output, Tensor) and seen.output.ndim != 3 and seen.output.dtype == torch.float32
    if not plain:
        body.register_forward_hook(partial(_embedding_hook, first, kind))
    with eval_mode(body), torch.no_grad():
        raw = body(pixels.clone())
        if raw.ndim not in (2, 4) or not raw.isfinite().all():
            raise InputError(f"{kind} gives {list(raw.shape)} or numbers that are not finite: expected embeddings")
        _check_alone(body, pixels, raw, kind)
        if head is not None and not torch.allclose(head(raw), whole, rtol=1e-4, atol=1e-4):
            raise InputError(f"{kind}: {path} is no classifier on the embedding: give an encoder, wp.encoders.Encoder")
    if len(pixels) > 1 and torch.equal(raw[0], raw[1]):
        warnings.warn(f"{kind} gives the same embedding for two different pictures", UserWarning, stacklevel=3)
    return Encoder(
        name or IN_HAND + kind, body, None if num_classes == 0 else head,
        names=Names(head=path), feature_dim=raw.shape[1], num_classes=getattr(head, "out_features", None),
        preprocessing=expected, options=options,
    )  # fmt: skip


def _check_alone(body: nn.Module, pixels: Tensor, raw: Tensor, kind: str) -> None:
    """Raise `InputError` where one picture has another shape than two, warn where another embedding."""
    alone = body(pixels[:1].clone())
    if alone.shape != raw[:1].shape:
        raise InputError(
            f"{kind} gives {list(raw.shape)} for {len(pixels)} pictures and {list(alone.shape)} for one: expected "
            "[pictures, features] of any number (squeeze() without a dimension takes that of a single picture, too)"
        )
    if not torch.allclose(alone, raw[:1], rtol=_ALONE, atol=_ALONE * float(raw.abs().max())):
        warnings.warn(
            f"{kind} gives another embedding for a picture alone than beside another one: what it gives depends on the "
            "batch, and so on --batch-size",
            UserWarning,
            stacklevel=4,
        )


def encoder_of_file(text: str, options: Mapping[str, Any], num_classes: int | None, size: Size | None) -> Encoder:
    """What `path/to/file.py:name` makes, a network or an encoder, under that name; the file's SHA-256 is an option of
    it, and where `options` has one it must be the same.

    Raises:
        InputError: no such file or name, it fails, or the file is not the one that it was.
    """
    (sha256,) = own_files(text).values() or ("",)
    if options.get("sha256", sha256) != sha256:
        raise InputError(
            f"{text.rpartition(':')[0]} has changed since the encoder was saved that it makes: put back what it was, "
            "or load the weights alone, file.py:name@RUN/encoder.safetensors"
        )
    with warnings.catch_warnings():
        if options:  # of a run: how the network was understood has been said when it was made
            warnings.simplefilter("ignore")
        return _encoder_of_maker(text, {"sha256": sha256}, num_classes, size)


def _encoder_of_maker(text: str, options: Mapping[str, Any], num_classes: int | None, size: Size | None) -> Encoder:
    maker = UserFunction(text)
    network = maker.function if isinstance(maker.function, nn.Module) else maker()
    if not isinstance(network, nn.Module):
        raise InputError(f"{text} gives a {type(network).__qualname__}: expected a torch.nn.Module, or an encoder")
    network = unwrapped(network)
    if isinstance(network, Encoder):
        encoder = network.around(network.body, None if num_classes == 0 else network.head)
        encoder.name, encoder.options = text, dict(options)
        encoder.set_preprocessing(encoder.preprocessing if size is None else replace(encoder.preprocessing, size=size))
        return encoder
    return own_encoder(network, None, name=text, num_classes=num_classes, options=options, size=size)


def given_preprocessing(
    mean: Sequence[float] | float | None, std: Sequence[float] | float | None, size: Size | None, interpolation: str,
    network: object = None,
) -> Preprocessing | None:  # fmt: skip
    """The preprocessing of these numbers, one for each channel or one for all of them: as many as the network's first
    convolution takes, else three. None where there are no numbers.

    Raises:
        InputError: one without the other, or numbers in units of 0 to 255.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise InputError("mean and std go together: one number for each channel, in units of [0, 1]")
    try:
        centre, spread = (
            (float(value),) * (_channels(network) or 3) if isinstance(value, int | float) else tuple(map(float, value))
            for value in (mean, std)
        )
    except (TypeError, ValueError):
        raise InputError(f"mean and std are numbers in units of [0, 1], got {shown(mean)} and {shown(std)}") from None
    if any(abs(value) > _LARGEST for value in (*centre, *spread)):
        raise InputError(
            f"mean {shown(mean)} and std {shown(std)} are in units of 0 to 255: divide by 255, as pixels are in [0, 1]"
        )
    return Preprocessing(centre, spread, size=size, channels=len(centre), interpolation=interpolation)


@dataclass(frozen=True)
class _Look:
    """What was seen of a network while it looked at pictures.

    Attributes:
        output: whatever it gave.
        linear: name, what came in and what went out of its linear layers, in the order of their calls.
        first: what reached the first layer with weights.
        normalised: the pixels that it was given.
        normalises: whether a module of the kind `Normalize` changed them before that layer.
        norm: a batch norm right behind a convolution which is that layer, and what reached it.
    """

    output: Any
    linear: list[tuple[str, Tensor, Tensor]]
    first: Tensor | None
    normalised: Tensor
    normalises: bool
    norm: tuple[_BatchNorm, Tensor] | None


def _look(network: nn.Module, pixels: Tensor, kind: str) -> _Look:
    linear: list[tuple[str, Tensor, Tensor]] = []
    first: list[tuple[nn.Module, Tensor]] = []
    mapped: list[Tensor] = []
    norm: list[tuple[_BatchNorm, Tensor]] = []
    normalisers: list[nn.Module] = []

    def note(name: str, module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Linear) and given and isinstance(output, Tensor):
            linear.append((name, given[0], output))
        if isinstance(module, nn.Conv2d) and not mapped and first and first[0][0] is module:
            mapped.append(output)

    def enter(module: nn.Module, given: tuple[Any, ...]) -> None:
        if not first and given and isinstance(given[0], Tensor):
            first.append((module, given[0].detach().clone()))

    def reach(module: _BatchNorm, given: tuple[Any, ...]) -> None:
        if not norm and mapped and given and given[0] is mapped[0]:
            norm.append((module, given[0].detach().clone()))

    def normalise(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if not first and type(module).__name__ == "Normalize" and given and isinstance(output, Tensor):
            same = output is not given[0] and torch.equal(output, given[0])
            normalisers.extend([] if same else [module])

    with ExitStack() as hooks, torch.no_grad():
        hooks.enter_context(eval_mode(network))
        hooks.callback(register_module_forward_hook(normalise).remove)  # a list of transforms registers no modules
        for name, module in network.named_modules():
            hooks.callback(module.register_forward_hook(partial(note, name)).remove)
            if next(module.parameters(), None) is not None and next(module.children(), None) is None:
                hooks.callback(module.register_forward_pre_hook(enter).remove)
            if isinstance(module, _BatchNorm):
                hooks.callback(module.register_forward_pre_hook(reach).remove)
        try:
            output = network(pixels.clone())
        except Exception as error:  # other people's code, of which anything may come
            wanted = _channels(network)
            way = f"; its first layer takes {wanted} channels: give a mean and a std for each"
            raise InputError(
                f"a {kind} fails on pixels of shape {list(pixels.shape)}: {type(error).__name__}: {one_line(error)}"
                + way * (wanted not in (None, pixels.shape[1]))
            ) from error
    return _Look(output, linear, first[0][1] if first else None, pixels, bool(normalisers), norm[0] if norm else None)


def _embedding_hook(first: bool, kind: str, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Tensor:
    """A forward hook, by which a network gives the embedding of what it gives."""
    return _embedding(output, first, kind, len(arguments[0]) if arguments else None)


def _embedding(output: Any, first: bool, kind: str, rows: int | None) -> Tensor:
    """The embedding in what a network gives: [rows, features], or a map, in float32."""
    embedding = _tensor(output)
    if embedding is not None and embedding.ndim == 3:
        embedding = embedding[:, 0] if first else embedding.mean(dim=1)
    if (
        embedding is None
        or embedding.ndim not in (2, 4)
        or not embedding.is_floating_point()
        or rows not in (None, len(embedding))
    ):
        what = (
            f"a {type(output).__qualname__}"
            if embedding is None
            else f"{embedding.dtype} of shape {list(embedding.shape)}"
        )
        raise InputError(
            f"{kind} gives {what} for {rows} images: expected a tensor [batch, features], a map or tokens, or a tuple "
            "or mapping with one"
        )
    return embedding.float()


def _tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        tensors = {name: value for name, value in output.items() if isinstance(value, Tensor)}
        return next((tensors[name] for name in (*_KEYS, *tensors) if name in tensors), None)
    if isinstance(output, list | tuple):
        return next((value for value in output if isinstance(value, Tensor)), None)
    return None


def _check_pixels(network: nn.Module, seen: _Look, expected: Preprocessing, kind: str) -> None:
    """Warn of pixels that are normalised twice, or not as the network takes them."""
    if seen.first is None:
        return
    alike = seen.first.shape == seen.normalised.shape
    if _normalises(expected) and (
        seen.normalises or (alike and not torch.allclose(seen.first, seen.normalised, atol=1e-4))
    ):
        mean, std = float(seen.first.mean()), float(seen.first.std())
        warnings.warn(
            f"{kind} changes its pixels before its first layer, which sees a mean of {mean:.2f} and a standard "
            f"deviation of {std:.2f}: if that is its own normalisation, they are normalised twice; give mean=0, std=1",
            UserWarning,
            stacklevel=4,
        )
    elif (better := _better(network, seen, expected, kind)) is not None:
        warnings.warn(
            f"{kind}: photographs with the mean and std that it was given are far from the running statistics of its "
            f"first batch norm, and with {better} they are near: look at how it was trained",
            UserWarning,
            stacklevel=4,
        )


def _normalises(expected: Preprocessing) -> bool:
    return any(expected.mean) or any(value != 1 for value in expected.std)


def _better(network: nn.Module, seen: _Look, expected: Preprocessing, kind: str) -> str | None:
    """A normalisation, in place of a missing or needless one, with which photographs are what the first batch norm has
    learned of its input; None: there is none, or they are so as it is."""
    given = _misfit(seen)
    if given is None or given < _FAR:
        return None
    others: dict[str, tuple[Sequence[float], Sequence[float]]] = {"mean=0, std=1": ((0.0,), (1.0,))}
    if not _normalises(expected):
        others = {"mean=0.5, std=0.5": ((0.5,), (0.5,))}
        if expected.channels == len(IMAGENET_MEAN):
            others["ImageNet's mean and std"] = (IMAGENET_MEAN, IMAGENET_STD)
    pixels = _pictures(replace(expected, mean=(0.0,) * expected.channels, std=(1.0,) * expected.channels))
    found = {
        name: _misfit(_look(network, _normalised(pixels, mean, std), kind)) for name, (mean, std) in others.items()
    }
    misfits = {name: misfit for name, misfit in found.items() if misfit is not None and _NEARER * misfit < given}
    return min(misfits, key=misfits.__getitem__) if misfits else None


def _misfit(seen: _Look) -> float | None:
    """How far what reached the first batch norm is from its running mean and variance: the symmetric divergence of two
    normal distributions, the median over channels. None: there is no such layer, or it was never trained."""
    if seen.norm is None:
        return None
    norm, taken = seen.norm
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None or not (mean.any() or (variance != 1).any()):
        return None
    rows = taken.transpose(0, 1).flatten(1)
    alive = variance > _DEAD * variance.max()
    ours, theirs = rows.var(dim=1)[alive].clamp_min(norm.eps), variance[alive].clamp_min(norm.eps)
    shift = (rows.mean(dim=1) - mean)[alive].square()
    return float((ours / theirs + theirs / ours - 2 + shift * (1 / ours + 1 / theirs)).median() / 4)


def _channels(network: object) -> int | None:
    """How many channels a network's first convolution takes; None: it has none, or is no network."""
    layers = network.modules() if isinstance(network, nn.Module) else ()
    return next((layer.in_channels for layer in layers if isinstance(layer, nn.Conv2d)), None)


def _stated_by(network: nn.Module) -> Preprocessing | None:
    """What the network itself says of pixels, as timm's do."""
    stated = getattr(network, "preprocessing", None)
    if isinstance(stated, Preprocessing):
        return stated
    settings = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None)
    if not isinstance(settings, Mapping) or not {"mean", "std"} <= settings.keys():
        return None
    side = settings.get("input_size")
    fixed = input_size(side[-2:]) if isinstance(side, list | tuple) and len(side) > 1 else None
    return given_preprocessing(
        settings["mean"], settings["std"], fixed, supported_interpolation(str(settings.get("interpolation")))
    )


def unwrapped(network: nn.Module) -> nn.Module:
    """What `torch.compile` or a data-parallel module was given, where weights have the network's own names."""
    parallel = isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel)
    inner = network._modules.get("module" if parallel else "_orig_mod")
    return network if inner is None else unwrapped(inner)


def _copied(network: nn.Module, kind: str) -> nn.Module:
    """A copy on the CPU in float32, in the mode that the network is in."""
    if isinstance(network, torch.jit.ScriptModule):
        raise InputError(
            f"a {kind} is compiled by TorchScript, into which nobody can look: give the network that it was made of"
        )
    weights = list(network.parameters())
    if not weights:
        raise InputError(f"a {kind} has no weights: there is nothing to make an encoder of")
    _require_numbers(network, f"a {kind}")
    check_finite(f"a {kind}", _numbers(network))
    try:
        body = copy.deepcopy(network).cpu()
    except Exception as error:  # other people's code, of which anything may come
        raise InputError(f"a {kind} cannot be copied: {type(error).__name__}: {one_line(error)}") from None
    strange = [name for name, own in body.state_dict().items() if not isinstance(own, Tensor)]
    if strange:
        raise InputError(
            f"a {kind} keeps what is no tensor in its state ({some(strange)}), which no weights file holds: give the "
            "network as it was before it was quantised, or one without an extra state"
        )
    for part in body.modules():
        for name, own in part._buffers.items():
            if own is not None and not is_lazy(own) and own.layout is torch.strided:
                part._buffers[name] = own.contiguous()  # an expanded one could not be written to
    return body.float() if _narrow(network, kind) else body


def _numbers(network: nn.Module) -> dict[str, Tensor]:
    """What has to be finite: weights that are there, and buffers but for those with infinities alone, as masks have."""
    weights = {name: own.detach() for name, own in network.named_parameters() if not is_lazy(own)}
    buffers = {name: own for name, own in network.named_buffers() if not is_lazy(own)}
    return weights | {name: own for name, own in buffers.items() if own.is_floating_point() and own.isnan().any()}


def usable(encoder: Encoder) -> Encoder:
    """The encoder itself, or a copy in float32 of one in half precision.

    Raises:
        InputError: its weights are on the device meta.
    """
    what = f"the encoder {encoder.name}"
    _require_numbers(encoder, what)
    return encoder.clone().float() if _narrow(encoder, what) else encoder


def _require_numbers(network: nn.Module, what: str) -> None:
    if any(own.device.type == "meta" for own in (*network.parameters(), *network.buffers())):
        raise InputError(f"{what} cannot be used: its weights are on the device meta, which holds no numbers")


def _narrow(network: nn.Module, what: str) -> bool:
    """Whether weights are of another precision than float32, which is warned of."""
    found = {own.dtype for own in network.parameters() if own.is_floating_point()} - {torch.float32}
    if found:
        words = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found))
        warnings.warn(f"{what} has weights in {words}: its copy has them in float32", UserWarning, stacklevel=5)
    return bool(found)


def _pictures(expected: Preprocessing) -> Tensor:
    """Two photographs, normalised as the network expects."""
    from sklearn.datasets import load_sample_images

    size, photographs = sides(expected.size or _SIDE), load_sample_images().images
    pixels = torch.cat([torch.from_numpy(one.copy()).permute(2, 0, 1)[None] / 255 for one in map(_square, photographs)])
    pixels = nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
    if expected.channels in (1, 3):
        pixels = to_input(pixels, replace(expected, size=None))
    else:
        pixels = pixels.mean(dim=1, keepdim=True).expand(-1, expected.channels, -1, -1)
    return _normalised(pixels, expected.mean, expected.std)


def _normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    centre, spread = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))
    return (pixels - centre) / spread


def _square(photograph: Any) -> Any:
    return photograph[:, : len(photograph)]
