"""Relate action units to expressions, and score compound expressions from them without training. numpy only.

Du, Tao and Martinez 2014, "Compound facial expressions of emotion", Table 1, as Kollias and Zafeiriou 2021 (VI-B) use
it: weight 1 for prototypical units, the share of observers for observational ones. The second table was counted on
Aff-Wild2.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.labels import AUS_UNION, COMPOUND_EXPRESSIONS, EXPRESSIONS

BASIC: dict[str, dict[int, float]] = {
    "neutral": {},
    "anger": {4: 1, 7: 1, 24: 1, 10: 0.26, 17: 0.52, 23: 0.29},
    "disgust": {9: 1, 10: 1, 17: 1, 4: 0.31, 24: 0.26},
    "fear": {1: 1, 4: 1, 20: 1, 25: 1, 2: 0.57, 5: 0.63, 26: 0.33},
    "happiness": {12: 1, 25: 1, 6: 0.51},
    "sadness": {4: 1, 15: 1, 1: 0.60, 6: 0.50, 11: 0.26, 17: 0.67},
    "surprise": {1: 1, 2: 1, 25: 1, 26: 1, 5: 0.66},
}

AFF_WILD2: dict[str, dict[int, float]] = {
    "neutral": {},
    "anger": {4: 0.65, 7: 0.45, 25: 0.40, 10: 0.33, 9: 0.15},
    "disgust": {9: 0.21, 10: 0.85, 17: 0.23, 4: 0.60, 7: 0.75, 25: 0.80},
    "fear": {1: 0.52, 4: 0.40, 25: 0.85, 5: 0.38, 7: 0.57, 10: 0.57},
    "happiness": {12: 0.82, 25: 0.70, 6: 0.57, 7: 0.83, 10: 0.63},
    # The number of the first unit is lost in the paper's text; 4 by elimination.
    "sadness": {4: 0.53, 15: 0.42, 1: 0.31, 7: 0.13, 17: 0.10},
    "surprise": {1: 0.38, 2: 0.37, 25: 0.85, 26: 0.30, 5: 0.50, 7: 0.20},
}

COMPOUND: dict[str, dict[int, float]] = {
    "happily surprised": {1: 1, 2: 1, 12: 1, 25: 1, 5: 0.64, 26: 0.67},
    "happily disgusted": {10: 1, 12: 1, 25: 1, 4: 0.32, 6: 0.61, 9: 0.59},
    "sadly fearful": {1: 1, 4: 1, 20: 1, 25: 1, 2: 0.46, 5: 0.24, 6: 0.34, 15: 0.30},
    "sadly angry": {4: 1, 15: 1, 6: 0.26, 7: 0.48, 11: 0.20, 17: 0.50},
    "sadly surprised": {1: 1, 4: 1, 25: 1, 26: 1, 2: 0.27, 6: 0.31},
    "sadly disgusted": {4: 1, 10: 1, 1: 0.49, 6: 0.61, 9: 0.20, 11: 0.35, 15: 0.54, 17: 0.47, 25: 0.43},
    "fearfully angry": {4: 1, 20: 1, 25: 1, 5: 0.40, 7: 0.39, 10: 0.30, 11: 0.33},
    "fearfully surprised": {1: 1, 2: 1, 5: 1, 20: 1, 25: 1, 4: 0.47, 10: 0.35, 11: 0.22, 26: 0.51},
    "angrily surprised": {4: 1, 25: 1, 26: 1, 5: 0.35, 7: 0.50, 10: 0.34},
    "angrily disgusted": {4: 1, 10: 1, 17: 1, 7: 0.60, 9: 0.57, 24: 0.36},
    "disgustedly surprised": {1: 1, 2: 1, 5: 1, 10: 1, 4: 0.45, 9: 0.37, 17: 0.66, 24: 0.33},
}

# Those that EmotioNet has and RAF-DB has not.
EMOTIONET: dict[str, dict[int, float]] = {
    "appalled": {4: 1, 10: 1, 6: 0.25, 9: 0.56, 17: 0.67, 24: 0.36},
    "awed": {1: 1, 2: 1, 5: 1, 25: 1, 4: 0.21, 20: 0.62, 26: 0.56},
}

# The two basic expressions of each compound one.
PAIRS: dict[str, tuple[str, str]] = {
    "happily surprised": ("happiness", "surprise"),
    "happily disgusted": ("happiness", "disgust"),
    "sadly fearful": ("sadness", "fear"),
    "sadly angry": ("sadness", "anger"),
    "sadly surprised": ("sadness", "surprise"),
    "sadly disgusted": ("sadness", "disgust"),
    "fearfully angry": ("fear", "anger"),
    "fearfully surprised": ("fear", "surprise"),
    "angrily surprised": ("anger", "surprise"),
    "angrily disgusted": ("anger", "disgust"),
    "disgustedly surprised": ("disgust", "surprise"),
}
EMOTIONET_PAIRS = {"appalled": ("anger", "disgust"), "awed": ("fear", "surprise")}

# Those that a positive valence makes likelier.
PLEASANT = ("happily surprised", "happily disgusted", "happiness")


def matrix(table: Mapping[str, Mapping[int, float]]) -> NDArray[np.float64]:
    """Return (rows of `table`, 17) weights by action unit, in the order of `models.labels.AUS_UNION`."""
    units = [int(name.removeprefix("AU")) for name in AUS_UNION]
    return np.array([[row.get(unit, 0.0) for unit in units] for row in table.values()])


def compound_scores(
    expression: NDArray[np.floating],
    au: NDArray[np.floating],
    valence: NDArray[np.floating],
    classes: Sequence[str] = COMPOUND_EXPRESSIONS,
) -> NDArray[np.float64]:
    """Return scores (n, classes), in the order of `classes`; the largest is the prediction.

    The classes are RAF-DB's eleven compound expressions, or EmotioNet's ten with the six basic ones
    (`models.labels.EMOTIONET_EXPRESSIONS`). `expression`: (n, 7) probabilities. `au`: (n, 17) probabilities of
    `AUS_UNION`. `valence`: (n,). The score is the mean activation of the class's action units, plus the probabilities
    of its two expressions, plus 1 for a pleasant one when valence is positive. The paper does not say how basic
    expressions are scored beside compound ones: here both of their two expressions are the same one. (Zero-shot: no
    network was trained on these labels.)
    """
    table, mixed = COMPOUND | EMOTIONET | BASIC, PAIRS | EMOTIONET_PAIRS
    weights = matrix({name: table[name] for name in classes})
    activation = au @ weights.T / weights.sum(1)
    pairs = np.array([[EXPRESSIONS.index(one) for one in mixed.get(name, (name, name))] for name in classes])
    pleasant = np.isin(classes, PLEASANT)
    # Half of (sign + 1), and 0 where valence is exactly 0.
    positive = (np.asarray(valence) > 0).astype(np.float64)
    scores: NDArray[np.float64] = activation + expression[:, pairs].sum(2) + positive[:, None] * pleasant
    return scores
