"""Classes by words: what they are called, and how they are said to a text tower. Texts alone."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weatherproof import texts
from weatherproof.errors import InputError, shown
from weatherproof.names import visible

IMAGENET, EIGHTY = "imagenet", "openai-80"  # lists that open_clip brings
# The seven of OpenAI's templates for ImageNet that do as well as all 80 (openai/CLIP,
# notebooks/Prompt_Engineering_for_ImageNet.ipynb).
PROMPTS = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
_HOLE = "{}"
_LONGEST = 1000  # characters of a line: a class is a few words
_MOST_BYTES = 1 << 24
_MOST_NAMES = 100_000


@dataclass(frozen=True)
class Words:
    """What classes are called.

    Attributes:
        classes: by the folders of images.
        names: what a text tower reads in place of {} of a prompt.
        prompts: templates, each with one {}.
        files: the files that this stands in, with the SHA-256 of what they hold.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    prompts: tuple[str, ...] = PROMPTS
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        """Every class in every prompt, class by class."""
        return [prompt.replace(_HOLE, name) for name in self.names for prompt in self.prompts]


def words_of(classes: str | Path | Sequence[str], prompts: str | Path | Sequence[str] | None = None) -> Words:
    """Classes and prompts as a user gives them. Of a name "_" is read as a space.

    Args:
        classes: a text file with one name a line, or "folder<TAB>words"; "imagenet", the 1,000 of ImageNet by WordNet
            id, in the words of OpenAI's that open_clip brings; in Python also the lines themselves.
        prompts: a text file with one template a line, each with one {}; "openai-80", OpenAI's for ImageNet; in Python
            also the lines themselves. None: seven of these.

    Raises:
        InputError: a file that is not there or no text in UTF-8; fewer than two names; a name or template that is
            empty, there twice, too long or with control characters; a template without {}. With the line's number.
    """
    files: dict[str, str] = {}
    if classes == IMAGENET:
        folders, names = _imagenet()
    else:
        rows = [_folder_and_words(at, line) for at, line in _lines(classes, "classes", files)]
        _once([(at, folder, folder) for at, folder, _ in rows])
        _once([(at, words, words.casefold()) for at, _, words in rows])  # towers read small letters
        folders, names = tuple(row[1] for row in rows), tuple(row[2] for row in rows)
        if len(rows) < 2:
            raise InputError(f"{_place(classes, 'classes')} names {len(rows)} class: a choice needs two or more")
    return Words(folders, names, _prompts(prompts, files), files)


def _prompts(source: str | Path | Sequence[str] | None, files: dict[str, str]) -> tuple[str, ...]:
    if source is None:
        return PROMPTS
    if source == EIGHTY:
        return tuple(template(_HOLE) for template in _open_clip_list("OPENAI_IMAGENET_TEMPLATES"))
    rows = list(_lines(source, "prompts", files))
    for at, line in rows:
        if line.count(_HOLE) != 1:
            raise InputError(f"{at} is {shown(line)}: one {{}} says where the class goes, as in 'a photo of a {{}}.'")
    _once([(at, line, line) for at, line in rows])
    return tuple(line for _, line in rows)


def _lines(source: str | Path | Sequence[str], what: str, files: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Each line with the words for its place: "line 3 of names.txt"."""
    if isinstance(source, str | Path):
        text = _read(source, what)
        files[str(source)] = hashlib.sha256(text.encode()).hexdigest()
        lines = re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff"))
        while lines and not lines[-1].strip():
            lines.pop()
        numbered = [(f"line {i} of {visible(str(source))}", line) for i, line in enumerate(lines, 1)]
    else:
        lines = list(source)
        if not all(isinstance(line, str) for line in lines):
            raise InputError(f"{what} are texts or a file of them, got {shown(source)}")
        numbered = [(f"number {i} of the {what}", line) for i, line in enumerate(lines, 1)]
    if not lines:
        raise InputError(f"{_place(source, what)} is empty: expected one of the {what} a line")
    if len(lines) > _MOST_NAMES:
        raise InputError(f"{_place(source, what)} has {len(lines):,} lines: at most {_MOST_NAMES:,} are read")
    for at, line in numbered:
        found = line.strip(" ")
        if not found.strip():
            raise InputError(f"{at} is empty: expected one of the {what} a line")
        if len(found) > _LONGEST:
            raise InputError(f"{at} has {len(found):,} characters, at most {_LONGEST:,} are read: {shown(found)}")
        if visible(found) != found or "\n" in found or "\r" in found:
            raise InputError(f"{at} has control characters: {shown(found)}")
        yield at, found


def _read(source: str | Path, what: str) -> str:
    path = texts.path_of(source)
    try:
        return texts.read_text(path, _MOST_BYTES)
    except texts.Malformed as error:
        raise InputError(f"{path} cannot be read as {what}, {error}: save it as a plain text in UTF-8") from None
    except OSError as error:
        raise InputError(f"no file {str(path)!r} of {what} ({error.strerror}): one of them a line") from None


def _place(source: object, what: str) -> str:
    return visible(str(source)) if isinstance(source, str | Path) else f"the list of {what}"


def _folder_and_words(at: str, line: str) -> tuple[str, str, str]:
    before, tab, after = line.partition("\t")
    folder, words = before.strip(), after.strip()
    if tab and not (folder and words):
        where = "after" if folder else "before"
        raise InputError(f"{at} has nothing {where} its tab: expected the folder's name, a tab and the words to say")
    if "\t" in words:
        raise InputError(f"{at} has several tabs: expected a name, or the folder's name, a tab and the words to say")
    return at, folder, words if tab else folder.replace("_", " ").strip() or folder


def _once(rows: Sequence[tuple[str, str, str]]) -> None:
    """Raise `InputError` where two rows (place, text, key) have one key."""
    first: dict[str, str] = {}
    for at, text, key in rows:
        if key in first:
            raise InputError(f"{at} says {shown(text)} again, after {first[key]}: each once")
        first[key] = at


def _imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names()), tuple(_open_clip_list("IMAGENET_CLASSNAMES"))


def _open_clip_list(name: str) -> Sequence[Any]:
    try:
        import open_clip
    except ImportError:
        raise InputError("open_clip is not installed: pip install 'weatherproof[clip]'") from None
    found: Sequence[Any] = getattr(open_clip, name)
    return found
