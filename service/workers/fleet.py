"""The service over several processes: workers read the faces, each with an interpreter lock and a core of its own.

One interpreter runs one thread's Python at a time: with eight cameras its lock was handed round 11,000 times a second
on two cores, and both together carried no more than one (docs/adr/0016). A worker is started when a session finds all
others taken, until there are as many as there may be; a session stays where it was opened.
"""

import asyncio
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from engines.errors import UserError
from service import metrics
from service.events import Event
from service.settings import DEFAULT_ENGINE, DEFAULT_MODEL, Settings
from service.workers.handle import Worker

log = logging.getLogger(__name__)

STEADY = 5.0  # s that a worker ran before it broke, from which another one takes its place
STOP_WITHIN = 1.0  # s that the workers have to end once their sessions are over
_LONGEST_FOLDER = 60  # characters; a socket's path may have a hundred or so


def cores() -> list[int]:
    """Numbers of those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def workers_for(settings: Settings) -> int:
    """How many processes read faces: as the settings say, else one for each core where the model is the small one, on
    a CPU. A large one wants all cores for each call, and a GPU all sessions in one batch.
    """
    if settings.workers:
        return settings.workers
    alone = settings.model != DEFAULT_MODEL or settings.engine.partition(":")[0] != DEFAULT_ENGINE
    return 1 if alone else min(len(cores()), settings.max_sessions)


class Fleet:
    """Up to `most` workers. Stands for the service's runtime, which each of them has one of. Thread-safe."""

    def __init__(self, settings: Settings, most: int) -> None:
        self._settings = settings
        self._most = most
        self._cores = cores()
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._started = 0
        self._closing = False
        self._problem: str | None = None  # a sentence while there is no worker
        self._listen: Callable[[Worker], object] = lambda worker: None  # until there is a loop
        short = len(tempfile.gettempdir()) <= _LONGEST_FOLDER
        self._folder = Path(tempfile.mkdtemp(prefix="affectstream-", dir=None if short else "/tmp"))  # noqa: S108

    def start(self) -> None:
        """Starts the first worker; `ready` tells when it takes sessions."""
        self.free(lambda worker: 0)

    def free(self, load: Callable[[Worker], int]) -> Worker:
        """The worker with the least `load`; a new one where all have some and there may be more."""
        with self._lock:
            least = min(self._workers, key=load, default=None)
            if least is None or (load(least) and len(self._workers) < self._most):
                least = self._start_one()
        return least

    def ready(self, worker: Worker | None = None) -> None:
        """Waits until `worker`, or the first one, takes sessions. Raises `UserError` if it cannot be started."""
        worker = worker or self.workers[0]
        try:
            worker.wait()
            self._problem = None
        except UserError as error:
            self._remove(worker, str(error))
            raise

    def attach(self, take: Callable[[Worker, Event], None], broke: Callable[[Worker, str], None]) -> None:
        """From now on, and in the running loop, `take` is called with each worker's events, and `broke`, with how it
        ended, when one ends untold.
        """
        loop = asyncio.get_running_loop()
        listening: set[Any] = set()

        async def listen(worker: Worker) -> None:
            try:
                await worker.events(lambda event: take(worker, event))
            except UserError:
                return  # it was never ready: whoever waits for it is told
            how = await asyncio.to_thread(worker.ended)
            if not (worker.told or self._closing):
                log.error("a worker process ended: %s", how)
                self._remove(worker, f"the worker process ended ({how})")
                broke(worker, how)
                if not self.workers and time.monotonic() - worker.since > STEADY:
                    await asyncio.to_thread(self._start_anew)

        def begin(worker: Worker) -> None:
            task = loop.create_task(listen(worker))
            listening.add(task)
            task.add_done_callback(listening.discard)

        with self._lock:
            self._listen = lambda worker: loop.call_soon_threadsafe(begin, worker)
            for worker in self._workers:
                begin(worker)

    @property
    def workers(self) -> list[Worker]:
        """Those that run."""
        with self._lock:
            return [*self._workers]

    @property
    def info(self) -> dict[str, Any]:
        """See `Runtime.info`. Blocks."""
        models: list[dict[str, Any]] = self._about()["models"]
        return models[0]

    def licences(self) -> list[str]:
        """See `Runtime.licences`. Blocks."""
        lines: list[str] = self._about()["licences"]
        return lines

    def problems(self) -> list[str]:
        """See `Runtime.problems`. Blocks."""
        found = [] if self._problem is None else [self._problem]
        for worker in self.workers:
            try:
                found += worker.request("GET", "/readyz")["reasons"]
            except UserError as error:
                found.append(str(error))
        return list(dict.fromkeys(found))

    def tell(self) -> None:
        """Asks all workers to end their sessions, and then themselves."""
        self._closing = True
        for worker in self.workers:
            worker.tell()

    def close(self) -> None:
        """Ends all workers, by force after `STOP_WITHIN`. Calling it again does nothing."""
        self.tell()
        enders = [threading.Thread(target=worker.end, args=(STOP_WITHIN,)) for worker in self.workers]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        with self._lock:
            self._workers.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_anew(self) -> None:
        """No session may come by itself while `problems` tells everybody to stay away. Blocks."""
        with suppress(UserError):  # what `problems` says then
            self.ready(self.free(lambda worker: 0))

    def _start_one(self) -> Worker:
        """With the lock held."""
        if self._closing:
            raise UserError("the service is shutting down and opens nothing any more")
        core = self._cores[self._started % len(self._cores)]
        # What all of them say at their start is said once.
        level = "WARNING" if self._started else "INFO"
        worker = Worker(self._settings, core, self._folder / str(self._started), level)
        self._started += 1
        self._workers.append(worker)
        metrics.WORKERS.set(len(self._workers))
        self._listen(worker)
        return worker

    def _remove(self, worker: Worker, why: str) -> None:
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
            metrics.WORKERS.set(len(self._workers))
            self._problem = None if self._workers else why
        worker.end(0)

    def _about(self) -> Any:
        return self.workers[0].request("GET", "/v1/models")
