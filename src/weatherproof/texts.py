"""Texts from outside, bounded before they are parsed: how long, how deep, how many digits, and from what kind of file.

What cannot be used is a `Malformed` with the reason alone; who asked says what it was for and what to do.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from weatherproof.errors import InputError, shown
from weatherproof.regular import irregular

LONGEST = 4096  # characters of an argument, a name or a component's text
LARGEST_SIDE = 8192  # pixels of an image: 800 MB of floats
DEEPEST = 32  # brackets in brackets
LARGEST = (1 << 63) - 1  # of a whole number, beyond which neither tensors nor files have one
_DIGITS = 40  # of a whole number as it is written: twice as many as the largest has
_RECIPE = 1 << 18  # bytes: a hundred times what a recipe has
_RESULTS = 1 << 28  # bytes: many times what the largest study has


class Malformed(ValueError):
    """Why a text cannot be read."""


def bounded(text: str) -> str:
    """The text, unless it is longer than any that makes sense, has a null character or too deep brackets."""
    if len(text) > LONGEST:
        raise Malformed(f"{len(text):,} characters, more than {LONGEST:,}")
    if "\0" in text:
        raise Malformed("a null character")
    if _bracket_depth(text) > DEEPEST:
        raise Malformed(f"brackets nested more than {DEEPEST} deep")
    return text


def path_of(text: str | Path) -> Path:
    """A path as a user writes it, with ~ for a home. Raises `InputError` for one that no file can have."""
    try:
        return Path(bounded(str(text))).expanduser()
    except (Malformed, RuntimeError) as error:
        raise InputError(f"no file or folder can be called {shown(str(text))}: {error}") from None


def is_number_too_long(word: str) -> bool:
    """Whether a word is a whole number of more digits than any number type holds."""
    return len(word) > _DIGITS and re.fullmatch(r"[-+]?(0[xob])?[0-9a-f_]+", word.strip(), re.IGNORECASE) is not None


def is_no_decimal(word: str) -> bool:
    """Whether YAML reads a word as a whole number that it does not look like: 0x40 as 64, 010 as 8, 1:00 as 60."""
    return re.fullmatch(r"[-+]?(0[xob_0-9][0-9a-f_]*|[0-9_]+(:[0-9_]+)+)", word.strip(), re.IGNORECASE) is not None


def _bracket_depth(text: str) -> int:
    deep = deepest = 0
    for character in text:
        deep += (character in "([{") - (character in ")]}")
        deepest = max(deepest, deep)
    return deepest


def read_text(path: Path | str, most: int) -> str:
    """The text of a regular file of at most so many bytes: no pipe, which could wait for ever, and no device, which
    could go on for ever.

    Raises:
        Malformed: another kind of file, a longer one, or one that is not UTF-8.
        OSError: it is not there, or may not be read.
    """
    path = Path(path)
    if "\0" in str(path):
        raise Malformed("its name has a null character")
    if kind := irregular(path):
        raise Malformed(f"it is {kind}, no regular file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Malformed(f"it has more than {most:,} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"it is not UTF-8 at byte {error.start:,}") from None


def read_json(path: Path | str) -> Any:
    """What a JSON file holds. Raises `Malformed`, or the `OSError` of a file that is not there."""
    return parse_json(read_text(path, _RESULTS))


def read_own(path: Path) -> Any:
    """What an earlier call wrote into a JSON file, or into the recipe.yaml without which its folder is nothing. Raises
    `InputError` where it cannot be read."""
    is_json = path.suffix == ".json"
    try:
        return read_json(path) if is_json else read_yaml(path)
    except (OSError, Malformed) as error:
        gone = path if is_json else path.parent
        raise InputError(f"{path} cannot be read ({error}): delete {gone}, and what it held is found again") from None


def parse_json(text: str) -> Any:
    """What a JSON text says. Raises `Malformed`."""
    try:
        found = json.loads(text, parse_int=_whole)
    except json.JSONDecodeError as error:
        raise Malformed(str(error)) from None
    except RecursionError:
        raise Malformed(f"brackets nested more than {DEEPEST} deep") from None
    _check_depth(found)
    return found


def read_yaml(path: Path | str) -> Any:
    """What a YAML file holds: texts, numbers, lists and mappings, and nothing else that YAML has (dates are texts).

    Raises:
        Malformed: aliases, tags, deep brackets or numbers beyond 64 bits; no YAML.
        OSError: it is not there, or may not be read.
    """
    return parse_yaml(read_text(path, _RECIPE))


def parse_yaml(text: str) -> Any:
    """What a YAML text says, as `read_yaml`. Raises `Malformed`."""
    import yaml

    try:
        return yaml.load(text, Loader=_plain_loader())
    except (yaml.YAMLError, RecursionError) as error:
        raise Malformed(" ".join(str(error).split())) from None


def parse_argument(text: str) -> Any:
    """What a word of the command line says where a number or a list is wanted, as `jsonargparse` reads YAML, without
    aliases. Raises `Malformed`."""
    import yaml
    from jsonargparse import get_loader

    if is_no_decimal(text):
        return text
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=loader)):
            raise Malformed("an alias (*name)")
        return get_loader("yaml")(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise Malformed(" ".join(str(error).split())) from None


@lru_cache
def _plain_loader() -> Any:
    import yaml

    class Plain(yaml.SafeLoader):
        """A `SafeLoader` without aliases (a few lines of them make a text of exponential length, or one that holds
        itself), with bounded depth, of plain values."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise Malformed("an alias (*name): write out what it stands for")
            if self.depth >= DEEPEST:
                raise Malformed(f"brackets nested more than {DEEPEST} deep")
            self.depth += 1
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

        def construct_yaml_int(self, node: Any) -> Any:
            text = self.construct_scalar(node)
            number = _whole(text.replace("_", ""), super().construct_yaml_int, node)
            return text if is_no_decimal(text) else number

        def refuse(self, node: Any) -> Any:
            raise Malformed(f"a value of the kind {node.tag.rpartition(':')[2]!r}: write text, numbers or lists")

    dates = "tag:yaml.org,2002:timestamp"
    Plain.yaml_implicit_resolvers = {
        letter: [(tag, pattern) for tag, pattern in pairs if tag != dates]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Plain.add_constructor("tag:yaml.org,2002:int", Plain.construct_yaml_int)
    for kind in ("binary", "timestamp", "omap", "pairs", "set"):
        Plain.add_constructor(f"tag:yaml.org,2002:{kind}", Plain.refuse)
    return Plain


def _whole(digits: str, read: Any = int, given: Any = None) -> int:
    if len(digits) > _DIGITS:
        raise Malformed(f"a number of {len(digits):,} digits")
    try:
        number = int(read(digits if given is None else given))
    except ValueError:
        raise Malformed(f"{digits!r} is no number") from None
    if abs(number) > LARGEST:
        raise Malformed(f"a number of {len(digits)} digits: whole numbers go up to {LARGEST:,}")
    return number


def _check_depth(found: Any) -> None:
    level: list[Any] = [found]
    for _ in range(DEEPEST + 1):
        level = [inner for own in level for inner in _inside(own)]
        if not level:
            return
    raise Malformed(f"brackets nested more than {DEEPEST} deep")


def _inside(found: Any) -> Iterator[Any]:
    if isinstance(found, dict):
        yield from found.values()
    elif isinstance(found, list):
        yield from found
