"""Parquet: typed columns, compressed, for recordings of hours. Rows go out in groups, so memory stays small."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from service.publish.table import COLUMNS, FILE, Row, has_picture, rows

ROWS_PER_GROUP = 8_192  # about 2 MB of cells in memory; readers skip whole groups by their statistics
_TYPES = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}


class ParquetTable:
    """One row per face and frame. The schema does not depend on the model: what it lacks is null."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[Row] = []
        self._frame = 0

    def write(self, event: Mapping[str, Any]) -> None:
        """Rows for an event about a picture; other events have no place in a table of frames."""
        if not has_picture(event):
            return
        if self._writer is None:
            self._start(with_file=event.get("file") is not None)
        self._frame += 1
        self._rows += rows(event, self._frame)
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Writes the last rows and the footer, without which a Parquet file cannot be read."""
        try:
            if self._writer is None:
                self._start(with_file=False)
            self._flush()
            assert self._writer is not None
            self._writer.close()
        finally:
            self._file.close()

    def _start(self, *, with_file: bool) -> None:
        columns = (FILE, *COLUMNS) if with_file else COLUMNS
        schema = pa.schema([(column.name, _TYPES[column.kind]) for column in columns], {"schema": "affect/1"})
        self._writer = pq.ParquetWriter(self._file, schema)

    def _flush(self) -> None:
        assert self._writer is not None
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._writer.schema))
            self._rows = []
