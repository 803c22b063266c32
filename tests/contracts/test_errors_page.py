"""docs/errors.md against the package: what the page explains is what the code says."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import weatherproof

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
OPEN = "..."  # what differs from case to case


def rows() -> list[tuple[str, str]]:
    """Each message of the page, and what it says about it."""
    found = re.findall(r"^\| (.+?) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [(message, advice) for message, advice in found if message != "message"]


@cache
def package_strings() -> str:
    """Every string of the package, with `OPEN` where something is put in."""
    found = []
    for file in Path(weatherproof.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.JoinedStr(values=values):
                    found.append("".join(v.value if isinstance(v, ast.Constant) else OPEN for v in values))
                case ast.Constant(value=str(text)):
                    found.append(text)
    return "\n".join(found)


# What differs from case to case, also where a row gives an example: numbers, names in quotes, names of files.
VARIES = re.compile(r"\.\.\.|'[^']*'|[\d,]*\d|\b\w+\.py\b|\b[A-Z]{3,}\b")


@pytest.mark.parametrize("message", [message for message, _ in rows()])
def test_a_message_of_the_page_is_one_of_the_package(message: str) -> None:
    spans = re.findall(r"`([^`]+)`", message)
    assert spans, "a row without a message"
    for span in spans:
        parts = [part.strip(" :;,()[]{}") for part in VARIES.split(span)]
        assert any(part in package_strings() for part in parts if len(part) >= 5), (
            f"nothing in the package says {span!r}"
        )


def test_every_row_says_what_to_do() -> None:
    assert len(rows()) >= 27
    assert len({message for message, _ in rows()}) == len(rows())
    for message, advice in rows():
        assert len(advice.split()) >= 5, message
