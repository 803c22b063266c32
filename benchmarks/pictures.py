"""The pictures of a run's gallery on one sheet, for docs/results."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from weatherproof.reports.gallery.section import GALLERY, GalleryRow
from weatherproof.reports.parts import read_list
from weatherproof.reports.words.records import condition_words

_SIDE, _GAP = 96, 4  # px, of a picture and between two


def keep_pictures(run: Path, page: Path) -> None:
    """Puts the pictures beside a study's page, and onto it what they show; nothing where a run has none."""
    rows = read_list(run, GALLERY)
    if rows:
        sheet(run, rows).save(page.with_suffix(".png"), optimize=True)
        page.write_text(f"{page.read_text('utf-8')}\n{section(rows, page.with_suffix('.png').name)}", "utf-8")


def sheet(run: Path, rows: Sequence[GalleryRow]) -> Image.Image:
    """Each clean image above its damaged one, as many beside each other as `_columns` says."""
    columns, step = _columns(rows), _SIDE + _GAP
    lines = -(-len(rows) // columns)
    whole = Image.new("RGB", (columns * step - _GAP, lines * (2 * step + _GAP) - 2 * _GAP), "white")
    for place, row in enumerate(rows):
        left, top = place % columns * step, place // columns * (2 * step + _GAP)
        for name, below in ((row.clean, 0), (row.damaged, step)):
            with Image.open(run / name) as picture:
                square = picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
            whole.paste(square, (left, top + below))
    return whole


def section(rows: Sequence[GalleryRow], picture: str) -> str:
    """The picture, and what is guessed of each image."""
    models, columns = list(rows[0].predictions), _columns(rows)
    lines = ["## Pictures", "", f"![each image clean and, below, damaged]({picture})", ""]
    lines += [f"| place | damage | class | {' | '.join(models)} |", "|---" * (3 + len(models)) + "|"]
    for place, row in enumerate(rows):
        guesses = (
            ", ".join(label if share is None else f"{label} {share:.0%}" for label, share in row.predictions[model])
            for model in models
        )
        where = f"{place // columns + 1}, {place % columns + 1}"
        damage = condition_words({"operator": row.operator})
        lines.append(f"| {where} | {damage} | {row.truth} | {' | '.join(guesses)} |")
    return "\n".join(lines) + "\n"


def _columns(rows: Sequence[GalleryRow]) -> int:
    """All images of the first damage, or, where the damages alternate, all damages of the first image."""
    first = [row.operator for row in rows]
    same = next((i for i, operator in enumerate(first) if operator != first[0]), len(first))
    return same if same > 1 else len(dict.fromkeys(first))
