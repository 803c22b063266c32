"""The sentences of a paper that tell a result, in other words, each with the claims that test it, the study that draws
it, or why it cannot be checked: from sentences.json beside the paper's tables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files

from weatherproof.studies.lab.study import Check, Study


@dataclass(frozen=True)
class Sentence:
    """What a paper says.

    Attributes:
        where: in the paper.
        says: in words of ours.
        claims: that test it: "STUDY: CLAIM", where * stands for anything, or "STUDY" for all of a study's.
        picture: the study whose page shows it.
        why: it cannot be checked.
        beyond: a study of ours that takes it up, where it is no result of theirs.
    """

    where: str
    says: str
    claims: tuple[str, ...] = ()
    picture: str | None = None
    why: str | None = None
    beyond: str | None = None

    def tests(self, studies: Mapping[str, Study]) -> list[tuple[str, Check]]:
        """The claims, each with the name of its study.

        Raises:
            ValueError: there is none of that text.
        """
        found = list[tuple[str, Check]]()
        for own in self.claims:
            name, _, text = own.partition(": ")
            there = [claim for claim in studies[name].claims if _matches(claim.text, text)]
            if not there:
                raise ValueError(f"{name} has no claim {text!r}")
            found += [(name, claim) for claim in there]
        return found


def sentences_of(paper: str) -> tuple[Sentence, ...]:
    """Those of a folder of `studies.papers`."""
    text = (files("weatherproof.studies.papers") / paper / "sentences.json").read_text(encoding="utf-8")
    return tuple(Sentence(**{**entry, "claims": tuple(entry.get("claims", ()))}) for entry in json.loads(text))


def _matches(text: str, wanted: str) -> bool:
    if not wanted:
        return "not in the paper" not in text
    return fnmatchcase(text, wanted) if wanted.startswith("*") else text == wanted
