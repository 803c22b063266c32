"""Functions and other callables that somebody gives in Python: each has a text by which it is known again."""

import functools
import hashlib
import types
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))
_LENGTH = 12  # digits of the digest


class GivenFunction:
    """A callable without a text of its own, and one for it: "camera@1f0c2ab93d77", its name with a digest of what it
    does (`digest_of`). Another function of that name has another text, and the same one has it in every process.

    Everything else is as the callable has it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        kind = function.func if isinstance(function, functools.partial) else function
        name = getattr(kind, "__qualname__", None) or type(kind).__qualname__
        self.text = f"{name.rpartition('<locals>.')[2]}@{digest_of(function)}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "function":  # before it is there, as while it is unpickled
            raise AttributeError(name)
        return getattr(self.function, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GivenFunction) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text


def given(value: Any) -> Any:
    """The value, or a `GivenFunction` where it is a callable whose repr is a place in memory."""
    return GivenFunction(value) if callable(value) and _is_nameless(value) else value


def _is_nameless(value: Any) -> bool:
    return isinstance(value, type | functools.partial) or type(value).__repr__ in _PLACES


_PLACES = (  # what prints an address
    object.__repr__, types.FunctionType.__repr__, types.MethodType.__repr__, types.BuiltinFunctionType.__repr__,
)  # fmt: skip


def digest_of(function: Callable[..., Any]) -> str:
    """Of its code, defaults, what it closes over, the constants and functions of its module that it names, and of an
    object its attributes and its class's own methods. What is neither code nor data counts by its type's name alone.
    It differs from one version of Python to another where the code that they make does."""
    digest = hashlib.sha256()
    _feed(digest.update, function, {})
    return digest.hexdigest()[:_LENGTH]


def _feed(say: Callable[[bytes], object], value: Any, seen: dict[int, tuple[int, Any]]) -> None:
    """Says a value: its type, and what it is made of, or which of those it is that were seen. These are held, as
    another value may come to lie where one was."""
    say(f"{type(value).__name__}(".encode())
    if isinstance(value, _PLAIN):
        say(repr(value).encode())
    elif id(value) in seen:
        say(str(seen[id(value)][0]).encode())
    else:
        seen[id(value)] = len(seen), value
        for part in _parts(value):
            _feed(say, part, seen)
    say(b")")


def _parts(value: Any) -> Sequence[Any]:
    """What a value that is not plain is made of."""
    if _is_array(value):
        return str(value.dtype), tuple(value.shape), _flat(value)
    match value:
        case Mapping():
            return [*value, *value.values()]
        case AbstractSet():
            return sorted(value, key=repr)
        case list() | tuple():
            return value
        case types.CodeType():
            return value.co_code, value.co_consts, value.co_names, value.co_varnames
        case types.FunctionType():
            cells = [_inside(cell) for cell in value.__closure__ or ()]
            return value.__code__, value.__defaults__, value.__kwdefaults__, cells, _named(value)
        case types.MethodType():
            return value.__func__, value.__self__
        case functools.partial():
            return value.func, value.args, value.keywords
        case types.ModuleType() | types.BuiltinFunctionType():
            return (value.__name__,)
        case type():
            return value.__module__, value.__qualname__
    return type(value).__qualname__, _methods(type(value)), getattr(value, "__dict__", None)


def _is_array(value: Any) -> bool:
    """A tensor or an array of numbers, and not the class of these."""
    has_all = all(hasattr(value, name) for name in ("dtype", "shape", "tolist"))
    return has_all and not isinstance(value, type) and value.dtype != object


def _flat(value: Any) -> bytes:
    """The numbers, in whatever order they lie; of a tensor without any, or of a sparse one, what it prints."""
    if hasattr(value, "tobytes"):
        return bytes(value.tobytes())
    from torch import as_tensor, uint8

    try:
        plain = as_tensor(value).detach().cpu().resolve_conj().resolve_neg().contiguous().flatten()
        return plain.view(uint8).numpy().tobytes() if len(plain) else b""
    except (RuntimeError, TypeError, ValueError):
        return repr(value).encode()


def _inside(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _named(function: types.FunctionType) -> list[Any]:
    """Constants and functions of its own module that a function names."""
    there = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    data = (*_PLAIN, list, tuple, dict, set)
    return [
        (name, value)
        for name, value in sorted(there.items())
        if isinstance(value, data)
        or _is_array(value)
        or (isinstance(value, types.FunctionType) and value.__module__ == function.__module__)
    ]


def _methods(kind: type) -> list[Any]:
    """The functions of a class and its bases that are somebody's own, and no library's."""
    own = [base for base in kind.__mro__ if base.__module__ == kind.__module__]
    return [f for base in own for _, f in sorted(vars(base).items()) if isinstance(f, types.FunctionType)]
