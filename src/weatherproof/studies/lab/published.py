"""The papers' own numbers, as fractions, from a JSON file beside a paper's tables."""

import json
from collections.abc import Mapping
from importlib.resources import files

from weatherproof.studies.lab.study import Key


def published(paper: str, table: str) -> Mapping[Key, Mapping[str, float]]:
    """{(row, column): {"value": ..., "stderr": ...}}; empty where the paper prints no such numbers.

    Args:
        paper: the name of its folder.
        table: a study of that paper.
    """
    text = files(f"weatherproof.studies.papers.{paper}").joinpath("published.json").read_text(encoding="utf-8")
    entries = json.loads(text).get(table, ())
    return {(e.pop("row"), e.pop("column")): e for e in entries}
