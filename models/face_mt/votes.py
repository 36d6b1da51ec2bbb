"""What ten raters said of a face, as targets: FER+ (Barsoum et al. 2016), and positions on the affect circumplex.

Column order of FER+: neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, not a face.
Class order here: `labels.EXPRESSIONS`, then contempt (served as `other`).
"""

import numpy as np
from numpy.typing import NDArray

from models.labels import EXPRESSIONS

Floats = NDArray[np.float64]

CLASSES = (*EXPRESSIONS, "contempt")
FERPLUS_COLUMNS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
OUTLIER_VOTES = 1  # a single vote is noise (Barsoum et al. 2016)
_ORDER = [FERPLUS_COLUMNS.index(name) for name in CLASSES]

# Pleasure and arousal of the emotion words in Russell & Mehrabian 1977, "Evidence for a three-factor theory of
# emotions", J. Research in Personality 11 (rated by 300 students, -1..1); happiness is their "joyful". Neutral is the
# origin by definition. Contempt has no agreed position and takes no part.
CIRCUMPLEX = {
    "neutral": (0.0, 0.0),
    "anger": (-0.51, 0.59),
    "disgust": (-0.60, 0.35),
    "fear": (-0.64, 0.60),
    "happiness": (0.76, 0.48),
    "sadness": (-0.63, -0.27),
    "surprise": (0.40, 0.67),
}


def without_outliers(votes: NDArray[np.uint8]) -> Floats:
    """Return `votes`, (n, 10) counts, as (n, 10) float with single votes dropped."""
    kept = votes.astype(np.float64)
    kept[kept <= OUTLIER_VOTES] = 0.0
    return kept


def distributions(votes: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return soft labels (n, 8) that sum to 1, and weights (n,) in 0..1.

    Unknown and not-a-face votes are no class; they lower the weight instead: it is the share of the votes that named
    an expression, and 0 where raters mostly said that there is none to see.
    """
    kept = without_outliers(votes)
    named = kept[:, _ORDER]
    total = named.sum(1)
    share = total / np.maximum(kept.sum(1), 1.0)
    soft = named / np.maximum(total, 1.0)[:, None]
    return soft, np.where(share > 0.5, share, 0.0)


def majority(votes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the class (n,) that more than half of the votes left name (FERPlus' rule); -1 where there is none."""
    kept = without_outliers(votes)
    named = kept[:, _ORDER]
    winner = named.argmax(1)
    return np.where(named.max(1) > 0.5 * kept.sum(1), winner, -1)
