"""The share of its cores that this process uses."""

import time

from engines.cores import usable_share

OVER = 0.5  # s over which a share is measured
BUSY = 0.6  # of all cores, from which throughput counts for more than a few milliseconds


class CpuShare:
    """Measure the share of the cores that this process uses; called from one thread at a time."""

    def __init__(self) -> None:
        self._cores = usable_share()
        self._at, self._used = time.monotonic(), time.process_time()
        self.share = 0.0  # of all cores, 0..1, in the last `OVER` seconds or more

    def busy(self) -> bool:
        """Return whether the share is `BUSY` or more."""
        now = time.monotonic()
        if now - self._at >= OVER:
            used = time.process_time()
            self.share = (used - self._used) / ((now - self._at) * self._cores)
            self._at, self._used = now, used
        return self.share >= BUSY
