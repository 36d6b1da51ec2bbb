"""The processor cores that this process may use: those that it may run on, and how much of their time a container has.

A container is limited by the operating system in two ways. Its process may run on a few of the machine's cores only
(the affinity), or on all of them for a part of the time only (the quota of its control group).
"""

import os
import random
from collections.abc import Iterator
from math import ceil
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")  # of Linux control groups, version 2
_OWN_GROUP = Path("/proc/self/cgroup")
_CHOICE = random.random()  # the same cores at every call in this process, and others in another container


def usable_cores() -> list[int]:
    """Return the numbers of the cores that this process may keep busy, in order; at least one.

    Where a quota allows the time of fewer cores than the process may run on, that many of them are chosen at random,
    rounded up: several containers that all chose the first ones would leave the rest of the machine idle.
    """
    allowed = _allowed()
    quota = cpu_quota()
    if quota is None or quota >= len(allowed):
        return allowed
    return sorted(random.Random(_CHOICE).sample(allowed, max(1, ceil(quota))))


def usable_share() -> float:
    """Return how many cores' time this process may use, such as 2.0, or 0.5 in a container limited to half a core."""
    quota = cpu_quota()
    return min(float(len(_allowed())), quota) if quota is not None else float(len(_allowed()))


def cpu_quota() -> float | None:
    """Return the cores' time that this process's control group may use, or None if it is not limited.

    The limit is the lowest `cpu.max` of the group and those above it, as far as they are visible.
    """
    limits = []
    for folder in _groups():
        try:
            quota, period = (folder / "cpu.max").read_text("utf-8").split()
            if quota != "max":
                limits.append(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return min((limit for limit in limits if limit > 0), default=None)


def shortage() -> str:
    """Return a sentence for the log where the process has less than one core's time, else ""."""
    share = usable_share()
    if share >= 1:
        return ""
    return (
        f"This container may use {share:.2g} of a core's time (cpu.max of its control group): events come later and "
        "fewer than the camera's frames; give it a whole core for each two or three streams."
    )


def _allowed() -> list[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _groups() -> Iterator[Path]:
    """Yield the folders of this process's control group and of those above it; nothing outside of Linux."""
    try:
        lines = _OWN_GROUP.read_text("utf-8").splitlines()
    except OSError:
        return
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None or ".." in own.split("/"):  # a group outside of what a container sees
        own = ""
    folder = _GROUPS / own
    while True:
        yield folder
        if folder == _GROUPS:
            return
        folder = folder.parent
