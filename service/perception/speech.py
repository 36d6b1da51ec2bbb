"""Is somebody speaking, and how loud is it: from the mel columns, causally and by session time alone.

Each mel channel has a noise floor of its own, the least that it was in the last seconds (minimum statistics, Martin
2001). Speech lies well above it over the channels of the voice, and swings in level with its syllables, which steady
noise does not; so gain and background matter little.
"""

from collections import deque
from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE
from service.perception.mel import HOP, LATE, N_FFT, WINDOW, MelStream, grid

VOICE_HZ = (100.0, 4000.0)
SMOOTHING = 0.3  # weight of a new column (10 ms) in the running mean of its channel
FLOOR_BLOCK = 50  # columns; the floor is the least of the running block and of the FLOOR_BLOCKS before
FLOOR_BLOCKS = 8  # 4 s
MIN_SNR_DB = 8.0  # mean over the voice's channels above their floors, each counted up to MAX_SNR_DB
MAX_SNR_DB = 30.0
SETTLING_COLUMNS = 10  # at the start, in which the running means are filled
SWING_COLUMNS = 40
MIN_SWING_DB = 6.0  # between the loudest and the softest of the last 0.4 s
MIN_LEVEL_DB = -75.0  # dBFS in the voice's channels; below it there is nothing to hear
ONSET_COLUMNS = 4  # of evidence in a row; a click is shorter
HANGOVER_COLUMNS = 30  # speech goes on over pauses between syllables and words
LEVEL_COLUMNS = 10
HEARD_COLUMNS = 300  # 3 s in which speech is counted
# Mel power to mean square: both halves of the spectrum, over the energy of the Hann window (3/8 of its length).
_MEAN_SQUARE = 2.0 / (N_FFT * WINDOW * 3 / 8)


@dataclass(frozen=True, slots=True)
class AudioStatus:
    """`status`: "speech", "silence" or "no_sound". `age_ms`: since the newest sound that was heard, None before any.
    `level_db`: dBFS of the last 100 ms (a full-scale sine is -3), None without sound.
    """

    status: str
    age_ms: int | None
    level_db: float | None
    speech_s: float = 0.0  # s of speech within the last 3 s


class SpeechDetector:
    """Reads the columns of `mel` as time goes on. Ask at least every 10 s: older columns are gone unheard."""

    def __init__(self, mel: MelStream) -> None:
        self._mel = mel
        self._voice = _channels(*VOICE_HZ)
        self._next: int | None = None  # column
        self._smooth: NDArray[np.float32] | None = None  # (voice channels,) dB
        self._block: NDArray[np.float32]  # least of the running block
        self._blocks: deque[NDArray[np.float32]] = deque(maxlen=FLOOR_BLOCKS)
        self._before: NDArray[np.float32] | None = None  # least of the blocks before
        self._loudness = 0.0  # dBFS in the voice's channels, running mean
        self._recent: deque[float] = deque(maxlen=SWING_COLUMNS)
        self._squares: deque[float] = deque(maxlen=LEVEL_COLUMNS)
        self._settling = SETTLING_COLUMNS
        self._evidence = 0  # columns in a row
        self._hangover = 0  # columns left
        self._spoken: deque[bool] = deque(maxlen=HEARD_COLUMNS)

    def status(self, t: float) -> AudioStatus:
        """What is heard at `t` (seconds on the session clock, never going back), from sound before `t` only."""
        self._hear(t)
        if self._next is None:
            return AudioStatus("no_sound", None, None)
        age = max(t - self._next * HOP / SAMPLE_RATE, 0.0)
        age_ms = round(age * 1e3)
        if age > LATE:
            return AudioStatus("no_sound", age_ms, None)
        square = sum(self._squares) / len(self._squares) if self._squares else 0.0
        level = round(10.0 * log10(max(square, 1e-10)), 1)
        spoken = round(sum(self._spoken) * HOP / SAMPLE_RATE, 2)
        return AudioStatus("speech" if self._hangover else "silence", age_ms, level, spoken)

    def _hear(self, t: float) -> None:
        if not self._mel.started:
            return
        if self._next is None:
            self._next = self._mel.first
        last = min(self._mel.columns, int(t * SAMPLE_RATE + 1e-4) // HOP)
        first = max(self._next, self._mel.oldest)
        if last <= first:
            return
        db = self._mel.decibels(first, last)
        power = np.power(10.0, db.astype(np.float64) / 10.0) * _MEAN_SQUARE
        whole, voice = power.sum(0), power[self._voice].sum(0)
        loudness = 10.0 * np.log10(np.maximum(voice, 1e-12))
        channels = np.ascontiguousarray(db[self._voice].T)
        self._squares.extend(whole.tolist())
        for k, (column, level) in enumerate(zip(channels, loudness.tolist(), strict=True), first):
            self._column(k, column, level)
        self._next = last

    def _column(self, k: int, db: NDArray[np.float32], loudness: float) -> None:
        """One column of 10 ms."""
        if self._smooth is None:
            self._smooth, self._loudness = db.copy(), loudness
        self._smooth += np.float32(SMOOTHING) * (db - self._smooth)
        self._loudness += SMOOTHING * (loudness - self._loudness)
        if self._settling:  # decoders and microphones fade in; that is no floor
            self._settling -= 1
            self._block = self._smooth.copy()
            return
        if k % FLOOR_BLOCK == 0:
            self._blocks.append(self._block)
            self._before = np.minimum.reduce(list(self._blocks))
            self._block = self._smooth.copy()
        np.minimum(self._block, self._smooth, out=self._block)
        floor = self._block if self._before is None else np.minimum(self._block, self._before)
        self._recent.append(self._loudness)
        snr = float(np.minimum(self._smooth - floor, MAX_SNR_DB).sum()) / len(floor)
        swing = max(self._recent) - min(self._recent)
        heard = snr >= MIN_SNR_DB and swing >= MIN_SWING_DB and self._loudness >= MIN_LEVEL_DB
        self._evidence = self._evidence + 1 if heard else 0
        if self._evidence >= ONSET_COLUMNS:
            self._hangover = HANGOVER_COLUMNS
        elif self._hangover:
            self._hangover -= 1
        self._spoken.append(self._hangover > 0)


def _channels(low: float, high: float) -> slice:
    """Mel channels whose centres lie between two frequencies."""
    centres = grid()[1][1:-1]
    inside = np.flatnonzero((centres >= low) & (centres <= high))
    return slice(int(inside[0]), int(inside[-1]) + 1)
