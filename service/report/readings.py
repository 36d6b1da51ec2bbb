"""What a report draws of one recording: the table's columns as arrays, one value a picture, of the face that counts."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.labels import ACTION_UNITS, EXPRESSIONS
from service.publish.table import Row, Table, columns

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]

_GROUPS = ("gaze",)  # of optional columns, those that a report shows where a result has them
NUMBERS = tuple(column.name for column in columns(_GROUPS) if column.kind != "text")
TEXTS = ("reasons", "status", "expression", "last_marker", "marker", "weights")
NO_CONDITION = ""


@dataclass(slots=True)
class Readings:
    """Hold one recording.

    Attributes:
        name: What the recording is called.
        columns: (n,) float64 for each column of numbers, NaN where it is unknown; n pictures in the order of time.
        texts: (n,) for each column of text, "" where it is unknown.
        faces: Faces that were tracked.
        participant: Who is seen; "" if the report does not know.
        conditions: (n,) the condition of each picture; "" where there is none.
        stimuli: First and last second, and label, of each stretch in which something was shown.
        facts: What made the result (`service.provenance.about`); empty if unknown.
    """

    name: str
    columns: dict[str, Floats]
    texts: dict[str, Texts]
    faces: int
    participant: str = ""
    conditions: Texts = field(default_factory=lambda: np.empty(0, object))
    stimuli: Sequence[tuple[float, float, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def t(self) -> Floats:
        """Return (n,) the seconds of the recording's clock."""
        return self.columns["timestamp"]

    @property
    def read(self) -> NDArray[np.bool_]:
        """Return (n,) whether the values were read from this very picture."""
        return np.asarray(self.columns["success"] > 0)

    @property
    def trained(self) -> bool:
        """Return whether the numbers come from trained weights."""
        return bool(np.all(self.columns["trained"] > 0))

    def known(self, name: str) -> bool:
        """Return whether a column has any value."""
        return bool(np.isfinite(self.columns[name]).any())

    def action_units(self) -> list[str]:
        """Return the action units that the model gives."""
        return [name for name in ACTION_UNITS if self.known(f"{name}_p")]

    def markers(self) -> list[tuple[float, str]]:
        """Return second and label of each marker that a picture carries."""
        marked = np.flatnonzero(self.texts["marker"] != "")
        return [(float(self.t[n]), str(self.texts["marker"][n]).replace(";", ", ")) for n in marked]


class Collector:
    """Collect the events of a recording as they come, for `Readings`."""

    def __init__(self) -> None:
        """Begin without an event."""
        self._table = Table()
        self._numbers = {name: array("d") for name in NUMBERS}
        self._texts: dict[str, list[str]] = {name: [] for name in TEXTS}

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Take an event (schema affect/1) in."""
        for row in self._table.rows(event):
            self._add(row)

    def readings(self, name: str, facts: Mapping[str, Any]) -> Readings:
        """Return what was collected."""
        numbers = {key: np.array(values, np.float64) for key, values in self._numbers.items()}
        return of_columns(name, numbers, {key: np.array(values, object) for key, values in self._texts.items()}, facts)

    def _add(self, row: Row) -> None:
        for name, values in self._numbers.items():
            value = row.get(name)
            values.append(np.nan if value is None else value)
        for name, texts in self._texts.items():
            texts.append(row.get(name) or "")


def of_parquet(path: Path, name: str, facts: Mapping[str, Any]) -> Readings:
    """Return the readings in a Parquet file that `analyze` wrote. Raise `OSError` or `ValueError` for another file."""
    import pyarrow.parquet as pq

    optional = {column.name for column in columns(_GROUPS)} - {column.name for column in columns(())}
    there = {*pq.read_schema(path).names}
    given = [key for key in NUMBERS if key in there or key not in optional]
    table = pq.read_table(path, columns=[*given, *TEXTS], partitioning=None)
    numbers = {key: np.full(table.num_rows, np.nan) for key in NUMBERS}
    numbers |= {key: table.column(key).to_numpy().astype(np.float64) for key in given}
    texts = {key: np.array([text or "" for text in table.column(key).to_pylist()], object) for key in TEXTS}
    return of_columns(name, numbers, texts, facts)


def of_columns(
    name: str, numbers: Mapping[str, Floats], texts: Mapping[str, Texts], facts: Mapping[str, Any]
) -> Readings:
    """Return the readings of a table's columns, a row for each face and picture.

    Where several faces are in a picture, that one counts which was read in most pictures of the recording, so that
    somebody who walks past does not mix into the curve.
    """
    chosen = _chosen(numbers["frame"], numbers["face_id"], numbers["success"])
    tracks = numbers["face_id"]
    return Readings(
        name,
        {key: values[chosen] for key, values in numbers.items()},
        {key: values[chosen] for key, values in texts.items()},
        faces=len(np.unique(tracks[np.isfinite(tracks)])),
        conditions=np.full(len(chosen), NO_CONDITION, object),
        facts=facts,
    )


def expressions() -> Sequence[str]:
    """Return the names of the seven expressions, which are columns too."""
    return EXPRESSIONS


def _chosen(frame: Floats, track: Floats, success: Floats) -> NDArray[np.intp]:
    """Return the row of each picture: of the faces read in it, the one that was read most often."""
    known = np.isfinite(track)
    names, counts = np.unique(track[known & (success > 0)], return_counts=True)
    often = dict(zip(names.tolist(), counts.tolist(), strict=True))
    rank = np.array([often.get(one, 0) for one in track.tolist()], float)
    order = np.lexsort((-rank, -success, frame))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(frame[order]) != 0
    return np.asarray(order[first])


def together(several: Iterable[Readings]) -> list[str]:
    """Return the conditions of `several` in the order in which they appear."""
    seen: dict[str, None] = {}
    for one in several:
        seen |= dict.fromkeys(str(name) for name in one.conditions if name != NO_CONDITION)
    return list(seen)
