"""Episodes of a recording, in which something lasts: an expression, a unit above its threshold, speech, a blink."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.labels import ACTION_UNITS
from service.publish.table import AU_THRESHOLD, has_picture

LONGEST_GAP = 1.0  # s between two pictures over which nothing is taken to last
Value = Callable[[Mapping[str, Any]], str | None]  # what a face shows; None for nothing


@dataclass(frozen=True, slots=True, order=True)
class Episode:
    """Hold an episode.

    Attributes:
        start: Seconds on the recording's clock at which it begins.
        end: Seconds at which it ends; `start` for a marker.
        kind: What lasts, one of `KINDS`, or a blink or marker.
        label: Text that is shown for it, such as an expression or a marker's label.
        track: Track of the face; None for a marker.
    """

    start: float
    end: float
    kind: str
    label: str
    track: int | None = None


def _expression(face: Mapping[str, Any]) -> str | None:
    return face["expression"]["label"] if face["expression"] is not None else None


def _gesture(face: Mapping[str, Any]) -> str | None:
    gesture = (face.get("head_gesture") or {}).get("gesture")
    return gesture if gesture != "none" else None


def _flag(part: str, name: str, label: str) -> Value:
    return lambda face: label if (face.get(part) or {}).get(name) else None


def _unit(name: str) -> Value:
    return lambda face: name if face["aus"].get(name, 0.0) >= AU_THRESHOLD else None


BLINK, GESTURE, MARKER = "blink", "head gesture", "marker"
KINDS: Mapping[str, Value] = {
    "expression": _expression,
    "eyes closed": _flag("eyes", "closed", "closed"),
    GESTURE: _gesture,
    "speaking": _flag("speech", "speaking", "speaking"),
    **{name: _unit(name) for name in ACTION_UNITS},
}


@dataclass(slots=True)
class _Open:
    start: float
    label: str


@dataclass(slots=True)
class Episodes:
    """Find the episodes in the events of a recording.

    An episode begins with the picture that shows it, and ends with the first one that does not, or with the last one
    that did where the next picture came more than `LONGEST_GAP` later. The last picture lasts as long as its step.
    """

    _open: dict[tuple[int, str], _Open] = field(default_factory=dict)
    _found: list[Episode] = field(default_factory=list)
    _last: float | None = None
    _step: float = 0.0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take an event (schema affect/1) in."""
        marker = event.get("marker")
        if marker is not None:
            self._found.append(Episode(marker["t"], marker["t"], MARKER, marker["label"]))
        if not has_picture(event):
            return
        t = event["t"]
        if self._last is not None:
            if t - self._last > LONGEST_GAP:
                self._end_all(self._last + self._step)
            else:
                self._step = t - self._last
        self._last = t
        shown: dict[tuple[int, str], str] = {}
        for face in event["faces"]:
            track = face["track"]
            for kind, value in KINDS.items():
                label = value(face)
                if label is not None:
                    shown[track, kind] = label
            blink = (face.get("eyes") or {}).get("blink_ms")
            if blink is not None:
                self._found.append(Episode(max(0.0, t - blink / 1000), t, BLINK, "blink", track))
        for key, running in list(self._open.items()):
            if shown.get(key) != running.label:
                self._end(key, t)
        for key, label in shown.items():
            self._open.setdefault(key, _Open(t, label))

    def all(self) -> list[Episode]:
        """Return the episodes of all events that were taken in, in the order of their begin."""
        if self._last is not None:
            self._end_all(self._last + self._step)
        return sorted(self._found, key=lambda episode: (episode.start, episode.end, episode.kind, episode.track or 0))

    def _end_all(self, t: float) -> None:
        for key in list(self._open):
            self._end(key, t)

    def _end(self, key: tuple[int, str], t: float) -> None:
        running = self._open.pop(key)
        self._found.append(Episode(running.start, t, key[1], running.label, key[0]))


def episodes(events: Iterable[Mapping[str, Any]]) -> list[Episode]:
    """Return the episodes in the events of a recording."""
    found = Episodes()
    for event in events:
        found.take(event)
    return found.all()
