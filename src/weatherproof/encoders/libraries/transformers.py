"""Encoders from transformers: `transformers:ORG/NAME`, or `transformers:PATH` for a folder as the hub lays one out.

`config.json` says which network it is and `preprocessor_config.json` what pixels it expects; both stay with the encoder
as options, so that a run comes back without them. Code that a repository brings is never run.
"""

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.heads import Half, TwoHeads
from weatherproof.encoders.libraries.transformers_options import described_room, library, quiet
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.padding import pad, padded
from weatherproof.encoders.preprocessing import Preprocessing
from weatherproof.encoders.unfilled import Unfilled, on_meta
from weatherproof.encoders.weights import is_folder
from weatherproof.errors import InputError, shown
from weatherproof.sizes import Size, sides, size_of

_TOWER = "vision_model."  # before the names of the image tower of a model for images and texts
_POSITIONS = r"(.*\.)?position_ids$"  # a counter that older files hold
_CLASS_TOKENS = ("cls_token", "class_embedding", "class_token")
_OUTPUTS = ("image_embeds", "pooler_output", "last_hidden_state")  # that are an embedding, the best one first
_PAIRS = (("cls_classifier", "distillation_classifier"), ("classifier", "classifier_distill"))
_ELSEWHERE = ("beit", "data2vec-vision", "dinov3_vit")  # whose positions are distances or angles, for any size
_HIDDEN = (  # networks whose embeddings have as many numbers as their tokens: others are tried
    "clip_vision_model", "dinov2", "dinov2_with_registers", "dinov3_vit", "siglip2_vision_model", "siglip_vision_model",
    "vit",
)  # fmt: skip


def build_transformers(name: str, options: Mapping[str, Any], num_classes: int | None, size: Size | None) -> Encoder:
    """The network with random weights; 0 classes: without its head, None: with the classes that its config says.

    Args:
        options: from `transformers_options`.

    Raises:
        InputError: transformers is not installed, a network that it does not have or that needs code of its own, that
            gives no embedding, or has no classifier for so many classes.
    """
    library()
    text = f"transformers:{name}"
    arguments = dict(options)
    try:
        kind, config, expects = (
            str(arguments["kind"]),
            dict(arguments["config"]),
            Preprocessing.from_dict(arguments["expects"]),
        )
        tower, pooler = bool(arguments.get("tower", False)), bool(arguments.get("pooler", True))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{text} is not described by {shown(arguments)}: {type(error).__name__} {one_line(error)}"
        ) from None
    if num_classes and kind != "classifier":
        raise InputError(f"{text} has no classifier for {num_classes} classes: leave num_classes out and fit a probe")
    try:
        with quiet(), described_room(text):
            if is_folder(Path(name)):  # what is published was built before
                with torch.device("meta"), Unfilled():
                    _model(kind, config, num_classes, pooler)
            model = _model(kind, config, num_classes, pooler)
    except InputError:
        raise
    except Exception as error:  # of a config that may say anything
        raise InputError(f"{text} cannot be built: {type(error).__name__}: {one_line(error)}") from None
    renaming = _Renaming.of(model) if Unfilled.active() else None
    preprocessing = expects if size is None else Preprocessing(**asdict(expects) | {"size": size})
    head, path, second = _head(text, model) if kind == "classifier" else (None, None, None)
    if (patch := _patch(model)) is not None and preprocessing.size not in (None, expects.size):
        padding = padded(text, preprocessing.size, patch)[1]
        if padding is not None:
            pad(model, padding)
    hears_pixels(model)
    prefix = _TOWER if tower else ""
    inside = rf"(?!{_TOWER}|visual_projection\.)" if tower or kind == "projection" else r"(?!)"
    encoder = Encoder(
        text, model, None if num_classes == 0 else head,
        names=Names(
            head=path, second=second, body=prefix, ignored=f"{inside}|{_POSITIONS}",
            converted=partial(_converted, kind, config, pooler, prefix, renaming),
        ),
        feature_dim=1, num_classes=num_classes or getattr(model.config, "num_labels", None),
        preprocessing=preprocessing, options=arguments,
    )  # fmt: skip
    known = isinstance(head, nn.Linear) or (kind == "model" and config["model_type"] in _HIDDEN)
    if isinstance(head, nn.Linear):
        encoder.feature_dim = head.in_features
    elif known:
        encoder.feature_dim = int(model.config.hidden_size)
    else:
        encoder.feature_dim = _features(encoder, preprocessing)
    return encoder


def plain_network(options: Mapping[str, Any], num_classes: int | None) -> Any:
    """The library's own network of these options, with its classifier where it has one, with random weights. One that
    hides patches hides none."""
    network = _model(str(options["kind"]), options["config"], num_classes, bool(options.get("pooler", True)))
    if _hides_patches(network):
        network.config.mask_ratio = 0.0
    return network


def _hides_patches(model: Any) -> bool:
    """Whether it is a masked autoencoder, which hides most patches by a draw of its own, in evaluation, too."""
    return hasattr(model.config, "mask_ratio") and "noise" in inspect.signature(model.forward).parameters


def without_pooling(network_class: type, pooler: bool) -> dict[str, bool]:
    """The settings of a class of networks that leave its pooling layer out, where it has one that is not wanted."""
    leave = not pooler and "add_pooling_layer" in inspect.signature(network_class.__init__).parameters  # type: ignore[misc]
    return {"add_pooling_layer": False} if leave else {}


def hears_pixels(model: Any) -> Any:
    """The network itself, from now on from pixels alone to the embedding, or the logits of one with a classifier."""
    first = any(own.rpartition(".")[2] in _CLASS_TOKENS for own, _ in model.named_parameters())
    model.register_forward_pre_hook(
        partial(_with_processor_inputs, cut_into_patches(model), _own_size(model)), with_kwargs=True
    )
    if _hides_patches(model):
        model.config.mask_ratio = 0.0
        model.register_forward_pre_hook(partial(_unmasked, sides(model.config.patch_size)), with_kwargs=True)
    model.register_forward_hook(partial(_embedding_in, first))
    return model


def classifiers_of(model: Any) -> dict[str, nn.Module]:
    """The classifier, or the two of a distilled network, by name; none where there is no single one."""
    for pair in _PAIRS:
        found = {name: one for name in pair if isinstance(one := getattr(model, name, None), nn.Module)}
        if len(found) == len(pair):
            return found
    head = getattr(model, "classifier", None)
    return {"classifier": head} if isinstance(head, nn.Module) else {}


@dataclass(frozen=True)
class _Renaming:
    """The library's own way from the names in a file to today's, where names are all that differs.

    Attributes:
        names: today's.
        renamings, converters: of the library, in the order in which it applies them.
        prefix: that a file may have before all names, or lack.
    """

    names: frozenset[str]
    renamings: tuple[Any, ...]
    converters: tuple[Any, ...]
    prefix: str

    @classmethod
    def of(cls, model: Any) -> "_Renaming | None":
        """Of a network; None: this version of the library does not say it."""
        try:
            from transformers.conversion_mapping import get_model_conversion_mapping
            from transformers.core_model_loading import WeightRenaming

            steps = get_model_conversion_mapping(model)
        except (ImportError, AttributeError, TypeError):
            return None
        renamings = tuple(one for one in steps if isinstance(one, WeightRenaming))
        converters = tuple(one for one in steps if not isinstance(one, WeightRenaming))
        return cls(frozenset(model.state_dict()), renamings, converters, model.base_model_prefix)

    def renamed(self, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """The network's tensors by today's names; None: some of them are not there, or are made of others."""
        from transformers.core_model_loading import rename_source_key

        known, found = dict.fromkeys(self.names, True), dict[str, Tensor]()
        for name, value in state.items():
            new, converter = rename_source_key(name, [*self.renamings], [*self.converters], self.prefix, known)
            if new not in known and name in known:
                new, converter = name, None
            if new in known:
                if converter is not None or new in found:
                    return None
                found[new] = value
        return found if known.keys() == found.keys() else None


def _model(kind: str, config: Mapping[str, Any], num_classes: int | None, pooler: bool) -> Any:
    """The network with random weights, or with none where these are about to be loaded."""
    network_class, settings = class_and_config(kind, config, num_classes)
    with _start():
        return network_class._from_config(settings, dtype=torch.float32, **without_pooling(network_class, pooler))


def _start() -> AbstractContextManager[None]:
    """The library's own way to leave weights as they are that are about to be loaded."""
    if not Unfilled.active():
        return nullcontext()
    from transformers.initialization import no_init_weights

    left: AbstractContextManager[None] = no_init_weights()
    return left


def class_and_config(kind: str, config: Mapping[str, Any], num_classes: int | None) -> tuple[Any, Any]:
    """The library's class of these settings, and the settings as it takes them. Raises `InputError` for no such."""
    import transformers

    plain = dict(config)
    if plain.get("model_type") not in transformers.CONFIG_MAPPING:
        raise InputError(f"transformers has no network of the type {shown(plain.get('model_type'))}: update it")
    mapped = transformers.CONFIG_MAPPING[plain["model_type"]]
    if num_classes:
        plain["num_labels"] = num_classes
    settings = mapped.from_dict(plain)
    settings.return_dict = True
    if kind == "classifier":
        found = transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[mapped]
        named = (plain.get("architectures") or [""])[0]
        candidates = list(found) if isinstance(found, list | tuple) else [found]
        return next((one for one in candidates if one.__name__ == named), candidates[0]), settings
    found = transformers.MODEL_MAPPING[mapped]
    network_class = found[0] if isinstance(found, list | tuple) else found
    if kind == "projection":
        network_class = getattr(transformers, f"{network_class.__name__}WithProjection")
    return network_class, settings


def _head(text: str, model: Any) -> tuple[nn.Module, str, str | None]:
    """The classifier, or the two of a distilled network, taken out of the model."""
    found = classifiers_of(model)
    if len(found) == 2:
        (first, one), (second, other) = found.items()
        model.set_submodule(first, Half(0))
        model.set_submodule(second, Half(1))
        return TwoHeads(one, other), first, second
    if not found:
        raise InputError(f"{text} has no single classifier ({type(model).__name__}): it is not supported")
    model.set_submodule("classifier", nn.Identity())
    return found["classifier"], "classifier", None


def _own_size(model: Any) -> tuple[int, int] | None:
    """Of the images for which the position embeddings are as they are; None: nothing depends on it."""
    size = getattr(model.config, "image_size", None)
    if (
        not isinstance(size, int | list | tuple)
        or "interpolate_pos_encoding" not in inspect.signature(model.forward).parameters
    ):
        return None
    return sides(size_of(size))


def _patch(model: Any) -> tuple[int, int] | None:
    """The patch of a vision transformer, which would leave a rest of an image that it does not divide; None: of other
    networks, which have a first convolution as any, or pad by themselves."""
    side, heads = (getattr(model.config, name, None) for name in ("patch_size", "num_attention_heads"))
    placed = model.config.model_type in _ELSEWHERE or any("position_embedding" in own for own in model.state_dict())
    return (side, side) if isinstance(side, int) and isinstance(heads, int) and placed else None


def _with_processor_inputs(
    patch: int | None,
    size: tuple[int, int] | None,
    module: nn.Module,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A forward hook: what the library's processor hands over beside the pixels."""
    pixels, *beside = arguments
    handed, more = _handed(patch, size, pixels)
    return (*handed, *beside), named | more


def _unmasked(
    patch: tuple[int, int], module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A forward hook of a network that shuffles its patches before it hides some: they stay in their order."""
    pixels: Tensor = arguments[0]
    count = (pixels.shape[-2] // patch[0]) * (pixels.shape[-1] // patch[1])
    order = torch.arange(count, dtype=torch.float32, device=pixels.device).expand(len(pixels), -1)
    return arguments, named | {"noise": order}


def cut_into_patches(model: Any) -> int | None:
    """The side of the patches of a network that takes these in place of pixels."""
    wanted = "spatial_shapes" in inspect.signature(model.forward).parameters
    return int(model.config.patch_size) if wanted else None


def handed_over(vision: Any, pixels: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """What the library's processor makes of normalised pixels for an image side, by place and by name."""
    return _handed(cut_into_patches(vision), _own_size(vision), pixels)


def _handed(
    patch: int | None, size: tuple[int, int] | None, pixels: Tensor
) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    if patch is not None:
        batch, channels, height, width = pixels.shape
        rows, columns = height // patch, width // patch
        if rows * patch != height or columns * patch != width:
            raise InputError(f"expected images whose sides are multiples of {patch} pixels, got {height}x{width}")
        grid = pixels.reshape(batch, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
        shapes = torch.tensor([[rows, columns]], device=pixels.device).expand(batch, -1)
        mask = torch.ones(batch, rows * columns, dtype=torch.int64, device=pixels.device)
        return (grid.reshape(batch, rows * columns, -1), mask, shapes), {}
    return (pixels,), {"interpolate_pos_encoding": True} if size is not None and pixels.shape[-2:] != size else {}


def _embedding_in(first: bool, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Tensor:
    """A forward hook: the embedding in what the network gives."""
    if isinstance(output, Tensor):
        return output
    found = output.get("logits")
    for name in _OUTPUTS:
        found = output.get(name) if found is None else found
    if not isinstance(found, Tensor):
        raise InputError(f"a {type(module).__name__} gives {', '.join(output)}: expected {' or '.join(_OUTPUTS)}")
    if found.ndim == 3:
        return found[:, 0] if first else found.mean(dim=1)
    return found


def _features(encoder: Encoder, preprocessing: Preprocessing) -> int:
    """How many numbers an embedding has. Raises `InputError` where it is none."""
    shape = (1, preprocessing.channels, *sides(preprocessing.size or 1))
    encoder.eval()
    try:
        raw = on_meta(encoder.body, shape)
    except InputError:
        raise
    except Exception:  # of layers that need numbers
        try:
            with torch.no_grad():
                raw = encoder.body(torch.zeros(*shape))
        except Exception as error:
            raise InputError(
                f"{encoder.name} fails on pixels of shape {list(shape)}: {type(error).__name__}: {one_line(error)}"
            ) from None
    encoder.train()
    if raw.ndim not in (2, 4) or len(raw) != 1:
        raise InputError(
            f"{encoder.name} gives {list(raw.shape)}, not one embedding for each image: it is not supported"
        )
    return int(raw.shape[1])


def _converted(
    kind: str, config: Mapping[str, Any], pooler: bool, prefix: str, renaming: _Renaming | None,
    state: dict[str, Tensor],
) -> Mapping[str, Tensor]:  # fmt: skip
    """The state as the library itself loads it, under today's names.

    Raises:
        ValueError: the library leaves some of the model's tensors at their random start.
    """
    if renaming is not None and (found := renaming.renamed(state)) is not None:
        return {prefix + name: value for name, value in found.items()}
    classes = [len(v) for k, v in state.items() if k.startswith("classifier.") and k.endswith("weight")]
    network_class, settings = class_and_config(kind, config, classes[-1] if classes and kind == "classifier" else None)
    own = without_pooling(network_class, pooler)
    with quiet():
        model, loading = network_class.from_pretrained(
            None, config=settings, state_dict=dict(state), output_loading_info=True, dtype=torch.float32, **own
        )
    if loading["missing_keys"] or loading.get("mismatched_keys"):
        raise ValueError(f"transformers finds no weights for {next(iter(loading['missing_keys']), 'some')}")
    return {prefix + name: value for name, value in model.state_dict().items()}
