"""Tables of comma-separated values with columns of other programs: a row for each face of a picture."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.publish.table import Row, has_picture

MakeRows = Callable[[Mapping[str, Any], int], Sequence[Row]]  # event and number of its picture, from 1


class RowsOfFaces:
    """Write what `make` returns of each event about a picture, below a header of `columns`."""

    def __init__(self, path: Path, columns: Sequence[str], make: MakeRows) -> None:
        """Begin the file `path`. Raise `OSError` if it cannot be written."""
        self._path = path
        self._make = make
        self._frame = 0
        # Line by line, so that a killed process loses no row; names of files need not be UTF-8.
        self._file = path.open("w", buffering=1, encoding="utf-8", errors="backslashreplace", newline="")
        self._writer = csv.DictWriter(self._file, columns, restval="", lineterminator="\n")
        self._writer.writeheader()

    def write(self, event: Mapping[str, Any]) -> None:
        """Write the rows of an event about a picture; other events have no place in a table of frames."""
        if has_picture(event):
            self._frame += 1
            self._writer.writerows(self._make(event, self._frame))

    def close(self) -> Path:
        """Close the file and return its path."""
        self._file.close()
        return self._path
