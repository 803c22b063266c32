"""An object is its text: `RandomMask((0.5, 0.95))` in Python, on the command line, in a recipe, in a report.

`component` makes a frozen dataclass whose `repr` is that text; `parse` reads it back with Python's `ast` (calls, names
and literals only, nothing is ever evaluated) from an explicit table of names.
"""

import ast
import hashlib
import importlib.util
import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, dataclass_transform

from weatherproof import texts
from weatherproof.errors import InputError, shown, unknown
from weatherproof.functions import given

T = TypeVar("T")

_known_hints: dict[type, dict[str, Any]] = {}
_STAR = inspect.Parameter.VAR_POSITIONAL
_MODULE = 1 << 22  # bytes of a file with the user's own code
_QUOTED, _OWN_FILE = re.compile(r"'[^']*'|\"[^\"]*\""), re.compile(r"[^\s,()]+\.py:\w+")
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", NoneType: "None"}


@dataclass_transform(frozen_default=True)
def component(cls: type[T]) -> type[T]:
    """A frozen dataclass whose repr is its text: required fields by position, others by keyword where not default.

    What it is made with is checked against the annotations, before its own `__post_init__` looks at ranges: that one
    may compare numbers as numbers. A number that has passed its ranges and is not finite is refused at the end. Raises
    `InputError`, also for a whole number beyond 64 bits.
    """
    own: Callable[[Any], None] | None = getattr(cls, "__post_init__", None)

    def __post_init__(self: Any) -> None:
        check_fields(self)
        if own is not None:
            own(self)
        check_finite(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    result = dataclass(frozen=True, repr=False)(cls)
    if "__repr__" not in vars(cls):
        result.__repr__ = describe  # type: ignore[method-assign]
    return result


def check_fields(obj: Any) -> None:
    """Raise `InputError` where a field holds something else than its annotation says."""
    check_types(type(obj), {name: getattr(obj, name) for name in _hints(type(obj))})


def check_types(cls: type, given: Mapping[str, Any]) -> None:
    """Raise `InputError` where a component cannot be made with these arguments, because of their types."""
    hints = _hints(cls)
    for name, value in given.items():
        if not fits(value, hints[name]):
            raise InputError(f"{name} of {cls.__name__} must be {in_words(hints[name])}, got {shown(value)}")


def check_finite(obj: Any) -> None:
    """Raise `InputError` where a field holds infinity or NaN."""
    for name in _hints(type(obj)):
        value = getattr(obj, name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise InputError(f"{name} of {type(obj).__name__} must be finite, got {shown(value)}")


def _hints(cls: Any) -> dict[str, Any]:
    if cls not in _known_hints:
        hints = typing.get_type_hints(cls)
        _known_hints[cls] = {field.name: hints[field.name] for field in fields(cls)}
    return _known_hints[cls]


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says. A whole number is welcome where a number is, True and False are no
    numbers, and whole numbers have 64 bits. Of protocols and other callables only that they can be called: what they
    must have beside is their user's to say."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[1:] == (...,):
            return all(fits(own, inner[0]) for own in value)
        return len(value) == len(inner) and all(map(fits, value, inner))
    if hint is NoneType:
        return value is None
    if hint is bool or hint is str:
        return isinstance(value, hint)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= texts.LARGEST
    if hint is float:
        return isinstance(value, float) or fits(value, int)
    return callable(value) or not isinstance(value, str | int | float | list | tuple | dict | NoneType)


def in_words(hint: Any) -> str:
    """An annotation in words: "a number or a pair of numbers in brackets"."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return " or ".join(map(in_words, inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is tuple:
        many = "several" if inner[1:] == (...,) else "a pair of" if len(inner) == 2 else str(len(inner))
        return f"{many} {in_words(inner[0]).removeprefix('a ')}s in brackets"
    return _WORDS.get(hint) or f"a callable, {getattr(hint, '__name__', None) or 'a function'}"


def describe(obj: Any) -> str:
    """The text of a component, which `parse` reads back to an equal one."""
    parts = []
    for field in fields(obj):
        value = getattr(obj, field.name)
        if field.metadata.get("star"):
            parts += [repr(given(item)) for item in value]
        elif field.default is MISSING and field.default_factory is MISSING:
            parts.append(repr(given(value)))
        elif value != field.default:
            parts.append(f"{field.name}={given(value)!r}")
    return f"{type(obj).__name__}({', '.join(parts)})"


def is_component(value: object) -> bool:
    """Whether its repr is a text that `describe` has made."""
    return type(value).__repr__ == describe


@component
class UserFunction:
    """A callable from the user's own file, named as `path/to/file.py:name`. Its text is that name, quoted."""

    path: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "_function", self._load())

    def __repr__(self) -> str:
        return repr(self.path)

    def _load(self) -> Callable[..., Any]:
        file, _, name = self.path.rpartition(":")
        if "\0" in file or not Path(file).is_file():  # of a pipe, a device or a folder it says no, too
            raise InputError(f"no file {shown(file)} for {shown(self.path)}: expected path/to/file.py:name")
        try:
            texts.read_text(file, _MODULE)
        except (OSError, texts.Malformed) as error:
            raise InputError(f"{file} cannot be imported: {getattr(error, 'strerror', None) or error}") from None
        module_spec = importlib.util.spec_from_file_location(Path(file).stem, file)
        assert module_spec is not None and module_spec.loader is not None
        module = importlib.util.module_from_spec(module_spec)
        try:
            module_spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise InputError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
        found = getattr(module, name, None)
        if not callable(found):
            raise unknown(f"callable in {file}", name, [n for n, v in vars(module).items() if callable(v)])
        return found

    @property
    def function(self) -> Callable[..., Any]:
        """The callable itself."""
        found: Callable[..., Any] = self.__dict__["_function"]
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            result = self.function(*args, **kwargs)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(f"{self.path} fails: {type(error).__name__}: {error}") from error
        self._require_tensors(result, [own for own in args if _is_tensor(own)])
        return result

    def _require_tensors(self, result: Any, given: list[Any]) -> None:
        """Whatever it is, from tensors it makes tensors; and where these have rows, one for each image. Raises
        `InputError`, so that what a first trial has not shown is said in one line in the middle of a training too."""
        if not given:
            return
        parts = list(result) if isinstance(result, tuple | list) else [result]
        if not parts or not all(map(_is_tensor, parts)):
            raise InputError(f"{self.path} must give a tensor, or of views several, it gave {type(result).__name__}")
        for part in parts:
            if part.ndim and given[0].ndim and len(part) != len(given[0]):
                raise InputError(f"{self.path} gives {len(part)} rows for a batch of {len(given[0])} images")

    def __reduce__(self) -> tuple[Callable[[str], "UserFunction"], tuple[str]]:
        return UserFunction, (self.path,)  # the function itself is no part of what another process is told


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "ndim") and hasattr(value, "dtype")


def parse(text: str, table: Mapping[str, Callable[..., Any]], what: str) -> Any:
    """Read a component's text.

    Args:
        text: for example ``Chain(Sometimes(GaussianBlur((1, 5)), 0.8), RandomMask(0.5))``, a bare name for all
            defaults, or ``path/to/file.py:name`` for the user's own callable (quoted where it stands inside a call).
        table: the names that may be called.
        what: the word for messages ("operator", "objective").

    Raises:
        InputError: malformed text, unknown name (with the nearest ones), or arguments that do not fit.
    """
    try:
        stripped = texts.bounded(text).strip()
    except texts.Malformed as reason:
        raise InputError(f"cannot read the {what} {shown(text)}: {reason}; write it like Name(0.5, key=1)") from None
    if names_a_file(stripped):
        return UserFunction(stripped)
    try:
        tree = ast.parse(stripped, mode="eval").body
    except SyntaxError as error:
        at = f" at character {error.offset}" if error.offset else ""
        bare = _OWN_FILE.search(_QUOTED.sub("", stripped))
        how = f"put the path in quotes, {bare[0]!r}" if bare else "write it like Name(0.5, key=1)"
        raise InputError(f"cannot read the {what} {shown(text)}: {error.msg}{at}; {how}") from None
    except (ValueError, RecursionError, MemoryError):  # what else Python's own parser gives up on
        raise InputError(f"cannot read the {what} {shown(text)}: expected a call like Name(0.5, key=1)") from None
    if _depth(tree) > texts.DEEPEST:  # ------1 has no brackets
        raise InputError(f"cannot read the {what} {shown(text)}: nested more than {texts.DEEPEST} deep")
    return _build(tree, table, what, text)


def parsed(value: Any, table: Mapping[str, Callable[..., Any]], what: str) -> Any:
    """`parse` of a text, `given` of another callable. Raises `InputError`, also for what cannot be called."""
    if isinstance(value, str):
        return parse(value, table, what)
    if not callable(value):
        raise InputError(f"expected the {what} as a text such as Name(0.5) or as a callable, got {shown(value)}")
    return given(value)


def _depth(tree: ast.AST) -> int:
    level, deep = [tree], 0
    while level := [inner for node in level for inner in ast.iter_child_nodes(node)]:
        deep += not all(isinstance(node, ast.expr_context | ast.operator | ast.unaryop) for node in level)
    return deep


def own_files(text: str) -> dict[str, str]:
    """The user's own files that a component's text names, and the SHA-256 of what they hold; without those that cannot
    be read, which `parse` refuses."""
    stripped = text.strip()
    try:
        found = [stripped] if names_a_file(stripped) else [
            node.value for node in ast.walk(ast.parse(stripped, mode="eval"))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and names_a_file(node.value)
        ]  # fmt: skip
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    hashes = {}
    for file in {path.rpartition(":")[0] for path in found}:
        with suppress(OSError, texts.Malformed):
            hashes[file] = hashlib.sha256(texts.read_text(file, _MODULE).encode()).hexdigest()
    return hashes


def names_a_file(text: str) -> bool:
    """Whether a text is `path/to/file.py:name`, whatever is there."""
    file, colon, name = text.rpartition(":")
    return bool(colon) and file.endswith(".py") and name.isidentifier()


def _build(node: ast.expr, table: Mapping[str, Callable[..., Any]], what: str, text: str) -> Any:
    match node:
        case ast.Name(id=name) | ast.UnaryOp(ast.USub() | ast.UAdd(), ast.Name(id=name)) if _not_finite(name, table):
            raise InputError(f"cannot make the {what} {shown(text)}: expected finite numbers, got {ast.unparse(node)}")
        case ast.Name(id=name):
            return _call(name, [], {}, table, what, text)
        case ast.Constant(value=str(path)) if names_a_file(path):
            return UserFunction(path)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if all(k.arg for k in keywords):
            positional = [_build_argument(a, table, what, text) for a in args]
            named = {str(k.arg): _build_argument(k.value, table, what, text) for k in keywords}
            return _call(name, positional, named, table, what, text)
    try:
        got = ast.unparse(node)
    except ValueError:  # a number of thousands of digits
        got = type(node).__name__
    raise InputError(f"cannot read the {what} {shown(text)}: expected a call like Name(0.5), got {shown(got)}")


def _not_finite(name: str, table: Mapping[str, Any]) -> bool:
    """Whether it is a word for a number, such as nan and inf, that no text of ours has."""
    return name not in table and name.casefold() in ("nan", "inf", "infinity")


def _build_argument(node: ast.expr, table: Mapping[str, Callable[..., Any]], what: str, text: str) -> Any:
    match node:
        case ast.BinOp(
            ast.Constant(int() | float()) | ast.UnaryOp(ast.USub(), ast.Constant(int() | float())) as top,
            ast.Div(),
            ast.Constant(int(bottom)),
        ) if bottom:
            try:
                return ast.literal_eval(top) / bottom  # 8/255, as the field writes a change of pixels
            except OverflowError:
                raise InputError(f"cannot read the {what} {shown(text)}: a number beyond 64 bits") from None
        case ast.Tuple(elts=items):
            return tuple(_build_argument(item, table, what, text) for item in items)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return _build(node, table, what, text)
    return _build(node, table, what, text) if isinstance(value, str) and names_a_file(value) else value


def _call(
    name: str, args: list[Any], kwargs: dict[str, Any], table: Mapping[str, Callable[..., Any]], what: str, text: str
) -> Any:
    if name not in table:
        raise unknown(what, name, table)
    signature = inspect.signature(table[name])
    try:
        given = signature.bind(*args, **kwargs).arguments
        if is_dataclass(table[name]):
            single = {k: v for k, v in given.items() if signature.parameters[k].kind is not _STAR}
            try:
                check_types(typing.cast(type, table[name]), single)
            except InputError as error:
                raise InputError(f"cannot make the {what} {shown(text)}: {error}") from None
        return table[name](*args, **kwargs)
    except InputError as error:
        if name in str(error):
            raise
        raise InputError(f"cannot make the {what} {shown(text)}: {error}") from None
    except TypeError as error:
        takes = ", ".join(str(p).partition(":")[0].partition("=")[0] for p in signature.parameters.values())
        raise InputError(f"cannot make the {what} {shown(text)}: {error}; it is {name}({takes})") from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"cannot make the {what} {shown(text)}: {error}") from None
