"""Bad input, said in one line."""

from collections.abc import Iterable
from difflib import get_close_matches

from weatherproof.names import visible

SHOWN = 200  # characters of anything that the user gave
_WORD = SHOWN + 8  # characters of a word of a message: what was shown, and the colon and brackets around it
_LINE, _END = 1000, 200  # characters of a whole message, and of its end, which says what to do


class InputError(ValueError):
    """The user's input cannot be used. The message says what was expected, what came and what to do.

    It is one line of bounded length without control characters, whatever it quotes. The command line prints it and
    exits with status 2.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message))


class Failure(RuntimeError):
    """Work that cannot go on, through no fault of the input. The message is one line: why, and what is kept."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or another signal, whose number may be given, with work in a run folder from which the same command goes
    on."""


def one_line(message: object) -> str:
    """A message as it may be printed: one line, at most 1,000 characters and of every word some 200, and what
    cannot be seen (control characters, marks that turn the writing round) written as an escape.

    >>> one_line("no folder" + chr(10) + "'a" + chr(27) + "[2J'")
    "no folder 'a\\\\x1b[2J'"
    """
    line = " ".join(_cut(_escaped(word[:_LINE]), _WORD) for word in str(message)[: 1 << 20].split())
    return line if len(line) <= _LINE else f"{line[: _LINE - _END]} ... {line[-_END:]}"


def shown(given: object) -> str:
    """What the user gave, as a message quotes it: its repr, of which at most 200 characters.

    >>> shown("fog"), len(shown("f" * 1000)), shown(1 << 10000)
    ("'fog'", 200, 'a whole number of 10001 bits')
    """
    if isinstance(given, str):
        return repr(given) if len(given) <= SHOWN // 2 else _cut(repr(given[: 2 * SHOWN]))
    if isinstance(given, int) and given.bit_length() > 2 * SHOWN:
        return f"a whole number of {given.bit_length()} bits"
    try:
        return _cut(repr(given))
    except (ValueError, RecursionError, MemoryError):  # a number inside that is too long to be written, or itself
        return f"a {type(given).__name__}"


def _cut(text: str, most: int = SHOWN) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _escaped(text: str) -> str:
    text = visible(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def unknown(what: str, name: str, known: Iterable[str]) -> InputError:
    """An `InputError` for a name that is in no table, with the nearest names first.

    >>> str(unknown("operator", "RandomMsk", ["RandomMask", "Chain"]))
    "unknown operator 'RandomMsk': did you mean RandomMask? (known: Chain, RandomMask)"
    """
    names = sorted(known)
    folded = {n.casefold(): n for n in names}
    near = [folded[n] for n in get_close_matches(name[:SHOWN].casefold(), folded, n=3, cutoff=0.5)]
    hint = f": did you mean {' or '.join(near)}?" if near else ""
    return InputError(f"unknown {what} {shown(name)}{hint} (known: {', '.join(names)})")
