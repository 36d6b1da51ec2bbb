"""Steps after a network: medians and means over time, their causal forms, fusion by validation scores. numpy only.

Kollias and Zafeiriou 2021, V-B: the final estimate of a sequence is the median of its frames' outputs, that of an
utterance the mean of its sequences' medians. Predictions are median-filtered within each sequence and smoothed over
utterances, and each of these steps is kept only where the CCC on the validation set rises with it (`Chain.fitted`).
Networks are fused by their validation CCCs. Live, where the future is unknown, medians run over what has been seen
(`TrailingMedian`).
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models import metrics

TRAILING = 15  # outputs, half a second at 30 a second
FILTERS = (5, 15, 31)  # frames; the windows that are tried beside that of a whole sequence, the paper gives none
SMOOTHINGS = (3, 5)  # utterances; likewise
WHOLE = -1  # as a window: the median of the whole sequence

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sequence_median(outputs: ArrayLike) -> Floats:
    """Return the median (columns,) of a sequence's outputs (time, columns)."""
    median: Floats = np.median(np.asarray(outputs, np.float64), axis=0)
    return median


def utterance_estimate(sequences: Sequence[ArrayLike]) -> Floats:
    """Return the mean (columns,) of the medians of an utterance's `sequences`, each (time, columns)."""
    mean: Floats = np.mean([sequence_median(outputs) for outputs in sequences], axis=0)
    return mean


def centred_median(outputs: ArrayLike, window: int) -> Floats:
    """Return the outputs (time, ...) median-filtered over `window` frames (odd), shorter at the ends.

    The filter looks (window - 1) / 2 frames ahead, so that it is for recordings only.
    """
    x, half = np.asarray(outputs, np.float64), window // 2
    return np.stack([np.median(x[max(0, t - half) : t + half + 1], axis=0) for t in range(len(x))])


def decision_fusion(estimates: ArrayLike, ccc: ArrayLike) -> Floats:
    """Return the mean of networks' estimates weighted by their validation scores (equation 3 of the paper).

    `estimates`: (networks, ..., columns). `ccc`: (networks, columns); one below 0 counts as 0, and one of each column
    must be above it.
    """
    x, weights = np.asarray(estimates, np.float64), np.maximum(np.asarray(ccc, np.float64), 0)
    shaped = weights.reshape(len(weights), *[1] * (x.ndim - 2), weights.shape[-1])
    fused: Floats = (x * shaped).sum(0) / shaped.sum(0)
    return fused


@dataclass(frozen=True)
class Sequences:
    """Hold which recording (n,) and which sequence (n,) each of n predicted frames belongs to, recordings in order.

    `names`: of the recordings, by the numbers in `recording`. `utterances`: whether each recording is an utterance that
    has one estimate.
    """

    recording: Ints
    sequence: Ints
    names: tuple[str, ...]
    utterances: bool = False

    def groups(self) -> list[Ints]:
        """Return the frames of each sequence, as indices into the n."""
        pairs = np.stack((self.recording, self.sequence), axis=1)
        _, group = np.unique(pairs, axis=0, return_inverse=True)
        order = np.argsort(group.ravel(), kind="stable")
        return np.split(order, np.cumsum(np.bincount(group.ravel()))[:-1])


@dataclass(frozen=True)
class Chain:
    """Hold which steps are applied to predictions: a median filter within sequences, a mean over utterances.

    `median`: frames of the filter's window, `WHOLE` for the median of the sequence, 0 for none. `smoothing`: utterances
    of the mean's window, 0 for none.
    """

    median: int = 0
    smoothing: int = 0

    def apply(self, outputs: Floats, where: Sequences) -> Floats:
        """Return the final estimates (n, columns) of outputs (n, columns); `where` holds the frames' places.

        For utterances every frame holds its recording's estimate, which is the mean of its sequences' medians.
        """
        if not len(outputs):
            return outputs
        final = np.array(outputs, np.float64)
        for rows in where.groups() if self.median and not where.utterances else ():
            x = final[rows]
            final[rows] = sequence_median(x) if self.median == WHOLE else centred_median(x, self.median)
        if not where.utterances:
            return final
        present = np.unique(where.recording)
        groups: dict[int, list[Floats]] = {int(i): [] for i in present}
        for rows in where.groups():
            groups[int(where.recording[rows[0]])].append(final[rows])
        estimates = np.stack([utterance_estimate(groups[int(i)]) for i in present])
        if self.smoothing:
            estimates = _smoothed(estimates, [video_of_utterance(where.names[i]) for i in present], self.smoothing)
        return np.asarray(estimates[np.searchsorted(present, where.recording)])

    @classmethod
    def fitted(
        cls, outputs: Floats, labels: Floats, where: Sequences, fuse: Callable[[Floats], Floats] = lambda x: x
    ) -> "Chain":
        """Return the steps whose estimates have the highest mean CCC of valence and arousal; none where none raises it.

        `outputs`: (n, columns) of the validation set, which `fuse` turns into valence and arousal after the steps.
        `labels`: (n, 2), -5 where not annotated.
        """
        best = cls()

        def score(chain: "Chain") -> float:
            return float(metrics.va_scores(*rows_of(labels, fuse(chain.apply(outputs, where)), where))["va"])

        if where.utterances:
            tried = [cls(smoothing=window) for window in SMOOTHINGS]
        else:
            tried = [cls(median=window) for window in (*FILTERS, WHOLE)]
        highest = score(best)
        for chain in tried:
            if (reached := score(chain)) > highest:
                best, highest = chain, reached
        return best

    def content(self) -> dict[str, int]:
        """Return the steps as plain values, to be kept in a checkpoint."""
        return asdict(self)


def rows_of(labels: Floats, pred: Floats, where: Sequences) -> tuple[Floats, Floats]:
    """Return the rows that a score counts: each frame, or for utterances one row a recording.

    The label of an utterance is the mean of its annotated frames, -5 if there is none.
    """
    if not where.utterances:
        return labels, pred
    present = np.unique(where.recording)
    rows = np.searchsorted(where.recording, present)
    found = np.full((len(present), labels.shape[1]), float(metrics.VA_SENTINEL))
    for place, recording in enumerate(present):
        own = labels[where.recording == recording]
        if (known := metrics.annotated(own, metrics.VA_SENTINEL)).any():
            found[place] = own[known].mean(0)
    return found, pred[rows]


def video_of_utterance(name: str) -> str:
    """Return the video of an utterance that is named as OMG-Emotion is prepared: VIDEO_utterance_3."""
    return name.rpartition("_utterance_")[0] or name


def _smoothed(estimates: Floats, videos: Sequence[str], window: int) -> Floats:
    """Return the mean over `window` neighbouring utterances of the same video, fewer at its ends."""
    out, half, names = estimates.copy(), window // 2, np.array(videos)
    for i in range(len(estimates)):
        near = slice(max(0, i - half), i + half + 1)
        out[i] = estimates[near][names[near] == names[i]].mean(0)
    return out


class TrailingMedian:
    """Give the median of the last `window` values, one value at a time, for a live stream."""

    def __init__(self, window: int = TRAILING) -> None:
        """Take the window in values, at least 1."""
        self._window = window
        self._values: deque[float] = deque()
        self._sorted: list[float] = []

    def __call__(self, value: float) -> float:
        """Add the newest value and return the median up to it."""
        if len(self._values) == self._window:
            del self._sorted[bisect_left(self._sorted, self._values.popleft())]
        self._values.append(value)
        insort(self._sorted, value)
        middle = len(self._sorted) // 2
        if len(self._sorted) % 2:
            return self._sorted[middle]
        return (self._sorted[middle - 1] + self._sorted[middle]) / 2
