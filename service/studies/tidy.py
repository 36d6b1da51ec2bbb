"""The tidy tables of a study: all recordings below each other, with participant and condition in every row."""

import csv
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from service.archive import storage
from service.archive.task import Task
from service.publish import dictionary
from service.publish.table import Column, columns
from service.studies.study import Recording, Study

PARQUET, CSV, DICTIONARY = "tidy.parquet", "tidy.csv", "data_dictionary.csv"
# fmt: off
OWN = (
    Column("participant", "text", note="Id of the participant, as the study has it"),
    Column("recording", "text", note="Name of the recording, as the study has it"),
    Column("condition", "text", note="Condition of the stimulus that the frame lies in, else of the recording; empty "
           "without one"),
    Column("stimulus", "text", note="Label of the stimulus that the frame lies in; empty outside of all"),
)
# fmt: on
SCHEMA = "affectstream-study/1"


def write_tidy(study: Study, done: Iterable[str]) -> int:
    """Write the tables and the data dictionary of the recordings `done` into the study's results; return the rows.

    Raise `UserError` if a result cannot be read, or the results' folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv as arrow_csv

    wanted = set(done)
    listed = (*OWN, *columns(study.reading.columns))
    words = {one.column: one.description for one in dictionary.entries(listed)}
    types = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    fields = [
        pa.field(column.name, types[column.kind], metadata={"description": words[column.name]}) for column in listed
    ]
    schema = pa.schema(fields, {"schema": SCHEMA})
    count = 0
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        parquet, comma = Path(folder) / PARQUET, Path(folder) / CSV
        plain = arrow_csv.WriteOptions(quoting_style="needed")
        with (
            pq.ParquetWriter(parquet, schema) as table,
            arrow_csv.CSVWriter(comma, schema, write_options=plain) as lines,
        ):
            for recording, task in zip(study.recordings, study.tasks(), strict=True):
                if recording.name in wanted:
                    rows = _rows(recording, task, schema)
                    table.write_table(rows)
                    lines.write_table(rows)
                    count += rows.num_rows
        _write_dictionary(Path(folder) / DICTIONARY, listed)
        for name in (PARQUET, CSV, DICTIONARY):
            storage.write(Path(folder) / name, storage.join(study.results, name))
    return count


def conditions(recording: Recording, t: NDArray[np.float64]) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return (n,) the condition and (n,) the stimulus at each of the seconds `t`; the later of two that overlap."""
    condition = np.full(len(t), recording.condition, object)
    label = np.full(len(t), "", object)
    for stimulus in sorted(recording.stimuli, key=lambda one: one.start):
        within = (t >= stimulus.start) & (t < stimulus.end)
        label[within] = stimulus.label
        condition[within] = recording.condition if stimulus.condition is None else stimulus.condition
    return condition, label


def _rows(recording: Recording, task: Task, schema: Any) -> Any:
    """Return a recording's result as a table with the study's own columns in front."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with storage.on_this_machine(task.result) as path:
        try:
            table = pq.read_table(path, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(
                f"{storage.shown(task.result)} cannot be read ({error}); remove it and run again"
            ) from error
    condition, label = conditions(recording, table.column("timestamp").to_numpy())
    n = table.num_rows
    own: Mapping[str, Any] = {
        "participant": [recording.participant] * n,
        "recording": [recording.name] * n,
        "condition": [name or None for name in condition],
        "stimulus": [name or None for name in label],
    }
    arrays = [
        pa.array(own[field.name], field.type) if field.name in own else table.column(field.name) for field in schema
    ]
    return pa.table(arrays, schema=schema)


def _write_dictionary(path: Path, columns: Iterable[Column]) -> None:
    rows = dictionary.rows(columns)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
