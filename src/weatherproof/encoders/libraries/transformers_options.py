"""What describes a network of transformers: `config.json` says which one it is, and `preprocessor_config.json` what
pixels it expects. Code that a repository brings is never run.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from weatherproof.encoders.adapter import bounded, require_few
from weatherproof.encoders.hub import Fetched, from_hub
from weatherproof.encoders.messages import one_line
from weatherproof.encoders.origin import Place
from weatherproof.encoders.preprocessing import Preprocessing, supported_interpolation
from weatherproof.encoders.weights import is_folder
from weatherproof.errors import InputError, shown
from weatherproof.sizes import Size, size_of
from weatherproof.texts import Malformed, read_json

_CONFIG, _PREPROCESSOR, _PROCESSOR = "config.json", "preprocessor_config.json", "processor_config.json"
_WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
_MISSING = "transformers is not installed: pip install 'weatherproof[transformers]'"
_RESAMPLING = {0: "bilinear", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_MOST_WEIGHTS = 1 << 33  # 32 GB: the largest network of images that is published has 7 billion
_LEFT_OUT = ("id2label", "label2id", "_name_or_path", "transformers_version", "dtype", "torch_dtype")


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
    settings, processor = settings_in(text, found[0]), settings_in(text, found[1])
    if "auto_map" in settings and settings.get("model_type") not in transformers.CONFIG_MAPPING:
        raise InputError(f"{text} needs code that its repository brings, which is never run: choose another network")
    if "model_type" not in settings and "architecture" in settings:
        raise InputError(f"{text} is a model of timm: write timm:NAME with NAME {shown(settings['architecture'])}")
    require_few(text, settings)
    try:
        with quiet(), described_room(text):
            return _described(transformers, settings, processor)
    except InputError:
        raise
    except Exception as error:  # of files that may say anything
        raise InputError(f"{text} cannot be read: {type(error).__name__}: {one_line(error)}") from None


def suited(options: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The options for a file with these tensors: without a pooling layer that was not trained."""
    fitting = dict(options)
    if fitting.get("kind") == "model" and not any(".pooler." in f".{name}" for name in names):
        fitting["pooler"] = False
    return fitting


def described_room(text: str) -> AbstractContextManager[None]:
    """Inside, a network that is built as `config.json` says must not fill the memory. Raises `InputError` else."""
    return bounded(f"{text} as {_CONFIG} describes it", "give smaller sizes there", _MOST_WEIGHTS)


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


def _described(transformers: Any, settings: dict[str, Any], processor: Mapping[str, Any]) -> dict[str, Any]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

    kind, tower = "model", False
    architectures = settings.get("architectures") or [""]
    if settings.get("model_type") not in transformers.CONFIG_MAPPING:
        raise InputError(f"transformers has no network of the type {shown(settings.get('model_type'))}: update it")
    config = transformers.CONFIG_MAPPING[settings["model_type"]].from_dict(settings)
    classifiers = {one for name in CLASSIFIERS.values() for one in ([name] if isinstance(name, str) else name)}
    if architectures[0] in classifiers:
        kind = "classifier"
    elif str(architectures[0]).endswith("WithProjection"):
        kind = "projection"
    if kind == "model" and getattr(config, "vision_config", None) is not None:
        shared, config, tower = getattr(config, "projection_dim", None), config.vision_config, True
        if shared is not None:
            config.projection_dim = shared
        with torch.device("meta"):
            plain = transformers.AutoModel.from_config(config)
        if hasattr(transformers, f"{type(plain).__name__}WithProjection"):
            kind, tower = "projection", False
    config_dict = {name: value for name, value in config.to_dict().items() if name not in _LEFT_OUT}
    config_dict |= (
        {"architectures": [architectures[0]], "num_labels": config.num_labels} if kind == "classifier" else {}
    )
    options = {"kind": kind, "config": config_dict, "expects": asdict(_expected(processor, settings, config))}
    return options | ({"tower": True} if tower else {})


def _expected(processor: Mapping[str, Any], settings: Mapping[str, Any], config: Any) -> Preprocessing:
    """What pixels the network expects, as the library's own processor of its images says."""
    processor = dict(processor.get("image_processor", processor))
    defaults = _defaults(processor, settings)

    def setting(name: str, otherwise: Any = None) -> Any:
        found = processor.get(name)
        found = defaults.get(name) if found is None else found
        return otherwise if found is None else found

    size = setting("size", {})
    if setting("do_center_crop", False) and setting("crop_size"):
        size = setting("crop_size")
    if "max_num_patches" in processor:  # of images of any shape, cut into so many patches at most
        size = int(processor["max_num_patches"] ** 0.5) * int(processor.get("patch_size", config.patch_size))
    fixed = _size(size)
    channels = int(getattr(config, "num_channels", 3))
    mean, std = (0.0,) * channels, (1.0,) * channels
    if setting("do_normalize", True):
        mean, std = tuple(map(float, setting("image_mean"))), tuple(map(float, setting("image_std")))
        if processor.get("include_top"):  # EfficientNet's is normalised twice
            std = tuple(value * value for value in std)
    factor = float(setting("rescale_factor", 1 / 255)) * 255 if setting("do_rescale", True) else 255.0
    offset = 1.0 if processor.get("rescale_offset") else 0.0
    return Preprocessing(
        mean=tuple((value + offset) / factor for value in mean), std=tuple(value / factor for value in std), size=fixed,
        channels=channels, interpolation=supported_interpolation(_RESAMPLING.get(setting("resample", 2), "bicubic")),
    )  # fmt: skip


def _size(size: Any) -> Size:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge") or (size.get("height"), size.get("width"))
    return size_of(size)


def _defaults(processor: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the library's class for such a processor says where the file says nothing."""
    import transformers
    from transformers.models.auto.image_processing_auto import get_image_processor_class_from_name

    named = str(processor.get("image_processor_type") or processor.get("feature_extractor_type") or "")
    named = named.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast")
    processor_class = get_image_processor_class_from_name(named) if named else None
    if processor_class is None:
        kind = transformers.CONFIG_MAPPING[settings["model_type"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = transformers.IMAGE_PROCESSOR_MAPPING.get(kind, None)
        found = list(found.values()) if isinstance(found, Mapping) else found
        candidates = [one for one in (found if isinstance(found, list | tuple) else [found]) if one is not None]
        processor_class = candidates[0] if candidates else None
    names = ("size", "crop_size", "do_center_crop", "image_mean", "image_std", "do_normalize", "do_rescale",
             "rescale_factor", "resample")  # fmt: skip
    return {name: getattr(processor_class, name, None) for name in names} if processor_class is not None else {}
