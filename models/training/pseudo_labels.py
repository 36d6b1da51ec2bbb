"""Draw valence and arousal from expression labels and the other way round, and find labels that contradict each other.

Kuhnke, Rumberg and Ostermann 2020, IV: histograms of valence and arousal for each expression, over the frames annotated
for both, counted before any frame is filtered out. The paper's best network takes valence alone from them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.labels import EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL, annotated

BINS = 20  # each way, over -1..1; the paper does not say
NEUTRAL_RADIUS = 0.5
NEUTRAL, HAPPINESS, SADNESS = (EXPRESSIONS.index(name) for name in ("neutral", "happiness", "sadness"))

Floats = NDArray[np.float64]


def contradicts(va: NDArray[np.floating], expression: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return (n,) frames to leave out: happy with valence < 0, sad with > 0, neutral beyond 0.5 from the origin.

    Frames that lack one of the two annotations contradict nothing.
    """
    both = annotated(va, VA_SENTINEL) & annotated(expression, CLASS_SENTINEL)
    valence, radius = va[:, 0], np.hypot(va[:, 0], va[:, 1])
    happy, sad = (expression == HAPPINESS) & (valence < 0), (expression == SADNESS) & (valence > 0)
    wrong: NDArray[np.bool_] = both & (happy | sad | ((expression == NEUTRAL) & (radius > NEUTRAL_RADIUS)))
    return wrong


@dataclass(frozen=True)
class Histograms:
    """Hold how often values and expressions occur together: `counts` (7, 20, 20) by expression, valence and arousal."""

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, va: NDArray[np.floating], expression: NDArray[np.integer]) -> "Histograms":
        """Return the counts of all training frames, `va` (n, 2) and `expression` (n,), that are annotated for both."""
        expression = np.where(expression < len(EXPRESSIONS), expression, CLASS_SENTINEL)  # "other" has no histogram
        both = annotated(va, VA_SENTINEL) & annotated(expression, CLASS_SENTINEL)
        counts = np.zeros((len(EXPRESSIONS), BINS, BINS), np.int64)
        np.add.at(counts, (expression[both], *_bins(va[both]).T), 1)
        return cls(counts)

    def sample(self, expression: NDArray[np.integer], rng: np.random.Generator) -> Floats:
        """Return (n, 2) valence and arousal drawn for (n,) expressions, anew at every call.

        They are -5 where there is no expression, or its histogram is empty.
        """
        va = np.full((len(expression), 2), float(VA_SENTINEL))
        for label in np.unique(expression[(expression >= 0) & (expression < len(EXPRESSIONS))]):
            weights = self.counts[label].ravel()
            if not weights.sum():
                continue
            rows = np.flatnonzero(expression == label)
            cells = rng.choice(weights.size, len(rows), p=weights / weights.sum())
            corner = np.stack(np.unravel_index(cells, (BINS, BINS)), axis=1)
            va[rows] = (corner + rng.random(corner.shape)) * (2 / BINS) - 1
        return va

    def probabilities(self, va: NDArray[np.floating]) -> Floats:
        """Return (n, 7) shares of the expressions in the bin of (n, 2) `va`; 0 for an empty bin or a missing `va`."""
        counts = self.counts[:, *_bins(va).T].T.astype(np.float64)  # (n, 7)
        counts[~annotated(va, VA_SENTINEL)] = 0
        share: Floats = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        return share


def _bins(va: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.clip(((va + 1) * (BINS / 2)).astype(np.int64), 0, BINS - 1)
