"""The licence of the base model, as its page on the hub states it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weatherproof.encoders import Encoder
from weatherproof.encoders.hub import found_on_hub
from weatherproof.encoders.origin import Place
from weatherproof.errors import InputError
from weatherproof.texts import Malformed, parse_yaml, read_text
from weatherproof.verbs.export.hub.layout import UNKNOWN

_PAGE, _MOST = "README.md", 1 << 24  # bytes
_LONGEST = 80  # characters of a licence's name


def licence_on_hub(encoder: Encoder) -> str:
    """Of the repository, at the commit, that the weights are from; `UNKNOWN` where they are from none, where the page
    states nothing, or where it is neither in the cache nor to be had."""
    for origin in encoder.origins[:1]:
        if origin.commit is not None:
            repo = origin.name.rpartition("/")[0]
            try:
                page = found_on_hub(Place(encoder.name, repo), (_PAGE,), origin.commit)
            except InputError:
                return UNKNOWN
            stated = _stated(page.path) if page is not None else ""
            return f"{stated}, as {repo} states on the hub" if stated else UNKNOWN
    return UNKNOWN


def _stated(page: Path) -> str:
    """What the front matter of a page says: its licence's own name where it is none of the usual ones."""
    try:
        before, _, rest = read_text(page, _MOST).partition("---\n")
        front: Any = parse_yaml(rest.partition("\n---")[0]) if not before.strip() else {}
    except (Malformed, OSError):
        return ""
    if not isinstance(front, Mapping):
        return ""
    given = front.get("license_name") or front.get("license") or ""
    return ", ".join(map(str, given if isinstance(given, list) else [given]))[:_LONGEST]
