"""An object is its text: `RandomMask((0.5, 0.95))` in Python, on the command line, in a recipe, in a report.

`component` makes a frozen dataclass whose `repr` is that text; `parse` reads it back with Python's `ast` (calls, names
and literals only, nothing is ever evaluated) from an explicit table of names.
"""

import ast
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

from weatherproof.errors import InputError, unknown

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def component(cls: type[T]) -> type[T]:
    """A frozen dataclass whose repr is its text: required fields by position, others by keyword where not default."""
    made = dataclass(frozen=True, repr=False)(cls)
    if "__repr__" not in vars(cls):
        made.__repr__ = describe  # type: ignore[method-assign]
    return made


def describe(obj: Any) -> str:
    """The text of a component, which `parse` reads back to an equal one."""
    parts = []
    for field in fields(obj):
        value = getattr(obj, field.name)
        if field.metadata.get("star"):
            parts += [repr(item) for item in value]
        elif field.default is MISSING and field.default_factory is MISSING:
            parts.append(repr(value))
        elif value != field.default:
            parts.append(f"{field.name}={value!r}")
    return f"{type(obj).__name__}({', '.join(parts)})"


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
        if not Path(file).is_file():
            raise InputError(f"no file {file!r} for {self.path!r}: expected path/to/file.py:name")
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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.__dict__["_function"](*args, **kwargs)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{self.path} fails: {type(error).__name__}: {error}") from error

    def __reduce__(self) -> tuple[Callable[[str], "UserFunction"], tuple[str]]:
        return UserFunction, (self.path,)  # the function itself is no part of what another process is told


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
    stripped = text.strip()
    if _names_a_file(stripped):
        return UserFunction(stripped)
    try:
        tree = ast.parse(stripped, mode="eval").body
    except SyntaxError as error:
        at = f" at character {error.offset}" if error.offset else ""
        raise InputError(f"cannot read the {what} {text!r}: {error.msg}{at}; write it like Name(0.5, key=1)") from None
    except (ValueError, RecursionError, MemoryError):  # a null character; brackets too deep for the parser
        raise InputError(f"cannot read the {what} {text[:40]!r}: expected a call like Name(0.5, key=1)") from None
    return _build(tree, table, what, text)


def _names_a_file(text: str) -> bool:
    file, colon, name = text.rpartition(":")
    return bool(colon) and file.endswith(".py") and name.isidentifier()


def _build(node: ast.expr, table: Mapping[str, Callable[..., Any]], what: str, text: str) -> Any:
    match node:
        case ast.Name(id=name):
            return _call(name, [], {}, table, what, text)
        case ast.Constant(value=str(path)) if _names_a_file(path):
            return UserFunction(path)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if all(k.arg for k in keywords):
            positional = [_build_argument(a, table, what, text) for a in args]
            named = {str(k.arg): _build_argument(k.value, table, what, text) for k in keywords}
            return _call(name, positional, named, table, what, text)
    raise InputError(f"cannot read the {what} {text!r}: expected a call like Name(0.5), got {ast.unparse(node)!r}")


def _build_argument(node: ast.expr, table: Mapping[str, Callable[..., Any]], what: str, text: str) -> Any:
    match node:
        case ast.BinOp(
            ast.Constant(int() | float()) | ast.UnaryOp(ast.USub(), ast.Constant(int() | float())) as top,
            ast.Div(),
            ast.Constant(int(bottom)),
        ) if bottom:
            return ast.literal_eval(top) / bottom  # 8/255, as the field writes a change of pixels
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return _build(node, table, what, text)
    return _build(node, table, what, text) if isinstance(value, str) and _names_a_file(value) else value


def _call(
    name: str, args: list[Any], kwargs: dict[str, Any], table: Mapping[str, Callable[..., Any]], what: str, text: str
) -> Any:
    if name not in table:
        raise unknown(what, name, table)
    signature = inspect.signature(table[name])
    try:
        signature.bind(*args, **kwargs)
        return table[name](*args, **kwargs)
    except InputError:
        raise
    except TypeError as error:
        takes = ", ".join(str(p).partition(":")[0].partition("=")[0] for p in signature.parameters.values())
        raise InputError(f"cannot make the {what} {text!r}: {error}; it is {name}({takes})") from None
    except ValueError as error:
        raise InputError(f"cannot make the {what} {text!r}: {error}") from None
