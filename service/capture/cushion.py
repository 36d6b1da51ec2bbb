"""Live streams that arrive in bursts (HLS, proxies), at the speed at which they happened."""

import threading
import time

_FIRST = 0.2  # seconds by which everything is held back at first
_LATE = 0.1  # seconds by which an item may be late before the cushion grows; less is the machine's own unevenness


class Cushion:
    """Hold items back until their session time plus a cushion has come, so that a burst does not overrun the reader.

    The cushion grows by as much as an item came too late, so that the next delay as long interrupts nothing.
    """

    def __init__(self) -> None:
        self.seconds = _FIRST

    def wait(self, t: float, began: float, stop: threading.Event) -> bool:
        """Return when the item of session time `t` is due; false, at once, when `stop` is set.

        `began`: monotonic seconds at session time 0.
        """
        ahead = t + self.seconds - (time.monotonic() - began)
        if ahead > 0:
            return not stop.wait(ahead)
        if ahead < -_LATE:
            self.seconds -= ahead
        return not stop.is_set()
