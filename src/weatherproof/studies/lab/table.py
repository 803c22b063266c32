"""A study's grid in words: the table beside the published one, the claims, and how it was measured."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from weatherproof.reports.study.table import Number, StudyTable
from weatherproof.reports.words.commands import reproducing
from weatherproof.studies.lab.study import COUNT, MEDIAN, Found, Scale, Study

# metrics that are not told in hundredths
_NO_SHARES = (
    "rank_correlation", COUNT, "identity_error", MEDIAN, "effective_rank", "embedding_deviation",
    "gradient_length",
)  # fmt: skip


def table(study: Study, scale: Scale, shown: StudyTable, found: Found, checks: Sequence[Mapping[str, Any]]) -> str:
    """The grid as Markdown: each cell ours, with the published number in brackets; the claims; the protocol."""
    lines = [f"# {study.title}", "", f"Scale: {scale.name}. {scale.note}", ""]
    lines += [f"{study.note}", ""] if study.note else []
    lines += ["In brackets: the published number, of another scale and data set.", ""] if study.published else []
    lines += ["| | " + " | ".join(shown.columns) + " |", "|---" * (len(shown.columns) + 1) + "|"]
    lines += [f"| {row} | {' | '.join(map(cell_text, numbers))} |" for row, numbers in shown.rows]
    lines += ["", f"| {'claim of ours' if study.ours else 'claim of the paper'} | here |", "|---|---|"]
    lines += [f"| {c['claim']} | {verdict(c)} ({c['detail']}) |" for c in checks]
    lines += certificate_lines(found.values())
    facts = [f"- {name}: {text}" for name, text in shown.facts]
    return "\n".join([*lines, "", "## How it was measured", "", *facts]) + "\n"


def study_table(
    study: Study, scale: Scale, found: Found, recipe: Mapping[str, Any], later_facts: Mapping[str, str]
) -> StudyTable:
    """The grid in words, without rows and columns of which nothing was measured.

    Args:
        later_facts: facts of the protocol that are known after the trainings.
    """
    columns, rows = (list(dict.fromkeys(key[side] for key in scale.cells)) for side in (1, 0))
    columns = [c for c in columns if any((r, c) in found for r in rows)]
    return StudyTable(
        title=study.title,
        scale=scale.name,
        notes=tuple(filter(None, (scale.note, study.note))),
        columns=tuple(columns),
        rows=tuple(
            (r, tuple(_number(found.get((r, c)), study.published.get((r, c))) for c in columns))
            for r in rows
            if any((r, c) in found for c in columns)
        ),
        facts=(*_protocol(study, scale, found, recipe), *later_facts.items()),
    )


def cell_text(number: Number | None) -> str:
    """A cell of the table."""
    if number is None:
        return "-"
    error = f" ± {number.error}" if number.error else ""
    theirs = f" ({number.published})" if number.published else ""
    return f"{number.text}{error}{theirs}{' †' if number.doubted else ''}"


def verdict(check: Mapping[str, Any]) -> str:
    """A claim's verdict in words, from its entry of checks.json."""
    return str(check.get("verdict", "holds" if check["passed"] else "does not hold"))  # runs of before have none


def _protocol(study: Study, scale: Scale, found: Found, recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    images = sorted({(str(r["data"]), r["images"]) for r in found.values() if r.get("metric") != COUNT})
    facts = {
        "command": f"`{reproducing({'seed': 0, **recipe, 'study': study.name, 'scale': scale.name})}`",
        "machine": ", ".join(f"{k} {v}" for k, v in recipe.get("hardware", {}).items()),
        "versions": ", ".join(f"{k} {v}" for k, v in recipe.get("versions", {}).items()),
        "test images": ", ".join(f"{n:,} of {data}" for data, n in images),
        "±": _spread(list(found.values()), recipe.get("seeds", 1)),
        **scale.facts,
    }
    return [(name, text) for name, text in facts.items() if text]


def certificate_lines(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The points that fail, as lines of Markdown; nothing where no number has a certificate."""
    certified = [record for record in records if "certificate" in record]
    if not certified:
        return []
    failed = dict.fromkeys(point for record in certified for point in record["certificate"])
    lines = [f"- {point}" for point in failed] or ["All points of all certificates hold."]
    lead = "Points that fail; a number with † may be too low an error, or too high an accuracy:" if failed else ""
    return ["", "## Certificates", "", *([lead, ""] if lead else []), *lines]


def _spread(records: Sequence[Mapping[str, Any]], seeds: int) -> str:
    """What the standard errors are over, or that no number has one.

    Args:
        seeds: runs of the whole study.
    """
    if records and all(r["stderr"] is None for r in records):
        return "none: one draw of the damage, one training seed"
    if seeds > 1:
        return f"standard error over {seeds} runs, each with its own trainings and its own draws of the damage"
    trainings = max((len(r.get("samples", ())) for r in records), default=0)
    if trainings:
        return f"standard error over {trainings} training seeds; the damage is the same in all"
    draws = max((r["realizations"] for r in records), default=0)
    return f"standard error over {f'{draws} draws of the damage' if draws > 1 else 'the images'}; one training seed"


def _number(record: Mapping[str, Any] | None, published: Mapping[str, float] | None) -> Number | None:
    if record is None:
        return None
    value, error = record["value"], record["stderr"]
    if value is None:
        return Number("∞" if record.get("metric") == MEDIAN else "n/a")
    scale, form = (1, _digits(value)) if record.get("metric") in _NO_SHARES else (100, ".2f")
    return Number(
        text=f"{scale * value:{form}}",
        error=f"{scale * error:{form}}" if error is not None else "",
        published=f"{scale * published['value']:{form}}" if published else "",
        doubted=bool(record.get("certificate")),
    )


def _digits(value: float) -> str:
    """The format of a number that is no share."""
    return ",.0f" if abs(value) >= 10 else ".3f" if abs(value) >= 1e-3 or not value else ".1e"
