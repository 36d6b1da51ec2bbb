"""The report on a session that runs, from what the service remembers of it: one reading a second."""

import numpy as np

from models.labels import ACTION_UNITS, EXPRESSIONS
from service.history import COLUMNS, STEP, Past
from service.report.page import page
from service.report.readings import NUMBERS, TEXTS, Floats, Readings

_SOURCES = {
    "timestamp": "t",
    "face_id": "track",
    "valence": "valence",
    "arousal": "arousal",
    "valence_std": "std_valence",
    "arousal_std": "std_arousal",
    "valence_from_baseline": "from_baseline_valence",
    "arousal_from_baseline": "from_baseline_arousal",
    **{name: name for name in EXPRESSIONS},
    **{f"{name}_p": name for name in ACTION_UNITS},
}
_NOTE = (
    "From the memory of the service: one reading a second of the largest face in view, of the last six hours at most. "
    "affectstream analyze --report makes one of every picture of a recording."
)


def report(name: str, past: Past, *, trained: bool) -> str:
    """Return the report on the session `name` as HTML; `trained` is whether its weights are."""
    return page([readings(name, past, trained=trained)], f"Session {name}", [_NOTE])


def readings(name: str, past: Past, *, trained: bool) -> Readings:
    """Return what a session showed as the readings of a report; a marker belongs to the first row after it."""
    shown = [row for row in past.rows if row[0] is not None]
    table = np.array(shown, np.float64).reshape(len(shown), len(COLUMNS))
    numbers: dict[str, Floats] = {column: np.full(len(shown), np.nan) for column in NUMBERS}
    for column, source in _SOURCES.items():
        numbers[column] = table[:, COLUMNS.index(source)]
    read = np.isfinite(numbers["face_id"])
    numbers |= {"frame": np.arange(len(shown), dtype=float), "success": read.astype(float)}
    numbers["trained"] = np.full(len(shown), float(trained))
    texts = {column: np.full(len(shown), "", object) for column in TEXTS}
    for marker in past.markers:
        row = int(np.searchsorted(numbers["timestamp"], marker["t"] - STEP / 2))
        if row < len(shown):
            texts["marker"][row] = ";".join(filter(None, (texts["marker"][row], marker["label"].replace(";", ","))))
            texts["last_marker"][row:] = marker["label"]
            numbers["last_marker_t"][row:] = marker["t"]
    tracks = numbers["face_id"][read]
    return Readings(name, numbers, texts, faces=len(np.unique(tracks)), conditions=np.full(len(shown), "", object))
