"""Encoders from transformers: `transformers:ORG/NAME`, or `transformers:PATH` for a folder as the hub lays one out.

`config.json` says which network it is and `preprocessor_config.json` what pixels it expects; both stay with the encoder
as options, so that a run comes back without them. Code that a repository brings is never run.
"""

import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weatherproof.encoders.encoder import Encoder, Names
from weatherproof.encoders.heads import Half, TwoHeads
from weatherproof.encoders.hub import Fetched, from_hub
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.origin import Place
from weatherproof.encoders.preprocessing import Preprocessing, supported_interpolation
from weatherproof.encoders.unfilled import Unfilled, on_meta
from weatherproof.encoders.weights import is_folder
from weatherproof.errors import InputError, shown
from weatherproof.sizes import Size, sides, size_of
from weatherproof.texts import Malformed, read_json

_CONFIG, _PREPROCESSOR, _PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
_WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
_MISSING = "transformers is not installed: pip install 'weatherproof[transformers]'"
_TOWER = "vision_model."  # before the names of the image tower of a model for images and texts
_POSITIONS = r"(.*\.)?position_ids$"  # a counter that older files hold
_RESAMPLING = {0: "bilinear", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_CLASS_TOKENS = ("cls_token", "class_embedding", "class_token")
_OUTPUTS = ("image_embeds", "pooler_output", "last_hidden_state")  # that are an embedding, the best one first
_PAIRS = (("cls_classifier", "distillation_classifier"), ("classifier", "classifier_distill"))
_HIDDEN = (  # networks whose embeddings have as many numbers as their tokens: others are tried
    "clip_vision_model", "dinov2", "dinov2_with_registers", "dinov3_vit", "siglip2_vision_model", "siglip_vision_model",
    "vit",
)  # fmt: skip
_LEFT_OUT = ("id2label", "label2id", "_name_or_path", "transformers_version", "dtype", "torch_dtype")


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
    given = dict(options)
    try:
        kind, config, expects = str(given["kind"]), dict(given["config"]), Preprocessing.from_dict(given["expects"])
        tower, pooler = bool(given.get("tower", False)), bool(given.get("pooler", True))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{text} is not described by {shown(given)}: {type(error).__name__} {one_line(error)}"
        ) from None
    if num_classes and kind != "classifier":
        raise InputError(f"{text} has no classifier for {num_classes} classes: leave num_classes out and fit a probe")
    try:
        with quiet():
            model = _model(kind, config, num_classes, pooler)
    except InputError:
        raise
    except Exception as error:  # of a config that may say anything
        raise InputError(f"{text} cannot be built: {type(error).__name__}: {one_line(error)}") from None
    renaming = _Renaming.of(model) if Unfilled.active() else None
    preprocessing = expects if size is None else Preprocessing(**asdict(expects) | {"size": size})
    head, path, second = _head(text, model) if kind == "classifier" else (None, None, None)
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
        preprocessing=preprocessing, options=given,
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
    """The library's own network of these options, with its classifier where it has one, with random weights."""
    return _model(str(options["kind"]), options["config"], num_classes, bool(options.get("pooler", True)))


def without_pooling(made: type, pooler: bool) -> dict[str, bool]:
    """The settings of a class of networks that leave its pooling layer out, where it has one that is not wanted."""
    leave = not pooler and "add_pooling_layer" in inspect.signature(made.__init__).parameters  # type: ignore[misc]
    return {"add_pooling_layer": False} if leave else {}


def hears_pixels(model: Any) -> Any:
    """The network itself, from now on from pixels alone to the embedding, or the logits of one with a classifier."""
    first = any(own.rpartition(".")[2] in _CLASS_TOKENS for own, _ in model.named_parameters())
    model.register_forward_pre_hook(partial(_asked, _pixels_only(model), _own_size(model)), with_kwargs=True)
    model.register_forward_hook(partial(_taken, first))
    return model


def classifiers_of(model: Any) -> dict[str, nn.Module]:
    """The classifier, or the two of a distilled network, by name; none where there is no single one."""
    for pair in _PAIRS:
        found = {name: one for name in pair if isinstance(one := getattr(model, name, None), nn.Module)}
        if len(found) == len(pair):
            return found
    head = getattr(model, "classifier", None)
    return {"classifier": head} if isinstance(head, nn.Module) else {}


def transformers_place(name: str) -> Place:
    """Where the weights lie that a name stands for."""
    text = f"transformers:{name}"
    if is_folder(Path(name)):
        return Place(text, folder=name, files=_WEIGHTS)
    return Place(text, name, _WEIGHTS, beside=(_CONFIG, _PREPROCESSOR))


def transformers_config(place: Place, revision: str | None, *, download: bool = True) -> Fetched:
    """The description of a network of the hub. Its commit is that of all that is read beside it.

    Raises:
        InputError: transformers is not installed, or it is neither in the cache nor to be had.
    """
    library()
    return from_hub(place, (_CONFIG,), revision, download=download)


def transformers_options(name: str, revision: str | None = None, *, download: bool = True) -> dict[str, Any]:
    """What builds the network: its config, and the pixels that it expects.

    Args:
        revision: of the hub's repository.
        download: whether the two small files may be downloaded; else the cache must have them.

    Raises:
        InputError: transformers is not installed, files that are not there, that are damaged, or that ask for code.
    """
    transformers = library()
    place, text = transformers_place(name), f"transformers:{name}"
    if place.folder:
        folder = Path(place.folder)
        if not (folder / _CONFIG).is_file():
            raise InputError(f"{folder} has no {_CONFIG}: expected a folder as the hub lays one out")
        found = [folder / _CONFIG] + [
            folder / file for file in (_PREPROCESSOR, _PROCESSOR) if (folder / file).is_file()
        ]
    else:
        config = transformers_config(place, revision, download=download)
        pinned = config.commit or revision
        found = [config.path, from_hub(place, (_PREPROCESSOR, _PROCESSOR), pinned, download=download).path]
    if len(found) < 2:
        raise InputError(f"{text} has no {_PREPROCESSOR}, which says mean, std and size: put one beside {_CONFIG}")
    settings, told = settings_in(text, found[0]), settings_in(text, found[1])
    if "auto_map" in settings and settings.get("model_type") not in transformers.CONFIG_MAPPING:
        raise InputError(f"{text} needs code that its repository brings, which is never run: choose another network")
    if "model_type" not in settings and "architecture" in settings:
        raise InputError(f"{text} is a model of timm: write timm:NAME with NAME {shown(settings['architecture'])}")
    try:
        with quiet():
            return _described(transformers, settings, told)
    except InputError:
        raise
    except Exception as error:  # of files that may say anything
        raise InputError(f"{text} cannot be read: {type(error).__name__}: {one_line(error)}") from None


def suited(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The options for a file with these tensors: without a pooling layer that was not trained."""
    made = dict(options)
    if made.get("kind") == "model" and not any(".pooler." in f".{name}" for name in names):
        made["pooler"] = False
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, the library says nothing: what does not fit is said elsewhere."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def library() -> Any:
    try:
        import transformers
    except ImportError:
        raise InputError(_MISSING) from None
    return transformers


def settings_in(text: str, path: Path) -> dict[str, Any]:
    """What a file of the network of this text says. Raises `InputError` where it cannot be read."""
    try:
        found = read_json(path)
    except (Malformed, OSError) as error:
        raise InputError(f"{text}: {path} cannot be read: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise InputError(f"{text}: {path} holds no settings")
    return found


def _described(transformers: Any, settings: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

    kind, tower = "model", False
    made = settings.get("architectures") or [""]
    if settings.get("model_type") not in transformers.CONFIG_MAPPING:
        raise InputError(f"transformers has no network of the type {shown(settings.get('model_type'))}: update it")
    config = transformers.CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
    classifiers = {one for name in CLASSIFIERS.values() for one in ([name] if isinstance(name, str) else name)}
    if made[0] in classifiers:
        kind = "classifier"
    elif str(made[0]).endswith("WithProjection"):
        kind = "projection"
    if kind == "model" and getattr(config, "vision_config", None) is not None:
        shared, config, tower = getattr(config, "projection_dim", None), config.vision_config, True
        if shared is not None:
            config.projection_dim = shared
        with torch.device("meta"):
            plain = transformers.AutoModel.from_config(config)
        if hasattr(transformers, f"{type(plain).__name__}WithProjection"):
            kind, tower = "projection", False
    kept = {name: value for name, value in config.to_dict().items() if name not in _LEFT_OUT}
    kept |= {"architectures": [made[0]], "num_labels": config.num_labels} if kind == "classifier" else {}
    options = {"kind": kind, "config": kept, "expects": asdict(_expected(told, settings, config))}
    return options | ({"tower": True} if tower else {})


def _expected(told: Mapping[str, Any], settings: Mapping[str, Any], config: Any) -> Preprocessing:
    """What pixels the network expects, as the library's own processor of its images says."""
    told = dict(told.get("image_processor", told))
    defaults = _defaults(told, settings)

    def said(name: str, otherwise: Any = None) -> Any:
        found = told.get(name)
        found = defaults.get(name) if found is None else found
        return otherwise if found is None else found

    size = said("size", {})
    if said("do_center_crop", False) and said("crop_size"):
        size = said("crop_size")
    if "max_num_patches" in told:  # of images of any shape, cut into so many patches at most
        size = int(told["max_num_patches"] ** 0.5) * int(told.get("patch_size", config.patch_size))
    taken = _size(size)
    channels = int(getattr(config, "num_channels", 3))
    mean, std = (0.0,) * channels, (1.0,) * channels
    if said("do_normalize", True):
        mean, std = tuple(map(float, said("image_mean"))), tuple(map(float, said("image_std")))
        if told.get("include_top"):  # EfficientNet's is normalised twice
            std = tuple(value * value for value in std)
    factor = float(said("rescale_factor", 1 / 255)) * 255 if said("do_rescale", True) else 255.0
    offset = 1.0 if told.get("rescale_offset") else 0.0
    return Preprocessing(
        mean=tuple((value + offset) / factor for value in mean), std=tuple(value / factor for value in std), size=taken,
        channels=channels, interpolation=supported_interpolation(_RESAMPLING.get(said("resample", 2), "bicubic")),
    )  # fmt: skip


def _size(size: Any) -> Size:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or (size.get("height"), size.get("width"))
    return size_of(size)


def _defaults(told: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the library's class for such a processor says where the file says nothing."""
    import transformers
    from transformers.models.auto.image_processing_auto import get_image_processor_class_from_name

    named = str(told.get("image_processor_type") or told.get("feature_extractor_type") or "")
    named = named.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast")
    made = get_image_processor_class_from_name(named) if named else None
    if made is None:
        kind = transformers.CONFIG_MAPPING[settings["model_type"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = transformers.IMAGE_PROCESSOR_MAPPING.get(kind, None)
        found = list(found.values()) if isinstance(found, Mapping) else found
        candidates = [one for one in (found if isinstance(found, list | tuple) else [found]) if one is not None]
        made = candidates[0] if candidates else None
    names = ("size", "crop_size", "do_center_crop", "image_mean", "image_std", "do_normalize", "do_rescale",
             "rescale_factor", "resample")  # fmt: skip
    return {name: getattr(made, name, None) for name in names} if made is not None else {}


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
            new, made = rename_source_key(name, [*self.renamings], [*self.converters], self.prefix, known)
            if new not in known and name in known:
                new, made = name, None
            if new in known:
                if made is not None or new in found:
                    return None
                found[new] = value
        return found if known.keys() == found.keys() else None


def _model(kind: str, config: Mapping[str, Any], num_classes: int | None, pooler: bool) -> Any:
    """The network with random weights, or with none where these are about to be loaded."""
    made, settings = class_and_config(kind, config, num_classes)
    with _start():
        return made._from_config(settings, dtype=torch.float32, **without_pooling(made, pooler))


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
    made = found[0] if isinstance(found, list | tuple) else found
    if kind == "projection":
        made = getattr(transformers, f"{made.__name__}WithProjection")
    return made, settings


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


def _pixels_only(model: Any) -> int | None:
    """The side of the patches of a network that takes these in place of pixels."""
    wanted = "spatial_shapes" in inspect.signature(model.forward).parameters
    return int(model.config.patch_size) if wanted else None


def _asked(
    patch: int | None, size: tuple[int, int] | None, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A forward hook: what the library's processor hands over beside the pixels."""
    pixels = given[0]
    if patch is not None:
        batch, channels, height, width = pixels.shape
        rows, columns = height // patch, width // patch
        if rows * patch != height or columns * patch != width:
            raise InputError(f"expected images whose sides are multiples of {patch} pixels, got {height}x{width}")
        grid = pixels.reshape(batch, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1)
        shapes = torch.tensor([[rows, columns]], device=pixels.device).expand(batch, -1)
        mask = torch.ones(batch, rows * columns, dtype=torch.int64, device=pixels.device)
        return (grid.reshape(batch, rows * columns, -1), mask, shapes), named
    if size is not None and pixels.shape[-2:] != size:
        named = named | {"interpolate_pos_encoding": True}
    return given, named


def _taken(first: bool, module: nn.Module, given: tuple[Any, ...], output: Any) -> Tensor:
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
    made, settings = class_and_config(kind, config, classes[-1] if classes and kind == "classifier" else None)
    own = without_pooling(made, pooler)
    with quiet():
        model, told = made.from_pretrained(
            None, config=settings, state_dict=dict(state), output_loading_info=True, dtype=torch.float32, **own
        )
    if told["missing_keys"] or told.get("mismatched_keys"):
        raise ValueError(f"transformers finds no weights for {next(iter(told['missing_keys']), 'some')}")
    return {prefix + name: value for name, value in model.state_dict().items()}
