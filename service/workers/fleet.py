"""The service over several processes: workers read the faces, each with an interpreter lock and a core of its own.

One interpreter runs one thread's Python at a time: with eight cameras its lock changed hands 11,000 times a second on
two cores, and both together carried no more cameras than one core (docs/adr/0016). A worker is started when a session
finds all others in use, up to a limit; a session stays in its worker until one of the two ends.

This module imports little: it starts the first worker while the web application is still being imported.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from engines.cores import usable_cores
from models.errors import UserError
from service import metrics
from service.events import Event
from service.register import Unavailable
from service.settings import DEFAULT_ENGINE, DEFAULT_MODEL, Settings
from service.workers.handle import Worker
from service.workers.heartbeat import HUNG_AFTER, STARTING, Beat
from service.workers.launcher import Launcher

log = logging.getLogger(__name__)

STOP_WITHIN = 0.5  # s that the workers have to end once their sessions are over
WATCH_EVERY = 0.25  # s between looks at a worker's signs of life
FETCH_METRICS_EVERY = 5.0  # s; what a worker has counted since the last time is lost when it is killed
ANSWER_WITHIN = 1.0  # s that all workers together have to answer a question about the whole service
BREAKS_WITHIN = 60.0  # s that the breaks of workers and sessions are counted over
QUICK_RESTARTS = 2  # breaks within that time that are followed by a new start at once; then the pause doubles
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # s before a new start
MANY = 4  # sessions of a ready worker, above which the next one may wait for a worker that is being started

Labels = Mapping[str, str]  # what metrics say of the worker that they come from


def workers_for(settings: Settings) -> int:
    """Return how many processes read faces.

    That is what the settings say, else one for each core where the model is the small one, on a CPU: a large model
    wants all cores for each call, and a GPU all sessions in one batch. Where a pool runs the model, only perception is
    left, which is small.
    """
    if settings.workers:
        return settings.workers
    alone = settings.model != DEFAULT_MODEL or settings.engine.partition(":")[0] != DEFAULT_ENGINE
    alone = alone and not settings.pool
    return 1 if alone else min(len(usable_cores()), settings.max_sessions)


def pause_after(breaks: int) -> float:
    """Return the seconds to wait before a new start after that many breaks within `BREAKS_WITHIN` seconds."""
    if breaks <= QUICK_RESTARTS:
        return 0.0
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(16, breaks - QUICK_RESTARTS - 1))


class Breaks:
    """Count the breaks of the last `BREAKS_WITHIN` seconds. Not thread-safe."""

    def __init__(self) -> None:
        """Begin with none."""
        self._at: deque[float] = deque()

    def add(self) -> int:
        """Count one that happened now, and return how many there were."""
        now = time.monotonic()
        self._at.append(now)
        while now - self._at[0] > BREAKS_WITHIN:
            self._at.popleft()
        return len(self._at)


class Fleet:
    """Run worker processes, as many as their launcher allows, instead of a `service.runtime.Runtime`. Thread-safe."""

    def __init__(self, launcher: Launcher) -> None:
        """Start nothing yet."""
        self.launcher = launcher
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._departed: list[tuple[Labels, str]] = []  # of workers that broke: their last metrics, as text
        self._breaks = Breaks()
        self._started = 0
        self._closing = False
        self._problem: str | None = None  # a sentence while there is no worker
        self._beat = STARTING  # the newest one that named the model
        self._begin_listening: Callable[[Worker], object] = lambda worker: None  # until there is a loop

    def start(self) -> None:
        """Start the first worker; `wait_for` returns when it takes sessions."""
        self.least_loaded(lambda worker: 0)

    def least_loaded(self, load: Callable[[Worker], int], enough: int = 1, node: str | None = None) -> Worker:
        """Return the worker with the least `load`, or a new one where all have `enough` and there may be more.

        A worker that is being started in place of one that broke counts only if every ready worker has a `load` above
        `MANY`, so that the sessions of the broken one need not wait for the start. With `node`, only workers on the
        node of that name count. Raise `Unavailable` once the fleet is closing.
        """
        with self._lock:
            able = [worker for worker in self._workers if worker.usable and node in (None, worker.process.node)]
            ready = [worker for worker in able if worker.alive or not worker.in_reserve]
            least = min(ready, key=load, default=None)
            if least is None or load(least) > MANY:
                least = min(able, key=load, default=None)
            full = len(self._workers) >= self.launcher.most() or not self.launcher.has_room()
            if least is None or (load(least) >= enough and not full):
                least = self._start_one(node)
        return least

    def ready_worker(self, load: Callable[[Worker], int], node: str | None = None) -> Worker | None:
        """Return the worker with the least `load` that takes sessions now, on `node` if that is given; None without."""
        ready = [one for one in self.workers if one.ready and one.usable and node in (None, one.process.node)]
        return min(ready, key=load, default=None)

    def wait_for(self, worker: Worker | None = None) -> None:
        """Return when `worker`, or the first one, takes sessions. Raise `UserError` if it cannot be started."""
        worker = worker or self.workers[0]
        try:
            worker.wait()
            self._problem = None
        except UserError as error:
            self._remove(worker, str(error))
            raise

    def attach(
        self,
        publish: Callable[[Worker, Event], None],
        broke: Callable[[Worker, str], None],
        leaves: Callable[[Worker], None],
    ) -> None:
        """Listen to all workers in the running loop from now on.

        `publish` is called with each event and its worker, `broke` with a worker that ended without being asked to,
        and how it ended, `leaves` with one whose node is about to leave; all in the loop.
        """
        loop = asyncio.get_running_loop()
        tasks: set[Any] = set()

        def leave(worker: Worker) -> None:
            if not worker.leaving and not worker.asked_to_end and not self._closing:
                worker.leaving = True
                leaves(worker)

        def drained(node: str) -> None:
            for worker in self.workers:
                if worker.process.node == node:
                    loop.call_soon_threadsafe(leave, worker)

        async def listen(worker: Worker) -> None:
            watching = loop.create_task(self._watch(worker))
            try:
                await worker.events(lambda event: publish(worker, event), lambda: leave(worker))
            except UserError as error:  # it was never ready: `wait_for` raises the reason too, if somebody waits
                self._remove(worker, str(error))
                if not self.workers and not worker.in_reserve:  # else `_replace` tries again anyway
                    await self._replace(1, FIRST_PAUSE)
                return
            finally:
                watching.cancel()
            how = await asyncio.to_thread(worker.how_it_ended)
            if worker.asked_to_end or self._closing:
                return
            log.error("a worker process ended: %s", how)
            self.launcher.avoid(worker.process.node)
            wanted = len(self.workers)
            self._remove(worker, f"the worker process ended ({how})")
            broke(worker, how)
            await self._replace(wanted)

        def begin(worker: Worker) -> None:
            task = loop.create_task(listen(worker))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        with self._lock:
            self._begin_listening = lambda worker: loop.call_soon_threadsafe(begin, worker)
            for worker in self._workers:
                begin(worker)
        self.launcher.watch(drained)

    @property
    def workers(self) -> list[Worker]:
        """Return the workers that run or are being started."""
        with self._lock:
            return [*self._workers]

    @property
    def alive(self) -> bool:
        """Return whether at least one worker reads faces."""
        return any(worker.alive and not worker.beat.problems for worker in self.workers)

    @property
    def info(self) -> dict[str, Any]:
        """Return what the events say of the model, as a worker last reported it."""
        return self._newest_beat().model

    def licences(self) -> list[str]:
        """Return a line for each of the weights in use, as a worker last reported them."""
        return self._newest_beat().licences

    def problems(self) -> list[str]:
        """Return why faces are not read, in sentences: what the workers last reported, and which of them hang."""
        workers = self.workers
        found = [self._problem] if self._problem is not None and not any(worker.alive for worker in workers) else []
        for worker in workers:
            found += worker.beat.problems
            if worker.silence > HUNG_AFTER:
                found.append(f"a worker process has given no sign of life for {worker.silence:.0f} s")
        return list(dict.fromkeys(found))

    async def metrics(self) -> tuple[list[tuple[Labels, str]], list[tuple[Labels, str]]]:
        """Return the newest metrics of the workers that run, and the last of those that broke: labels and text of each.

        Workers that do not answer within `ANSWER_WITHIN` seconds keep the ones they gave before.
        """
        await asyncio.gather(*(worker.fetch_metrics(ANSWER_WITHIN) for worker in self.workers))
        with self._lock:
            return [(worker.labels, worker.metrics) for worker in self._workers], [*self._departed]

    def fold_departed(self, whole: str) -> None:
        """Keep the text `whole` in place of the metrics of all workers that broke so far. In the loop."""
        with self._lock:
            self._departed[:] = [({}, whole)]

    def ask_to_end(self) -> None:
        """Ask all workers to end their sessions, and then themselves; start none from now on."""
        self._closing = True
        for worker in self.workers:
            worker.ask_to_end()

    def close(self) -> None:
        """End all workers, by force after `STOP_WITHIN` seconds. Calling it again does nothing."""
        self.ask_to_end()
        enders = [threading.Thread(target=worker.end, args=(STOP_WITHIN,)) for worker in self.workers]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        with self._lock:
            self._workers.clear()
        self.launcher.close()

    def dismiss(self, worker: Worker) -> None:
        """End a worker that has no sessions any more, and start none in its place. Blocks."""
        worker.ask_to_end()
        self._remove(worker, None)

    async def _watch(self, worker: Worker) -> None:
        """Kill `worker` when it gives no sign of life, and keep its metrics up to date."""
        with suppress(UserError):
            await worker.until_ready()
        looked_at = fetched_at = time.monotonic()
        while worker.running:
            await asyncio.sleep(WATCH_EVERY)
            now = time.monotonic()
            if now - looked_at > HUNG_AFTER / 2:  # this process was held up itself, and has not read the pipes
                worker.heard_at = now
            looked_at = now
            if worker.hangs:
                worker.kill_hung()
                return
            if now - fetched_at > FETCH_METRICS_EVERY:
                fetched_at = now
                await worker.fetch_metrics(ANSWER_WITHIN)
                looked_at = time.monotonic()

    async def _replace(self, wanted: int, pause: float = 0.0) -> None:
        """Start a worker in the place of one that broke, if there are fewer than `wanted`.

        Wait for `pause` seconds before, and longer if several broke.
        """
        with self._lock:
            pause = max(pause, pause_after(self._breaks.add()))
        while not self._closing:
            await asyncio.sleep(pause)
            try:
                await asyncio.to_thread(self._start_in_reserve, wanted)
                return
            except UserError as error:  # it could not be started
                with self._lock:
                    pause = max(FIRST_PAUSE, pause_after(self._breaks.add()))
                log.error("a worker process cannot be started: %s", error)

    def _start_in_reserve(self, wanted: int) -> None:
        """Start a worker unless there are `wanted` ones, and wait until it takes sessions."""
        with self._lock:
            if self._closing or len(self._workers) >= wanted:
                return
            worker = self._start_one()
            worker.in_reserve = True
        self.wait_for(worker)

    def _start_one(self, node: str | None = None) -> Worker:
        """Start a worker; with the lock held."""
        if self._closing:
            raise Unavailable("the service is shutting down and opens no session any more")
        taken = {worker.number for worker in self._workers}
        number = next(n for n in range(len(taken) + 1) if n not in taken)
        worker = Worker(self.launcher.start(self._started, node), number)
        self._started += 1
        self._workers.append(worker)
        metrics.WORKERS.set(len(self._workers))
        self._begin_listening(worker)
        return worker

    def _remove(self, worker: Worker, why: str | None) -> None:
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
                if worker.beat.model:
                    self._beat = worker.beat
                if worker.metrics:
                    self._departed.append((worker.labels, worker.metrics))
            metrics.WORKERS.set(len(self._workers))
            self._problem = why or self._problem
        worker.end(0 if why else STOP_WITHIN)

    def _newest_beat(self) -> Beat:
        """Return a beat that names the model. Raise `Unavailable` before the first worker was ready."""
        for worker in self.workers:
            if worker.beat.model:
                self._beat = worker.beat
                break
        if not self._beat.model:
            raise Unavailable(self._problem or "no worker process is ready yet; try again")
        return self._beat
