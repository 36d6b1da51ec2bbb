"""What every source is: an iterator of frames, sound and state changes in the order of the session clock."""

import threading
from collections.abc import Iterator
from typing import Protocol

from service.capture.media import Item


class Source(Protocol):
    """A camera, address, file, WHIP peer or the demo. Read by one thread of its own."""

    @property
    def label(self) -> str:
        """What the user asked for, with credentials redacted; fit for logs, events and API answers."""

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Items until the source ends for good or `stop` is set (noticed within 0.5 s).

        Sound that ends at or before a frame's `t` comes before that frame where the source allows it.
        Raises `UserError` only before the first item; later troubles are state changes.
        """
