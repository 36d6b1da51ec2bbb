"""What every source is: an iterator of frames, sound and state changes in the order of the session clock."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from service.capture.media import Item

MOST_REDIRECTS = 8  # that an address may lead through, as FFmpeg follows
TURNS = (0, 90, 180, 270)  # degrees clockwise that `?rotate=` takes
Check = Callable[[str], None]
"""A function that raises `UserError` for an address that may not be contacted."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Hold the seconds that a live source may take."""

    open: float = 10.0  # to connect and to tell its streams
    read: float = 6.0  # between packets, before the connection counts as lost
    stall: float = 2.0  # between frames (sounds, where there are no frames), before the source counts as stalled


class Source(Protocol):
    """Read a camera, address, file, WHIP peer or the demo; used by one thread of its own."""

    @property
    def label(self) -> str:
        """Return what the user asked for, with credentials redacted; fit for logs, events and API answers."""

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Yield items until the source ends for good or `stop` is set (noticed within 0.5 s).

        Sound that ends at or before a frame's `t` comes before that frame where the source allows it.
        Raises `UserError` only before the first item; later troubles are state changes.
        """
