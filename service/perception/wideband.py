"""Sound at 16 kHz, streaming and causal: what the speech detector and the descriptors of the voice read.

It is resampled from the session's 44.1 kHz in blocks of 20 ms that overlap by as much, in the frequency domain, with
nothing above 8 kHz and all below 7 kHz. A block depends on the sound alone, never on the pieces in which it came.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE
from service.perception.mel import MelStream

RATE = 16_000  # Hz
_IN, _OUT = 882, 320  # samples of a block of 20 ms before and after
_PASS, _STOP = 7000.0, 8000.0  # Hz, between which the filter falls off
_KEPT = 13 * RATE  # samples

Floats = NDArray[np.float32]


@cache
def _filter() -> Floats:
    """Return the gain of each bin of 25 Hz up to 8 kHz."""
    hertz = np.fft.rfftfreq(2 * _IN, 1 / SAMPLE_RATE)[: _OUT + 1]
    fall = np.clip((hertz - _PASS) / (_STOP - _PASS), 0, 1)
    return np.asarray((1 + np.cos(np.pi * fall)) / 2 * _OUT / _IN, np.float32)


def _resample(pieces: Floats) -> Floats:
    """Return (n, 320) samples of the middle of pieces (n, 1764)."""
    bins = np.fft.rfft(pieces)[:, : _OUT + 1] * _filter()
    return np.asarray(np.fft.irfft(bins, 2 * _OUT)[:, _OUT // 2 : _OUT // 2 + _OUT], np.float32)


def wideband(samples: Floats) -> Floats:
    """Return a whole recording at 44.1 kHz, (n,) float32, at 16 kHz: what a `WidebandStream` gives of it."""
    blocks = len(samples) // _IN
    around = np.pad(np.asarray(samples, np.float32), (_IN // 2, _IN))
    pieces = np.lib.stride_tricks.sliding_window_view(around, 2 * _IN)[::_IN][:blocks]
    return _resample(pieces).reshape(-1)


class WidebandStream:
    """Hold the last 13 s of a `MelStream`'s sound at 16 kHz. Sample n lies at n / 16 000 s of the session clock."""

    def __init__(self, mel: MelStream) -> None:
        self._mel = mel
        self._ring = np.zeros(0, np.float32)
        self._block: int | None = None  # the next to come

    @property
    def started(self) -> bool:
        """Return whether there is any sound."""
        return self._block is not None

    @property
    def first(self) -> int:
        """Return the position of the first sample that there was."""
        return self._first

    @property
    def end(self) -> int:
        """Return the position after the newest sample; 0 before any."""
        return (self._block or 0) * _OUT

    def advance(self, t: float) -> None:
        """Resample what is complete before `t` seconds. Call it at least every 10 s, because older sound is dropped."""
        if not self._mel.started:
            return
        if self._block is None:
            self._ring = np.zeros(_KEPT, np.float32)
            self._block = -(-self._mel.first_sample // _IN)
            self._first = self._block * _OUT
        heard = min(self._mel.samples_end, int(t * SAMPLE_RATE + 1e-4))
        last = (heard - _IN // 2) // _IN  # blocks whose overlap is there too
        first = self._block
        if last - first > _KEPT // _OUT:
            first = last - _KEPT // _OUT
        if last <= first:
            return
        pieces = np.stack([self._mel.samples(k * _IN - _IN // 2, k * _IN + _IN + _IN // 2) for k in range(first, last)])
        self._put(first * _OUT, _resample(pieces).reshape(-1))
        self._block = last

    def samples(self, first: int, last: int) -> Floats:
        """Return samples `first` to `last` - 1; silence where there are none, before the oldest or after the newest."""
        out = np.zeros(last - first, np.float32)
        low, high = max(first, self.end - _KEPT, self._first), min(last, self.end)
        if low < high:
            out[low - first : high - first] = self._ring[np.arange(low, high) % _KEPT]
        return out

    def _put(self, first: int, samples: Floats) -> None:
        at = np.arange(first, first + len(samples)) % _KEPT
        self._ring[at] = samples
