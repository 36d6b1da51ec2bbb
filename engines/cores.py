"""The processor cores that this process may use, told once for everything that divides work among them."""

import os


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may run on, in order; at least one."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
