"""Compute the spectrogram picture of A/V-MT-VGG-GRU's aural stream (Kollias and Zafeiriou 2021, IV). numpy only.

Sound at 44.1 kHz, windows of 33 ms that overlap by 11 ms, intensities in [-1, 1]. The paper gives neither the shape of
the window nor the number of frequencies, nor how intensities are brought to [-1, 1]: here a periodic Hann window, 96
bands of equal width up to 22 050 Hz, and the loudest 80 dB of the picture stretched over the range.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 44_100
WINDOW = 1455  # samples, 33 ms
HOP = 970  # samples, 22 ms: windows overlap by 11 ms
SIZE = 96  # bands, and columns of a picture: 2.1 s
_N_FFT = 2048
_MIN_POWER = 1e-10  # -100 dB
_RANGE_DB = 80.0
_EPSILON = 1e-4  # samples; a time that is a whole number of samples but for rounding

Floats = NDArray[np.float32]


@cache
def hann(samples: int) -> Floats:
    """Return the periodic Hann window of so many samples."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(samples) / samples)).astype(np.float32)


def complete(samples: int) -> int:
    """Return how many columns are complete after so many samples: column k holds `WINDOW` samples from k * `HOP` on."""
    return max(1 + (samples - WINDOW) // HOP, 0)


def columns_before(t: float) -> int:
    """Return how many columns lie wholly before `t` seconds."""
    return complete(int(t * SAMPLE_RATE + _EPSILON))


def power(samples: Floats) -> Floats:
    """Return (96, complete(n)), the mean power in each band of the columns of `samples` (n,), low bands first."""
    if not complete(len(samples)):
        return np.zeros((SIZE, 0), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    bins = np.fft.rfft(frames * hann(WINDOW), _N_FFT)[:, 1:]  # (columns, 1024) without the direct current
    spectrum = np.square(bins.real) + np.square(bins.imag)
    edges = np.arange(SIZE) * spectrum.shape[1] // SIZE
    widths = np.diff(edges, append=spectrum.shape[1])
    bands: Floats = (np.add.reduceat(spectrum, edges, axis=1) / widths).astype(np.float32).T
    return np.ascontiguousarray(bands)


def picture(columns: Floats) -> Floats:
    """Return (3, 96, 96) in [-1, 1] of the power of 96 `columns` (96, 96), low bands at the bottom."""
    db = 10 * np.log10(np.maximum(columns, np.float32(_MIN_POWER)))
    stretched = 1 + 2 * np.maximum(db - db.max(), -_RANGE_DB) / _RANGE_DB
    return np.repeat(stretched[None, ::-1].astype(np.float32), 3, axis=0)
