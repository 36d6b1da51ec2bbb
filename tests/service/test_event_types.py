"""The event's types for Python and for the page are those of the schema."""

import ast
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints, is_typeddict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectstream import event as types
from service import event_types
from service.event_types import labels_typescript, python_types, typescript
from service.events import event_schema

GENERATED = [
    (event_types.PYTHON, lambda: python_types(event_schema())),
    (event_types.TYPESCRIPT, lambda: typescript(event_schema())),
    (event_types.LABELS_TYPESCRIPT, labels_typescript),
]


@pytest.mark.parametrize(("path", "text"), GENERATED, ids=[path.name for path, _ in GENERATED])
def test_the_generated_files_are_current(path: Path, text: Callable[[], str]) -> None:
    assert path.read_text("utf-8") == text(), "run `make docs`"


def test_every_field_of_the_schema_has_a_type() -> None:
    schema = event_schema()
    for name, definition in {"Event": schema, **schema["$defs"]}.items():
        written = getattr(types, event_types.SHORT.get(name, name))
        assert is_typeddict(written)
        assert set(get_type_hints(written)) == set(definition["properties"])
        assert written.__required_keys__ == set(definition["required"])


def test_a_field_that_is_added_to_the_schema_is_added_to_both_types() -> None:
    schema = copy.deepcopy(event_schema())
    schema["properties"]["incarnation_test"] = {"type": "integer", "minimum": 1, "description": "Counts restarts"}
    assert "    # Counts restarts\n    incarnation_test: NotRequired[int]\n" in python_types(schema)
    assert "  /** Counts restarts */\n  incarnation_test?: number;\n" in typescript(schema)


SCALARS = st.sampled_from([{"type": kind} for kind in event_types.SCALARS])
FIELDS = st.recursive(
    SCALARS | st.lists(st.text("abc_1", min_size=1), min_size=1, unique=True).map(lambda values: {"enum": values}),
    lambda inner: (
        inner.map(lambda items: {"type": "array", "items": items})
        | inner.map(lambda values: {"type": "object", "additionalProperties": values})
        | st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options})
    ),
    max_leaves=5,
)


@given(field=FIELDS)
@settings(deadline=None)
def test_any_field_becomes_python_that_parses(field: dict[str, Any]) -> None:
    schema = copy.deepcopy(event_schema())
    schema["properties"]["added"] = field
    tree = ast.parse(python_types(schema))
    event = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Event")
    assert "added" in {node.target.id for node in event.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
    assert "  added?: " in typescript(schema)


def test_a_construct_that_has_no_type_is_named() -> None:
    schema = copy.deepcopy(event_schema())
    schema["properties"]["added"] = {"type": "object", "patternProperties": {}}
    with pytest.raises(ValueError, match="patternProperties"):
        python_types(schema)
    with pytest.raises(ValueError, match="patternProperties"):
        typescript(json.loads(json.dumps(schema)))
