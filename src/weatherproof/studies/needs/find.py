"""What a study needs, in lines; and its packages."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from weatherproof.studies.lab.study import Cell

HERE, MISSING, OPTIONAL = "here", "missing", "not needed"
FEWER, LATER, REFUSED = "fewer", "to fetch", "refused"
_PACKAGES = {  # by what the texts of components say: the module, and the extra that brings it
    "open_clip:": ("open_clip", "clip"),
    "transformers:": ("transformers", "transformers"),
    "AutoAttack(": ("pyautoattack", "attacks"),
}


@dataclass(frozen=True)
class Need:
    """Something that a study needs.

    Attributes:
        kind: data, weights, extras, run, memory, hours or disk.
        state: "here", "missing" or "not needed"; of data "fewer" than published, of weights "to fetch" by the run
            itself; of the run "refused"; of amounts "fits" or "too much", or "about".
        name: what it is.
        text: what was found, or what to do.
    """

    kind: str
    state: str
    name: str
    text: str


def installed(text: str) -> bool:
    """Whether the packages that a component's text names are here."""
    return all(find_spec(module) for word, (module, _) in _PACKAGES.items() if word in text)


def package_needs(cells: Iterable[Cell]) -> list[Need]:
    """Each extra that a model or a measure names."""
    text = "".join({repr(part) for cell in cells for part in (cell.model, cell.measure)})
    return [
        Need("extras", HERE if find_spec(module) else MISSING, module, f"pip install 'weatherproof[{extra}]'")
        for word, (module, extra) in _PACKAGES.items()
        if word in text
    ]
