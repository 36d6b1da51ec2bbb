"""How patient capture is with a live source."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a live source may take."""

    open: float = 10.0  # to connect and to tell its streams
    read: float = 6.0  # between packets, before the connection counts as lost
    stall: float = 2.0  # between frames or sounds, before the source counts as stalled
