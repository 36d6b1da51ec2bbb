"""Parquet: typed columns, compressed, for recordings of hours.

A Parquet file cannot be read before its last byte is written. The rows are therefore written as CSV, line by line, and
that journal is turned into Parquet at the end; a killed run leaves it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.publish.export_csv import CsvTable
from service.publish.table import COLUMNS, FILE

ROWS_PER_GROUP = 8_192  # about 2 MB of cells in memory; readers skip whole groups by their statistics
_BLOCK = 4 << 20  # bytes of CSV that are read at once
_NEVER_NULL = "reasons"  # an empty cell of this column is an empty list


class ParquetTable:
    """Write one row per face and frame. The schema does not depend on the model: what it does not give is null."""

    def __init__(self, path: Path) -> None:
        """Begin the file `path`. Raise `OSError` if it cannot be written."""
        self._rows = CsvTable(path)

    def write(self, event: Mapping[str, Any]) -> None:
        """Write the rows of an event about a picture; other events have no place in a table of frames."""
        self._rows.write(event)

    def close(self) -> Path:
        """Turn the rows into Parquet and return where it is. Raise `OSError` if the disk does not take it."""
        return finish(self._rows.close())


def finish(path: Path) -> Path:
    """Turn the CSV rows in `path` into Parquet beside them and return where that is.

    Raise `ValueError` if they are no rows of `CsvTable`, and `OSError` if the disk does not take it.
    """
    # Imported where used: pyarrow takes a third of a second, and only the end needs it.
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    types = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    with path.open(encoding="utf-8") as rows:
        with_file = rows.readline().startswith(f"{FILE.name},")
    columns = (FILE, *COLUMNS) if with_file else COLUMNS
    schema = pa.schema([(column.name, types[column.kind]) for column in columns], {"schema": "affect/1"})
    reader = csv.open_csv(
        path,
        csv.ReadOptions(block_size=_BLOCK, use_threads=False),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
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
