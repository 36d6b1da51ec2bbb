"""The data dictionary of the table: every column with type, unit, range and meaning, from the event's schema."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from service.events import event_schema
from service.publish.table import Column

TYPES = {"int": "integer", "float": "number", "text": "text"}


@dataclass(frozen=True, slots=True)
class Entry:
    """Describe one column for people; "" where a part does not apply."""

    column: str
    type: str
    unit: str
    minimum: str
    maximum: str
    values: str
    description: str
    field: str


def entries(columns: Iterable[Column]) -> list[Entry]:
    """Return the entry of each column. Raise `KeyError` for a column whose field is not in the schema."""
    return [_entry(column) for column in columns]


def rows(columns: Iterable[Column]) -> list[dict[str, str]]:
    """Return the entries as rows of a table."""
    return [asdict(one) for one in entries(columns)]


def _entry(column: Column) -> Entry:
    found = _property(column.field) if column.field else {}
    words = ". ".join(part for part in (found.get("description", ""), column.note) if part)
    # Radians and 0 or 1 are made of the field, so that its own range and type do not hold.
    converted = column.unit == "rad" or found.get("type") == "boolean"
    ends = {} if converted else found
    return Entry(
        column=column.name,
        type=TYPES[column.kind],
        unit=column.unit,
        minimum=f"{ends['minimum']:g}" if "minimum" in ends else "",
        maximum=f"{ends['maximum']:g}" if "maximum" in ends else "",
        values=";".join(found.get("enum", [])),
        description=words,
        field=column.field,
    )


@cache
def _schema() -> Mapping[str, Any]:
    return event_schema()


def _property(field: str) -> dict[str, Any]:
    """Return the schema of a field such as "faces.raw", with the description that stands beside it."""
    at: dict[str, Any] = dict(_schema())
    for name in field.split("."):
        at = _described(at["properties"][name])
    return at


def _described(given: Mapping[str, Any]) -> dict[str, Any]:
    """Follow references, lists and "or null" to what holds the values, and keep the outermost description."""
    at = dict(given)
    while True:
        inner = _inner(at)
        if inner is None:
            return {**at, **({"description": given["description"]} if "description" in given else {})}
        at = {**inner}


def _inner(at: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "$ref" in at:
        return dict(_schema()["$defs"][at["$ref"].rpartition("/")[2]])
    if "anyOf" in at:
        return dict(next(one for one in at["anyOf"] if one.get("type") != "null"))
    return dict(at["items"]) if at.get("type") == "array" else None
