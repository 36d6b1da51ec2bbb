"""Markers of one session: their times are checked, their rate is bounded, and they wait for the session's thread."""

import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from models.errors import UserError
from service.events import MARKER_LENGTH
from service.register import SessionOver, TooMany

AHEAD = 0.5  # s that a marker may lie after now: the clocks of two machines differ
RATE, BURST = 10.0, 50  # markers a second in the long run, and at once


@dataclass(frozen=True, slots=True)
class _Moment:
    """Hold one moment by the session's clock, this machine's wall clock and its monotonic clock, all in seconds."""

    t: float
    at: float
    monotonic: float


class Markers:
    """Take the markers of one session. `follow` and `take` are called in the session's thread, `add` in any."""

    def __init__(self, session: str) -> None:
        """Begin without a clock: no marker is taken before `follow` was called."""
        self._session = session
        self._now: _Moment | None = None
        self._lock = threading.Lock()
        self._waiting: deque[dict[str, Any]] = deque()
        self._allowance, self._refilled = float(BURST), time.monotonic()

    def follow(self, t: float, at: float) -> None:
        """Note that second `t` of the session was the Unix time `at`, which is in the recent past."""
        self._now = _Moment(t, at, time.monotonic() - max(0.0, time.time() - at))

    @property
    def began(self) -> float | None:
        """Return the Unix time of the session's second 0; None before `follow` was called."""
        now = self._now
        return None if now is None else now.at - now.t

    def add(self, label: str, t: float | None = None, at: datetime | None = None) -> dict[str, Any]:
        """Return the marker (see `service.events.Marker`) of second `t`, or of the wall clock's `at`, or of now.

        Raise `UserError` for an empty, long or unprintable label and for a time outside the session, `TooMany` for more
        than `RATE` markers a second, and `SessionOver` before the session has shown anything.
        """
        label = checked_label(label)
        now = self._now
        if now is None:
            raise SessionOver(
                f"the session {self._session!r} has shown nothing yet, so that a marker would have no time; wait until "
                "its state is live"
            )
        if t is not None and at is not None:
            raise UserError("a marker has either t, in seconds of the session, or at, by the wall clock; leave one out")
        if at is not None and at.tzinfo is None:
            raise UserError(f"the marker's time {at.isoformat()} has no time zone; add one, such as Z for UTC")
        present = now.t + time.monotonic() - now.monotonic
        moment = present if t is None and at is None else t if t is not None else now.t + at.timestamp() - now.at  # type: ignore[union-attr]
        if not 0 <= moment <= present + AHEAD:
            raise UserError(
                f"the marker's time, {moment:.9g} s of the session {self._session!r}, lies outside of it: it is at "
                f"{present:.3f} s, and began at 0; give an earlier time, or none for now"
            )
        wall = datetime.fromtimestamp(now.at + moment - now.t, UTC)
        marker = {
            "label": label,
            "t": round(moment, 3),
            "at": wall.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z",
        }
        with self._lock:
            self._spend()
            self._waiting.append(marker)
        return marker

    def take(self) -> list[dict[str, Any]]:
        """Return the markers that were added since the last call, in order."""
        with self._lock:
            taken = [*self._waiting]
            self._waiting.clear()
        return taken

    def _spend(self) -> None:
        now = time.monotonic()
        self._allowance = min(float(BURST), self._allowance + RATE * (now - self._refilled))
        self._refilled = now
        if self._allowance < 1:
            raise TooMany(
                f"the session {self._session!r} gets more markers than the {RATE:g} a second that are allowed; send "
                "fewer"
            )
        self._allowance -= 1


def checked_label(label: str) -> str:
    """Return `label` without blanks at its ends. Raise `UserError` if it is empty, too long or not printable."""
    label = label.strip()
    if not label:
        raise UserError("the marker's label is empty; name what happened, such as stimulus_1")
    if len(label) > MARKER_LENGTH:
        raise UserError(f"the marker's label has {len(label)} characters; {MARKER_LENGTH} are allowed")
    if not label.isprintable():
        raise UserError("the marker's label holds a line break or another unprintable character; leave it out")
    return label
