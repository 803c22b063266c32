"""The papers' own numbers, as fractions, from a JSON file beside this one."""

import json
from collections.abc import Mapping
from importlib.resources import files

from weatherproof.studies.study import Key


def published(paper: str, table: str) -> Mapping[Key, Mapping[str, float]]:
    """{(row, column): {"value": ..., "stderr": ...}}; empty where the paper prints no such numbers.

    Args:
        paper: the name of the file.
        table: a study of that paper.
    """
    text = files("weatherproof.studies").joinpath(f"{paper}.json").read_text(encoding="utf-8")
    entries = json.loads(text).get(table, ())
    return {(e.pop("row"), e.pop("column")): e for e in entries}
