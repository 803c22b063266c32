"""Files of a run folder that a page shows beside the numbers. A dataclass is the schema of each, and this their reader.

A `.json` file holds the fields as they are; a `.safetensors` file the tensors among them by name, and the others as
JSON beside these. A field with a default may be missing, as in a file of an older version; what has no field is passed
over.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from jaxtyping import AbstractArray, jaxtyped
from torch import Tensor

from weatherproof import texts
from weatherproof.errors import InputError, shown
from weatherproof.files import write_atomically
from weatherproof.names import utf8, utf8_path
from weatherproof.reports.words.records import finite
from weatherproof.spec import fits, in_words
from weatherproof.texts import Malformed

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Join = Callable[[Mapping[str, Tensor], Any], Any]


def _beside(tensors: Mapping[str, Tensor], about: Any) -> Any:
    return {**about, **tensors}


@dataclass(frozen=True)
class PartFile(Generic[T_co]):
    """A file that a run folder may have.

    Attributes:
        name: of the file.
        what: it should hold, for messages: "a list of panels".
        kind: what it holds: a dataclass, or a tuple of such. Its own checks of ranges raise `ValueError`.
        join: what a safetensors file holds as one nested mapping, from its tensors and what is said beside them.
    """

    name: str
    what: str
    kind: type[T_co]
    join: Join = _beside


def read_part(folder: Path, part: PartFile[T]) -> T | None:
    """What a run folder's file holds; None where it has none.

    Raises:
        InputError: it cannot be read, or holds something else; one line says what.
    """
    file = folder / part.name
    if not file.is_file():
        return None
    try:
        found = part.join(*_tensors(file)) if file.suffix == ".safetensors" else texts.read_json(file)
        with jaxtyped("context"):  # in which the sizes of all tensors fit each other
            made: T = _made(found, part.kind, "it")
        return made
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read ({error}): remove it, or make the run again") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        why = f" ({error})" if isinstance(error, ValueError) else ""
        raise InputError(f"{str(file)!r} is not {part.what}{why}: remove it, or make the run again") from None


def save_part(folder: Path | str, part: PartFile[T], value: T, indent: int | None = 1) -> Path:
    """Write the file, whole or not at all, and return where it is."""
    file = Path(folder) / part.name
    if file.suffix == ".safetensors":
        own = {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]
        tensors = {name: tensor for name, tensor in own.items() if isinstance(tensor, Tensor)}
        return save_tensors(file, tensors, {name: other for name, other in own.items() if name not in tensors})
    listed = [asdict(entry) for entry in value] if isinstance(value, tuple) else asdict(value)  # type: ignore[call-overload]
    return save_json(file, listed, indent)


def save_json(file: Path, found: Any, indent: int | None = 1) -> Path:
    return write_atomically(file, json.dumps(found, indent=indent, ensure_ascii=False) + "\n")


def save_tensors(file: Path, tensors: Mapping[str, Tensor], about: Any = None) -> Path:
    """Write tensors, and what is said about them as JSON beside them."""
    from safetensors.torch import save

    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    said = None if about is None else {"about": utf8(json.dumps(about, ensure_ascii=False)).decode()}
    return write_atomically(file, save(own, said))


def _tensors(file: Path) -> tuple[dict[str, Tensor], Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with utf8_path(file) as there, safe_open(there, framework="pt") as opened:
            names = opened.keys()  # it is no mapping
            about = (opened.metadata() or {}).get("about")
            return {name: opened.get_tensor(name) for name in names}, about and texts.parse_json(about)
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
    if origin is tuple and isinstance(value, list):
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        if len(value) != len(each):
            raise Malformed(f"{where} must have {len(each)} entries, got {len(value)}")
        return tuple(_made(own, one, where) for own, one in zip(value, each, strict=True))
    if origin is Mapping and isinstance(value, dict):
        return {_made(key, inner[0], where): _made(own, inner[1], f"{where}, {key}") for key, own in value.items()}
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        if isinstance(value, hint):
            return value
        raise Malformed(f"{where} must be {hint.__name__}, got {_tensor_words(value)}")
    if origin in (tuple, Mapping):
        raise Malformed(f"{where} must be {'a list' if origin is tuple else 'an object'}, got {shown(value)}")
    if not fits(value, hint):
        raise Malformed(f"{where} must be {in_words(hint)}, got {shown(value)}")
    if hint is float and not finite(value):
        raise Malformed(f"{where} must be finite, got {value}")
    return float(value) if hint is float else value


def _object(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise Malformed(f"{where} must be an object, got {shown(value)}")
    hints, given = get_type_hints(kind), {}
    for field in fields(kind):
        if field.name in value:
            given[field.name] = _made(value[field.name], hints[field.name], field.name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Malformed(f"{where} has no {field.name}")
    return kind(**given)


def _tensor_words(value: Any) -> str:
    return f"{value.dtype} of the shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
