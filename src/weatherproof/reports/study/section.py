"""What a page shows of a study: its table beside the paper's, or its front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weatherproof.reports.group import Group
from weatherproof.reports.parts import read_part
from weatherproof.reports.study.front import Front, read_front
from weatherproof.reports.study.table import STUDY, StudyTable, claims_words
from weatherproof.reports.verdict import Verdict


@dataclass(frozen=True)
class StudyPart:
    """A table, a front, or a front that a study's words stand below."""

    table: StudyTable | None
    front: Front | None
    checks: Sequence[Mapping[str, Any]]


def read_study_part(group: Group) -> StudyPart | None:
    """The part of a study's run; None of any other."""
    (run,) = group.runs
    table, front = read_part(run.path, STUDY), read_front(run.path)
    return StudyPart(table, front, run.checks) if table or front else None


def study_verdict(verdict: Verdict, shown: StudyPart) -> Verdict:
    """The study's title and how many of its claims hold, or how long its front is, in place of a verdict of numbers."""
    if shown.table is not None:
        claims = claims_words(shown.table, shown.checks)
        verdict = Verdict(shown.table.title, (claims,) if claims else (), "", ())
    return verdict if shown.front is None else replace(verdict, sentence=shown.front.sentence)
