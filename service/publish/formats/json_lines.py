"""JSON lines, as a format of its own and as the journal of formats that are written as a whole at the end."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


class JsonLines:
    """Write every event whole, one per line."""

    def __init__(self, path: Path) -> None:
        """Begin the file `path`. Raise `OSError` if it cannot be written."""
        self._path = path
        self._file = path.open("w", buffering=1, encoding="utf-8", newline="\n")

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one line. Raise `ValueError` at NaN, which is no JSON."""
        self._file.write(json.dumps(event, separators=(",", ":"), allow_nan=False) + "\n")

    def close(self) -> Path:
        """Close the file and return its path."""
        self._file.close()
        return self._path


class ConvertedAtEnd:
    """Keep events as JSON lines, and turn them into another format when the file is finished."""

    def __init__(self, path: Path, convert: Callable[[Path], Path]) -> None:
        """Begin the journal `path`; `convert` returns where the finished file is."""
        self._lines = JsonLines(path)
        self._convert = convert

    def write(self, event: Mapping[str, Any]) -> None:
        """Write one line to the journal."""
        self._lines.write(event)

    def close(self) -> Path:
        """Return the finished file. Raise `OSError` if the disk does not take it."""
        return self._convert(self._lines.close())


def events_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events in a file of JSON lines. Raise `ValueError` for a line that is none."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if not isinstance(event, dict) or "faces" not in event:
                raise ValueError("a line is no event")
            yield event
