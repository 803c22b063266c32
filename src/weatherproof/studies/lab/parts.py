"""What a component is made of."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass


def parts(value: object) -> Iterator[object]:
    """A component and everything in it, in tuples too, from the outside in."""
    if is_dataclass(value):
        yield value
        for field in fields(value):
            yield from parts(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from parts(item)
