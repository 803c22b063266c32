"""Files of a run folder that a page shows beside the numbers. A dataclass is the schema of each, and this their reader.

A `.json` file holds the fields as they are; a `.safetensors` file the tensors among them by name, and the others as
JSON beside these. A field with a default may be missing, as in a file of an older version; what has no field is passed
over.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxtyping import AbstractArray, Int64, jaxtyped
from torch import Tensor

from weatherproof import texts
from weatherproof.errors import InputError, shown
from weatherproof.files import write_atomically
from weatherproof.names import utf8, utf8_path
from weatherproof.reports.words.records import finite
from weatherproof.spec import fits, in_words
from weatherproof.texts import Malformed

T = TypeVar("T")
Join = Callable[[Mapping[str, Tensor], Any], Any]


def _beside(tensors: Mapping[str, Tensor], about: Any) -> Any:
    return {**about, **tensors}


@dataclass(frozen=True)
class PartFile(Generic[T]):
    """A file that a run folder may have.

    Attributes:
        name: of the file.
        what: it should hold, for messages: "a list of panels".
        kind: the dataclass of what it holds, or of each entry of its list. Its checks of ranges raise `ValueError`.
        join: what a safetensors file holds as one nested mapping, from its tensors and what is said beside them.
    """

    name: str
    what: str
    kind: type[T]
    join: Join = _beside


def read_part(folder: Path, part: PartFile[T]) -> T | None:
    """What a run folder's file holds; None where it has none.

    Raises:
        InputError: it cannot be read, or holds something else; one line says what.
    """
    file = folder / part.name
    return _read(file, part, lambda found: _object(found, part.kind, "it")) if file.is_file() else None


def read_list(folder: Path, part: PartFile[T]) -> tuple[T, ...]:
    """The entries of a file that holds a list; none where there is no file. Raises `InputError` as `read_part` does."""
    file = folder / part.name
    return _read(file, part, lambda found: _entries(found, part.kind)) if file.is_file() else ()


def _read(file: Path, part: PartFile[T], make: Callable[[Any], Any]) -> Any:
    try:
        found = part.join(*_tensors(file)) if file.suffix == ".safetensors" else texts.read_json(file)
        with jaxtyped("context"):  # in which the sizes of all tensors fit each other
            return make(found)
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read ({error}): remove it, or make the run again") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        why = f" ({error})" if isinstance(error, ValueError) else ""
        raise InputError(f"{str(file)!r} is not {part.what}{why}: remove it, or make the run again") from None


def require_classes(classes: Sequence[str], *several: Int64[Tensor, "..."], unknown: bool = False) -> None:
    """Raise `ValueError` where a label is no place in the classes, nor -1 where it may be `unknown`."""
    for labels in several:
        if int(labels.min()) < -int(unknown) or int(labels.max()) >= len(classes):
            raise ValueError("a label or an answer has no class")


def save_part(folder: Path | str, part: PartFile[T], value: T) -> Path:
    """Write the file, whole or not at all, and return where it is."""
    file = Path(folder) / part.name
    if file.suffix == ".json":
        return save_json(file, value)
    own = _fields(value)
    tensors = {name: tensor for name, tensor in own.items() if isinstance(tensor, Tensor)}
    return save_tensors(file, tensors, {name: other for name, other in own.items() if name not in tensors})


def save_list(folder: Path | str, part: PartFile[T], entries: Sequence[T], indent: int | None = 1) -> Path:
    """The same for a JSON file that holds a list."""
    return save_json(Path(folder) / part.name, list(entries), indent)


def save_json(file: Path, found: object, indent: int | None = 1) -> Path:
    """Write what may hold dataclasses as JSON."""
    return write_atomically(file, json.dumps(found, indent=indent, ensure_ascii=False, default=_fields) + "\n")


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def save_tensors(file: Path, tensors: Mapping[str, Tensor], about: Any = None) -> Path:
    """Write tensors, and what is said about them as JSON beside them."""
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = None if about is None else {"about": utf8(json.dumps(about, ensure_ascii=False, default=_fields)).decode()}
    return write_atomically(file, save(own, header))


def _tensors(file: Path) -> tuple[dict[str, Tensor], Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with utf8_path(file) as there, safe_open(there, framework="pt") as opened:
            names = opened.keys()  # it is no mapping
            about = (opened.metadata() or {}).get("about")
            return {name: opened.get_tensor(name) for name in names}, None if about is None else texts.parse_json(about)
    except SafetensorError as error:
        raise OSError(error) from None


def _made(value: Any, hint: Any, where: str) -> Any:
    """The value as what its annotation says. Raises `Malformed`, or the `ValueError` of a dataclass's own checks."""
    origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return _object(value, hint, where)
    if origin in (Union, UnionType):  # a number that is none, or infinite, is none where there may be none
        if value is None or (float in inner and isinstance(value, float) and not finite(value)):
            return None
        return _made(value, next(one for one in inner if one is not NoneType), where)
    if origin is tuple:
        own = _checked(value, list, where)
        each = inner[:1] * len(own) if inner[1:] == (...,) else inner
        if len(own) != len(each):
            raise Malformed(f"{where} must have {len(each)} entries, got {len(own)}")
        return tuple(_made(one, kind, where) for one, kind in zip(own, each, strict=True))
    if origin is Mapping:
        return {key: _made(own, inner[1], f"{where}, {key}") for key, own in _checked(value, dict, where).items()}
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        if isinstance(value, hint):
            return value
        raise Malformed(f"{where} must be {hint.__name__}, got {_tensor_words(value)}")
    if not fits(value, hint):
        raise Malformed(f"{where} must be {in_words(hint)}, got {shown(value)}")
    if hint is float and not finite(value):
        raise Malformed(f"{where} must be finite, got {value}")
    return float(value) if hint is float else value


def _entries(value: Any, kind: Any) -> tuple[Any, ...]:
    return tuple(_object(own, kind, f"entry {i}") for i, own in enumerate(_checked(value, list, "it"), 1))


def _checked(value: Any, kind: type, where: str) -> Any:
    if isinstance(value, kind):
        return value
    raise Malformed(f"{where} must be {'a list' if kind is list else 'an object'}, got {shown(value)}")


def _object(value: Any, kind: Any, where: str) -> Any:
    own, hints, given = _checked(value, dict, where), get_type_hints(kind), {}
    for field in fields(kind):
        if field.name in own:
            given[field.name] = _made(own[field.name], hints[field.name], field.name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Malformed(f"{where} has no {field.name}")
    return kind(**given)


def _tensor_words(value: Any) -> str:
    return f"{value.dtype} of the shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
