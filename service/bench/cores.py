"""How fast the cores are while something else is measured on them.

The cores of a virtual machine are shared: what runs beside them takes up to half of their speed, for seconds or
minutes, and is seen by nobody. A small piece of work that is always the same tells it from the program's own cost.
"""

import os
import threading
import time
from dataclasses import dataclass

import numpy as np

from engines.cores import usable_cores

EVERY = 0.25  # s between two looks at a core: 0.1 % of it
_SIDE, _PRODUCTS = 96, 20  # of the work, which takes about a quarter of a millisecond: the loops of networks, in cache


@dataclass(frozen=True, slots=True)
class _Look:
    at: float  # s, monotonic
    core: int
    seconds: float  # of CPU time, which leaves out what others had of the core


class Cores:
    """Looks at all cores in turn from now on, until `close`."""

    def __init__(self) -> None:
        self._looks: list[_Look] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cores", daemon=True)
        self._thread.start()

    @property
    def best(self) -> float:
        """Seconds of CPU time that the work took when a core was fast: one look in twenty saw as little."""
        seconds = [look.seconds for look in self._looks]
        return float(np.quantile(seconds, 0.05)) if seconds else float("nan")

    def speeds(self, begin: float, end: float) -> list[float]:
        """The median speed of each core between two times (s, monotonic), as a part of the `best`; NaN for one that was
        not looked at.
        """
        looks, best = [*self._looks], self.best
        within = [look for look in looks if begin <= look.at <= end]
        of_each = [
            [look.seconds for look in within if look.core == core] for core in sorted({look.core for look in looks})
        ]
        return [best / float(np.median(seconds)) if seconds else float("nan") for seconds in of_each]

    def close(self) -> None:
        """Looks no more."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
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
                self._looks.append(_Look(time.monotonic(), core, time.thread_time() - begin))
