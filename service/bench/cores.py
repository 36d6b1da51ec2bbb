"""The speed of the cores while something else is measured on them.

The cores of a virtual machine are shared with others, who take up to half of their speed for seconds or minutes, which
the machine itself cannot see. The time of a small piece of work that never changes tells this from the program's cost.
"""

import os
import threading
import time
from dataclasses import dataclass

import numpy as np

from engines.cores import usable_cores

EVERY = 0.25  # s between two measurements of a core, which take 0.1 % of it
_SIDE, _PRODUCTS = 96, 20  # of the work: matrix products in cache, as in networks, for about a quarter of a millisecond


@dataclass(frozen=True, slots=True)
class _Sample:
    """Hold one measurement of a core at a time (s, monotonic): the CPU seconds that the work took."""

    at: float
    core: int
    seconds: float  # CPU time does not include the time in which others had the core


class Cores:
    """Measure the speed of all cores in turn from now on, until `close`."""

    def __init__(self) -> None:
        self._samples: list[_Sample] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cores", daemon=True)
        self._thread.start()

    @property
    def best(self) -> float:
        """Return the CPU seconds of the work on a fast core: the 5th percentile of all samples, NaN without any."""
        seconds = [sample.seconds for sample in self._samples]
        return float(np.quantile(seconds, 0.05)) if seconds else float("nan")

    def speeds(self, begin: float, end: float) -> list[float]:
        """Return the median speed of each core between two times (s, monotonic) as a fraction of the `best`.

        It is NaN for a core that was not measured between them.
        """
        samples, best = [*self._samples], self.best
        within = [sample for sample in samples if begin <= sample.at <= end]
        of_each = [
            [sample.seconds for sample in within if sample.core == core]
            for core in sorted({sample.core for sample in samples})
        ]
        return [best / float(np.median(seconds)) if seconds else float("nan") for seconds in of_each]

    def close(self) -> None:
        """Stop measuring."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        """Measure one core after another until `close`; the body of the thread."""
        numbers = usable_cores()
        matrix = np.full((_SIDE, _SIDE), 1.0 / _SIDE, np.float32)
        out = np.empty_like(matrix)
        while True:
            for core in numbers:
                if self._over.wait(EVERY / len(numbers)):
                    return
                if hasattr(os, "sched_setaffinity"):  # elsewhere the system puts the thread where it likes
                    os.sched_setaffinity(0, {core})
                np.matmul(matrix, matrix, out=out)  # brings both into the core's cache
                begin = time.thread_time()
                for _ in range(_PRODUCTS):
                    np.matmul(matrix, matrix, out=out)
                self._samples.append(_Sample(time.monotonic(), core, time.thread_time() - begin))
