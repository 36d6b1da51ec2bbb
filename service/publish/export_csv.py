"""CSV: what spreadsheets and most scripts read. Columns are those of `table`; an empty cell is an unknown value."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.publish.table import COLUMNS, FILE, Column, Table


class CsvTable:
    """Write one row per face and frame."""

    def __init__(self, path: Path, columns: Sequence[Column] = COLUMNS) -> None:
        """Begin the file `path` with `columns`. Raise `OSError` if it cannot be written."""
        # Line by line, so that a killed process loses no row; names of files need not be UTF-8.
        self._file = path.open("w", buffering=1, encoding="utf-8", errors="backslashreplace", newline="")
        self._path = path
        self._columns = columns
        self._writer: csv.DictWriter[str] | None = None
        self._table = Table()

    def write(self, event: Mapping[str, Any]) -> None:
        """Write the rows of an event about a picture; other events have no place in a table of frames."""
        rows = self._table.rows(event)
        if not rows:
            return
        if self._writer is None:
            self._start(with_file=event.get("file") is not None)
        assert self._writer is not None
        self._writer.writerows(rows)

    def close(self) -> Path:
        """Close the file and return its path; without a frame it has the header alone."""
        if self._writer is None and not self._file.closed:
            self._start(with_file=False)
        self._file.close()
        return self._path

    def _start(self, *, with_file: bool) -> None:
        names = [column.name for column in ((FILE, *self._columns) if with_file else self._columns)]
        self._writer = csv.DictWriter(
            self._file, names, restval="", extrasaction="ignore", lineterminator="\n"
        )  # fmt: skip
        self._writer.writeheader()
