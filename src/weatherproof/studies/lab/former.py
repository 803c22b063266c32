"""Where trained models lie that were kept before folders were named after recipes: under a digest of a few words."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from weatherproof.evaluation.finetune_search import read_setting
from weatherproof.methods import FeatureSettings
from weatherproof.methods.feature_settings import LATER
from weatherproof.objectives import parse_regularizer
from weatherproof.studies.lab.chosen import Chosen
from weatherproof.studies.lab.classifiers import Finetuned, Labelled
from weatherproof.studies.lab.recipes import Given, Hardened, Pretrained, thirds
from weatherproof.studies.lab.sets import Source
from weatherproof.studies.lab.store import Recipe, Store, digest
from weatherproof.texts import read_yaml
from weatherproof.training import Plan

Words = dict[str, str]


def former_home(recipe: object, store: Store) -> Path | None:
    """The folder of a finished training or search under its former name; None where there is none."""
    if type(recipe) not in _WORDS or not store.folder.is_dir():
        return None
    if isinstance(recipe, Labelled) and recipe.settings is not None and isinstance(recipe.start, Hardened | Pretrained):
        return _of_another_paper(recipe, recipe.start, recipe.settings, store)
    folder = store.folder / former_name(recipe, store)
    return folder if _finished(folder) else None


def _finished(folder: Path) -> bool:
    return (folder / "encoder.json").is_file() or read_setting(folder) is not None


def former_name(recipe: object, store: Store) -> str:
    """What the folder of a training was called."""
    words = _WORDS[type(recipe)](recipe, store)
    return f"{words['kind']}-{digest(repr(sorted(words.items())))}"


def _hardened(recipe: Hardened, store: Store) -> Words:
    words = {"kind": "hardened", "operator": recipe.operator, "plan": repr(store.plan(recipe.plan))}
    words |= {} if recipe.keep is None else {"keep": repr(recipe.keep)}
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
    if recipe.method == "adversarial":
        return {"kind": "adversarial", "regularizers": "()", **_transferred(recipe, store)}
    if recipe.settings is not None:
        return {**_contrasted(recipe, recipe.settings, store), "start": start_name(recipe.start, store)}
    words = {
        "kind": "supervised", "encoder": start_name(recipe.start, store), **_images(recipe), **_look(recipe),
    }  # fmt: skip
    if recipe.operator is not None:
        return {**words, "operator": recipe.operator, "plan": repr(store.plan(recipe.plan))}
    penalty = {} if recipe.tikhonov is None else {"tikhonov": repr(recipe.tikhonov)}
    return {**words, "plan": repr(recipe.course(store)), "labels": str(recipe.labels), **penalty}


def _contrasted(recipe: Labelled, settings: FeatureSettings, store: Store) -> Words:
    """Of feature contrastive learning and its rivals; without the start."""
    return {
        "kind": f"labelled-{recipe.method}", "head": recipe.head, "seed": str(recipe.plan.seed),
        "plan": repr(store.plan(recipe.plan)), "settings": repr(sorted(_former(settings).items())),
        **_images(recipe), **_look(recipe),
    }  # fmt: skip


def _former(settings: FeatureSettings) -> dict[str, object]:
    """Without those that there were not, unless they say something."""
    plain = {field.name: field.default for field in fields(settings) if field.name in LATER}
    return {name: value for name, value in asdict(settings).items() if name not in plain or value != plain[name]}


def _of_another_paper(
    recipe: Labelled, start: Hardened | Pretrained, settings: FeatureSettings, store: Store
) -> Path | None:
    """Of feature contrastive learning on an encoder whose name was the repr of all settings of its paper's scale: the
    folder whose recipe says the same but for that name, in which every setting of the encoder occurs."""
    words, name = _contrasted(recipe, settings, store), type(start).__name__.lower()
    look, more = (start.operator, ()) if isinstance(start, Hardened) else (start.views, start.settings)
    said = [repr(_root(start)), source_text(start.data.source), f"train_images={start.data.limit}", repr(look)]
    said += [f"{key!r}: {value!r}" for key, value in (*_changed(start.plan), *more)]
    for folder in sorted(store.folder.glob(f"{words['kind']}-*")):
        found = read_yaml(folder / "recipe.yaml") if _finished(folder) else {}
        told = str(found.get("start"))
        known = told.startswith(f"{name}, seed {start.plan.seed}, ") and all(part in told for part in said)
        if known and all(found.get(key) == value for key, value in words.items()):
            return folder
    return None


def _changed(plan: Plan) -> list[tuple[str, object]]:
    """The settings of a plan that a scale says."""
    named = [(field, getattr(plan, field.name)) for field in fields(plan) if field.name not in ("seed", "device")]
    return [(field.name, value) for field, value in named if value != field.default]


def _finetuned(recipe: Finetuned, store: Store) -> Words:
    if recipe.head == "linear":
        chosen = repr(recipe.setting(store).regularizers)
        return {"kind": "transferred", "regularizers": chosen, **_transferred(recipe, store)}
    return {
        "kind": "finetuned", "from": start_name(recipe.start, store), "encoder": _root(recipe.start),
        "labels": str(recipe.labels), "plan": repr(recipe.course(store)), **_images(recipe), **_look(recipe),
    }  # fmt: skip


def _chosen(recipe: Chosen, store: Store) -> Words:
    regularizers = repr(tuple(map(parse_regularizer, recipe.regularizers)))
    return {"kind": "search", "regularizers": regularizers, **_transferred(recipe, store)}


def _transferred(recipe: Labelled | Finetuned | Chosen, store: Store) -> Words:
    """Of fine-tuning, whose rate fell at the thirds of a training."""
    plan, data = recipe.course(store), recipe.data
    return {
        "start": start_name(recipe.start, store), "plan": repr(replace(plan, milestones=thirds(plan))),
        "data": source_text(data.source), "size": str(data.size), **_look(recipe),
    }  # fmt: skip


_WORDS: Mapping[type, Callable[[Any, Store], Words]] = {
    Hardened: _hardened, Pretrained: _pretrained, Labelled: _labelled, Finetuned: _finetuned,
    Chosen: _chosen,
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
