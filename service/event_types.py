"""Write the event's types for Python and TypeScript from its JSON Schema, so that they cannot differ from it.

The schema uses a small part of JSON Schema: references, objects, arrays, `anyOf`, `enum`, `const` and the scalar types.
Anything else raises `ValueError`, so that a new construct is noticed here and not left out.
"""

import json
import textwrap
from pathlib import Path
from typing import Any

from models.labels import ACTION_UNITS, COMPOUND_EXPRESSIONS, EXPRESSIONS
from service.purpose import PURPOSES

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / "affectstream" / "event.py"
TYPESCRIPT = ROOT / "affectstream" / "js" / "src" / "event.ts"
LABELS_TYPESCRIPT = ROOT / "service" / "dashboard" / "src" / "labels.ts"

Schema = dict[str, Any]
Values = tuple[str, ...]

LINE = 120  # characters, as ruff formats
SHORT = {"FaceAffect": "Face"}  # names for readers of events
LABELS: dict[Values, str] = {
    tuple(EXPRESSIONS): "ExpressionName",
    tuple(ACTION_UNITS): "ActionUnit",
    tuple(COMPOUND_EXPRESSIONS): "CompoundExpressionName",
}
FIELDS = {  # (object, field) -> name of the values that the field takes; "" is the event itself
    ("", "state"): "State",
    ("", "reasons"): "EventReason",
    ("", "purpose"): "Purpose",
    ("Audio", "status"): "AudioStatus",
    ("FaceAffect", "status"): "FaceStatus",
    ("FaceAffect", "reasons"): "FaceReason",
    ("FaceAffect", "windows"): "WindowName",
    ("Eyes", "reasons"): "SignalReason",
}
INCOMPLETE = ("ActionUnit",)  # a model gives values for some of these keys only
SCALARS = {  # JSON -> Python, TypeScript
    "string": ("str", "string"),
    "integer": ("int", "number"),
    "number": ("float", "number"),
    "boolean": ("bool", "boolean"),
    "null": ("None", "null"),
}


def python_types(schema: Schema) -> str:
    """Return the text of affectstream/event.py: a TypedDict for each object of `schema`."""
    names = _names(schema)
    parts = [
        '"""Hold the types of an event, schema `affect/1`.\n\n'
        "`make docs` writes this file from the schema; change service/events.py or service/event_types.py.\n"
        '"""\n',
        "from typing import Literal, NotRequired, TypedDict\n",
        "\n".join(_literal(name, values) for values, name in names.items()) + "\n",
    ]
    for name, definition in _definitions(schema, "Event"):
        lines = [f"\nclass {name}(TypedDict):", f'    """{definition["description"]}"""\n']
        for key, field in definition["properties"].items():
            lines += textwrap.wrap(
                field.get("description", ""), LINE, initial_indent="    # ", subsequent_indent="    # "
            )
            text = _python(field, names)
            lines.append(f"    {key}: {text if key in definition.get('required', []) else f'NotRequired[{text}]'}")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def typescript(schema: Schema) -> str:
    """Return the text of affectstream/js/src/event.ts: an interface for each object of `schema`."""
    names = _names(schema)
    parts = [
        "// Types of an event, schema affect/1. Unknown is null, never 0.\n"
        "// `make docs` writes this file from the schema; change service/events.py or service/event_types.py.\n"
    ]
    for values, name in names.items():
        parts.append(f"export type {name} =\n" + "\n".join(f"  | {json.dumps(value)}" for value in values) + ";\n")
    for name, definition in _definitions(schema, "AffectEvent"):
        lines = [f"/** {definition['description']} */", f"export interface {name} {{"]
        for key, field in definition["properties"].items():
            lines += [f"  /** {field['description']} */"] if "description" in field else []
            optional = "" if key in definition.get("required", []) else "?"
            lines.append(f"  {key}{optional}: {_typescript(field, names)};")
        parts.append("\n".join([*lines, "}"]) + "\n")
    return "\n".join(parts)


def labels_typescript() -> str:
    """Return the text of the page's labels.ts: expressions in order, meanings of action units and of purposes."""
    purposes = "".join(f"  {json.dumps(name)}: {json.dumps(meaning)},\n" for name, meaning in PURPOSES.items())
    units = "".join(f"  {name}: {json.dumps(meaning)},\n" for name, meaning in ACTION_UNITS.items())
    return (
        "// `make docs` writes this file from models/labels.py and service/purpose.py.\n\n"
        'import type { ActionUnit, Purpose } from "../../../affectstream/js/src/event";\n\n'
        f"export const EXPRESSIONS = {json.dumps(EXPRESSIONS)} as const;\n\n"
        "/** Plain names of the Facial Action Coding System. */\n"
        f"export const ACTION_UNITS: Readonly<Record<ActionUnit, string>> = {{\n{units}}};\n\n"
        "/** What a session may be for. */\n"
        f"export const PURPOSES: Readonly<Record<Purpose, string>> = {{\n{purposes}}};\n"
    )


def _names(schema: Schema) -> dict[Values, str]:
    """Return the names of the schema's enumerations, by their values."""
    names = dict(LABELS)
    for (owner, key), name in FIELDS.items():
        field = (schema["$defs"][owner] if owner else schema)["properties"][key]
        field = field.get("items", field.get("propertyNames", field.get("anyOf", [field])[0]))
        names[tuple(field["enum"])] = name
    return names


def _definitions(schema: Schema, root: str) -> list[tuple[str, Schema]]:
    """Return (name, object) for each object of `schema`, each after those that it refers to; `root` is the last."""
    ordered: dict[str, Schema] = {}

    def visit(name: str, definition: Schema) -> None:
        for reference in _references(definition["properties"]):
            if reference not in ordered:
                visit(reference, schema["$defs"][reference])
        ordered[name] = definition

    visit(root, schema)
    return [(SHORT.get(name, name), definition) for name, definition in ordered.items()]


def _references(node: Any) -> list[str]:
    """Return the names of the definitions that `node` refers to, in order."""
    if isinstance(node, dict):
        own = [_name(node["$ref"])] if "$ref" in node else []
        return own + [name for value in node.values() for name in _references(value)]
    return [name for value in node for name in _references(value)] if isinstance(node, list) else []


def _name(reference: str) -> str:
    return reference.removeprefix("#/$defs/")


def _python(field: Schema, names: dict[Values, str]) -> str:
    """Return the Python type of `field`."""
    match field:
        case {"$ref": reference}:
            return SHORT.get(_name(reference), _name(reference))
        case {"anyOf": options}:
            return " | ".join(_python(option, names) for option in options)
        case {"enum": values}:
            return names.get(tuple(values)) or f"Literal[{', '.join(json.dumps(value) for value in values)}]"
        case {"const": value}:
            return f"Literal[{json.dumps(value)}]"
        case {"type": "array", "items": items}:
            return f"list[{_python(items, names)}]"
        case {"type": "object", "additionalProperties": values}:
            return f"dict[{_python(_keys(field), names)}, {_python(values, names)}]"
        case {"type": str(kind)} if kind in SCALARS:
            return SCALARS[kind][0]
    raise ValueError(f"the event's types cannot express {field}; add the construct to service/event_types.py")


def _typescript(field: Schema, names: dict[Values, str]) -> str:
    """Return the TypeScript type of `field`."""
    match field:
        case {"$ref": reference}:
            return SHORT.get(_name(reference), _name(reference))
        case {"anyOf": options}:
            return " | ".join(_typescript(option, names) for option in options)
        case {"enum": values}:
            return names.get(tuple(values)) or " | ".join(json.dumps(value) for value in values)
        case {"const": value}:
            return json.dumps(value)
        case {"type": "array", "items": items, "minItems": length, "maxItems": most} if length == most:
            return f"[{', '.join([_typescript(items, names)] * length)}]"
        case {"type": "array", "items": items}:
            text = _typescript(items, names)
            return f"({text})[]" if " | " in text else f"{text}[]"
        case {"type": "object", "additionalProperties": values}:
            keys = _typescript(_keys(field), names)
            record = f"Record<{keys}, {_typescript(values, names)}>"
            return f"Partial<{record}>" if keys in INCOMPLETE else record
        case {"type": str(kind)} if kind in SCALARS:
            return SCALARS[kind][1]
    raise ValueError(f"the event's types cannot express {field}; add the construct to service/event_types.py")


def _keys(field: Schema) -> Schema:
    keys: Schema = field.get("propertyNames", {"type": "string"})
    return keys


def _literal(name: str, values: Values) -> str:
    """Return the definition of a Literal, with one value a line where it is too long for one line."""
    texts = [json.dumps(value) for value in values]
    line = f"{name} = Literal[{', '.join(texts)}]"
    return line if len(line) <= LINE else f"{name} = Literal[\n" + "".join(f"    {text},\n" for text in texts) + "]"
