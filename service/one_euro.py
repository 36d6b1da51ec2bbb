"""The One-Euro filter (Casiez, Roussel and Vogel 2012): a low-pass whose cutoff rises when the signal moves fast."""

from math import pi
from typing import overload

import numpy as np
from numpy.typing import NDArray

_Number = NDArray[np.float64] | float


def _alpha(cutoff: _Number, dt: float) -> _Number:
    """Return the weight of the newest sample of a first-order low-pass with `cutoff` in Hz after `dt` seconds."""
    r = cutoff * (2.0 * pi * dt)
    return r / (r + 1.0)


class OneEuro:
    """Filter a number, or each element of an array by itself, sample by sample on true times.

    A gap of more than `max_gap` seconds, a time that goes back, or another shape starts the filter anew.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 0.0, d_cutoff: float = 1.0, max_gap: float = 0.5) -> None:
        """Make a filter that has seen nothing.

        Args:
            min_cutoff: Cutoff at rest in Hz; lower is smoother.
            beta: Hz by which the cutoff rises for each unit a second of speed.
            d_cutoff: Cutoff of the speed in Hz.
            max_gap: Seconds between two samples after which the filter starts anew.
        """
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.d_cutoff = d_cutoff
        self.max_gap = max_gap
        self._t = 0.0
        self._value: _Number | None = None
        self._speed: _Number | None = None

    def reset(self) -> None:
        """Forget everything, so that the next sample comes out as it went in."""
        self._value = self._speed = None

    def scale(self, factors: _Number) -> None:
        """Multiply the last value and speed by `factors` (broadcast as by numpy), where the unit of `x` has changed."""
        if self._value is not None and self._speed is not None:
            self._value, self._speed = self._value * factors, self._speed * factors

    @overload
    def __call__(self, x: float, t: float, unit: float = 1.0) -> float: ...

    @overload
    def __call__(self, x: NDArray[np.floating], t: float, unit: float = 1.0) -> NDArray[np.float64]: ...

    def __call__(self, x: NDArray[np.floating] | float, t: float, unit: float = 1.0) -> _Number:
        """Return the filtered `x` at `t` seconds as an array or number of the caller's own.

        A second sample of the same `t` is left out, and the last value is returned again.

        Args:
            x: A finite number, or an array of any shape.
            t: Seconds.
            unit: The amount of `x` that counts as 1 in the speed that `beta` multiplies.
        """
        sample = np.array(x, np.float64) if isinstance(x, np.ndarray) else float(x)
        value, speed = self._value, self._speed
        dt = t - self._t
        if value is None or speed is None or _shape(value) != _shape(sample) or not 0 <= dt <= self.max_gap:
            self._t, self._value, self._speed = t, sample, sample * 0.0
            return _copy(sample)
        if dt == 0:
            return _copy(value)
        step = sample - value
        speed = speed + (step / dt - speed) * _alpha(self.d_cutoff, dt)
        size = abs(speed) if isinstance(speed, float) else np.abs(speed)
        value = value + step * _alpha(size * (self.beta / unit) + self.min_cutoff, dt)
        self._t, self._value, self._speed = t, value, speed
        return _copy(value)


def _shape(x: _Number) -> tuple[int, ...]:
    return x.shape if isinstance(x, np.ndarray) else ()


def _copy(x: _Number) -> _Number:
    return x.copy() if isinstance(x, np.ndarray) else x
