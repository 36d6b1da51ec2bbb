"""Names of files in sentences, events and tables, which hold text only."""

from pathlib import Path


def printable(name: str | Path) -> str:
    r"""Return `name` as text that every file, terminal and JSON reader takes.

    Bytes of a name that are not UTF-8 are shown as `\xNN`, and so are control characters.
    """
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
