"""Where trained models lie that were kept before folders were named after recipes: under a digest of a few words."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weatherproof.studies.lab.classifiers import Finetuned, Labelled
from weatherproof.studies.lab.recipes import Given, Hardened, Pretrained
from weatherproof.studies.lab.sets import Source
from weatherproof.studies.lab.store import Recipe, Store, digest

Words = dict[str, str]


def former_home(recipe: object, store: Store) -> Path | None:
    """The folder of a finished training under its former name; None where there is none."""
    if type(recipe) not in _WORDS or not store.folder.is_dir():
        return None
    folder = store.folder / former_name(recipe, store)
    return folder if (folder / "encoder.json").is_file() else None


def former_name(recipe: object, store: Store) -> str:
    """What the folder of a training was called."""
    words = _WORDS[type(recipe)](recipe, store)
    return f"{words['kind']}-{digest(repr(sorted(words.items())))}"


def _hardened(recipe: Hardened, store: Store) -> Words:
    words = {"kind": "hardened", "operator": recipe.operator, "plan": repr(store.plan(recipe.plan))}
    if not isinstance(recipe.start, Given):
        return {**words, "start": start_name(recipe.start, store), "data": source_text(recipe.data.source)}
    return {**words, "encoder": recipe.start.text, "objective": recipe.objective, **_images(recipe), **_look(recipe)}


def _pretrained(recipe: Pretrained, store: Store) -> Words:
    return {
        "kind": "pretrained", "encoder": start_name(recipe.start, store), "method": recipe.method,
        "views": recipe.views, "settings": _settings(recipe.settings), "layers": _settings(recipe.layers or ()),
        "plan": repr(store.plan(recipe.plan)), **_images(recipe),
    }  # fmt: skip


def _labelled(recipe: Labelled, store: Store) -> Words:
    words = {
        "kind": "supervised", "encoder": start_name(recipe.start, store), **_images(recipe), **_look(recipe),
    }  # fmt: skip
    if recipe.operator is not None:
        return {**words, "operator": recipe.operator, "plan": repr(store.plan(recipe.plan))}
    penalty = {} if recipe.tikhonov is None else {"tikhonov": repr(recipe.tikhonov)}
    return {**words, "plan": repr(recipe.course(store)), "labels": str(recipe.labels), **penalty}


def _finetuned(recipe: Finetuned, store: Store) -> Words:
    return {
        "kind": "finetuned", "from": start_name(recipe.start, store), "encoder": _root(recipe.start),
        "labels": str(recipe.labels), "plan": repr(recipe.course(store)), **_images(recipe), **_look(recipe),
    }  # fmt: skip


_WORDS: Mapping[type, Callable[[Any, Store], Words]] = {
    Hardened: _hardened, Pretrained: _pretrained, Labelled: _labelled, Finetuned: _finetuned,
}  # fmt: skip


def start_name(recipe: Recipe, store: Store) -> str:
    """What a training's words called its start."""
    return recipe.text if isinstance(recipe, Given) else former_name(recipe, store)


def source_text(source: Source) -> str:
    """The text of a source, as it was."""
    parts = {**asdict(source), "relabel": dict(source.relabel)}
    return f"Source({', '.join(f'{name}={value!r}' for name, value in parts.items())})"


def _root(recipe: Any) -> str:
    while not isinstance(recipe, Given):
        recipe = recipe.start
    return recipe.text


def _images(recipe: Any) -> Words:
    data = recipe.data
    return {"data": source_text(data.source), "size": str(data.size), "images": str(data.limit)}


def _look(recipe: Any) -> Words:
    return {"augment": str(recipe.augment)}


def _settings(settings: tuple[tuple[str, object], ...]) -> str:
    return repr([*settings])
