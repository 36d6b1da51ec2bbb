"""The running baseline of a speaker's voice: mean and deviation of what that voice has given so far.

Emotion is how a voice differs from itself at other times (Busso et al. 2011). The baseline is causal, weighted by
seconds of speech, and forgets what lies further back than `MEMORY` seconds of speech. How far it is trusted while it
holds little speech is part of the network (`models/voice_mt/network.py`).
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.voice_mt.functionals import NAMES

ROWS = 4  # of the network's input: functionals, mean and variance of the baseline, its seconds
MEMORY = 300.0  # s of speech, after which the oldest fades out
DELAY = 3.0  # s: what lies in the present window is not yet part of the baseline

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Hold a speaker's baseline: `mean` and `variance` (len(NAMES),) of `seconds` of speech, 0 and 0 without any."""

    mean: Floats
    variance: Floats
    seconds: float
    newest: float | None = None  # s on the session clock, of the newest speech in it


EMPTY = Baseline(np.zeros(len(NAMES), np.float32), np.zeros(len(NAMES), np.float32), 0.0)


def of(rows: NDArray[np.float64], seconds: NDArray[np.float64]) -> Baseline:
    """Return the baseline of utterances: `rows` (n, len(NAMES)) functionals, `seconds` (n,) of speech of each."""
    total = float(seconds.sum())
    if not total:
        return EMPTY
    mean = seconds @ rows / total
    variance = np.maximum(seconds @ np.square(rows - mean) / total, 0)
    return Baseline(mean.astype(np.float32), variance.astype(np.float32), total)


class RunningBaseline:
    """Collect a speaker's functionals as time goes on."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, NDArray[np.float64], float]] = deque()
        self._mean = np.zeros(len(NAMES))
        self._squares = np.zeros(len(NAMES))  # of deviations from the mean, weighted by seconds
        self._seconds = 0.0
        self._newest: float | None = None

    def add(self, t: float, row: Floats, seconds: float) -> None:
        """Take in functionals that were read at `t` seconds and bring `seconds` of speech that no earlier ones had."""
        if seconds > 0:
            self._waiting.append((t, row.astype(np.float64), seconds))

    def at(self, t: float) -> Baseline:
        """Return the baseline for a window that ends at `t` seconds, which never goes back."""
        while self._waiting and self._waiting[0][0] <= t - DELAY + 1e-9:
            self._newest, row, seconds = self._waiting.popleft()
            fade = min(1.0, max(MEMORY - seconds, 0.0) / self._seconds) if self._seconds else 1.0
            self._seconds *= fade
            self._squares *= fade
            self._seconds += seconds
            step = row - self._mean
            self._mean += step * (seconds / self._seconds)
            self._squares += seconds * step * (row - self._mean)
        if self._newest is None:
            return EMPTY
        variance = np.maximum(self._squares / self._seconds, 0)
        return Baseline(self._mean.astype(np.float32), variance.astype(np.float32), self._seconds, self._newest)
