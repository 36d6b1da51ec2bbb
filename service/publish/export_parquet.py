"""Parquet: typed columns, compressed, for recordings of hours.

A Parquet file cannot be read before its last byte is written. The rows are therefore written as CSV, line by line, and
that journal is turned into Parquet at the end; a killed run leaves it.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.publish.export_csv import CsvTable
from service.publish.formats.format import Making
from service.publish.table import EVERY_COLUMN, FILE, columns

ROWS_PER_GROUP = 8_192  # about 2 MB of cells in memory; readers skip whole groups by their statistics
_BLOCK = 4 << 20  # bytes of CSV that are read at once
_NEVER_NULL = "reasons"  # an empty cell of this column is an empty list


class ParquetTable:
    """Write one row per face and frame. The schema does not depend on the model: what it does not give is null."""

    def __init__(self, path: Path, making: Making | None = None) -> None:
        """Begin the file `path`; what made it, asked for at the end, is written into it.

        Raise `OSError` if the file cannot be written.
        """
        self._making = making or Making()
        self._rows = CsvTable(path, columns(self._making.columns))

    def write(self, event: Mapping[str, Any]) -> None:
        """Write the rows of an event about a picture; other events have no place in a table of frames."""
        self._rows.write(event)

    def close(self) -> Path:
        """Turn the rows into Parquet and return where it is. Raise `OSError` if the disk does not take it."""
        facts = self._making.facts()
        about = {"affectstream": json.dumps(facts, ensure_ascii=False)} if facts else {}
        return finish(self._rows.close(), about)


def finish(path: Path, metadata: Mapping[str, str] | None = None) -> Path:
    """Turn the CSV rows in `path` into Parquet beside them, with `metadata`, and return where that is.

    Raise `ValueError` if they are no rows of `CsvTable`, and `OSError` if the disk does not take it.
    """
    # Imported where used: pyarrow takes a third of a second, and only the end needs it.
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv as arrow_csv

    types = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    known = {column.name: column for column in (FILE, *EVERY_COLUMN)}
    with path.open(encoding="utf-8", newline="") as rows:
        names = next(csv.reader(rows), [])
    if not names or not set(names) <= set(known):
        raise ValueError("its first line is not the columns of a table")
    fields = [(name, types[known[name].kind]) for name in names]
    schema = pa.schema(fields, {"schema": "affect/1", **(metadata or {})})
    reader = arrow_csv.open_csv(
        path,
        arrow_csv.ReadOptions(block_size=_BLOCK, use_threads=False),
        arrow_csv.ParseOptions(newlines_in_values=True),
        arrow_csv.ConvertOptions(
            column_types={field.name: field.type for field in schema},
            null_values=[""],
            strings_can_be_null=True,
            include_columns=schema.names,
        ),
    )
    made = path.with_name(f"{path.name}.parquet")
    place = schema.get_field_index(_NEVER_NULL)
    try:
        with pq.ParquetWriter(made, schema) as writer:
            for group in _groups(reader, schema):
                filled = group.column(place).fill_null("")
                writer.write_table(group.set_column(place, schema.field(place), filled))
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    return made


def _groups(reader: Any, schema: Any) -> Iterator[Any]:
    """Yield tables of `ROWS_PER_GROUP` rows, the last one of fewer, out of an open CSV file."""
    import pyarrow as pa

    rest = schema.empty_table()
    for batch in reader:
        rest = pa.concat_tables([rest, pa.Table.from_batches([batch]).cast(schema)])
        while rest.num_rows >= ROWS_PER_GROUP:
            yield rest.slice(0, ROWS_PER_GROUP)
            rest = rest.slice(ROWS_PER_GROUP)
    if rest.num_rows:
        yield rest
