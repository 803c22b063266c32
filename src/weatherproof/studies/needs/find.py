"""What of a study is not on this machine: data, weights, packages."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from weatherproof.data.counts import SIZES
from weatherproof.data.sources import contents
from weatherproof.errors import InputError
from weatherproof.names import shell_word
from weatherproof.studies.lab.parts import parts
from weatherproof.studies.lab.sets import Images, located
from weatherproof.studies.lab.store import Recipe
from weatherproof.studies.lab.study import Cell
from weatherproof.studies.needs.made_up import sources_of

HERE, MISSING, OPTIONAL = "here", "missing", "not needed"
_FILE = re.compile(r"([\w:./()=,-]+?)@(\$DATA/[^\s@'\"]+)")
_PACKAGES = {  # by what the texts of components say: the module, and the extra that brings it
    "open_clip:": ("open_clip", "clip"),
    "transformers:": ("transformers", "transformers"),
    "AutoAttack(": ("pyautoattack", "attacks"),
}
_OPENAI = "openai"  # whose weights a CLIP's name without a tag means in the papers
_PUBLISHES = ("timm", "torchvision", "open_clip", "transformers")


@dataclass(frozen=True)
class Need:
    """Something that a study needs.

    Attributes:
        kind: data, weights, extras, memory, hours or disk.
        state: "here", "missing" or "not needed"; of amounts "fits" or "too much", or "about".
        name: what it is.
        text: what was found, or what to do.
    """

    kind: str
    state: str
    name: str
    text: str


def data_needs(cells: Iterable[Cell], data: str | None) -> list[Need]:
    """Each source that is read, with how many images of how many classes lie there, or which layout is wanted."""
    wanted: dict[str, set[str]] = {}
    spare: set[str] = set()
    for cell in cells:
        for part in parts((cell.model, cell.measure, cell.data)):
            for text, split in sources_of(part) if isinstance(part, Images) else ():
                wanted.setdefault(text, set()).add(split)
        if cell.files is not None:
            spare.add(cell.files.source.text)
    needs = [_source(text, sorted(splits, reverse=True), data) for text, splits in wanted.items()]
    return [*needs, *(_spare(text, data) for text in sorted(spare - wanted.keys()))]


def _source(text: str, splits: Sequence[str], data: str | None) -> Need:
    try:
        found = {split: contents(located(text, data), split) for split in splits}
    except InputError as error:
        return Need("data", MISSING, text, f"{error}{_layout(text, splits[0], data)}")
    counts = ", ".join(f"{len(own.labels):,} to {split}" for split, own in found.items())
    told = [f"{counts}, {len(next(iter(found.values())).classes):,} classes"]
    name = text.partition(":")[0]
    for split, own in found.items():
        expected = SIZES[name][split != "train"] if name in SIZES and split in ("train", "test") else len(own.labels)
        if len(own.labels) != expected:
            empty = torch.bincount(own.labels[own.labels >= 0], minlength=len(own.classes)).eq(0).sum()
            told.append(
                f"the published set has {expected:,} to {split}" + (f", {empty} classes have none" if empty else "")
            )
    return Need("data", HERE, text, "; ".join(told))


def _layout(text: str, split: str, data: str | None) -> str:
    """What a folder that is not there should hold: what the source says of an empty one."""
    name, _, folder = text.partition(":")
    if data is None or Path(folder := located(folder, data)).exists():
        return ""
    with TemporaryDirectory() as empty:
        try:
            contents(f"{name}:{empty}", split)
        except InputError as error:
            return f"; {str(error).replace(empty, folder)}"
    return ""


def _spare(text: str, data: str | None) -> Need:
    try:
        found = contents(located(text, data), "test")
    except InputError as error:
        return Need("data", OPTIONAL, text, f"made on the fly instead, with synthetic frost ({error})")
    return Need("data", HERE, text, f"{len(found.labels):,} images of {len(found.classes):,} classes, each corrupted")


def weight_needs(models: Iterable[Recipe], data: str | None) -> list[Need]:
    """Each weights file, and what brings it."""
    texts = dict.fromkeys(found for model in models for found in _FILE.findall(repr(model)))
    return [_weights(encoder, file, data) for encoder, file in texts]


def _weights(encoder: str, file: str, data: str | None) -> Need:
    name = f"{encoder}@{file}"
    path = Path(file.replace("$DATA", data)) if data is not None else None
    if path is not None and path.is_file():
        return Need("weights", HERE, name, f"{path.stat().st_size / 1e6:,.1f} MB")
    library, colon, model = encoder.partition(":")
    if not colon or library not in _PUBLISHES or not file.endswith(".safetensors"):
        return Need("weights", MISSING, name, f"no {path or file}: no library publishes it, put the file there")
    published = f"{encoder}/{_OPENAI}" if library == "open_clip" and "/" not in model else encoder
    where = shell_word(str(path)) if path is not None else file.replace("$DATA", "DIR")
    return Need("weights", MISSING, name, f"weatherproof prepare weights {published} --out {where}")


def package_needs(cells: Iterable[Cell]) -> list[Need]:
    """Each extra that a model or a measure names."""
    told = "".join({repr(part) for cell in cells for part in (cell.model, cell.measure)})
    return [
        Need("extras", HERE if find_spec(module) else MISSING, module, f"pip install 'weatherproof[{extra}]'")
        for word, (module, extra) in _PACKAGES.items()
        if word in told
    ]
