"""The names of expressions and action units for the page, from the one place where they are defined.

`python service/dashboard/make_labels.py` writes src/labels.ts anew; a test says when that was forgotten."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LABELS = Path(__file__).parent / "src" / "labels.ts"


def labels_typescript() -> str:
    """The text of src/labels.ts."""
    sys.path.insert(0, str(ROOT))
    try:
        from models.labels import ACTION_UNITS, EXPRESSIONS
    finally:
        sys.path.remove(str(ROOT))
    units = "".join(f"  {name}: {json.dumps(meaning)},\n" for name, meaning in ACTION_UNITS.items())
    return (
        "// Written by make_labels.py from models/labels.py; change it there.\n\n"
        f"export const EXPRESSIONS = {json.dumps(EXPRESSIONS)} as const;\n\n"
        "/** Plain names of the Facial Action Coding System. */\n"
        f"export const ACTION_UNITS: Readonly<Record<string, string>> = {{\n{units}}};\n"
    )


if __name__ == "__main__":
    LABELS.write_text(labels_typescript(), "utf-8")
