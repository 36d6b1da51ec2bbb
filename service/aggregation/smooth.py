"""Smoothing of values: causal, and by the clock, so that the frame rate makes no difference."""

import math

import numpy as np
from numpy.typing import NDArray

from service.one_euro import OneEuro
from service.settings import Smoothing

# One-Euro filter (Casiez, Roussel and Vogel 2012) for valence and arousal: noise of 0.03 to 0.06 (standard deviation)
# shrinks to a third at 30 frames/s, and a smile that takes valence from 0 to 0.8 in half a second is under 0.07 s late.
# Strong smoothing leaves a fifth of the noise, and the smile is 0.1 s late (0.2 s at 15 frames/s).
MIN_CUTOFF = {"normal": 0.5, "strong": 0.1}  # Hz
BETA = {"normal": 1.0, "strong": 0.3}  # Hz per (1 / s)
DERIVATIVE_CUTOFF = 1.0  # Hz, the paper's value
# s, time constant of the probabilities: a micro-expression (below 0.5 s) still shows, a single odd frame does not.
EXPRESSION_TIME_CONSTANT = {"normal": 0.2, "strong": 0.6}


class AffectFilter:
    """Smooth valence and arousal, each of which a model may leave out, by a One-Euro filter."""

    def __init__(self, smoothing: Smoothing = "normal") -> None:
        """Begin with no values; with "off", they come out as they went in."""
        self._filters = (
            []
            if smoothing == "off"
            else [OneEuro(MIN_CUTOFF[smoothing], BETA[smoothing], DERIVATIVE_CUTOFF) for _ in range(2)]
        )

    def __call__(self, t: float, valence: float | None, arousal: float | None) -> tuple[float | None, float | None]:
        """Return smoothed valence and arousal at `t` seconds; None stays None."""
        if not self._filters:
            return valence, arousal
        smoothed = [
            None if x is None else min(max(self._filters[i](x, t), -1.0), 1.0) for i, x in enumerate((valence, arousal))
        ]
        return smoothed[0], smoothed[1]


class ProbabilityFilter:
    """Smooth probabilities by an exponential moving average, starting at the first value."""

    def __init__(self, smoothing: Smoothing = "normal") -> None:
        """Begin with no values; with "off", they come out as they went in."""
        self._time_constant = None if smoothing == "off" else EXPRESSION_TIME_CONSTANT[smoothing]
        self._value: NDArray[np.float64] | None = None
        self._t = 0.0

    def __call__(self, t: float, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return smoothed probabilities (n,) at `t` seconds, summing to 1 as the given ones do."""
        if self._value is None or self._time_constant is None:
            self._value = probabilities
        else:
            weight = -math.expm1(-(t - self._t) / self._time_constant)
            value = self._value + weight * (probabilities - self._value)
            self._value = value / value.sum()
        self._t = t
        return self._value
