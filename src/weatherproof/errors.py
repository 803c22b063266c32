"""Bad input, said in one line."""

from collections.abc import Iterable
from difflib import get_close_matches

from weatherproof.names import visible


class InputError(ValueError):
    """The user's input cannot be used. The message says what was expected, what came and what to do.

    The command line prints it as one line and exits with status 2. Names in it that are no text are escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(message))


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """An `InputError` for a name that is in no table, with the nearest names first.

    >>> str(unknown("operator", "RandomMsk", ["RandomMask", "Chain"]))
    "unknown operator 'RandomMsk': did you mean RandomMask? (known: Chain, RandomMask)"
    """
    names = sorted(known)
    folded = {n.casefold(): n for n in names}
    near = [folded[n] for n in get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    hint = f": did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"unknown {what} {name!r}{hint} (known: {', '.join(names)})")
