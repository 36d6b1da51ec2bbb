"""Eye opening and blinks of one face, from the aspect ratios of its eyes, against the person's own open eyes.

A blink is a fall of the ratio that is quick, deep and soon undone; lids that stay down are closed eyes, and a slow
change is a look down or a smile. Everything is causal and in seconds: a blink is reported when it has ended.
"""

from collections import deque
from math import isfinite
from typing import Any

import numpy as np

from service.perception.face import Face

# Aspect ratio of an open eye, before anything is known of the person: the median of 445 web photographs from ahead.
TYPICAL = 0.29
PRIOR = 3.0  # s that the typical eye counts for in the person's level
HALF_LIFE = 60.0  # s after which what was seen of the level counts half
_QUANTILE = 0.6  # of the ratios, as the level of open eyes: above the middle, since lids are lowered more than raised
SHUT = 0.58  # of the level, where the mesh leaves the lids of a shut eye
CLOSED, REOPENED = 0.68, 0.74  # of the level, below which lids count as down, and above which no longer
FALL = 0.12  # part by which the ratio falls within `BEFORE` at the beginning of a blink
DEPTH = 0.18  # part by which it falls in all; on the clip the shallowest of six blinks has 0.26, other falls 0.16
BEFORE = 0.3  # s before, whose widest opening a fall is measured from
LONGEST = 0.5  # s of a blink; lids that are down for longer are closed
BACK = 0.5  # part of the fall that is undone where a blink ends
AWAKE = 0.76  # of the level, above which an eye can begin to blink
MAX_GAP = 0.1  # s between frames beyond which a blink may be missed
RATE_WINDOW = 60.0  # s
MIN_SEEN = 10.0  # s of it in which the eyes were seen before there is a rate
NEAR_EYE = 20.0  # degrees of yaw beyond which only the eye that is nearer to the camera is read
_BINS, _WIDEST = 120, 0.6

Entry = dict[str, Any]


class Eyes:
    """Follow the eyes of one track. The result depends on nothing but what `update` was given, in that order."""

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS)  # seconds by ratio
        self._bins[int(TYPICAL / _WIDEST * _BINS)] = PRIOR
        self._level = TYPICAL
        self._t: float | None = None  # s, of the last readable frame
        self._before: deque[tuple[float, float]] = deque()  # s and ratios of the last `BEFORE` seconds
        self._fall: tuple[float, float, float] | None = None  # s when a fall began, the ratio before, the lowest since
        self._down: float | None = None  # s since when the lids are down
        self._seen: deque[tuple[int, float]] = deque()  # whole seconds, and how much of them was seen
        self._ends: deque[float] = deque()  # s, ends of the blinks of the last minute
        self._count = 0

    def update(self, t: float, face: Face, unread: list[str]) -> Entry:
        """Return the event's `eyes` of `face` at `t` seconds, which never goes back.

        `unread` are the reasons for which the face cannot be read; the eyes are null with them.
        """
        ratio = ratio_of(face)
        if unread or ratio is None:
            self._interrupt()
            return self.entry(t, unread or ["unclear"])
        if self._t is not None and not 0 <= t - self._t <= MAX_GAP:
            self._interrupt()
            rare = True
        else:
            rare = False
        step = 0.0 if self._t is None else t - self._t
        self._t = t
        blink = self._blink(t, ratio)
        self._lids(t, ratio)
        if self._down is None and self._fall is None:
            self._learn(ratio, step)
        if step:
            self._note(t, step)
        openness = (ratio / self._level - SHUT) / (1 - SHUT)
        entry = self.entry(t, ["too_few_frames"] if rare else [])
        entry["openness"] = round(min(max(openness, 0.0), 1.0), 3) + 0.0
        entry["closed"] = self._down is not None and t - self._down > LONGEST
        entry["blink_ms"] = None if blink is None else round(blink * 1e3)
        return entry

    def entry(self, t: float, reasons: list[str]) -> Entry:
        """Return the event's `eyes` at `t` seconds where they are not read, for `reasons`."""
        while self._seen and self._seen[0][0] < t - RATE_WINDOW:
            self._seen.popleft()
        while self._ends and self._ends[0] <= t - RATE_WINDOW:
            self._ends.popleft()
        seen = sum(part for _, part in self._seen)
        rate = round(60.0 * len(self._ends) / seen, 1) if seen >= MIN_SEEN else None
        return {
            "openness": None,
            "closed": None,
            "blink_ms": None,
            "blinks": self._count,
            "blinks_per_min": rate,
            "reasons": reasons if rate is not None or reasons else ["warming_up"],
        }

    def _interrupt(self) -> None:
        """Forget what a blink is recognised by; the person's level and the count stay."""
        self._before.clear()
        self._fall = self._down = self._t = None

    def _blink(self, t: float, ratio: float) -> float | None:
        """Return the seconds that a blink took which ends at `t`; None without one."""
        while self._before and self._before[0][0] < t - BEFORE:
            self._before.popleft()
        ended = None
        if self._fall is None:
            widest = max((x for _, x in self._before), default=ratio)
            if ratio < (1 - FALL) * widest and widest > AWAKE * self._level and self._down is None:
                self._fall = (t, widest, ratio)
        if self._fall is not None:
            began, widest, lowest = self._fall
            lowest = min(lowest, ratio)
            self._fall = (began, widest, lowest)
            if t - began > LONGEST:
                self._fall = None
                self._before.clear()
            elif ratio > lowest + BACK * (widest - lowest):
                if lowest < (1 - DEPTH) * widest:
                    ended = t - began
                    self._ends.append(t)
                    self._count += 1
                self._fall = None
                self._before.clear()
        self._before.append((t, ratio))
        return ended

    def _lids(self, t: float, ratio: float) -> None:
        """Note since when the lids are down."""
        if ratio > REOPENED * self._level:
            self._down = None
        elif self._down is None and ratio < CLOSED * self._level:
            self._down = t

    def _learn(self, ratio: float, step: float) -> None:
        """Take `ratio`, which stands for `step` seconds, into the level of this person's open eyes."""
        self._bins *= 0.5 ** (step / HALF_LIFE)
        self._bins[min(int(ratio / _WIDEST * _BINS), _BINS - 1)] += step
        sums = self._bins.cumsum()
        self._level = (int(sums.searchsorted(_QUANTILE * sums[-1])) + 0.5) * _WIDEST / _BINS

    def _note(self, t: float, step: float) -> None:
        """Count `step` seconds that end at `t` as seen."""
        second = int(t)
        before = self._seen.pop()[1] if self._seen and self._seen[-1][0] == second else 0.0
        self._seen.append((second, before + step))


def ratio_of(face: Face) -> float | None:
    """Return the aspect ratio of the eyes, of the nearer one alone where the head is turned; None if unknown."""
    left, right = face.eyes
    if left is None or right is None or not (isfinite(left) and isfinite(right)):
        return None
    if abs(face.head_pose.yaw) <= NEAR_EYE:
        return (left + right) / 2
    return left if face.head_pose.yaw > 0 else right
