"""The One-Euro filter (Casiez, Roussel & Vogel 2012): a low-pass that opens up when the signal moves fast."""

from math import pi

import numpy as np
from numpy.typing import NDArray


def _alpha(cutoff: "float | NDArray[np.float64]", dt: float) -> "float | NDArray[np.float64]":
    """Weight of the newest sample of a first-order low-pass with `cutoff` in Hz after `dt` seconds."""
    r = 2.0 * pi * dt * cutoff
    return r / (r + 1.0)


class OneEuro:
    """Filters an array sample by sample, each element by itself, on true times.

    `min_cutoff` (Hz) sets the smoothing at rest, `beta` (Hz per unit of speed) how fast it opens, `d_cutoff` (Hz) the
    smoothing of the speed. A gap of more than `max_gap` seconds, or another shape, starts it anew.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 0.0, d_cutoff: float = 1.0, max_gap: float = 0.5) -> None:
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.d_cutoff = d_cutoff
        self.max_gap = max_gap
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next sample comes out as it goes in."""
        self._t = 0.0
        self._value: NDArray[np.float64] | None = None
        self._speed: NDArray[np.float64] | None = None

    def __call__(self, x: NDArray[np.floating] | float, t: float) -> NDArray[np.float64]:
        """Filtered `x` (any shape, finite) at time `t` in seconds. A sample that is not later than the last is not
        filtered in: the last value comes out again. The result is the caller's."""
        x = np.asarray(x, np.float64)
        value, speed = self._value, self._speed
        if value is None or speed is None or value.shape != x.shape or not 0 <= t - self._t <= self.max_gap:
            self._t, self._value, self._speed = t, x.copy(), np.zeros_like(x)
            return x.copy()
        dt = t - self._t
        if dt == 0:
            return value.copy()
        speed = speed + _alpha(self.d_cutoff, dt) * ((x - value) / dt - speed)
        value = value + _alpha(self.min_cutoff + self.beta * np.abs(speed), dt) * (x - value)
        self._t, self._value, self._speed = t, value, speed
        return value.copy()
