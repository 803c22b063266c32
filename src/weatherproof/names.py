"""Names as text. A file's name is bytes: it may be no UTF-8, and hold line ends, terminal codes or marks that turn the
text around. What is opened keeps its bytes (Python's surrogate escapes); what is shown or stored as a name is escaped
here, and only here."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

# Control characters, line and paragraph separators, marks of direction (Unicode Bidi_Control) and surrogates: what is
# no UTF-8, or does not stay where it stands. A list of its own, since Python's `isprintable` changes with its Unicode.
_HIDDEN = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_ANYWHERE = re.compile(f"[{_HIDDEN}]")
_IN_NAMES = re.compile(rf"[{_HIDDEN}]|\\(?=x[0-9a-f]{{2}})")
_IN_LINES = re.compile(rf"(?![\t\n\r])[{_HIDDEN}]")
_BYTES = re.compile("[\udc80-\udcff]")
_FORMULA = ("=", "+", "-", "@")
_ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2})+")


def printable(name: str | os.PathLike[str]) -> str:
    r"""The name as text: the bytes of what cannot be shown become ``\xe9``, everything else stays.

    Names that differ stay different, on every machine: a backslash that would read as such an escape is one itself,
    and UTF-8 is read as such, where the locale knows ASCII alone, too.

    >>> printable("caf\udce9"), printable("a\nb"), printable("猫 café.png"), printable(r"a\xe9")
    ('caf\\xe9', 'a\\x0ab', '猫 café.png', 'a\\x5cxe9')
    """
    return _IN_NAMES.sub(_escape, _as_utf8(os.fspath(name)))


def original(text: str) -> str:
    r"""The name that `printable` shows as this text, as files are named here.

    >>> original(r"caf\xe9") == "caf\udce9"
    True
    """
    name = _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("\\x", "")).decode(errors="surrogateescape"), text)
    return os.fsdecode(name.encode(errors="surrogateescape")) if sys.getfilesystemencoding() == "ascii" else name


def cell(name: str) -> str:
    """A file's name for a table: what a spreadsheet would take for a formula, or a shell for an option, has "./" before
    it.

    >>> cell("-1.png"), cell("1.png")
    ('./-1.png', '1.png')
    """
    return f"./{name}" if name.startswith(_FORMULA) else name


def visible(text: str) -> str:
    r"""A line with names in it, for a terminal: escaped as by `printable`, but for line ends, tabs and backslashes.
    Doing it twice changes nothing."""
    return _IN_LINES.sub(_escape, text)


def utf8(text: str) -> bytes:
    r"""UTF-8 for a file. What has no UTF-8 becomes ``\udce9``, which JSON and YAML read back as the same character."""
    return text.encode(errors="backslashreplace")


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """The path; where it is no UTF-8 a link to it that is, while the block lasts: safetensors opens no others."""
    if not re.search("[\ud800-\udfff]", str(path)):
        yield path
        return
    with TemporaryDirectory() as folder:
        link = Path(folder, "file")
        link.symlink_to(path.absolute())
        yield link


def shell_word(text: str) -> str:
    r"""The text as one word for a shell, bash's ``$'caf\xe9'`` where there is something that cannot be shown.

    >>> print(shell_word("my photos"), shell_word("caf\udce9"))
    'my photos' $'caf\xe9'
    """
    if not _ANYWHERE.search(text):
        return shlex.quote(text)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{_ANYWHERE.sub(_escape, quoted)}'"


def command_line(*words: str) -> str:
    """A command to copy, quoted for a shell.

    >>> command_line("audit", "my photos")
    "weatherproof audit 'my photos'"
    """
    return " ".join(["weatherproof", *map(shell_word, words)])


def _as_utf8(name: str) -> str:
    """The same bytes as UTF-8, where they came through Python's surrogate escapes."""
    if not _BYTES.search(name):
        return name
    try:
        return name.encode(errors="surrogateescape").decode(errors="surrogateescape")
    except UnicodeEncodeError:  # half of a character stands in it, too: it came through no file system
        return name


def _escape(found: re.Match[str]) -> str:
    # A byte that is no UTF-8 comes back as itself, half of a character that a text may hold as its three bytes.
    lone = "surrogateescape" if "\udc80" <= found[0] <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in found[0].encode(errors=lone))
