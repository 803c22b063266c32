"""One clear line out of what other libraries say."""

from collections.abc import Sequence
from difflib import get_close_matches

from weatherproof.errors import InputError

_NEAR = 5  # names suggested for one that does not exist: a library has hundreds
_LENGTH = 200  # characters kept of another library's message
_NAME = 100  # characters of a name that a file gives
_NAMED = 3  # names in a message


def one_line(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:_LENGTH] or type(error).__name__


def unknown_model(library: str, name: str, known: Sequence[str], listing: str) -> InputError:
    """An `InputError` for a name that the library does not have, with its nearest names only."""
    near = get_close_matches(name, known, n=_NEAR, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return InputError(f"unknown {library} encoder {name!r}: {hint}({len(known)} are known: {listing})")


def shown(name: object) -> str:
    """A name that a file gives, on one line and of bounded length."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name)[: _NAME + 1])
    return text if len(text) <= _NAME else f"{text[:_NAME]}..."


def some(names: Sequence[str], most: int = _NAMED) -> str:
    """The first few of many names."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
