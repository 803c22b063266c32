"""What each study reads at paper scale: writes the table in docs/reproducing.md, from the studies' own components.

python -m benchmarks.reproducing
"""

import re
from functools import cache
from pathlib import Path

from weatherproof.data import TRANSFER
from weatherproof.studies import STUDIES, Study
from weatherproof.studies.needs.data import data_needs
from weatherproof.studies.needs.find import OPTIONAL
from weatherproof.studies.needs.weights import weight_needs

PAGE = Path(__file__).parents[1] / "docs" / "reproducing.md"
HEAD = "| studies | data | weights |\n|---|---|---|\n"
_TABLE = re.compile(re.escape(HEAD) + r"(\|.*\n)*")
_TRANSFER = "the twelve [transfer sets](data.md#transfer-sets)"


@cache
def table() -> str:
    """A row for all studies that read the same."""
    rows: dict[tuple[str, str], list[str]] = {}
    for name, study in STUDIES.items():
        rows.setdefault(_sources_of(study), []).append(f"`{name}`")
    return HEAD + "".join(f"| {', '.join(names)} | {data} | {weights} |\n" for (data, weights), names in rows.items())


def _sources_of(study: Study) -> tuple[str, str]:
    """The data and the weights, in words."""
    numbers = (own for own in study.at("paper").cells.values() if own is not None)
    cells = list(dict.fromkeys(cell for own in numbers for cell in own.cells))
    found = {need.name.rpartition("/")[2]: need.state for need in data_needs(cells, None)}
    folders = [f"`{name}`" + (" if there is one" if state == OPTIONAL else "") for name, state in found.items()]
    sets = {f"`{name}`" for name in TRANSFER}
    if sets <= {*folders}:
        folders = [_TRANSFER, *(name for name in folders if name not in sets)]
    weights = [need.name for need in weight_needs(dict.fromkeys(cell.model for cell in cells), None)]
    files = sorted(f"`{name.rpartition('/')[2]}`" for name in weights if "@" in name)
    named = [*files, *(f"`{name}` by name" for name in weights if "@" not in name)]
    return ", ".join(folders), ", ".join(named) or "none"


def page() -> str:
    """The page with the table of today's studies."""
    text = PAGE.read_text("utf-8")
    if len(_TABLE.findall(text)) != 1:
        raise ValueError(f"{PAGE} has no table, or several, that begin with {HEAD!r}")
    return _TABLE.sub(lambda _: table(), text)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
