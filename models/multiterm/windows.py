"""Summarise trailing windows of a video's frames: mean, deviation, range and slope of every feature. numpy only.

The features of Fujitsu's system ("Multi-term and multi-task affect analysis in the wild", ABAW 2020), whose paper
leaves open what is settled here: windows end at the frame, deviations are the population's, slopes are per second, and
frames that failed (NaN) are left out.
"""

import numpy as np
from numpy.typing import NDArray

FPS = 30
TERMS = (1, 6, 12)  # seconds: short, middle, long
KNOWN_TERMS = (1, 3, 6, 12)  # the paper also tries 3
SHIFT = 6  # frames from one evaluation to the next, 0.2 s
STATISTICS = ("mean", "std", "range", "slope")

Floats = NDArray[np.float64]


def statistics(x: Floats, seconds: float, ends: NDArray[np.int64], fps: float = FPS) -> Floats:
    """Return (evaluations, 4, columns): `STATISTICS` over the window of `seconds` that ends with each frame of `ends`.

    `x`: (frames, columns), NaN where a feature is missing. Windows are shorter at the start. Without a valid frame all
    are NaN; with one, deviation, range and slope are 0.
    """
    length = round(seconds * fps)
    starts = np.maximum(ends - length + 1, 0)
    valid = np.isfinite(x)
    # Sums of differences from a typical value: squares of a large offset would leave nothing of a small deviation.
    offset = np.nan_to_num(np.nanmedian(np.where(valid.any(0), x, 0), axis=0))
    values = np.where(valid, x - offset, 0)
    t = np.arange(len(x))[:, None] / fps

    def sums(terms: Floats) -> Floats:
        total = np.concatenate((np.zeros((1, x.shape[1])), np.cumsum(terms, axis=0)))
        window: Floats = total[ends + 1] - total[starts]
        return window

    n, s, ss = sums(valid.astype(np.float64)), sums(values), sums(values**2)
    st, stt, stv = sums(t * valid), sums(t * t * valid), sums(t * values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = s / n
        std = np.sqrt(np.maximum(ss / n - mean**2, 0))
        slope = (n * stv - st * s) / (n * stt - st**2)
    top, bottom = np.where(valid, x, -np.inf), np.where(valid, x, np.inf)
    span = np.stack([top[a : b + 1].max(0) - bottom[a : b + 1].min(0) for a, b in zip(starts, ends, strict=True)])
    flat = span == 0  # rounding would leave traces of a deviation
    out = np.stack((mean + offset, np.where(flat, 0, std), span, np.where(flat | (n < 2), 0, slope)), axis=1)
    return np.where(n[:, None] > 0, out, np.nan)


def labels(
    va: NDArray[np.floating], expression: NDArray[np.integer], seconds: float, ends: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.int64]]:
    """Return each window's mean valence and arousal, and the expression that is annotated most often.

    The means (evaluations, 2) are NaN where none is annotated; the expressions (evaluations,) are -1 there.
    """
    length = round(seconds * FPS)
    mean, mode = np.full((len(ends), 2), np.nan), np.full(len(ends), -1)
    for i, end in enumerate(ends):
        window = slice(max(end - length + 1, 0), end + 1)
        annotated = va[window][(va[window] != -5).all(1)]
        if len(annotated):
            mean[i] = annotated.mean(0)
        classes = expression[window][(expression[window] >= 0) & (expression[window] < 7)]
        if len(classes):
            mode[i] = np.bincount(classes).argmax()
    return mean, mode
