"""Rewrite what is generated from the code (`make docs`); tests fail where a file is no longer current."""

import json
import re
from pathlib import Path

from service import event_types
from service.events import event_schema
from service.settings import Settings, settings_table
from service.web.app import create_app

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
OPENAPI = ROOT / "docs" / "openapi.json"


def readme() -> str:
    """Return README.md with the table of the settings that exist now."""
    text = README.read_text("utf-8")
    return re.sub(
        r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", lambda _: settings_table() + "\n", text, flags=re.S
    )


def openapi() -> str:
    """Return docs/openapi.json with the routes that exist now."""
    return json.dumps(create_app(Settings.model_construct()).openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    README.write_text(readme(), "utf-8")
    OPENAPI.write_text(openapi(), "utf-8")
    event_types.PYTHON.write_text(event_types.python_types(event_schema()), "utf-8")
    event_types.TYPESCRIPT.write_text(event_types.typescript(event_schema()), "utf-8")
    event_types.LABELS_TYPESCRIPT.write_text(event_types.labels_typescript(), "utf-8")
