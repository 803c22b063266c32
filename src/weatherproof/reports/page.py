"""One self-contained HTML page, for a run or for several side by side: the sections that have something to show."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from weatherproof.errors import InputError
from weatherproof.files import write_atomically
from weatherproof.progress import phase
from weatherproof.reports import details
from weatherproof.reports.comparison import comparison_verdict, distinctly_named, groups_of
from weatherproof.reports.drawing.charts import draw, marker, swatch
from weatherproof.reports.drawing.pictures import data_address
from weatherproof.reports.files import read_run
from weatherproof.reports.group import Group
from weatherproof.reports.sections import SECTIONS, Section
from weatherproof.reports.suite.verdict import headline
from weatherproof.reports.training.curves import Palette
from weatherproof.reports.verdict import Verdict
from weatherproof.reports.words.records import model_words

if TYPE_CHECKING:
    from jinja2 import Environment

# of the macros, and of several sections
_WORDS = {"draw": draw, "swatch": swatch, "marker": marker, "model_words": model_words, "data_address": data_address}


@dataclass(frozen=True)
class Part:
    """A section with what it has to show of a group of runs."""

    section: Section
    group: Group
    shown: Any


@phase("drawing the page")
def write_report(run_folder: Path | str) -> Path:
    """Make `report.html` of a finished run from the files in its folder, and return where it is.

    Raises:
        InputError: the folder is not a finished run, or a file in it cannot be read; one line says which.
    """
    run = read_run(run_folder)
    whole = Group((run,), Palette(run.records))
    parts = tuple(_parts(whole, [whole]))
    verdict = headline(run.records, whole.planned, run.recipe.get("operator"))
    for part in parts:
        if part.section.verdict is not None:
            verdict = part.section.verdict(verdict, part.shown)
    kind = str(run.recipe.get("verb", "run"))
    page = _page(f"{kind} · {run.name}", run.name, kind, whole, parts, verdict)
    return write_atomically(run.path / "report.html", page)


def write_comparison(run_folders: Iterable[Path | str], out: Path | str) -> Path:
    """Put several runs on one page at `out` (an .html file, or a folder in which comparison.html is made).

    Runs share a table only where every condition that both measured has the same protocol hash; the page says so where
    they do not.

    Raises:
        InputError: fewer than two runs, or one that is not finished.
    """
    runs = distinctly_named([read_run(folder) for folder in run_folders])
    if len(runs) < 2:
        raise InputError(f"a comparison needs at least two run folders, got {len(runs)}: name another one")
    whole = Group(tuple(runs), Palette([record for run in runs for record in run.records]), compared=True)
    groups = groups_of(whole)
    title, names = f"comparison of {len(runs)} runs", ", ".join(run.name for run in runs)
    parts = tuple(_parts(whole, groups))
    page = _page(title, names, "comparison", whole, parts, comparison_verdict(whole, groups))
    target = Path(out)
    return write_atomically(target if target.suffix == ".html" else target / "comparison.html", page)


def _parts(whole: Group, groups: Sequence[Group]) -> Iterator[Part]:
    """What is shown, in its order: neighbouring sections about groups of runs group by group."""
    for grouped, found in groupby(SECTIONS, key=lambda section: section.grouped):
        sections = tuple(found)
        for group in groups if grouped else [whole]:
            for section in sections:
                if shown := section.content(group):
                    yield Part(section, group, shown)


def _page(title: str, name: str, kind: str, whole: Group, parts: Sequence[Part], verdict: Verdict) -> str:
    environment = _environment()
    drawn = [part for part in parts if not (part.section.grouped and part.group.has_own_drawing)]

    def rendered(leads: bool) -> list[Markup]:
        return [
            Markup(
                environment.get_template(f"{part.section.folder}/section.html.j2").render(
                    shown=part.shown, palette=whole.palette
                )
            )
            for part in drawn
            if part.section.leads == leads
        ]

    return environment.get_template("page.html.j2").render(
        title=title,
        name=name,
        kind=kind,
        verdict=verdict,
        done=[] if whole.compared else details.done_sentences(whole.runs[0]),
        palette=whole.palette,
        styles=[section.folder for section in SECTIONS if _style(section).is_file()],
        leading=rendered(True),
        parts=rendered(False),
    )


def _style(section: Section) -> Any:
    return files("weatherproof.reports").joinpath(section.folder, "section.css")


@cache
def _environment() -> "Environment":
    """Compiles each template once, whatever the number of pages."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("weatherproof.reports")
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["units"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")  # 84 % stays on one line
    environment.globals.update(_WORDS)
    for section in SECTIONS:
        environment.globals.update(section.words)
    return environment
