"""Log-mel pictures of sound, as TSAV's sound branch was trained on them (Kuhnke et al. 2020), streaming and causal.

A column every 10 ms: 20 ms periodic Hann window centred in a 1024-point frame, power spectrum, 64 HTK-mel filters.
Only the first and the last column of a window depend on where it was cut (its ends are reflected); those between are
computed once, when they are first asked for, and kept in decibels.
"""

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.networks.spectrogram import hann
from service.capture.media import SAMPLE_RATE, Sound

HOP = 441  # samples, 10 ms
WINDOW = 882  # samples, 20 ms
N_FFT = 1024
PAD = N_FFT // 2  # samples reflected at each end of a window
MELS = 64
COLUMN_SECONDS = HOP / SAMPLE_RATE
MIN_POWER = 1e-10  # -100 dB: digital silence, and the padding on the left of a short window
RANGE_DB = 80.0  # what lies further below the loudest cell of the window is raised to that
MEAN_DB, STD_DB = -14.8, 19.895  # normalisation of the published data set
SILENCE_DB = -100.0
SECONDS = 10.0  # length of a window; gives 1001 columns

MAX_JITTER = 0.020  # s; sound whose time is off by less follows on without a seam
AHEAD = 2.0  # s by which sound may run ahead of the time that is asked for, without loss of the window's beginning
LATE = 0.5  # s; sound that is missing for longer counts as silence, until then the window ends where the sound does
_CHUNK = 65_536  # samples taken in at once
_AT_ONCE = 128  # columns computed at once, in 1.5 MB
_EPSILON = 1e-4  # samples; a time that is a whole number of samples but for rounding

Mode = Literal["past10", "truncate", "delayed"]


def grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the frequencies of the bins (513,) and corners of the triangles (66,), in Hz."""
    frequencies = np.linspace(0.0, SAMPLE_RATE // 2, N_FFT // 2 + 1, dtype=np.float32)
    top = 2595.0 * np.log10(1.0 + SAMPLE_RATE / 2 / 700.0)
    mels = np.linspace(0.0, top, MELS + 2, dtype=np.float32)
    corners = np.float32(700.0) * (np.float32(10.0) ** (mels / np.float32(2595.0)) - np.float32(1.0))
    return frequencies, corners.astype(np.float32)


@cache
def mel_filters() -> NDArray[np.float32]:
    """Return (513, 64) triangles on the HTK mel scale, 0 to 22 050 Hz, without area norm, in float32 as torchaudio."""
    frequencies, corners = grid()
    width = np.diff(corners)
    slopes = corners[None, :] - frequencies[:, None]
    filters = np.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:])
    return np.asarray(np.maximum(filters, 0.0), np.float32)


@cache
def _slopes() -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Return the first bin between two corners (65,) and each bin's weight (513,) in its rising and falling triangle.

    Sums over them need no matrix product, for which BLAS would wake its threads every few columns while the engines
    need the cores, and whose rounding depends on the number of columns.
    """
    filters = mel_filters()
    frequencies, corners = grid()
    starts = np.searchsorted(frequencies, corners[:-1])
    segment = np.searchsorted(corners[1:-1], frequencies, side="right")  # corners below each bin
    padded = np.pad(filters, ((0, 0), (1, 1)))  # the first corner falls into no filter, the last rises into none
    bins = np.arange(len(frequencies))
    return starts, padded[bins, segment + 1], padded[bins, segment]


def _power(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mel power (64, n) of frames (n, 882); where the window lies in its 1024 points changes phases only."""
    bins = np.fft.rfft(frames * hann(WINDOW), N_FFT)
    spectrum = (np.square(bins.real) + np.square(bins.imag)).astype(np.float32, copy=False)
    starts, up, down = _slopes()
    mel = np.add.reduceat(spectrum * up, starts, axis=1)[:, :-1]
    mel += np.add.reduceat(spectrum * down, starts, axis=1)[:, 1:]
    return np.ascontiguousarray(mel.T)


def decibels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 10 log10 of `power`, -100 dB at least."""
    return np.float32(10.0) * np.log10(np.maximum(power, np.float32(MIN_POWER)))


def mel_power(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (64, 1 + n // 441) mel power of `samples` (n,), n >= 513, whose ends are reflected."""
    padded = np.pad(samples, PAD, mode="reflect")
    first = PAD - WINDOW // 2
    frames = np.lib.stride_tricks.sliding_window_view(padded[first : len(padded) - first], WINDOW)[::HOP]
    return _power(frames)


def normalise(db: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clamp a window (64, columns) of decibels to its maximum - 80 dB and scale it for the network, in place."""
    np.maximum(db, db.max() - np.float32(RANGE_DB), out=db)
    db -= np.float32(MEAN_DB)
    db /= np.float32(STD_DB)
    return db


def log_mel(samples: NDArray[np.float32], seconds: float = SECONDS) -> NDArray[np.float32]:
    """Return (64, 100 * seconds + 1) float32, the normalised window of `samples` (n,) after silence on the left.

    n is at most 44 100 * seconds; fewer than 882 samples are a silent window (spec: the reference waits for 20 ms).
    """
    window = np.full((MELS, _columns(seconds)), SILENCE_DB, np.float32)
    if len(samples) >= WINDOW:
        db = decibels(mel_power(np.asarray(samples, np.float32)))
        window[:, -db.shape[1] :] = db
    return normalise(window)


def span(p: int, mode: Mode, seconds: float = SECONDS) -> tuple[int, int]:
    """Return the first sample and the end of the window at `p` (samples), which holds nothing at or after `p`.

    `past10`: the last 10 s. `truncate`: the last 5 s, what the reference sees at the end of a file. `delayed`: the
    reference's window around 5 s ago; empty before 5 s have passed.
    """
    full = round(seconds * SAMPLE_RATE)
    half = full // 2
    if mode == "past10":
        return max(p - full, 0), p
    if mode == "truncate":
        return max(p - half, 0), p
    centre = p - half
    if centre < 0:
        return 0, 0
    start = max(centre - half, 0)
    return start, min(start + min(full, max(centre, WINDOW)), p)


class MelStream:
    """Keep the last seconds of a session's sound. Not thread-safe; memory is reserved with the first sound.

    Sample n lies at n / 44 100 s of the session clock, column k is centred on sample 441 k.
    """

    def __init__(self) -> None:
        self.filled = 0  # samples of silence put where sound was missing
        self.first = 0  # column in which sound began
        self.cut = 0  # samples dropped because their time was already taken
        self._ring = round((SECONDS + AHEAD) * SAMPLE_RATE) // HOP  # columns kept
        self._history = self._ring * HOP + WINDOW  # samples kept, those of the oldest column among them
        self._end = 0  # sample after the newest
        self._base = 0  # sample at _samples[0]
        self._next = 0  # first column that was not computed yet
        self._samples: NDArray[np.float32] | None = None
        self._db: NDArray[np.float32]

    @property
    def started(self) -> bool:
        """Tell whether there has been any sound."""
        return self._samples is not None

    @property
    def end(self) -> float:
        """Return the seconds on the session clock up to which there is sound; 0 before the first."""
        return self._end / SAMPLE_RATE

    @property
    def columns(self) -> int:
        """Return how many columns are complete, from session time 0: column k lies before (k + 1) * 10 ms."""
        return self._end // HOP

    @property
    def oldest(self) -> int:
        """Return the first column that is still kept."""
        return self.columns - self._ring

    @property
    def samples_end(self) -> int:
        """Return the position after the newest sample; 0 before the first."""
        return self._end

    @property
    def first_sample(self) -> int:
        """Return the position of the sample at which sound began."""
        return self.first * HOP

    def samples(self, first: int, last: int) -> NDArray[np.float32]:
        """Return samples `first` to `last` - 1 of the last 12 s; silence where there are none."""
        return self._slice(first, last)

    def push(self, sound: Sound) -> None:
        """Add the next samples; fill missing time with silence and cut off what overlaps earlier samples."""
        samples = np.asarray(sound.samples, np.float32)
        start = round(sound.t * SAMPLE_RATE)
        if start < 0:
            self.cut += min(-start, len(samples))
            samples, start = samples[-start:], 0
        if not len(samples):
            return
        if not np.isfinite(samples).all():
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        if self._samples is None:
            self._restart(start)
            self.first = self._next
        jitter = round(MAX_JITTER * SAMPLE_RATE)
        gap = start - self._end
        if gap > jitter:
            self.filled += gap
            if gap >= self._history:
                self._restart(start)
            else:
                self._append(np.zeros(gap, np.float32))
        elif gap < -jitter:
            self.cut += min(-gap, len(samples))
            samples = samples[-gap:]
        self._append(samples)

    def decibels(self, first: int, last: int) -> NDArray[np.float32]:
        """Return (64, last - first) unclamped decibels of complete columns `first` to `last` - 1; at most 12 s back."""
        self._complete()
        return self._db[:, np.arange(first, last) % self._ring]

    def window(
        self, t: float, mode: Mode = "past10", seconds: float = SECONDS, *, exact: bool = False
    ) -> NDArray[np.float32]:
        """Return (64, 100 * seconds + 1) float32, normalised, of samples before `t` (session clock) only; see `span`.

        Snapped back to the 10 ms grid unless `exact`, which recomputes every column and is for comparison with the
        reference. `seconds` is at most 10. Without sound: a silent window.
        """
        p = int(t * SAMPLE_RATE + _EPSILON)
        now = p if p - self._end > LATE * SAMPLE_RATE else min(p, self._end)
        start, end = span(now if exact else now - now % HOP, mode, seconds)
        if self._samples is None or end - start < WINDOW:
            return log_mel(np.zeros(0, np.float32), seconds)
        if exact:
            return log_mel(self._slice(start, end), seconds)
        if mode == "delayed":  # its end moves at twice the clock's pace for a while
            start, end = start - start % HOP, end - end % HOP
        self._complete()
        window = np.full((MELS, _columns(seconds)), SILENCE_DB, np.float32)
        first, last = start // HOP, end // HOP
        have = min(last, self._next)  # complete columns end here; later ones are silence
        oldest = max(first, self._next - self._ring, 0)
        at = window.shape[1] - 1 - last  # window column of column 0
        self._copy(window, at, oldest, have)
        edge = self._slice(start, start + WINDOW)
        head = np.concatenate([edge[HOP:0:-1], edge[:HOP]])
        edge = self._slice(end - WINDOW, end)
        tail = np.concatenate([edge[-HOP:], edge[-2 : -HOP - 2 : -1]])
        ends = decibels(_power(np.stack([head, tail])))
        window[:, at + first], window[:, at + last] = ends[:, 0], ends[:, 1]
        return normalise(window)

    def _restart(self, start: int) -> None:
        """Begin anew with silence up to sample `start`."""
        if self._samples is None:
            self._samples = np.empty(self._history + 2 * _CHUNK, np.float32)
            self._db = np.empty((MELS, self._ring), np.float32)
        self._samples.fill(0.0)
        self._db.fill(SILENCE_DB)
        self._end = start
        self._base = start - self._history
        self._next = start // HOP

    def _append(self, samples: NDArray[np.float32]) -> None:
        assert self._samples is not None
        for i in range(0, len(samples), _CHUNK):
            piece = samples[i : i + _CHUNK]
            at = self._end - self._base
            if at + len(piece) > len(self._samples):
                self._samples[: self._history] = self._samples[at - self._history : at].copy()
                self._base, at = self._end - self._history, self._history
            self._samples[at : at + len(piece)] = piece
            self._end += len(piece)

    def _complete(self) -> None:
        """Compute the columns that are kept and not computed yet, as far as their 20 ms are all there."""
        if self._samples is None:
            return
        self._next = max(self._next, self.oldest)
        while self._next < self.columns:
            columns = range(self._next, min(self._next + _AT_ONCE, self.columns))
            begins = [(column - 1) * HOP - self._base for column in columns]
            frames = np.array([self._samples[begin : begin + WINDOW] for begin in begins])
            self._db[:, np.array(columns) % self._ring] = decibels(_power(frames))
            self._next = columns.stop

    def _copy(self, window: NDArray[np.float32], at: int, first: int, last: int) -> None:
        """Copy columns `first` to `last` - 1 from the ring, in at most two pieces."""
        while first < last:
            slot = first % self._ring
            count = min(last - first, self._ring - slot)
            window[:, at + first : at + first + count] = self._db[:, slot : slot + count]
            first += count

    def _slice(self, start: int, end: int) -> NDArray[np.float32]:
        """Return samples `start` to `end` - 1, silence where none are kept."""
        assert self._samples is not None
        out = np.zeros(end - start, np.float32)
        low, high = max(start, self._base, self._end - self._history), min(end, self._end)
        if low < high:
            out[low - start : high - start] = self._samples[low - self._base : high - self._base]
        return out


def _columns(seconds: float) -> int:
    return round(seconds / COLUMN_SECONDS) + 1
