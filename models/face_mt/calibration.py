"""Probabilities that mean what they say: one temperature for the expressions, one factor for each deviation.

Both are fitted on FER+ validation faces, which no weight was trained on (Guo et al. 2017).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.face_mt.scores import Floats, softmax

COVERAGE = 0.68  # share of the cases that lie within one standard deviation


@dataclass(frozen=True)
class Calibration:
    """`temperature` divides the logits; `std_scale` multiplies the deviations of valence and arousal."""

    temperature: float = 1.0
    std_scale: tuple[float, float] = (1.0, 1.0)


def fit_temperature(logits: Floats, truth: NDArray[np.int64], log_prior: Floats) -> float:
    """The temperature that is best in cross-entropy on faces as they come; `logits` (n, c) balanced, `truth` (n,).

    It divides the balanced logits, before the prior of the faces is added: so it is fitted on all faces alike and holds
    for the balanced prior as well. Fitted on faces weighted to equal classes, it would rest on the two dozen of the
    rarest class, and was measured to be twice as far off on others.
    """

    def cost(temperature: float) -> float:
        p = softmax(logits / temperature + log_prior)
        return float(-np.log(p[np.arange(len(truth)), truth] + 1e-12).sum())

    candidates = np.exp(np.linspace(np.log(0.3), np.log(4.0), 200))
    return float(min(candidates, key=cost))


def balance_weights(truth: NDArray[np.int64], classes: int) -> Floats:
    """(n,) weights under which each class counts the same."""
    count = np.bincount(truth, minlength=classes).astype(np.float64)
    return np.asarray(1.0 / np.maximum(count, 1.0), np.float64)[truth]


def fit_std_scale(predicted: Floats, std: Floats, target: Floats) -> tuple[float, float]:
    """Factors with which `COVERAGE` of |target - predicted| lies within one std; all (n, 2)."""
    ratio = np.abs(target - predicted) / np.maximum(std, 1e-6)
    first, second = (float(np.quantile(ratio[:, k], COVERAGE)) for k in (0, 1))
    return first, second
