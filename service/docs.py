"""`make docs`: writes what the documentation repeats of the code; tests say when it is no longer true."""

import re
from pathlib import Path

from service.settings import settings_table
from service.web import openapi

README = Path(__file__).resolve().parent.parent / "README.md"


def readme() -> str:
    """README.md as it should be now: with the settings that there are."""
    text = README.read_text("utf-8")
    return re.sub(
        r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", lambda _: settings_table() + "\n", text, flags=re.S
    )


if __name__ == "__main__":
    README.write_text(readme(), "utf-8")
    openapi.DOCUMENT.write_text(openapi.text(), "utf-8")
