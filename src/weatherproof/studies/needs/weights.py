"""Which weights a study begins with: files in the data folder, and what libraries publish under a name."""

import re
from collections.abc import Iterable
from pathlib import Path

from weatherproof.encoders.hub import REVISION, NotCachedError
from weatherproof.encoders.load import LIBRARIES, cached_weights, check_weights, published_place
from weatherproof.encoders.weights import read_checkpoint
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


def _file(encoder: str, file: str, users: Iterable[Given], data: str | None) -> Need:
    name = f"{encoder}@{file}"
    path = Path(file.replace("$DATA", data)) if data is not None else None
    if path is None or not path.exists():
        command = _command(encoder, file, path)
        return Need(
            "weights", MISSING, name, command or f"no {path or file}: no library publishes it, put the file there"
        )
    try:
        if not installed(encoder):  # its network cannot be made, which the extras' line says
            read_checkpoint(path, outline=True)
            users = ()
        for size, classes in dict.fromkeys((own.size, own.classes) for own in users):
            check_weights(f"{encoder}@{path}", size=size, num_classes=classes)
    except InputError as error:
        command = _command(encoder, file, path)
        return Need("weights", MISSING, name, f"{error}; remove it, then {command or 'put the right file there'}")
    return Need("weights", HERE, name, f"{path.stat().st_size / 1e6:,.1f} MB")


def _command(encoder: str, file: str, path: Path | None) -> str:
    """What writes the file; "": nothing does."""
    library, colon, model = encoder.partition(":")
    if not colon or library not in LIBRARIES or not file.endswith(".safetensors"):
        return ""
    published = f"{encoder}/{_OPENAI}" if library == "open_clip" and "/" not in model else encoder
    where = shell_word(str(path)) if path is not None else file.replace("$DATA", "DIR")
    return f"weatherproof prepare weights {published} --out {where}"


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
