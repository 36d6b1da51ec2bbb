"""Functionals of the descriptors over the speech of the last seconds: the numbers that the voice network reads.

As in eGeMAPS (Eyben et al. 2016) they are means, deviations, percentiles and slopes, taken over voiced or over unvoiced
speech, and rates of loudness peaks and of voiced stretches. Loudness counts in relation to itself only, but for the
functionals in `RELATIVE`, which depend on the gain and are read in relation to the speaker's baseline alone.
"""

import numpy as np
from numpy.typing import NDArray

from models.voice_mt.descriptors import BANDS, COLUMN, SPECTRAL, SPEECH, VOICED

WINDOW = 300  # frames, 3 s
MIN_VOICED = 10  # frames; with fewer in the window nothing is said of a voice
_FRAMES_PER_SECOND = 100
_STEADY = 2.0  # semitones between two frames, beyond which pitch has jumped and not moved

_PITCH = ("mean", "std", "p20", "p50", "p80", "range", "rise", "fall", "move", "slope", "slope.std", "half")
_LOUDNESS = ("std", "range", "skew", "rise", "fall", "unvoiced", "peaks", "half")
_TIMING = ("share", "segments", "length", "length.std", "gap", "gap.std")
_COUPLED = ("f0", "alpha", "slope1", "mfcc1")  # how these go with loudness
RELATIVE = ("loudness.mean", "loudness.p80")
NAMES = (
    *(f"f0.{k}" for k in _PITCH),
    *(f"loudness.{k}" for k in _LOUDNESS),
    *(f"voiced.{k}" for k in _TIMING),
    *(f"{name}.{k}" for name in SPECTRAL for k in ("mean", "std", "move", "unvoiced")),
    *(f"{name}.{k}" for name in VOICED for k in ("mean", "std")),
    *(f"{name}.loudness" for name in _COUPLED),
    "alpha.half",
    *(f"{name}.{k}" for name in BANDS for k in ("mean", "std", "unvoiced")),
    *RELATIVE,
)

Floats = NDArray[np.float32]


def functionals(frames: Floats) -> Floats | None:
    """Return (len(NAMES),) float32 of a window of descriptors (n, len(descriptors.NAMES)), or None for too few voiced.

    A window is the last `WINDOW` frames; frames whose probability of speech is at most 0.5 are left out.
    """
    speech = frames[:, COLUMN["speech"]] > SPEECH
    voiced = (frames[:, COLUMN["voiced"]] > 0) & speech
    if voiced.sum() < MIN_VOICED:
        return None
    unvoiced = speech & ~voiced
    seconds = float(speech.sum()) / _FRAMES_PER_SECOND
    loudness, pitch = frames[:, COLUMN["loudness"]], frames[:, COLUMN["f0"]]
    both = voiced[1:] & voiced[:-1]
    spoken = np.flatnonzero(speech)
    early = np.arange(len(frames)) < spoken[len(spoken) // 2]
    halves = voiced & early, voiced & ~early

    def half(column: Floats) -> float:
        """Return how far the second half of the speech lies above the first."""
        first, second = halves
        return float(column[second].mean() - column[first].mean()) if first.any() and second.any() else 0.0

    level = loudness[voiced]
    values = _pitch(pitch, voiced, both, half(pitch))
    values += _loudness(loudness, speech, voiced, unvoiced, seconds, half(loudness))
    values += _timing(speech, voiced, unvoiced, seconds)
    columns = frames[:, [COLUMN[name] for name in SPECTRAL]]
    means = columns[voiced].mean(0)
    moves = np.diff(columns, axis=0)[both].std(0) if both.any() else np.zeros(len(SPECTRAL))
    rest = columns[unvoiced].mean(0) if unvoiced.sum() > 2 else means
    values += np.stack([means, columns[voiced].std(0), moves, rest], 1).ravel().tolist()
    columns = frames[voiced][:, [COLUMN[name] for name in VOICED]]
    values += np.stack([columns.mean(0), columns.std(0)], 1).ravel().tolist()
    values += [_correlation(level, frames[voiced, COLUMN[name]]) for name in _COUPLED]
    values.append(half(frames[:, COLUMN["alpha"]]))
    columns = frames[:, [COLUMN[name] for name in BANDS]]
    means = columns[voiced].mean(0)
    rest = columns[unvoiced].mean(0) if unvoiced.sum() > 2 else means
    values += np.stack([means, columns[voiced].std(0), rest], 1).ravel().tolist()
    values += [float(level.mean()), _percentiles(level)[2]]
    return np.array(values, np.float32)


def _pitch(pitch: Floats, voiced: NDArray[np.bool_], both: NDArray[np.bool_], half: float) -> list[float]:
    """Return `_PITCH`, in semitones, per frame where it moves."""
    here = pitch[voiced]
    low, middle, high = _percentiles(here)
    step = np.diff(pitch)[both]
    step = step[np.abs(step) < _STEADY]
    wide = (pitch[10:] - pitch[:-10])[voiced[10:] & voiced[:-10]]
    return [
        float(here.mean()), float(here.std()), low, middle, high, high - low,
        _mean(step[step > 0]), _mean(step[step < 0]), _mean(np.abs(step)), _mean(wide),
        float(wide.std()) if len(wide) else 0.0, half,
    ]  # fmt: skip


def _loudness(
    loudness: Floats,
    speech: NDArray[np.bool_],
    voiced: NDArray[np.bool_],
    unvoiced: NDArray[np.bool_],
    seconds: float,
    half: float,
) -> list[float]:
    """Return `_LOUDNESS`, of the logarithm of loudness."""
    here = loudness[speech]
    low, middle, high = _percentiles(here)
    step = np.diff(loudness)[speech[1:] & speech[:-1]]
    smooth = np.convolve(loudness, np.full(7, 1 / 7, np.float32), "same")
    top = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:]) & speech[1:-1]
    top &= smooth[1:-1] > smooth[speech].mean() - 0.3
    apart = float(loudness[voiced].mean() - loudness[unvoiced].mean()) if unvoiced.any() else 0.0
    return [
        float(here.std()), high - low, high + low - 2 * middle, _mean(step[step > 0]),
        _mean(step[step < 0]), apart, float(top.sum()) / seconds, half,
    ]  # fmt: skip


def _timing(
    speech: NDArray[np.bool_], voiced: NDArray[np.bool_], unvoiced: NDArray[np.bool_], seconds: float
) -> list[float]:
    """Return `_TIMING`: the voiced share, voiced stretches per second, and their and the gaps' lengths in seconds."""
    stretches, gaps = _stretches(voiced), _stretches(unvoiced)
    return [
        float(voiced.sum()) / float(speech.sum()), len(stretches) / seconds, _mean(stretches), float(stretches.std()),
        _mean(gaps), float(gaps.std()) if len(gaps) else 0.0,
    ]  # fmt: skip


def _stretches(inside: NDArray[np.bool_]) -> Floats:
    """Return the lengths in seconds of the stretches in which a mask is true."""
    edges = np.diff(np.concatenate([[0], inside.astype(np.int8), [0]]))
    lengths = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return np.asarray(lengths / _FRAMES_PER_SECOND, np.float32)


def _percentiles(values: Floats) -> tuple[float, float, float]:
    """Return the 20th, 50th and 80th percentile; `np.quantile` takes several times as long for so few values."""
    ordered = np.sort(values)
    at = np.array([0.2, 0.5, 0.8]) * (len(ordered) - 1)
    low, middle, high = np.interp(at, np.arange(len(ordered)), ordered).tolist()
    return low, middle, high


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _correlation(a: Floats, b: Floats) -> float:
    """Return Pearson's correlation, 0 where one of the two does not vary."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-9 else 0.0
