"""What a session showed: one row for each second, its markers and its alerts, for a page that is opened later."""

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.labels import ACTION_UNITS, EXPRESSIONS
from service.events import Event

STEP = 1.0  # s between rows
ROWS = 6 * 3600  # rows that are kept: six hours
_BLOCK = 600  # rows that memory is reserved for at a time; most sessions last minutes, and an ended one stays listed
NOTES = 2000  # markers kept, and as many alerts
_PAIRS = ("valence", "arousal")
COLUMNS = (
    "t",
    "track",
    *_PAIRS,
    *(f"std_{name}" for name in _PAIRS),
    *(f"from_baseline_{name}" for name in _PAIRS),
    *EXPRESSIONS,
    *ACTION_UNITS,
)
# With values in float32 a row takes half of the memory that it would take in float64; a session keeps six hours of
# them. 24 bits are enough for four decimals of every value but the time, and for 16 million tracks.
_ROW = np.dtype([("t", np.float64), ("values", np.float32, (len(COLUMNS) - 1,))])


@dataclass(frozen=True, slots=True)
class Past:
    """Hold what a session showed, all of it oldest first.

    Attributes:
        rows: A row for each step of time, with the values that `COLUMNS` names.
        markers: Markers with the fields of `service.events.Marker`.
        alerts: Alerts with the fields of `service.events.Alert` and `t`, the second of their event.
    """

    rows: list[list[float | None]]
    markers: list[dict[str, Any]]
    alerts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Note:
    """Hold a marker or an alert, which later incarnations of the session show too.

    Attributes:
        kind: "marker" or "alert".
        fields: Those of `service.events.Marker`, or of `service.events.Alert` and `t`; seconds of its own incarnation.
        at: The Unix time of its `t`.
    """

    kind: str
    fields: dict[str, Any]
    at: float

    def in_session(self, began: float) -> dict[str, Any]:
        """Return the fields in seconds of a session that began at that Unix time: they are below 0 before it."""
        t = round(self.at - began, 3)
        moved = {"since": round(self.fields["since"] + t - self.fields["t"], 3)} if "since" in self.fields else {}
        return {**self.fields, **moved, "t": t}


class SessionHistory:
    """Hold one row a second of the largest face in view, the newest `ROWS` of them.

    The newest `NOTES` markers and alerts are kept beside them.

    One thread adds events while others read.
    """

    def __init__(self, earlier: Sequence[Note] = ()) -> None:
        """Begin with the notes of earlier incarnations, and without rows."""
        self._earlier = [*earlier]
        self._blocks: deque[NDArray[np.void]] = deque()  # (`_BLOCK`,) of `_ROW` each, full but for the newest
        self._count = 0  # rows of the newest block that are in use
        self._due = -math.inf  # s of the session clock from which the next row is taken
        self._markers: deque[dict[str, Any]] = deque(maxlen=NOTES)
        self._alerts: deque[dict[str, Any]] = deque(maxlen=NOTES)
        self._lock = threading.Lock()

    def add(self, event: Event, t: float) -> None:
        """Add the event of second `t` unless the last row is less than a second older."""
        if t < self._due:
            return
        self._due = t + STEP
        values = _values(event.data["faces"])
        with self._lock:
            if not self._blocks or self._count == _BLOCK:
                self._blocks.append(np.empty(_BLOCK, _ROW))
                self._count = 0
                if (len(self._blocks) - 2) * _BLOCK >= ROWS:  # the newest rows are in the others
                    self._blocks.popleft()
            self._blocks[-1][self._count] = t, values
            self._count += 1

    def clear(self) -> int:
        """Forget all rows, markers and alerts; return how many rows there were."""
        with self._lock:
            kept = min(ROWS, max(0, len(self._blocks) - 1) * _BLOCK + self._count)
            self._blocks.clear()
            self._count = 0
            self._markers.clear()
            self._alerts.clear()
            self._earlier.clear()
        return kept

    def note(self, event: Event) -> None:
        """Add an event that is a marker or an alert."""
        with self._lock:
            if event.kind == "marker":
                self._markers.append(event.data["marker"])
            else:
                self._alerts.append({**event.data["alert"], "t": event.data["t"]})

    def since(self, t: float, resolution: int, began: float | None = None) -> Past:
        """Return what was shown after second `t`, every `resolution`-th row of it.

        Unknown values are None: where no face was read only `t` is known. Notes of earlier incarnations lie before
        second 0; without the Unix time at which the session `began` they have no place and are left out.
        """
        with self._lock:
            kept = self._kept()
            notes = self._earlier if began is not None and t < 0 else []
            earlier = [(note.kind, note.in_session(began or 0.0)) for note in notes]
            markers = [*_of("marker", earlier), *(marker for marker in self._markers if marker["t"] > t)]
            alerts = [*_of("alert", earlier), *(alert for alert in self._alerts if alert["t"] > t)]
        chosen = kept[kept["t"] > t][::resolution]
        table = np.column_stack([chosen["t"], chosen["values"]]).round(4)
        rows = [[None if math.isnan(value) else value for value in row] for row in table.tolist()]
        return Past(rows, sorted(markers, key=lambda marker: marker["t"]), alerts)

    def _kept(self) -> NDArray[np.void]:
        """Return a copy of the rows that are kept, (rows,) of `_ROW`, oldest first. Call it with the lock."""
        if not self._blocks:
            return np.empty(0, _ROW)
        *full, newest = self._blocks
        return np.concatenate([*full, newest[: self._count]])[-ROWS:]


def _of(kind: str, notes: Sequence[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [fields for one, fields in notes if one == kind]


def _values(faces: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return what `COLUMNS` names after the time, NaN where it is unknown."""
    read = [face for face in faces if face["status"] in ("ok", "warming_up")]
    values: list[float | None] = []
    if read:
        face = max(read, key=lambda one: one["box"][2] * one["box"][3])
        shares = face["expression"]["probabilities"] if face["expression"] else {}
        values += [face["track"], *(face[name] for name in _PAIRS)]
        values += [face[part][name] for part in ("std", "from_baseline") for name in _PAIRS]
        values += [shares.get(name) for name in EXPRESSIONS]
        values += [face["aus"].get(name) for name in ACTION_UNITS]
    values += [None] * (len(COLUMNS) - 1 - len(values))
    return [math.nan if value is None else value for value in values]
