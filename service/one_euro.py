"""The One-Euro filter (Casiez, Roussel & Vogel 2012): a low-pass that opens up when the signal moves fast."""

from math import pi
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_F = TypeVar("_F", float, NDArray[np.float64])


def _alpha(cutoff: _F, dt: float) -> _F:
    """Weight of the newest sample of a first-order low-pass with `cutoff` in Hz after `dt` seconds."""
    r = cutoff * (2.0 * pi * dt)
    return r / (r + 1.0)


class OneEuro:
    """Filters an array sample by sample, each element by itself, on true times.

    `min_cutoff` (Hz) sets the smoothing at rest, `beta` (Hz per unit a second) how fast it opens with speed, `d_cutoff`
    (Hz) the smoothing of the speed. A gap of more than `max_gap` seconds, a time that goes back, or another shape
    starts it anew.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 0.0, d_cutoff: float = 1.0, max_gap: float = 0.5) -> None:
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.d_cutoff = d_cutoff
        self.max_gap = max_gap
        self._t = 0.0
        self._value: NDArray[np.float64] | None = None
        self._speed: NDArray[np.float64] | None = None

    def reset(self) -> None:
        """Forgets everything: the next sample comes out as it goes in."""
        self._value = self._speed = None

    def __call__(self, x: NDArray[np.floating] | float, t: float, unit: float = 1.0) -> NDArray[np.float64]:
        """Filtered `x` (any shape, finite) at `t` seconds; speed counts in multiples of `unit`. The result is the
        caller's. A second sample of the same `t` is left out: the last value comes again."""
        sample = np.array(x, np.float64)
        value, speed = self._value, self._speed
        dt = t - self._t
        if value is None or speed is None or value.shape != sample.shape or not 0 <= dt <= self.max_gap:
            self._t, self._value, self._speed = t, sample, np.zeros_like(sample)
            return sample.copy()
        if dt == 0:
            return value.copy()
        step = sample - value
        speed = speed + (step / dt - speed) * _alpha(self.d_cutoff, dt)
        value = value + step * _alpha(np.abs(speed) * (self.beta / unit) + self.min_cutoff, dt)
        self._t, self._value, self._speed = t, value, speed
        return value.copy()
