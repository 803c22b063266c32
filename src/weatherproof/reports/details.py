"""What a page says of how its numbers came about: what was done, on which images, and every record."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from weatherproof.reports.files import Run
from weatherproof.reports.group import Group
from weatherproof.reports.suite.records import is_cell, is_mean, is_total
from weatherproof.reports.words import records as words
from weatherproof.reports.words.attacks import attack_words
from weatherproof.reports.words.commands import reproducing
from weatherproof.reports.words.records import JsonRecord

FACTS = ("versions", "hardware")  # parts of a recipe that get their own table
RECORD_COLUMNS = (
    *("metric", "value", "stderr", "model", "readout", "label_fraction", "condition", "data", "images"),
    *("realizations", "seeds", "trained_on", "protocol"),
)


def done_sentences(run: Run) -> list[str]:
    """What was done, from the recipe: plain sentences, without a setting that is not there."""
    recipe = run.recipe
    encoder, images = (str(recipe.get(key) or f"the given {key}") for key in ("encoder", "images"))
    sentences = []
    if recipe.get("verb") in ("harden", "demo") and recipe.get("operator"):
        damage = words.operator_words(str(recipe["operator"]))
        sentences.append(
            f"A copy of {encoder} learned to give, for an image with {damage}, the embedding that the original gives "
            f"for the clean image. It saw the images of {images} without their labels."
        )
    elif recipe.get("verb") == "pretrain":
        sentences.append(_pretrained(recipe, encoder, images))
    elif recipe.get("verb") == "train":
        sentences.append(_trained(recipe, encoder, images))
    elif recipe.get("verb") == "finetune":
        sentences.append(_finetuned(recipe, encoder, images))
    elif recipe.get("verb") == "reproduce":
        sentences.append(reproducing(recipe))
    else:
        measured = str(recipe.get("encoder") or recipe.get("model") or "the given encoder")
        suite = f", suite {recipe['suite']}" if recipe.get("suite") else ""
        damage = f", with {words.operator_words(str(recipe['operator']))}" if recipe.get("operator") else ""
        attacks = words.listed([attack_words(str(text)) for text in recipe.get("attack") or []])
        under = f", under attack by {attacks}" if attacks else ""
        gauge = ", by its gauge" if recipe.get("gauge") else ""
        sentences.append(
            f"weatherproof {recipe.get('verb', 'run')} with {measured} on {images}{suite}{damage}{under}{gauge}."
        )
    keys = [key for key in ("objective", "epochs", "batch_size", "lr", "seed") if recipe.get(key) is not None]
    if keys and recipe.get("verb") != "reproduce":  # its command has them
        sentences.append(f"Settings: {', '.join(_setting(key, recipe[key]) for key in keys)}.")
    sentences.append(measured_on(run.records))
    return sentences


def _pretrained(recipe: Mapping[str, Any], encoder: str, images: str) -> str:
    method, views = words.method_words(str(recipe.get("method") or "the given method")), recipe.get("views")
    own = views in (None, "auto")
    looks = "the method's own views" if own else "views by URRL's rule" if views == "urrl" else f"the views {views}"
    return (
        f"{encoder} learned from the images of {images} without their labels, by {method} with {looks}{_calm(recipe)}: "
        "to know each image again when it looks different."
    )


def _trained(recipe: Mapping[str, Any], encoder: str, images: str) -> str:
    method = words.method_words(str(recipe.get("method") or "the given method"))
    against = f" against {attack_words(str(recipe['attack']))}" if recipe.get("attack") else ""
    damage = f", on images with {words.operator_words(str(recipe['operator']))}" if recipe.get("operator") else ""
    return (
        f"{encoder} and a classifier learned from {images}{_few(recipe)} by {method}{against}{_calm(recipe)}{damage}."
    )


def _calm(recipe: Mapping[str, Any]) -> str:
    penalty = recipe.get("tikhonov")
    return "" if penalty is None else f" and an input-gradient penalty ({penalty})"


def _few(recipe: Mapping[str, Any]) -> str:
    part = recipe.get("labels")
    return f" with {words.percent(part)} of the labels" if words.finite(part) and part < 1 else ""


def _finetuned(recipe: Mapping[str, Any], encoder: str, images: str) -> str:
    terms = words.listed([str(text) for text in recipe.get("regularizer") or []])
    return (
        f"All weights of {encoder} and a new classifier learned from {images}{_few(recipe)}, "
        f"{f'regularized by {terms}' if terms else 'without a regularizer'}. Beside it: the encoder as it was, frozen, "
        "with a linear probe on the same labels."
    )


def _setting(name: str, value: Any) -> str:
    shown = f"{value:g}" if isinstance(value, float) and value >= 1 else str(value)  # 20 epochs, not 20.0
    if name == "epochs":
        return _epochs(shown)
    return f"{'learning rate' if name == 'lr' else name.replace('_', ' ')} {shown}"


def _epochs(number: str) -> str:
    return f"{number} epoch{'' if number == '1' else 's'}"


def measured_on(records: Sequence[JsonRecord]) -> str:
    """On how many images of what, and how often everything was drawn."""
    names = {str(r["corruption"]) for r in records if is_cell(r)}
    single = [r for r in records if not is_total(r) and not is_mean(r, names)] if names else records
    counts: dict[str, set[int]] = {}
    for record in single:
        found = counts.setdefault(str(record.get("data")), set())
        found |= {record["images"]} if isinstance(record.get("images"), int) else set()
    images = words.listed([_images(found, data) for data, found in counts.items()])
    draws = max((r.get("realizations") or 1 for r in single), default=1)
    seeds = max((len(r.get("seeds") or [0]) for r in single), default=1)
    drawn = f" Damage was drawn {draws} times for every image" if draws > 1 else ""
    if seeds > 1:
        what = "Everything" if all(len(r.get("seeds") or [0]) > 1 for r in single) else "What has a ±"
        drawn = f" {what} was repeated with {seeds} seeds{drawn and ';' + drawn.lower()}; ± is over the seeds."
    elif drawn:
        drawn += "; ± is the standard error over these draws."
    elif names and any(words.finite(r.get("stderr")) for r in single):
        drawn = " Every corruption was drawn once for every image; ± is the standard error over the images."
    return f"Measured on {images}.{drawn}"


def _images(counts: set[int], data: str) -> str:
    if not counts:
        return data
    low, high = min(counts), max(counts)
    return f"{high:,} images of {data}" if low == high else f"{low:,} to {high:,} images of {data}"


def training_facts(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Steps, epochs, last loss and speed of each training."""
    sentences = []
    for name, lines in logs.items():
        if not lines:
            continue
        last = lines[-1]
        parts = [f"{last['step']:,} steps" if isinstance(last.get("step"), int) else ""]
        parts.append(_epochs(f"{last['epoch']:.3g}") if not words.missing(last.get("epoch")) else "")
        parts.append(f"last loss {last['loss']:.4g}" if not words.missing(last.get("loss")) else "")
        rates = sorted(r["images_per_second"] for r in lines if not words.missing(r.get("images_per_second")))
        parts.append(f"{rates[len(rates) // 2]:,.0f} images per second" if rates else "")
        sentences.append((f"{name}: " if name else "") + ", ".join(part for part in parts if part))
    return sentences


def facts(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Versions and hardware as rows of names and values."""
    rows = []
    for name in FACTS:
        found = run.recipe.get(name)
        if isinstance(found, dict):
            rows.append((name, [(str(k).replace("_", " "), str(v)) for k, v in found.items()]))
        elif found:
            rows.append((name, [(name, str(found))]))
    return rows


def recipe_text(run: Run) -> str:
    return yaml.safe_dump(dict(run.recipe), sort_keys=False, allow_unicode=True, width=100)


def checks(group: Group) -> list[dict[str, Any]]:
    """The checks of all runs, with the names of their runs where a page has several."""
    if not group.compared:
        return group.runs[0].checks
    return [{**check, "claim": f"{run.name}: {check.get('claim')}"} for run in group.runs for check in run.checks]


def record_rows(records: Sequence[JsonRecord]) -> list[list[str]]:
    columns = record_columns(records)
    return [[_record_text(record, key) for key in columns] for record in records]


def record_columns(records: Sequence[JsonRecord]) -> list[str]:
    """The columns in which any record has something, known ones first, then whatever else was recorded."""
    known = [*(["run"] if any("run" in r for r in records) else []), *RECORD_COLUMNS]
    hidden = {*known, "operator", "corruption", "severity", "attack"}
    others = [key for key in dict.fromkeys(key for r in records for key in r) if key not in hidden]
    return [k for k in [*known, *others] if k == "condition" or any(r.get(k) is not None for r in records)]


def _record_text(record: JsonRecord, key: str) -> str:
    value = record.get(key)
    if key == "condition":
        named = [str(record[k]) for k in ("operator", "corruption", "attack") if record.get(k)]
        severity = record.get("severity")
        return ", ".join(named + ([f"severity {severity}"] if severity is not None else [])) or "clean"
    if key in ("value", "stderr") and words.missing(value):
        return "" if value is None and key == "stderr" else "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
