"""What each study reads at paper scale, what it is installed with, and by which command each set and each file comes:
writes the tables in docs/reproducing.md, from the studies' own components.

python -m benchmarks.reproducing
"""

import re
from functools import cache
from pathlib import Path

from weatherproof.data import TRANSFER
from weatherproof.studies import STUDIES, Cell, Study
from weatherproof.studies.needs.data import data_needs, mended
from weatherproof.studies.needs.find import OPTIONAL, package_needs
from weatherproof.studies.needs.weights import weight_needs

PAGE = Path(__file__).parents[1] / "docs" / "reproducing.md"
HEAD = "| studies | data | weights | `pip install` |\n|---|---|---|---|\n"
COMMANDS = "| in `$WEATHERPROOF_DATA` | how it comes |\n|---|---|\n"
_PLAIN = "weatherproof"
_OTHERS = {  # of no library: where they are published
    "resnet20@$DATA/resnet20-12fca82f.th": "from `pretrained_models/` of github.com/akamaster/pytorch_resnet_cifar10",
    "torchvision:squeezenet1_0@$DATA/squeezenet1_0-deepcompression.pth": "no command: it is made of "
    "`compressed_SqueezeNet.net` of github.com/songhan/SqueezeNet-Deep-Compression, decoded, under torchvision's names",
}
_TRANSFER = "the twelve [transfer sets](data.md#transfer-sets)"


@cache
def table() -> str:
    """A row for all studies that read the same."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for name, study in STUDIES.items():
        rows.setdefault(_sources_of(study), []).append(f"`{name}`")
    return HEAD + "".join(f"| {', '.join(names)} | {' | '.join(what)} |\n" for what, names in rows.items())


def _cells(study: Study) -> list[Cell]:
    numbers = (own for own in study.at("paper").cells.values() if own is not None)
    return list(dict.fromkeys(cell for own in numbers for cell in own.cells))


def _sources_of(study: Study) -> tuple[str, str, str]:
    """The data, the weights and what is installed, in words."""
    cells = _cells(study)
    found = {need.name.rpartition("/")[2]: need.state for need in data_needs(cells, None)}
    folders = [f"`{name}`" + (" if there is one" if state == OPTIONAL else "") for name, state in found.items()]
    sets = {f"`{name}`" for name in TRANSFER}
    if sets <= {*folders}:
        folders = [_TRANSFER, *(name for name in folders if name not in sets)]
    weights = [need.name for need in weight_needs(dict.fromkeys(cell.model for cell in cells), None)]
    files = sorted(f"`{name.rpartition('/')[2]}`" for name in weights if "@" in name)
    named = [*files, *(f"`{name}` by name" for name in weights if "@" not in name)]
    extras = [need.text.partition("'")[2].rstrip("'") for need in package_needs(cells)]
    installed = ", ".join(f"`'{extra}'`" for extra in extras) or f"`{_PLAIN}`"
    return ", ".join(folders), ", ".join(named) or "none", installed


@cache
def commands() -> str:
    """A row for each set and each file that any study reads."""
    cells = list(dict.fromkeys(cell for study in STUDIES.values() for cell in _cells(study)))
    rows: dict[str, list[str]] = {}
    for need in data_needs(cells, None):
        place = need.name.partition("$DATA/")[2]
        lines = [mended(need.name, split, None) for split in ("train", "test")]
        rows.setdefault(place, []).extend(line for line in dict.fromkeys(lines) if line not in rows.get(place, ()))
    for need in weight_needs(dict.fromkeys(cell.model for cell in cells), None):
        if "@" in need.name:
            rows.setdefault(need.name.partition("$DATA/")[2], []).append(_OTHERS.get(need.name, need.text))
    texts = {place: ", ".join(map(_shown, lines)) for place, lines in sorted(rows.items())}
    return COMMANDS + "".join(f"| `{place}` | {text} |\n" for place, text in texts.items())


def _shown(line: str) -> str:
    if not line.startswith(_PLAIN):
        return line
    return f"`{line.removeprefix(_PLAIN + ' ').replace('DIR/', '$WEATHERPROOF_DATA/')}`"


def page() -> str:
    """The page with the tables of today's studies."""
    text = PAGE.read_text("utf-8")
    for head, made in ((HEAD, table()), (COMMANDS, commands())):
        found = re.compile(re.escape(head) + r"(\|.*\n)*")
        if len(found.findall(text)) != 1:
            raise ValueError(f"{PAGE} has no table, or several, that begin with {head!r}")
        text = found.sub(lambda _, made=made: made, text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
