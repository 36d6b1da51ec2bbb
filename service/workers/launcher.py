"""The interface through which `service.workers.fleet` starts worker processes on a machine, or on a cluster.

The program is the same everywhere (`service.workers.main`). A `Launcher` starts it and returns a `WorkerProcess`,
through which the front process reads its messages, sends it requests and ends it. `service.workers.local` runs it as a
child process, `service.workers.ray_launcher` in an actor on a node of a Ray cluster.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import httpx

from service.workers.leases import Leases

HERE = ""  # the node of a worker that runs on this machine, without a cluster


class WorkerProcess(Protocol):
    """Describe one worker program that was started, on this machine or another."""

    id: str
    node: str  # name of the node that it runs on; "" where that is not known yet, or there is no cluster
    core: int | None  # number of the core that it runs on, where this process chose it

    @property
    def pid(self) -> int:
        """Return the program's process id on its node; 0 before it is known."""

    @property
    def running(self) -> bool:
        """Return whether the program has not ended, as far as is known here."""

    def wait_ready(self, heard: Callable[[bytes], None]) -> str | None:
        """Return when the program takes sessions, or why it does not. Blocks; `heard` is called with each beat."""

    def messages(self) -> AbstractAsyncContextManager[asyncio.StreamReader]:
        """Return a context whose value gives the program's messages from now on. In the loop, once it is ready."""

    def client(self, timeout: float) -> httpx.Client:
        """Return a client of the program's HTTP routes, once it is ready."""

    def async_client(self, timeout: float) -> httpx.AsyncClient:
        """Return a client of the program's HTTP routes for the loop, once it is ready."""

    def how_it_ended(self) -> str:
        """Return how the program ended, for people. Blocks until it has."""

    def ask_to_end(self) -> None:
        """Ask the program to end. Does not block."""

    def kill(self) -> None:
        """End the program at once. Does not block."""

    def end(self, timeout: float) -> None:
        """End the program, by force after `timeout` seconds, and free what this process holds of it. Blocks."""


class Launcher(Protocol):
    """Describe what starts worker programs, on one machine or on the nodes of a cluster. Thread-safe."""

    leases: Leases  # what keeps the leases of the sessions that its workers read
    new_worker_within: float  # s that a session waits for a worker that is being started while others take sessions

    def start(self, number: int, node: str | None) -> WorkerProcess:
        """Start the program, on the node of that name if one is given. Does not block."""

    def most(self) -> int:
        """Return how many workers may run at once."""

    def has_room(self) -> bool:
        """Return whether one more worker would start at once."""

    def node_of(self, source: str) -> tuple[str, str | None]:
        """Return a source as its worker opens it, and the name of the node that it is bound to, or None.

        Raise `UserError` if the source names no node although there are several, or a node that is not there.
        """

    def avoid(self, node: str) -> None:
        """Prefer other nodes than the one of that name for a while: a worker was lost there."""

    def watch(self, drained: Callable[[str], None]) -> None:
        """Call `drained` with the name of each node that is about to leave, from another thread, from now on."""

    def close(self) -> None:
        """Free what this process holds for its workers."""
