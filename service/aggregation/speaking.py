"""Who speaks: the faces whose mouths move while there is speech in the session's sound.

The motion of a mouth is how far its lips travel towards and away from each other in a second, beyond what a single
opening or closing takes: a smile moves the lips once, speech moves them to and fro. Causal, and in seconds.
"""

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from math import dist
from typing import Any

from service.perception.face import Face
from service.perception.mesh import EYE_OUTER_LEFT, EYE_OUTER_RIGHT
from service.perception.speech import AudioStatus

UPPER_LIP, LOWER_LIP = 13, 14  # mesh points, inner side, in the middle
WINDOW = 1.0  # s
MOVES, RESTS = 0.15, 0.10  # distances between the outer eye corners a second, at which a mouth counts as moving or not
LEADS = 0.5  # part of the motion of the liveliest mouth that a face needs in order to count as speaking too
MAX_GAP = 0.2  # s between frames beyond which motion is unknown

Entry = dict[str, Any]


class Mouth:
    """Follow the mouth of one track. The result depends on nothing but what `update` was given, in that order."""

    def __init__(self) -> None:
        self._openings: deque[tuple[float, float]] = deque()  # s, distances of the lips over that of the eye corners
        self.motion: float | None = None  # see the module; None if unknown
        self.moves = False
        self.reasons: list[str] = []

    def update(self, t: float, face: Face, unread: list[str]) -> None:
        """Take the mouth of `face` in at `t` seconds, which never goes back.

        `unread` are the reasons for which the face cannot be read; its mouth is unknown for them.
        """
        self.reasons = list(unread)
        points = face.mesh[[EYE_OUTER_LEFT, EYE_OUTER_RIGHT, UPPER_LIP, LOWER_LIP]].tolist()
        unit = dist(points[0], points[1])
        if not self.reasons and unit == 0:
            self.reasons = ["unclear"]
        if not self.reasons and self._openings and not 0 <= t - self._openings[-1][0] <= MAX_GAP:
            self.reasons = ["too_few_frames"]
        if self.reasons:
            self._openings.clear()
            self.motion, self.moves = None, False
        if unit == 0 or self.reasons not in ([], ["too_few_frames"]):
            return
        self._openings.append((t, dist(points[2], points[3]) / unit))
        while t - self._openings[0][0] > WINDOW:
            self._openings.popleft()
        self._measure(t)

    def _measure(self, t: float) -> None:
        values = [x for _, x in self._openings]
        if t - self._openings[0][0] < WINDOW / 2:
            self.reasons = self.reasons or ["warming_up"]
            return
        travel = sum(abs(b - a) for a, b in pairwise(values)) - abs(values[-1] - values[0])
        self.motion = travel / (t - self._openings[0][0])
        self.moves = self.motion > (RESTS if self.moves else MOVES)


def speaking(mouths: Mapping[int, Mouth], heard: AudioStatus) -> dict[int, Entry]:
    """Return the event's `speech` of each face by track, from the `mouths` in this frame and what is `heard`."""
    liveliest = max((mouth.motion or 0.0 for mouth in mouths.values()), default=0.0)
    return {track: _entry(mouth, heard, liveliest) for track, mouth in mouths.items()}


def unknown(reasons: list[str]) -> Entry:
    """Return the event's `speech` of a face of which nothing is known, for `reasons`."""
    return {"speaking": None, "mouth_motion": None, "reasons": reasons}


def _entry(mouth: Mouth, heard: AudioStatus, liveliest: float) -> Entry:
    motion = None if mouth.motion is None else round(mouth.motion, 3)
    if heard.status == "no_sound":
        return {"speaking": None, "mouth_motion": motion, "reasons": [*mouth.reasons, "no_sound"]}
    if heard.status == "silence":
        return {"speaking": False, "mouth_motion": motion, "reasons": mouth.reasons if motion is None else []}
    if mouth.motion is None:
        return unknown(mouth.reasons)
    return {
        "speaking": mouth.moves and mouth.motion >= LEADS * liveliest,
        "mouth_motion": motion,
        "reasons": [],
    }
