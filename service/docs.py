"""Rewrite what is generated from the code (`make docs`); tests fail where a file is no longer current."""

import re
from pathlib import Path

from service import event_types
from service.events import event_schema
from service.settings import settings_table
from service.web import openapi

README = Path(__file__).resolve().parent.parent / "README.md"


def readme() -> str:
    """Return README.md with the table of the settings that exist now."""
    text = README.read_text("utf-8")
    return re.sub(
        r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", lambda _: settings_table() + "\n", text, flags=re.S
    )


if __name__ == "__main__":
    README.write_text(readme(), "utf-8")
    openapi.DOCUMENT.write_text(openapi.text(), "utf-8")
    event_types.PYTHON.write_text(event_types.python_types(event_schema()), "utf-8")
    event_types.TYPESCRIPT.write_text(event_types.typescript(event_schema()), "utf-8")
    event_types.LABELS_TYPESCRIPT.write_text(event_types.labels_typescript(), "utf-8")
