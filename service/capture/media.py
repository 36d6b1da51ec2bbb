"""The items that capture yields: pictures and sound on one session clock, and changes of the source's state."""

import time
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 44_100  # Hz, mono; the rate of TSAV's sound branch (Kuhnke et al. 2020)


class State(StrEnum):
    """Name the states of a source; capture yields a `StateChange` at each change."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Frame:
    """Hold one decoded picture."""

    image: NDArray[np.uint8]  # (height, width, 3) RGB, upright; not written to after it was handed on
    t: float  # seconds on the session clock; never goes back within a session
    entered: float = field(default_factory=time.perf_counter)  # seconds, when the decoded frame entered the process
    captured_at: float = field(default_factory=time.time)  # the same moment, UTC Unix seconds


@dataclass(frozen=True, slots=True)
class Sound:
    """Hold consecutive mono samples at `SAMPLE_RATE`."""

    samples: NDArray[np.float32]  # (n,) in [-1, 1]
    t: float  # seconds on the session clock of samples[0]


@dataclass(frozen=True, slots=True)
class StateChange:
    """Report that the source changed to `state`; `detail` is a sentence for people, without credentials."""

    state: State
    detail: str = ""

    def __str__(self) -> str:
        """Return the state and the detail, if there is one, for people."""
        return f"{self.state}: {self.detail}" if self.detail else str(self.state)


Item = Frame | Sound | StateChange
