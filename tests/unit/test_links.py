"""Links in the documents: a file, and in it the heading that the anchor names."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def dead_links(document: Path) -> Iterator[str]:
    """Those to files that are not there, or to headings that they have not; none outside the repository is tried."""
    for link in _LINK.findall(_CODE.sub("", document.read_text("utf-8"))):
        name, _, anchor = link.partition("#")
        if ":" in name:
            continue
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            yield link


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as GitHub makes them: small letters, hyphens for spaces, a number for each
    further one of the same words."""
    found = list[str]()
    for heading in re.findall(
        r"^#{1,6} (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.strip()).lower()
        found.append(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return {name if not found[:i].count(name) else f"{name}-{found[:i].count(name)}" for i, name in enumerate(found)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    assert [*dead_links(document)] == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `word` (and more)\n## Same\n## Same\n```\n# no heading [a](none.md)\n```\n"
        "[ok](page.md#same-1) [ok](#one-word-and-more) [ok](https://example.com/#x) `[code](none.md)`\n"
        "[x](none.md) [y](#no-heading) [z](page.md#same-2)"
    )
    assert [*dead_links(page)] == ["none.md", "#no-heading", "page.md#same-2"]
