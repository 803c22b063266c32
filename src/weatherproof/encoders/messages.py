"""One clear line out of what other libraries say, and out of what a file of ours should say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from weatherproof import errors
from weatherproof.errors import InputError
from weatherproof.texts import Malformed, read_json

_NEAR = 5  # names suggested for one that does not exist: a library has hundreds
_LENGTH = 200  # characters kept of another library's message
_NAME = 100  # characters of a name that a file gives
_NAMED = 3  # names in a message


def one_line(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:_LENGTH] or type(error).__name__


@contextmanager
def settings_of(path: Path, what: str, fmt: int) -> Iterator[dict[str, Any]]:
    """The JSON of a file that describes `what`. Whatever is missing or wrong in it, inside too, is an `InputError`."""
    try:
        settings = read_json(path)
        if settings["format"] != fmt:
            raise InputError(
                f"{path} has format {errors.shown(settings['format'])}, expected {fmt}: update weatherproof"
            )
        yield settings
    except InputError:
        raise
    except Malformed as error:
        raise InputError(f"{path} is not readable JSON (truncated?): {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(f"{path} does not describe {what}: {type(error).__name__} {one_line(error)}") from None


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
