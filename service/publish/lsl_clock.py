"""From the wall clock to Lab Streaming Layer's clock, with the error that this conversion has."""

import time
from collections.abc import Callable
from dataclasses import dataclass

MEASURE_EVERY = 5.0  # s; the wall clock is moved by NTP, LSL's clock never
_READINGS = 8  # of both clocks in one measurement
ROUNDING = 0.0005  # s; events carry whole milliseconds of the wall clock


@dataclass(frozen=True, slots=True)
class Offset:
    """Hold LSL's clock minus the wall clock, and how far that may be off, both in seconds."""

    seconds: float
    error: float


def measure(lsl: Callable[[], float], wall: Callable[[], float] = time.time) -> Offset:
    """Return the offset of the clock `lsl` from the clock `wall`.

    The wall clock is read between two readings of LSL's; the closest pair of several bounds the error by half of its
    distance.
    """
    best = Offset(0.0, float("inf"))
    for _ in range(_READINGS):
        before, at, after = lsl(), wall(), lsl()
        if (after - before) / 2 < best.error:
            best = Offset((before + after) / 2 - at, (after - before) / 2)
    return best


class LslClock:
    """Convert Unix times to LSL's clock, measuring the offset anew every `MEASURE_EVERY` seconds."""

    def __init__(self, lsl: Callable[[], float]) -> None:
        self._lsl = lsl
        self._offset = measure(lsl)
        self._measured = lsl()

    @property
    def error(self) -> float:
        """Return the seconds by which a converted time may be off: of the measurement, and of whole milliseconds."""
        return self._offset.error + ROUNDING

    def at(self, unix: float) -> float:
        """Return LSL's time of the Unix time `unix`, in seconds."""
        if self._lsl() - self._measured > MEASURE_EVERY:
            self._offset, self._measured = measure(self._lsl), self._lsl()
        return unix + self._offset.seconds
