"""Nods and shakes of one face, from the turns of its head.

The last two seconds of an angle are cut into swings, from one turning point to the next. A nod is a swing of pitch and
the swing back; a shake is three swings of yaw, because a glance aside and back is two. All are quick, and the other
angle moves less meanwhile. Everything is causal and in seconds: a gesture is told once the last swing is large enough.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.perception.face import Face

SWING = 4.0  # degrees of the least swing; a head at rest trembles by less than one, and speech moves it by one to three
REST = 0.8  # degrees within which the head is still at its turning point
SLOWEST = 0.6  # s of a swing, and of a rest between two; nods and shakes have two to eight swings a second
RETURN = 0.5  # part of the larger of two neighbouring swings that the smaller one has at least
NODDING, SHAKING = 2, 3  # swings
HOLD = 0.6  # s for which a gesture goes on after its last swing, so that a row of slow swings is one gesture
MAX_GAP = 0.2  # s between frames beyond which a swing may be missed
WINDOW = 2.0  # s

Entry = dict[str, Any]
Gesture = Literal["nod", "shake"]


@dataclass(slots=True)
class Swing:
    """Hold one swing of an angle.

    Attributes:
        left: Seconds, when the angle left the turning point before.
        reached: Seconds, when it reached its furthest value.
        start: Degrees at the turning point before.
        end: Degrees of the furthest value.
        rested: Seconds, when it was last near that value.
    """

    left: float
    reached: float
    start: float
    end: float
    rested: float

    @property
    def size(self) -> float:
        """Return the degrees of the swing, without its sign."""
        return abs(self.end - self.start)


def swings_of(times: Sequence[float], angles: Sequence[float]) -> list[Swing]:
    """Return the swings of at least `SWING` degrees in `angles` at `times` (seconds, rising), oldest first.

    The last one may still be going on.
    """
    done: list[Swing] = []
    now: Swing | None = None
    high = low = Swing(times[0], times[0], angles[0], angles[0], times[0])
    for t, x in zip(times, angles, strict=True):
        if now is None:
            high, low = _further(high, t, x, 1), _further(low, t, x, -1)
            if x - low.end >= SWING:
                now = Swing(low.rested, t, low.end, x, t)
            elif high.end - x >= SWING:
                now = Swing(high.rested, t, high.end, x, t)
        elif abs(x - now.end) >= SWING and (x > now.end) != (now.end > now.start):
            done.append(now)
            now = Swing(now.rested, t, now.end, x, t)
        else:
            now = _further(now, t, x, 1 if now.end > now.start else -1)
    return done if now is None else [*done, now]


def _further(swing: Swing, t: float, x: float, sign: int) -> Swing:
    """Return `swing` with `x` degrees at `t` seconds, where that is further on, or still at the turning point."""
    beyond = (x - swing.end) * sign
    if beyond > 0:
        return Swing(swing.left, t if beyond > REST / 10 else swing.reached, swing.start, x, t)
    return Swing(swing.left, swing.reached, swing.start, swing.end, t) if beyond > -REST else swing


def quick_in_a_row(swings: Sequence[Swing]) -> list[Swing]:
    """Return the newest of `swings` that are quick, of like size and follow each other at once, oldest first."""
    row: list[Swing] = []
    for swing in reversed(swings):
        if swing.reached - swing.left > SLOWEST:
            break
        if row and (row[0].left - swing.reached > SLOWEST or not _alike(swing.size, row[0].size)):
            break
        row.insert(0, swing)
    return row


def _alike(a: float, b: float) -> bool:
    return min(a, b) >= RETURN * max(a, b)


class HeadGestures:
    """Follow the head of one track. The result depends on nothing but what `update` was given, in that order."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._angles: dict[Gesture, deque[float]] = {"nod": deque(), "shake": deque()}
        self._counts: dict[Gesture, int] = {"nod": 0, "shake": 0}
        self._gesture: Gesture | None = None
        self._until = 0.0  # s, when the gesture is over unless the head swings on

    def update(self, t: float, face: Face, unread: list[str]) -> Entry:
        """Return the event's `head_gesture` of `face` at `t` seconds, which never goes back.

        `unread` are the reasons for which the face cannot be read: its pose is a guess, and no gesture is told.
        """
        rare = bool(self._times) and not 0 <= t - self._times[-1] <= MAX_GAP
        if unread or rare:
            self._times.clear()
            for angles in self._angles.values():
                angles.clear()
            self._gesture = None
        if unread:
            return self.entry(unread)
        self._times.append(t)
        self._angles["nod"].append(face.head_pose.pitch)
        self._angles["shake"].append(face.head_pose.yaw)
        while t - self._times[0] > WINDOW:
            self._times.popleft()
            for angles in self._angles.values():
                angles.popleft()
        if self._gesture is not None and t > self._until:
            self._gesture = None
        found = self._find(t)
        if found is not None and self._gesture in (None, found[0]):
            self._counts[found[0]] += self._gesture is None
            self._gesture, self._until = found[0], found[1] + HOLD
        return self.entry(["too_few_frames"] if rare else [])

    def entry(self, reasons: list[str]) -> Entry:
        """Return the event's `head_gesture` as it is now; unknown for `reasons`, if there are any."""
        return {
            "gesture": None if reasons else self._gesture or "none",
            "nods": self._counts["nod"],
            "shakes": self._counts["shake"],
            "reasons": reasons,
        }

    def _find(self, t: float) -> tuple[Gesture, float] | None:
        """Return the gesture that goes on at `t` seconds, and when its last swing reached its end."""
        kinds: tuple[tuple[Gesture, Gesture, int], ...] = (("nod", "shake", NODDING), ("shake", "nod", SHAKING))
        for name, other, least in kinds:
            angles = self._angles[name]
            if max(angles) - min(angles) < SWING:  # true of most frames, and cheap
                continue
            row = quick_in_a_row(swings_of(self._times, angles))[-least:]
            if len(row) < least or t - row[-1].reached > HOLD:
                continue
            aside = [x for when, x in zip(self._times, self._angles[other], strict=True) if when >= row[0].left]
            if max(aside) - min(aside) < max(swing.size for swing in row):
                return name, row[-1].reached
        return None
