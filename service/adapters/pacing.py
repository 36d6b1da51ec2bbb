"""When a model is asked, and what is kept of each track between two answers. On the session clock alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.perception.face import Face

FORGET = 1.0  # s without its face, after which a track's state is dropped
_EARLY = 0.010  # s; a frame may come this much before its turn, because cameras jitter


def period_at(t: float, seconds: float) -> int:
    """The period of `seconds` that a frame at `t` belongs to, counted from 0."""
    return int((t + min(_EARLY, seconds / 4)) / seconds)


class Pacer:
    """A question at most in each period of 1 / `rate` s, counted from 0, and none while an answer is awaited."""

    def __init__(self, rate: float) -> None:
        self._period = 1.0 / rate
        self._last = -1  # period of the last question
        self._awaiting = False  # the answer to it

    def due(self, t: float) -> bool:
        """Whether it is time to ask at `t`; if so, an answer is awaited from now on."""
        if self._awaiting:
            return False
        period = period_at(t, self._period)
        if period <= self._last:
            return False
        self._last, self._awaiting = period, True
        return True

    def answered(self) -> None:
        """The answer is there, or will never be."""
        self._awaiting = False


class Carried:
    """A network's state of every track, from one answer to the next question. Zeros begin a track.

    `shape`: of one track's state. `horizon`: questions after which a track begins anew; None: never.
    """

    def __init__(self, shape: Sequence[int], horizon: int | None = None) -> None:
        self._zero = np.zeros(tuple(shape), np.float32)
        self._horizon = horizon
        self._seen: dict[int, float] = {}  # track -> s
        self._states: dict[int, NDArray[np.float32]] = {}
        self._steps: dict[int, int] = {}  # answers since the track began
        self._read: dict[int, float] = {}  # s, of the last question that was answered

    def see(self, t: float, faces: Sequence[Face]) -> None:
        """Takes note, at every frame, of who is there; forgets who is gone."""
        for track in [track for track, seen in self._seen.items() if t - seen > FORGET]:
            del self._seen[track]
            self._forget(track)
        self._seen |= {face.track: t for face in faces}

    def stack(self, faces: Sequence[Face]) -> NDArray[np.float32]:
        """(faces, ...): what goes in with the next question."""
        for face in faces:
            if self._horizon is not None and self._steps.get(face.track, 0) >= self._horizon:
                self._forget(face.track)
        return np.stack([self._states.get(face.track, self._zero) for face in faces])

    def keep(self, t: float, faces: Sequence[Face], states: NDArray[np.generic]) -> None:
        """Takes (faces, ...) that came out for the question of `t`."""
        for face, state in zip(faces, np.asarray(states, np.float32), strict=True):
            self._states[face.track] = state.copy()
            self._steps[face.track] = self._steps.get(face.track, 0) + 1
            self._read[face.track] = t

    def read(self, track: int) -> float | None:
        """Seconds, of the last question about `track` that was answered; None: the state is zero."""
        return self._read.get(track)

    def _forget(self, track: int) -> None:
        for kept in (self._states, self._steps, self._read):
            kept.pop(track, None)
