"""CSV: what spreadsheets and most scripts read. Columns are those of `table`; an empty cell is an unknown value."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.publish.table import COLUMNS, FILE, has_picture, rows


class CsvTable:
    """Write one row per face and frame."""

    def __init__(self, path: Path) -> None:
        """Begin the file `path`. Raise `OSError` if it cannot be written."""
        # Line by line, so that a killed process loses no row; names of files need not be UTF-8.
        self._file = path.open("w", buffering=1, encoding="utf-8", errors="backslashreplace", newline="")
        self._path = path
        self._table: csv.DictWriter[str] | None = None
        self._frame = 0

    def write(self, event: Mapping[str, Any]) -> None:
        """Write the rows of an event about a picture; other events have no place in a table of frames."""
        if not has_picture(event):
            return
        if self._table is None:
            self._start(with_file=event.get("file") is not None)
        self._frame += 1
        assert self._table is not None
        self._table.writerows(rows(event, self._frame))

    def close(self) -> Path:
        """Close the file and return its path; without a frame it has the header alone."""
        if self._table is None and not self._file.closed:
            self._start(with_file=False)
        self._file.close()
        return self._path

    def _start(self, *, with_file: bool) -> None:
        names = [column.name for column in ((FILE, *COLUMNS) if with_file else COLUMNS)]
        self._table = csv.DictWriter(self._file, names, restval="", lineterminator="\n")
        self._table.writeheader()
