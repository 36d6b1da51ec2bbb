"""When a model is run, and what is kept of each track between two answers; by the session clock alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.perception.face import Face

FORGET = 1.0  # s without its face after which a track's state is dropped
_EARLY = 0.010  # s that a frame may come before its period, because cameras jitter


def period_at(t: float, seconds: float) -> int:
    """Return the number, counted from 0, of the period of `seconds` that a frame at `t` seconds belongs to."""
    return int((t + min(_EARLY, seconds / 4)) / seconds)


class Pacer:
    """Allow one request in each period of 1 / `rate` s, and none while an answer is awaited."""

    def __init__(self, rate: float) -> None:
        """Begin with the first period; `rate` is in requests a second."""
        self._period = 1.0 / rate
        self._last = -1  # period of the last request
        self._awaiting = False  # the answer to it

    def due(self, t: float) -> bool:
        """Return whether a request is due at `t` seconds; if so, its answer is awaited from now on."""
        if self._awaiting:
            return False
        period = period_at(t, self._period)
        if period <= self._last:
            return False
        self._last, self._awaiting = period, True
        return True

    def answered(self) -> None:
        """Note that the answer came, or that there will be none."""
        self._awaiting = False


class Carried:
    """Keep a recurrent network's state of every track from one answer to the next request. A track begins with zeros.

    The state of a track whose face is gone is dropped, also where its last answer comes after that.
    """

    def __init__(self, shape: Sequence[int], horizon: int | None = None) -> None:
        """Begin without tracks.

        Args:
            shape: Shape of one track's state.
            horizon: Requests after which a track begins anew; None for never.
        """
        self._zero = np.zeros(tuple(shape), np.float32)
        self._horizon = horizon
        self._seen: dict[int, float] = {}  # track -> s
        self._states: dict[int, NDArray[np.float32]] = {}
        self._steps: dict[int, int] = {}  # answers since the track began
        self._read: dict[int, float] = {}  # s, of the last request that was answered

    def see(self, t: float, faces: Sequence[Face]) -> None:
        """Note, at every frame, which faces are there, and drop the state of those that are gone."""
        for track in [track for track, seen in self._seen.items() if t - seen > FORGET]:
            del self._seen[track]
            self._forget(track)
        self._seen |= {face.track: t for face in faces}

    def stack(self, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Return the states (faces, ...) that go in with the next request."""
        for face in faces:
            if self._horizon is not None and self._steps.get(face.track, 0) >= self._horizon:
                self._forget(face.track)
        return np.stack([self._states.get(face.track, self._zero) for face in faces])

    def keep(self, t: float, faces: Sequence[Face], states: NDArray[np.generic]) -> None:
        """Keep the `states` (faces, ...) that came out for the request at `t` seconds, of tracks that are not gone."""
        for face, state in zip(faces, np.asarray(states, np.float32), strict=True):
            if face.track not in self._seen:
                continue
            self._states[face.track] = state.copy()
            self._steps[face.track] = self._steps.get(face.track, 0) + 1
            self._read[face.track] = t

    def read(self, track: int) -> float | None:
        """Return the seconds of the last request about `track` that was answered; None if its state is zero."""
        return self._read.get(track)

    def _forget(self, track: int) -> None:
        for kept in (self._states, self._steps, self._read):
            kept.pop(track, None)
