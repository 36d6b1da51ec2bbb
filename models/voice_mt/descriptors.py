"""Low-level descriptors of prosody, every 10 ms: pitch, loudness, spectrum, MFCC, jitter, shimmer, harmonicity.

They follow the description of eGeMAPS (Eyben et al. 2016, IEEE Transactions on Affective Computing 7(2)) and are
computed here with NumPy alone. The same code reads recordings for training and a live stream: it works on blocks of
`BLOCK` frames and looks only at sound up to `MARGIN` samples after a frame's centre, so that a recording and its
live stream give the same numbers. No descriptor but `loudness` depends on the gain of the microphone.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 16_000  # Hz
HOP = 160  # samples between the centres of two frames, 10 ms
BLOCK = 20  # frames that are described together, 200 ms
MARGIN = 480  # samples before and after a frame's centre that it may read

SPEECH = 0.5  # probability from which a frame is speech

_SPECTRUM, _N_FFT = 320, 512  # samples of a frame of the spectrum, and of its transform
_PITCH, _N_PITCH = 800, 1080  # the same for pitch: 50 ms hold three periods of the lowest pitch
LOW_HZ, HIGH_HZ = 62.0, 700.0  # range of pitch
_CANDIDATES = 4  # peaks of the autocorrelation that a frame keeps
_OCTAVE_COST = 0.04  # of correlation for each octave down, so that of equal peaks the shortest period wins
_VOICED = 0.5  # autocorrelation from which a frame is voiced
_LOUD_DB = 40.0  # below the loudest frame of the last seconds a frame is not voiced
_JUMP_COST, _FREE_OCTAVES = 0.15, 0.3  # of correlation for each octave away from the usual pitch, beyond the free part
_MEMORY = 300  # frames over which the usual pitch and the loudest frame are taken
_POINTS = 32  # to which each period is interpolated for jitter and shimmer
_FLOOR = 1e-12  # of power
_DEPTH = 1e-6  # of a frame's power: what a band or bin lies further below it is raised to that, at any gain
SEMITONE_HZ = 27.5  # pitch is in semitones above it, as in eGeMAPS

SPECTRAL = (
    "flux", "alpha", "hammarberg", "slope0", "slope1", "mfcc1", "mfcc2", "mfcc3", "mfcc4", "centroid", "entropy",
    "high",
)  # fmt: skip
VOICED = ("hnr", "jitter", "shimmer", "h1h2", "h1a3", "strength")  # known where a frame is voiced
BANDS = tuple(f"band{k}" for k in range(26))  # shares of the power in 26 mel bands, in natural logarithms
NAMES = ("loudness", *SPECTRAL, *BANDS, "f0", *VOICED, "voiced", "speech")  # columns of `describe`
COLUMN = {name: i for i, name in enumerate(NAMES)}

Floats = NDArray[np.float32]


@cache
def _windows() -> tuple[Floats, Floats, Floats]:
    """Return the windows of spectrum and pitch, and the autocorrelation of the latter, 1 at lag 0."""
    pitch = np.hanning(_PITCH + 2)[1:-1]
    spectrum = np.abs(np.fft.rfft(pitch, 4 * _N_PITCH)) ** 2
    own = np.fft.irfft(spectrum, 4 * _N_PITCH)[: _longest() + 2]
    return np.hamming(_SPECTRUM).astype(np.float32), pitch.astype(np.float32), (own / own[0]).astype(np.float32)


def _longest() -> int:
    """Return the longest period in samples."""
    return int(RATE / LOW_HZ)


@cache
def _bins() -> NDArray[np.float64]:
    """Return the frequencies of the spectrum in Hz."""
    return np.asarray(np.fft.rfftfreq(_N_FFT, 1 / RATE), np.float64)


@cache
def _mel() -> tuple[Floats, Floats, Floats]:
    """Return 26 mel triangles (257, 26), the equal-loudness weights (26,) and the liftered cosines of MFCC 1 to 4.

    The weights are Hermansky's (1990) and the triangles HTK's, as openSMILE has them for eGeMAPS.
    """
    n, hertz = 26, _bins()[:, None]
    corners = 700 * (np.exp(np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), n + 2) / 1127) - 1)
    rise, fall = (hertz - corners[:-2]) / np.diff(corners)[:-1], (corners[2:] - hertz) / np.diff(corners)[1:]
    square = corners[1:-1] ** 2
    equal = (square / (square + 1.6e5)) ** 2 * (square + 1.44e6) / (square + 9.61e6)
    k = np.arange(1, 5)
    cosines = np.sqrt(2 / n) * np.cos(np.pi * k * (np.arange(n)[:, None] + 0.5) / n) * (1 + 11 * np.sin(np.pi * k / 22))
    triangles = np.maximum(0, np.minimum(rise, fall))
    return triangles.astype(np.float32), equal.astype(np.float32), cosines.astype(np.float32)


def _frames(samples: Floats, size: int, first: int, count: int) -> Floats:
    """Return (count, size) pieces centred on frames `first` and on; `samples` begin `MARGIN` before frame 0."""
    start = MARGIN + first * HOP - size // 2
    return np.lib.stride_tricks.sliding_window_view(samples[start : start + (count - 1) * HOP + size], size)[::HOP]


def _slope(decibels: Floats, low: float, high: float) -> Floats:
    """Return the slope of a spectrum between two frequencies in dB per kHz."""
    inside = (_bins() >= low) & (_bins() <= high)
    x = (_bins()[inside] - _bins()[inside].mean()) / 1000
    return np.asarray(decibels[:, inside] @ x.astype(np.float32) / np.float32(x @ x), np.float32)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Hold what is measured of each of n frames of sound."""

    columns: dict[str, Floats]  # loudness and `SPECTRAL`, (n,) each
    level: Floats  # (n,) dB
    period: Floats  # (n, 4) samples
    strength: Floats  # (n, 4) autocorrelation, 0 for no candidate
    spectrum: Floats  # (n, bins) power, of the frames of pitch


def _spectral(samples: Floats, n: int) -> tuple[dict[str, Floats], Floats]:
    """Return the columns of the spectrum, and the level in dB."""
    power = np.square(np.abs(np.fft.rfft(_frames(samples, _SPECTRUM, -1, n + 1) * _windows()[0], _N_FFT)))
    power = power.astype(np.float32)
    amplitude = np.sqrt(power)
    amplitude /= amplitude.sum(1, keepdims=True) + np.float32(1e-9)
    flux = np.sqrt(np.square(np.diff(amplitude, axis=0)).sum(1))
    power = power[1:]
    triangles, equal, cosines = _mel()
    mel = power @ triangles
    total = power.sum(1) + np.float32(_FLOOR)
    least = np.float32(_DEPTH) * total[:, None]
    bands = np.log(np.maximum(mel, least))
    mfcc = bands @ cosines
    share = mel / (mel.sum(1, keepdims=True) + np.float32(_FLOOR))
    decibels = 10 * np.log10(power + least)

    def band(low: float, high: float) -> Floats:
        return power[:, (_bins() >= low) & (_bins() < high)]

    def ratio(a: Floats, b: Floats) -> Floats:
        return np.asarray(10 * np.log10((a + least[:, 0]) / (b + least[:, 0])), np.float32)

    columns = {
        "loudness": np.log(np.maximum((np.maximum(mel, np.float32(_FLOOR)) * equal) ** np.float32(0.33), 0).sum(1)),
        "flux": flux,
        "alpha": ratio(band(1000, 5000).sum(1), band(50, 1000).sum(1)),
        "hammarberg": ratio(band(0, 2000).max(1), band(2000, 5000).max(1)),
        "slope0": _slope(decibels, 0, 500),
        "slope1": _slope(decibels, 500, 1500),
        "centroid": power @ _bins().astype(np.float32) / total,
        "entropy": -(share * np.log(share + np.float32(_FLOOR))).sum(1),
        "high": ratio(band(5000, 7000).sum(1), total),
    }
    columns |= {f"mfcc{k + 1}": mfcc[:, k] for k in range(4)}
    columns |= dict(zip(BANDS, (bands - np.log(total)[:, None]).T, strict=True))
    return columns, np.asarray(10 * np.log10(total), np.float32)


def _candidates(samples: Floats, n: int) -> tuple[Floats, Floats, Floats]:
    """Return periods (n, 4), their autocorrelations (n, 4) and the power spectrum (n, bins) of each frame.

    The autocorrelation is divided by the window's own (Boersma 1993).
    """
    _, window, own = _windows()
    pieces = _frames(samples, _PITCH, 0, n)
    pieces = (pieces - pieces.mean(1, keepdims=True)) * window
    spectrum = np.square(np.abs(np.fft.rfft(pieces, _N_PITCH))).astype(np.float32)
    r = np.fft.irfft(spectrum, _N_PITCH)[:, : len(own)].astype(np.float32)
    r /= (r[:, :1] + np.float32(_PITCH * _FLOOR)) * own
    shortest = int(RATE / HIGH_HZ)
    here = r[:, shortest:-1]
    peak = (here > r[:, shortest - 1 : -2]) & (here >= r[:, shortest + 1 :]) & (here > 0.2)
    lags = np.arange(shortest, r.shape[1] - 1)
    merit = np.where(peak, here - np.float32(_OCTAVE_COST) * np.log2(lags / shortest).astype(np.float32), -1)
    best = np.argpartition(-merit, _CANDIDATES - 1, axis=1)[:, :_CANDIDATES]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(merit, best, 1), 1, kind="stable"), 1)
    rows, at = np.arange(n)[:, None], best + shortest
    before, top, after = r[rows, at - 1], r[rows, at], r[rows, at + 1]
    shift = _vertex(before, top, after, 0.5)
    strength = np.minimum(top - (before - after) * shift / 4, 1)
    found = np.take_along_axis(merit, best, 1) > -1
    return at + shift, np.where(found, strength, 0).astype(np.float32), spectrum


def _vertex(before: Floats, top: Floats, after: Floats, limit: float) -> Floats:
    """Return where the parabola through three points a sample apart has its top, from the middle one."""
    bend = before - 2 * top + after
    flat = np.abs(bend) < 1e-9
    return np.asarray(np.clip(np.where(flat, 0, (before - after) / np.where(flat, 1, 2 * bend)), -limit, limit))


def _cycles(samples: Floats, frame: NDArray[np.int64], period: Floats) -> tuple[Floats, Floats]:
    """Return jitter (share of the period) and shimmer (dB) of the three periods around each of the frames.

    The middle period is matched with what lies a period before and after it; jitter is how far the two lengths differ,
    shimmer how far the peak-to-peak amplitudes of the three do.
    """
    phase = np.arange(-56, 57, dtype=np.float32) / _POINTS
    place = MARGIN + frame[:, None] * HOP + phase * period[:, None]
    at = np.clip(np.floor(place).astype(np.int64), 1, len(samples) - 3)
    u = (place - at).astype(np.float32)
    a, b, c, d = (samples[at + k] for k in (-1, 0, 1, 2))
    wave = b + u / 2 * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))  # Catmull-Rom spline
    middle = wave[:, 40:72] - wave[:, 40:72].mean(1, keepdims=True)
    size = np.sqrt(np.square(middle).sum(1)) + np.float32(1e-9)

    def shift(begin: int) -> Floats:
        """Return by how many points the best match lies after `begin`."""
        others = np.lib.stride_tricks.sliding_window_view(wave[:, begin - 6 : begin + 38], _POINTS, axis=1)
        power = np.einsum("nkp,nkp->nk", others, others) - np.square(others.sum(2)) / _POINTS  # around the mean
        sizes = np.sqrt(np.maximum(power, 0)) + np.float32(1e-9)
        match = np.einsum("nkp,np->nk", others, middle) / sizes / size[:, None]
        best, rows = np.clip(match.argmax(1), 1, 11), np.arange(len(wave))
        top = _vertex(match[rows, best - 1], match[rows, best], match[rows, best + 1], 1.0)
        return np.asarray(best - 6 + top, np.float32)

    before, after = 1 - shift(8) / _POINTS, 1 + shift(72) / _POINTS
    swing = [np.ptp(wave[:, k : k + _POINTS], axis=1) + np.float32(1e-7) for k in (8, 40, 72)]
    steps = [np.abs(20 * np.log10(swing[k + 1] / swing[k])) for k in (0, 1)]
    jitter, shimmer = np.abs(after - before) * 2 / (after + before), (steps[0] + steps[1]) / 2
    return np.asarray(jitter, np.float32), np.asarray(shimmer, np.float32)


def _harmonics(spectrum: Floats, hertz: Floats) -> tuple[Floats, Floats]:
    """Return H1-H2 and H1-A3 in dB; A3 is the strongest bin between 2.2 and 3.4 kHz, where the third formant lies."""
    decibels = 10 * np.log10(spectrum + np.float32(_DEPTH) * spectrum.sum(1, keepdims=True) + np.float32(_FLOOR))
    width, rows = RATE / _N_PITCH, np.arange(len(hertz))

    def near(f: Floats) -> Floats:
        at = np.clip(np.rint(f / width).astype(np.int64), 1, spectrum.shape[1] - 2)
        around = np.stack([decibels[rows, at + k] for k in (-1, 0, 1)])
        return np.asarray(around.max(0), np.float32)

    first = near(hertz)
    third = decibels[:, int(2200 / width) : int(3400 / width)].max(1)
    return first - near(2 * hertz), first - third


class DescriptorStream:
    """Describe consecutive sound; holds the pitch and the level of the last 3 s. One for each stream."""

    def __init__(self) -> None:
        self._octave = np.zeros(_MEMORY, np.float32)  # log2 of the strongest candidate's frequency
        self._counts = np.zeros(_MEMORY, bool)  # whether that frame was voiced speech
        self._level = np.full(_MEMORY, -np.inf, np.float32)

    def describe(self, samples: Floats, speech: Floats) -> Floats:
        """Return (n, len(NAMES)) float32 of the next n frames; n is a multiple of `BLOCK`.

        Args:
            samples: 16 kHz sound, (2 * MARGIN + n * HOP,), that begins `MARGIN` before the first frame's centre.
            speech: Probability of speech at each frame, (n,).
        """
        n = len(speech)
        columns, level = _spectral(samples, n)
        measured = _Measured(columns, level, *_candidates(samples, n))
        chosen, voiced = np.zeros(n, np.int64), np.zeros(n, bool)
        for start in range(0, n, BLOCK):
            rows = slice(start, start + BLOCK)
            spoken = speech[rows] > SPEECH
            if spoken.any():
                chosen[rows], voiced[rows] = self._choose(measured, rows, spoken)
            else:
                self.skip()
        every = np.arange(n)
        period, strength = measured.period[every, chosen], measured.strength[every, chosen]
        hertz = (RATE / period).astype(np.float32)
        share = np.clip(strength, 1e-3, 0.9999)
        jitter, shimmer = np.zeros(n, np.float32), np.zeros(n, np.float32)
        if voiced.any():
            jitter[voiced], shimmer[voiced] = _cycles(samples, np.flatnonzero(voiced), period[voiced])
        h1h2, h1a3 = _harmonics(measured.spectrum, hertz)
        columns |= {
            "f0": 12 * np.log2(hertz / SEMITONE_HZ), "hnr": 10 * np.log10(share / (1 - share)), "jitter": jitter,
            "shimmer": shimmer, "h1h2": h1h2, "h1a3": h1a3, "strength": strength,
            "voiced": voiced.astype(np.float32), "speech": speech,
        }  # fmt: skip
        return np.stack([np.asarray(columns[name], np.float32) for name in NAMES], 1)

    def skip(self) -> None:
        """Pass over a block without speech, which is not described."""
        self._level = np.concatenate([self._level[BLOCK:], np.full(BLOCK, -np.inf, np.float32)])
        self._octave = np.concatenate([self._octave[BLOCK:], np.zeros(BLOCK, np.float32)])
        self._counts = np.concatenate([self._counts[BLOCK:], np.zeros(BLOCK, bool)])

    def _choose(
        self, measured: _Measured, rows: slice, speech: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return which candidate each frame of a block has as its pitch, and whether it is voiced.

        A candidate loses by its distance from the usual pitch, the median of the last 3 s, which mends octave errors.
        """
        octave = np.log2(RATE / measured.period[rows])
        merit = measured.strength[rows] + np.float32(_OCTAVE_COST) * octave
        each = np.arange(len(octave))
        first = merit.argmax(1)
        n, level = len(octave), measured.level[rows]
        self._level = np.concatenate([self._level[n:], level])
        loud = level > self._level.max() - _LOUD_DB
        counts = (measured.strength[rows][each, first] > _VOICED) & loud & speech
        self._octave = np.concatenate([self._octave[n:], octave[each, first]])
        self._counts = np.concatenate([self._counts[n:], counts])
        if self._counts.sum() >= 3:
            usual = np.median(self._octave[self._counts])
            first = (merit - _JUMP_COST * np.maximum(np.abs(octave - usual) - _FREE_OCTAVES, 0)).argmax(1)
        return first, (measured.strength[rows][each, first] > _VOICED) & loud


def describe(samples: Floats, speech: Floats) -> Floats:
    """Return (n, len(NAMES)) descriptors of a whole recording at 16 kHz, silence before and after it.

    Args:
        samples: (m,) float32 in [-1, 1].
        speech: Probability of speech at each of its m // 160 frames; the last incomplete block is left out.
    """
    n = len(speech) // BLOCK * BLOCK
    around = np.zeros(2 * MARGIN + n * HOP, np.float32)
    part = samples[: n * HOP + MARGIN]
    around[MARGIN : MARGIN + len(part)] = part
    return DescriptorStream().describe(around, np.asarray(speech[:n], np.float32))
