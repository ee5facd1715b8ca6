"""Between records and rows: a record's columns, its values, and a record from what the database found."""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar, get_type_hints

R = TypeVar("R")


def columns(record_class: type) -> str:
    """The record's columns, for a SELECT list."""
    return ", ".join(field.name for field in fields(record_class))


def row(record: Any) -> dict[str, Any]:
    """The record as a row by column name; unlike `asdict` it copies nothing."""
    return {name: getattr(record, name) for name in record.__slots__}


def read(record_class: type[R], found: Any) -> R:
    """A record from a row of the database (values by column name), its enumerations as their Python members."""
    shape = _SHAPES.get(record_class)
    if shape is None:
        shape = _SHAPES[record_class] = _shape(record_class)
    names, enumerations = shape
    values = {name: found[name] for name in names}
    for name, enumeration in enumerations:
        values[name] = enumeration(values[name])
    return record_class(**values)


_Shape = tuple[tuple[str, ...], tuple[tuple[str, type[StrEnum]], ...]]
_SHAPES: dict[type, _Shape] = {}


def _shape(record_class: type) -> _Shape:
    """A record's column names, and which of them are enumerations."""
    classes = ((name, hint) for name, hint in get_type_hints(record_class).items() if isinstance(hint, type))
    enumerations = tuple((name, hint) for name, hint in classes if issubclass(hint, StrEnum))
    return tuple(field.name for field in fields(record_class)), enumerations
