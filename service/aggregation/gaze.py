"""Where one face looks, read five times a second and held in between."""

from collections.abc import Callable
from typing import Any

from service.perception.face import Face
from service.perception.gaze_reader import GazeAngles

PERIOD = 0.2  # s between readings; looks rest for about as long
SHUT = 0.25  # opening of the eyes below which there is no iris to be seen

Entry = dict[str, Any]
ReadGaze = Callable[[Face], GazeAngles | None]


class Gaze:
    """Follow the gaze of one track. The result depends on nothing but what `update` was given, in that order."""

    def __init__(self, read: ReadGaze) -> None:
        """Begin with nothing read; `read` gives the angles of a face."""
        self._read = read
        self._t = 0.0  # s, of the last reading
        self._angles: GazeAngles | None = None

    def update(self, t: float, face: Face, unread: list[str], openness: float | None) -> Entry:
        """Return the event's `gaze` of `face` at `t` seconds, which never goes back.

        Args:
            t: Seconds on the session clock.
            face: The face in this frame.
            unread: Reasons for which the face cannot be read.
            openness: Openness of its eyes, 0 to 1; None if unknown.
        """
        if not unread and openness is not None and openness < SHUT:
            unread = ["eyes_closed"]
        if unread:
            self._angles = None
            return entry(unread)
        if self._angles is None or t - self._t >= PERIOD - 1e-6:
            self._t, self._angles = t, self._read(face)
        if self._angles is None:
            return entry(["unclear"])
        return {
            "yaw": round(self._angles.yaw, 1) + 0.0,
            "pitch": round(self._angles.pitch, 1) + 0.0,
            "age_ms": round((t - self._t) * 1e3),
            "reasons": [],
        }


def entry(reasons: list[str]) -> Entry:
    """Return the event's `gaze` where it is unknown, for `reasons`."""
    return {"yaw": None, "pitch": None, "age_ms": None, "reasons": reasons}
