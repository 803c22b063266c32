"""A model card, README.md, made from what the run wrote down. No number in it is typed by hand."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

import weatherproof
from weatherproof.encoders import Encoder
from weatherproof.encoders.native import ENCODERS
from weatherproof.names import printable, visible
from weatherproof.reports.files import read_results
from weatherproof.reports.hardened.words import summary_lines
from weatherproof.reports.tables import Table, make_tables
from weatherproof.sizes import in_pixels
from weatherproof.spec import names_a_file
from weatherproof.verbs.export.checking import TOLERANCE, Verdict
from weatherproof.verbs.export.hub.layout import UNKNOWN, Written
from weatherproof.verbs.export.subject import Subject

_UNTOLD = ("verb", "out", "device", "workers", "config", "json", "hardware", "processes", "minutes", "files", "inputs")


def model_card(subject: Subject, written: Written, verdict: Verdict, source: str) -> str:
    """Markdown with the front matter of the Hugging Face hub."""
    encoder = subject.encoder
    front: dict[str, Any] = {"library_name": written.library, "tags": ["weatherproof", "robustness", *written.tags]}
    seen, against = subject.training_damage, subject.against
    lines = ["---", yaml.safe_dump(front, sort_keys=False).strip(), "---", "", f"# {_safe(subject.name)}", ""]
    made = f"hardened against `{_safe(against)}`" if against else "as it was given"
    if seen and not against:
        made = f"trained on images under `{_safe(seen)}`"
    lines.append(
        f"An image encoder, `{_safe(_network(encoder))}`, {made} by weatherproof {weatherproof.__version__}"
        + ": for a damaged image it gives the embedding that the original gives for the clean one" * bool(against)
        + "."
    )
    size = encoder.preprocessing.size
    shape = in_pixels(size or 1).replace("x", " x ") + " pixels (rows x columns)" * isinstance(size, tuple)
    lines += [
        "", "## Load it", "", "```python", *(_safe(line) for line in written.usage), "```", "",
        f"Pixels in [0, 1], {encoder.preprocessing.channels} channels, "
        + (f"resized to {shape} ({encoder.preprocessing.interpolation}, antialiased, not cropped), " if size else "")
        + f"less {[*encoder.preprocessing.mean]}, divided by {[*encoder.preprocessing.std]}. "
        f"The embedding has {encoder.feature_dim} numbers.",
        *(f"\nNote: {_safe(note)}." for note in subject.notes), "",
        *_measured(subject), *_protocol(subject),
        "## Verified", "",
        f"Loaded again by {written.library}, in {verdict.looks} looks at images of {_safe(printable(source))} "
        f"({_safe('; '.join(verdict.conditions))}), the largest differences from the encoder's own numbers are "
        + ", ".join(f"{own.largest:.1e} ({own.output}, {own.relative:.1e} of its largest)"
                    for own in verdict.differences.values())
        + f"; the limit is {TOLERANCE:g} of the largest.", "",
        "## Licence", "", f"Of the base model: {_safe(written.licence)}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _measured(subject: Subject) -> Iterator[str]:
    """The four numbers and the tables of the run, with their errors."""
    folder = subject.folder
    if folder is None:
        return
    home = folder if (folder / "results.json").is_file() else folder.resolve().parent
    if not (home / "results.json").is_file():
        return
    records, notes = read_results(home)
    yield from ("## Measured", "")
    if home != folder or (folder / "hardened").is_dir():
        yield from ("Of the run whose gate stands before this network and its original:", "")
    if summary := summary_lines(home):
        yield from ("```", *(_safe(line) for line in summary), "```", "")
    for table in make_tables(records):
        yield from _markdown(table)
    yield from (f"Note: {_safe(note.rstrip('.'))}." for note in notes)
    yield ""


def _markdown(table: Table) -> Iterator[str]:
    heads = [_cell(" ".join(part for part in column.parts if part)) for column in table.columns]
    yield from (f"**{_safe(table.title)}**", "", f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}")
    for row, cells in zip(table.rows, table.cells, strict=True):
        words = _cell(" ".join(part for part in row.parts if part))
        yield f"| {words} | {' | '.join(_cell(cell.text) for cell in cells)} |"
    yield ""


def _protocol(subject: Subject) -> Iterator[str]:
    """The protocol: the recipe with which the same command makes it again, without this machine's folders."""
    if not subject.recipe:
        return
    recipe = {name: _portable(value) for name, value in subject.recipe.items() if name not in _UNTOLD}
    text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True).strip()
    verb = _safe(str(subject.recipe.get("verb", "harden")))
    yield from ("## How it was made", "", f"`weatherproof {verb} --config recipe.yaml`, with recipe.yaml", "")
    yield from ("```yaml", *(_safe(line) for line in text.splitlines()), "```", "")


def _portable(value: Any) -> Any:
    """A setting; of a path its last name alone."""
    if isinstance(value, Mapping):
        return {str(key): _portable(own) for key, own in value.items()}
    if not isinstance(value, str):
        return value
    before, at, file = value.partition("@")
    if at:
        return f"{_portable(before) if names_a_file(before) else before}@{Path(file).name}"
    if "(" in value or "/" not in value:
        return value
    head, colon, rest = value.rpartition(":")
    return head.rpartition("/")[2] + colon + Path(rest).name


def _network(encoder: Encoder) -> str:
    """Its name, of a library's with what was asked of it; of a file of one's own without the folder."""
    library = encoder.name.partition(":")[0]
    if library in ("torchvision", "open_clip"):
        return encoder.name
    return encoder.text if library == "timm" or encoder.name in ENCODERS else str(_portable(encoder.name))


def _safe(text: str) -> str:
    """One line that ends no code block and begins no tag."""
    return visible(text.replace("\n", " ")).replace("`", "'").replace("<", "&lt;")


def _cell(text: str) -> str:
    return _safe(text).replace("|", "\\|") or " "


__all__ = ["UNKNOWN", "model_card"]
