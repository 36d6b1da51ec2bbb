"""What a format of exports is: its name, the ending of its files, and how events are written in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from service.publish.table import DEFAULT_GROUPS

Facts = Callable[[], Mapping[str, Any]]  # what made the file (`service.provenance.about`), as far as it is known now


class Writer(Protocol):
    """Write one file format."""

    def write(self, event: Mapping[str, Any]) -> None:
        """Take an event (schema affect/1) in; after it, the operating system has what belongs to it."""

    def close(self) -> Path:
        """Finish the file and return where it is. Called once, also after a failed `write`."""


@dataclass(frozen=True, slots=True)
class Making:
    """Hold what a writer may need besides the events.

    Attributes:
        facts: Returns what made the file; empty where that is not known.
        columns: The optional groups of columns that a table gets (`service.publish.table.GROUPS`).
    """

    facts: Facts = dict
    columns: Sequence[str] = DEFAULT_GROUPS

    def input_name(self) -> str:
        """Return the name of what was analysed; "" if it is not known."""
        return str((self.facts().get("input") or {}).get("name") or "")


@dataclass(frozen=True, slots=True)
class Format:
    """Describe a format of exports.

    Attributes:
        name: Its name, as `--format` takes it.
        suffix: How the names of its files end.
        open: Returns the writer that fills a journal (`service.publish.journal`).
        finish: Turns the journal of a run that was killed into the file, and returns where that is.
        timed: Whether it needs the recording's clock, so that single pictures cannot be written in it.
        landmarks: Whether the events that it takes must have the 68 points of each face.
        check: Raises `UserError` for a file's name that the format does not allow.
    """

    name: str
    suffix: str
    open: Callable[[Path, Making], Writer]
    finish: Callable[[Path], Path]
    timed: bool = False
    landmarks: bool = False
    check: Callable[[Path], None] = lambda path: None
