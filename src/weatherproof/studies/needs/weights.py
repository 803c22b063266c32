"""Which weights a study begins with: files in the data folder, and what libraries publish under a name."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from weatherproof.encoders.hub import REVISION, NotCachedError
from weatherproof.encoders.load import LIBRARIES, cached_weights, check_weights, published_place
from weatherproof.encoders.origin import Place
from weatherproof.encoders.weights import ENDINGS, read_checkpoint, renamed
from weatherproof.errors import InputError
from weatherproof.names import shell_word
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.recipes import Given
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.needs.find import HERE, LATER, MISSING, Need, installed

_FILE = re.compile(r"([\w:./()=,-]+?)@(\$DATA/[^\s@'\"]+)")
_OPENAI = "openai"  # whose weights a CLIP's name without a tag means in the papers


def weight_needs(models: Iterable[Recipe], data: str | None) -> list[Need]:
    """Each weights file, whether it is that of its network, and what brings it; each name of published weights, and
    whether they are in the cache."""
    models = list(models)
    given = dict.fromkeys(part for model in models for part in parts(model) if isinstance(part, Given))
    files = dict.fromkeys(found for model in models for found in _FILE.findall(repr(model)))
    needs = [
        _file(encoder, file, [own for own in given if own.text == f"{encoder}@{file}"], data) for encoder, file in files
    ]
    return [*needs, *(_published(text) for text in dict.fromkeys(own.text for own in given if _named(own.text)))]


def _file(encoder: str, file: str, users: Sequence[Given], data: str | None) -> Need:
    name = f"{encoder}@{file}"
    path = Path(file.replace("$DATA", data)) if data is not None else None
    if path is None or not path.exists():
        command = _command(encoder, file, path)
        otherwise = command or f"no {path or file}: no library publishes it, put the file there"
        return Need("weights", MISSING, name, (path and _under_other_names(encoder, path, users)) or otherwise)
    try:
        _check(encoder, path, users)
    except InputError as error:
        command = _command(encoder, file, path)
        return Need("weights", MISSING, name, f"{error}; remove it, then {command or 'put the right file there'}")
    return Need("weights", HERE, name, f"{path.stat().st_size / 1e6:,.1f} MB")


def _check(encoder: str, path: Path, users: Iterable[Given]) -> None:
    """Raise `InputError` where a file does not hold the weights of a network, as its users want it."""
    if not installed(encoder):  # its network cannot be made, which the extras' line says
        read_checkpoint(path, outline=True)
        return
    for size, classes in dict.fromkeys((own.size, own.classes) for own in users):
        check_weights(f"{encoder}@{path}", size=size, num_classes=classes)


def _under_other_names(encoder: str, path: Path, users: Iterable[Given]) -> str:
    """What is said where the weights lie beside under another name; "" where they do not."""
    said = ""
    for other in _other_names(encoder, path):
        if command := renamed(other, path) if other.is_file() else "":
            try:
                _check(encoder, other, users)
            except InputError as error:
                why = str(error) if str(other) in str(error) else f"{other}: {error}"
                said = said or f"{why}; or {_command(encoder, path.name, path) or 'put the right file there'}"
            else:
                return f"no {path}, and {other} has such weights: {command}"
    return said


def _other_names(encoder: str, path: Path) -> list[Path]:
    """The same name with other endings; what a library calls the file, or the folder of it, that it publishes.

        torchvision  resnet101-63fe2227.pth
        timm         tf_efficientnet_lite0-0aa007d2.pth, tf_efficientnet_lite0.in1k.safetensors or folder
        open_clip    RN101.pt (OpenAI's), resnet101_clip.openai.safetensors or folder

    A bare resnet101.pth is none of them: of several that torchvision has published, nobody knows which it is.
    """
    stems, folders = [path.stem], []
    if path.suffix == ".safetensors" and (published := _publishes(encoder)):
        library, _, model = published.partition(":")
        try:
            place = published_place(published)[0]
        except InputError:  # a library that is not installed, or a name that it does not know
            place = Place(published)
        hub = place.repo.rpartition("/")[2]
        stems += [_stem(place.url), hub, _stem(_older_url(model)) if library == "timm" else ""]
        stems.append(model.partition("/")[0] if library == "open_clip" else "")
        folders = [path.parent / hub / file for file in place.files] if hub else []
    named = [path.with_name(f"{stem}{ending}") for stem in dict.fromkeys(stems) if stem for ending in ENDINGS]
    return [other for other in (*named, *folders) if other != path]


def _stem(url: str) -> str:
    return Path(url.rpartition("/")[2]).stem


def _older_url(model: str) -> str:
    """Where timm published weights before they were on the hub, under a name that many still have on their disks."""
    import timm

    found: Any = timm.models.get_pretrained_cfg(model, allow_unregistered=True)
    return (found.url if found is not None else "") or ""


def _command(encoder: str, file: str, path: Path | None) -> str:
    """What writes the file; "": nothing does."""
    published = _publishes(encoder)
    if not published or not file.endswith(".safetensors"):
        return ""
    where = shell_word(str(path)) if path is not None else file.replace("$DATA", "DIR")
    return f"weatherproof prepare weights {published} --out {where}"


def _publishes(encoder: str) -> str:
    """By which name its library publishes the weights of a network; "": it is no library's."""
    library, colon, model = encoder.partition(":")
    if not colon or library not in LIBRARIES:
        return ""
    return f"{encoder}/{_OPENAI}" if library == "open_clip" and "/" not in model else encoder


def _named(text: str) -> bool:
    name, at, after = text.partition("@")
    return name.partition(":")[0] in LIBRARIES and (not at or after.startswith(REVISION))


def _published(text: str) -> Need:
    from huggingface_hub import constants

    try:
        found = cached_weights(text)
    except NotCachedError as error:
        place = published_place(text)[0]
        if place.repo and constants.HF_HUB_OFFLINE:
            return Need("weights", MISSING, text, f"HF_HUB_OFFLINE is set; {error}")
        where = place.url or f"{place.repo} of the Hugging Face hub"
        return Need("weights", LATER, text, f"not in the cache: the first run fetches it from {where}")
    except InputError as error:
        return Need("weights", MISSING, text, str(error))
    size = sum(file.path.stat().st_size for file in found)
    return Need("weights", HERE, text, f"{size / 1e6:,.1f} MB in the cache")
