"""The page is a list of sections. Each is a folder: what reads it, `section.html.j2`, `section.css` if it has a style.

To add one: write the folder, and a row of `SECTIONS` where it stands on the page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weatherproof.reports import details
from weatherproof.reports.attack.section import attack_part, with_doubts
from weatherproof.reports.drift.section import drift_part, drift_words
from weatherproof.reports.gallery.section import read_examples
from weatherproof.reports.group import Group
from weatherproof.reports.hardened.promise import promise_beside, promise_words
from weatherproof.reports.hardened.section import first_words, hardened_part
from weatherproof.reports.neighbours.section import NEIGHBOURS
from weatherproof.reports.numbers.section import headed, numbers_part
from weatherproof.reports.parts import PartFile, read_part
from weatherproof.reports.plane.section import draw_class, draw_map, read_map
from weatherproof.reports.reliability.section import reliability_part
from weatherproof.reports.search.section import SEARCH
from weatherproof.reports.strip.section import STRIP
from weatherproof.reports.study.front import draw_front
from weatherproof.reports.study.section import read_study_part, study_verdict
from weatherproof.reports.suite.scatter import draw_scatter
from weatherproof.reports.suite.section import suite_parts
from weatherproof.reports.training.section import trained, watched
from weatherproof.reports.use.section import loading, use_part
from weatherproof.reports.utility.curve import draw_utility_curve
from weatherproof.reports.utility.section import read_utility
from weatherproof.reports.verdict import Verdict
from weatherproof.reports.views.section import VIEWS
from weatherproof.reports.words.attacks import attack_words

Words = Mapping[str, Callable[..., object]]


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        folder: inside `reports`.
        read: what the page of one run shows, `shown` in the template; nothing where it is None, empty or false.
        compare: what a page with several runs shows.
        grouped: shown once for every group of runs that were measured alike, not once for all.
        words: functions that the template calls.
        verdict: what becomes of the page's first words where this is shown.
        leads: stands right below the page's first words, above what was done.
    """

    folder: str
    read: Callable[[Group], Any] | None = None
    compare: Callable[[Group], Any] | None = None
    grouped: bool = False
    words: Words = field(default_factory=dict)
    verdict: Callable[[Verdict, Any], Verdict] | None = None
    leads: bool = False

    def content(self, group: Group) -> Any:
        read = self.compare if group.compared else self.read
        return None if read is None else read(group)


def _measured(folder: str, read: Callable[[Group], Any], words: Words | None = None, **further: Any) -> Section:
    """A section about numbers, the same for one run and for several that were measured alike."""
    return Section(folder, read, read, grouped=True, words=words or {}, **further)


def _from_folder(folder: str, read: Callable[[Path], Any], **words: Callable[..., object]) -> Section:
    """A section about files of one run."""
    return Section(folder, lambda group: read(group.runs[0].path), words=words)


def _part(folder: str, part: PartFile[Any]) -> Section:
    """A section that shows one file as it is."""
    return _from_folder(folder, lambda run: read_part(run, part))


def _of_all(folder: str, read: Callable[[Group], Any], **words: Callable[..., object]) -> Section:
    """A section about all runs of the page."""
    return Section(folder, read, read, words=words)


SECTIONS = (
    Section("hardened", hardened_part, verdict=first_words, leads=True,
            words={"promise_words": promise_words, "promise_beside": promise_beside}),
    Section("drift", drift_part, verdict=drift_words, leads=True),
    Section("study", read_study_part, verdict=study_verdict, words={"draw_front": draw_front}),
    Section("groups", compare=headed, grouped=True),
    _measured("suite", suite_parts, {"draw_scatter": draw_scatter}),
    _measured("attack", attack_part, {"attack_words": attack_words}, verdict=with_doubts),
    _measured("reliability", reliability_part),
    _measured("numbers", numbers_part),
    _part("strip", STRIP),
    _from_folder("gallery", read_examples),
    _part("neighbours", NEIGHBOURS),
    _from_folder("plane", read_map, draw_map=draw_map, draw_class=draw_class),
    _from_folder("utility", read_utility, draw_utility_curve=draw_utility_curve),
    _part("search", SEARCH),
    _of_all("checks", details.checks),
    Section("training", trained, watched),
    _part("views", VIEWS),
    _of_all("use", use_part, loading=loading),
    _of_all("protocol", lambda group: group.runs, facts=details.facts, recipe_text=details.recipe_text,
            record_columns=details.record_columns, record_rows=details.record_rows),
)  # fmt: skip
