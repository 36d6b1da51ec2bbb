"""What a session showed, a row a second: for those who come later, such as a page that was reloaded."""

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.labels import ACTION_UNITS, EXPRESSIONS
from service.events import Event

STEP = 1.0  # s between rows
ROWS = 6 * 3600  # kept, six hours
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


class SessionHistory:
    """Hold one row a second of the largest face in view, in a preallocated ring; the oldest rows are overwritten.

    One thread adds events while others read.
    """

    def __init__(self) -> None:
        self._rows = np.full((ROWS, len(COLUMNS)), np.nan, np.float64)
        self._count = 0
        self._due = -math.inf  # s of the session clock from which the next row is taken
        self._lock = threading.Lock()

    def add(self, event: Event, t: float) -> None:
        """Add the event of second `t` unless the last row is less than a second older."""
        if t < self._due:
            return
        self._due = t + STEP
        row = _row(t, event.data["faces"])
        with self._lock:
            self._rows[self._count % ROWS] = row
            self._count += 1

    def since(self, t: float, resolution: int) -> list[list[float | None]]:
        """Return the rows after second `t`, every `resolution`-th of them, with the values that `COLUMNS` names.

        Unknown values are None: where no face was read only `t` is known.
        """
        with self._lock:
            first = max(0, self._count - ROWS)
            kept = self._rows[np.arange(first, self._count) % ROWS]
        chosen = kept[kept[:, 0] > t][::resolution].round(4)
        return [[None if math.isnan(value) else value for value in row] for row in chosen.tolist()]


def _row(t: float, faces: Sequence[Mapping[str, Any]]) -> list[float]:
    read = [face for face in faces if face["status"] in ("ok", "warming_up")]
    values: list[float | None] = [t]
    if read:
        face = max(read, key=lambda one: one["box"][2] * one["box"][3])
        shares = face["expression"]["probabilities"] if face["expression"] else {}
        values += [face["track"], *(face[name] for name in _PAIRS)]
        values += [face[part][name] for part in ("std", "from_baseline") for name in _PAIRS]
        values += [shares.get(name) for name in EXPRESSIONS]
        values += [face["aus"].get(name) for name in ACTION_UNITS]
    values += [None] * (len(COLUMNS) - len(values))
    return [math.nan if value is None else float(value) for value in values]
