"""Detect speech and its level, by Silero's network, causally and by session time alone."""

from collections import deque
from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE
from service.perception.mel import HOP, LATE, MelStream
from service.perception.silero import FRAME, RATE, State, speech_network
from service.perception.wideband import WidebandStream

SPEECH, NO_SPEECH = 0.5, 0.35  # probabilities at which speech begins and goes on, as Silero's authors advise
HANGOVER = 0.3  # s for which speech goes on over pauses between syllables and words
HEARD = 3.0  # s in which speech is counted
_LEVEL_COLUMNS = 10
_KEPT = round(13 * RATE / FRAME)  # frames


@dataclass(frozen=True, slots=True)
class AudioStatus:
    """Say what is heard.

    `status` is "speech", "silence" or "no_sound". `age_ms` is the time since the newest sound that was heard, None
    before any. `level_db` is that of the last 100 ms in dBFS (a full-scale sine is -3), None without sound.
    """

    status: str
    age_ms: int | None
    level_db: float | None
    speech_s: float = 0.0  # s of speech within the last 3 s


class SpeechDetector:
    """Detect speech in a `MelStream` as time goes on. Call it at least every 10 s, because older sound is dropped.

    `sound` is the same at 16 kHz, and `probability` tells of each of its frames whether it is speech.
    """

    def __init__(self, mel: MelStream) -> None:
        """Raise `WeightsError` if the network's file is missing or altered."""
        self._mel = mel
        self.sound = WidebandStream(mel)
        self._network, self._state = speech_network(), State()
        self._column: int | None = None  # the next
        self._squares: deque[float] = deque(maxlen=_LEVEL_COLUMNS)
        self._frame: int | None = None  # of 32 ms, the next
        self._ring = np.zeros(_KEPT, np.float32)  # probability of each frame
        self._spoken: tuple[int | None, float] = None, 0.0  # the next frame when it was counted, and s of speech
        self._until = -1.0  # s on the session clock, when speech ends unless more is heard

    def status(self, t: float) -> AudioStatus:
        """Return what is heard at `t` (seconds on the session clock, never going back), from sound before `t` only."""
        self._hear(t)
        if self._column is None:
            return AudioStatus("no_sound", None, None)
        age = max(t - self._column * HOP / SAMPLE_RATE, 0.0)
        age_ms = round(age * 1e3)
        if age > LATE:
            return AudioStatus("no_sound", age_ms, None)
        square = sum(self._squares) / len(self._squares) if self._squares else 0.0
        level = round(10.0 * log10(max(square, 1e-10)), 1)
        speaking = (self._frame or 0) * FRAME / RATE <= self._until + 1e-9
        return AudioStatus("speech" if speaking else "silence", age_ms, level, self._speech_s())

    def probability(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the probability of speech around samples `first`, `first` + 160 ... before `last`; 0 if unheard."""
        frames = np.arange(first, last, RATE // 100) // FRAME
        end = self._frame or 0
        heard = (frames < end) & (frames >= max(end - _KEPT, 0))
        return np.where(heard, self._ring[frames % _KEPT], np.float32(0))

    @property
    def frames_end(self) -> int:
        """Return the sample at 16 kHz up to which the probability of speech is known; 0 before any."""
        return (self._frame or 0) * FRAME

    def _speech_s(self) -> float:
        """Return the seconds of speech within the last 3 s that were heard."""
        if self._spoken[0] != self._frame:
            end = self._frame or 0
            frames = np.arange(max(end - round(HEARD * RATE / FRAME), 0), end)
            seconds = round(float((self._ring[frames % _KEPT] > SPEECH).sum()) * FRAME / RATE, 2)
            self._spoken = self._frame, seconds
        return self._spoken[1]

    def _hear(self, t: float) -> None:
        if not self._mel.started:
            return
        if self._column is None:
            self._column = self._mel.first
        last = min(self._mel.columns, int(t * SAMPLE_RATE + 1e-4) // HOP)
        first = max(self._column, self._mel.oldest)
        if last > first:
            samples = self._mel.samples(first * HOP, last * HOP).reshape(-1, HOP)
            self._squares.extend(np.square(samples).mean(1).tolist())
            self._column = last
        self.sound.advance(t)
        if not self.sound.started:
            return
        if self._frame is None:
            self._frame = -(-self.sound.first // FRAME)
        end = self.sound.end // FRAME
        if end - self._frame > _KEPT:
            self._ring.fill(0)
            self._frame, self._state = end - _KEPT, State()
        while self._frame < end:
            self._next(self.sound.samples(self._frame * FRAME, (self._frame + 1) * FRAME))

    def _next(self, samples: NDArray[np.float32]) -> None:
        """Compute the probability of speech in the next frame of 32 ms."""
        assert self._frame is not None
        heard = self._network(samples, self._state)
        self._ring[self._frame % _KEPT] = heard
        self._frame += 1
        now = self._frame * FRAME / RATE
        if heard >= SPEECH or (heard >= NO_SPEECH and now <= self._until):
            self._until = now + HANGOVER
