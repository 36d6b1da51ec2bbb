"""The scheduler: it runs the requests of all sessions in batches, one engine call at a time.

A watchdog observes the call that runs. A call without an answer is given up: its requests fail, and a new thread takes
the place of the one that it blocks. An engine that hung, or failed `STRIKES` times in a row, is not used any more;
`service.inference.standby` finds the next one.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import InvalidStateError
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays, Engine, is_finite, require_finite
from engines.errors import EngineError
from service import metrics
from service.inference.queue import Pending, Request, RequestQueue, Share, Superseded, join, split

log = logging.getLogger(__name__)

MAX_BATCH = 16  # rows of an engine call
DROP_AFTER = 0.25  # s beyond a model's period after which an answer is of no use
HUNG_AFTER = 5.0  # s without an answer
# On an overloaded machine calls are slow without hanging: one may take `SLOWER` times as long as those before it, and
# the first one, which also reserves memory and of which nothing is known, `FIRST` times `HUNG_AFTER`.
SLOWER, FIRST = 10.0, 3.0
STRIKES = 3  # calls in a row that raised, or gave only NaN
FAULTS = ("error", "nan", "hung")  # what may be wrong with a call
RATE = 30.0  # answers a second that each session wants of a model, where nothing else is said
_WAITED, _CALLED = map(metrics.STAGE_SECONDS.labels, ("queue", "engine"))
_CHECKS = 20  # of the watchdog within `hung_after`; they are counted, because a stopped process makes none
_IDLE = 1.0  # s; how long a thread waits for work at once


def _ignore(why: str) -> None:
    """Do nothing, for a model that has no other engine."""


@dataclass(slots=True)
class _Model:
    """Hold a model and how its requests are run; `why` says why `engine` is None."""

    engine: Engine | None
    period: float  # s, between two requests of a session that is not held up
    alone: bool  # a request waits for no others
    failed: Callable[[str], None]
    why: str = ""  # there is no engine
    strikes: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class _Call:
    """Hold a batch that an engine runs."""

    model: str
    engine: Engine
    shares: list[Share]

    @property
    def rows(self) -> int:
        return sum(share.rows for share in self.shares)


class Scheduler:
    """Run requests in batches across sessions and models. Nothing runs before `start`; `step` runs a batch by hand."""

    def __init__(
        self,
        max_batch: int = MAX_BATCH,
        max_wait: float = 0.0,
        *,
        drop_after: float = DROP_AFTER,
        hung_after: float = HUNG_AFTER,
        busy: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without models.

        Args:
            max_batch: Rows of an engine call at most.
            max_wait: Seconds that a batch may wait, while the process is busy, for the next request of sessions that
                are active; a lone session never waits.
            drop_after: Seconds beyond its model's period after which a request that still waits fails with
                `Superseded`.
            hung_after: Seconds after which a call is given up, unless longer ones are known.
            busy: Whether the process is busy.
            clock: Seconds, monotonic.
        """
        self._queue = RequestQueue(max_batch, max_wait, drop_after, busy)
        self._hung_after = hung_after
        self._clock = clock
        self._models: dict[str, _Model] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._call: _Call | None = None  # the call that runs now
        self._worker: threading.Thread | None = None
        self._left_behind: list[threading.Thread] = []
        self._over = threading.Event()

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait for an engine."""
        with self._changed:
            return len(self._queue)

    @property
    def stuck(self) -> int:
        """Return the number of threads whose engine call was given up and still has not returned."""
        return sum(thread.is_alive() for thread in self._left_behind)

    @property
    def lingers(self) -> bool:
        """Return whether, after `close`, a thread is still in an engine call."""
        return self.stuck > 0 or (self._worker is not None and self._worker.is_alive())

    def start(self) -> None:
        """Run batches in a thread of their own from now on, and another one that watches it."""
        self._start_worker()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def register(
        self,
        model: str,
        engine: Engine,
        *,
        rate: float = RATE,
        alone: bool = False,
        failed: Callable[[str], None] = _ignore,
    ) -> None:
        """Run the requests for `model` on `engine` from now on.

        Args:
            model: Name of the model.
            engine: What runs it.
            rate: Answers a second that each session wants, which sets the deadlines of its requests.
            alone: Whether the requests wait for no others.
            failed: Is called once, from any thread and with a sentence, when the engine is given up; until the next one
                is registered the model's requests fail with that sentence.
        """
        metrics.PREDICTIONS.labels(model)  # exists at zero: a rate would miss a series' first count
        for reason in FAULTS:
            metrics.ENGINE_FAILURES.labels(model, reason)
        with self._changed:
            self._models[model] = _Model(engine, 1.0 / rate, alone, failed)
            self._queue.forget(model)

    def submit(
        self,
        model: str,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        session: str,
        patient: bool = False,
        age: float = 0.0,
    ) -> Pending:
        """Return the outputs to come for `inputs`. Raise `EngineError` for an unknown model and after `close`.

        The future raises `Superseded` if a newer request of the session took its place or it came too late, and
        `EngineError` if the engine failed, hung or gave NaN, or if there is no engine now.

        Args:
            model: Name of the model.
            inputs: (n, ...) arrays by name, n >= 1, which must not be written to until the outputs are there.
            session: Name of the session.
            patient: Whether the outputs are wanted however late.
            age: Seconds that the request has waited elsewhere, which count against its use.
        """
        now = self._clock() - age
        found = self._models.get(model)
        if found is None:
            raise EngineError(f"There is no engine for the model {model!r}; known are: {', '.join(self._models)}.")
        request = Request(model, inputs, session, now, found.period, patient, found.alone or patient)
        if not inputs or request.rows < 1:
            raise EngineError(f"A request for {model!r} holds no rows.")
        with self._changed:
            if self._closing:
                raise EngineError("The service is shutting down and takes no more requests.")
            if self._models[model].engine is None:
                request.fail(EngineError(self._models[model].why))
                return request.pending
            old = self._queue.add(request)
            metrics.QUEUE.set(len(self._queue))
            self._changed.notify_all()
        if old is not None:
            metrics.SKIPPED.labels("newer").inc()
            old.fail(Superseded(f"A newer request of the same session for {model!r} took this one's place.", "newer"))
        return request.pending

    def step(self, timeout: float = 0.0) -> None:
        """Drop what is past its use and run the next batch; wait for one up to `timeout` seconds."""
        with self._changed:
            expired, call = self._next()
            if not expired and call is None and timeout > 0.0 and not self._closing:
                due = self._queue.due()
                self._changed.wait(timeout if due is None else min(max(due - self._clock(), 0.0), timeout))
                if self._worker not in (None, threading.current_thread()):
                    return
                expired, call = self._next()
        self._drop(expired)
        if call is not None:
            self._run(call)

    def close(self, timeout: float = 5.0) -> None:
        """Run what waits, for `timeout` seconds at most, and fail the rest. Calling it again does nothing."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._over.set()
        if self._worker is not None:
            self._worker.join(timeout)
        with self._changed:
            left = self._queue.clear() + ([share.request for share in self._call.shares] if self._call else [])
            self._call = None
            metrics.QUEUE.set(0)
        for request in left:
            request.fail(EngineError(f"The service shut down before a request for {request.model!r} was run."))

    def _start_worker(self) -> None:
        self._worker = threading.Thread(target=self._work, name="scheduler", daemon=True)
        self._worker.start()

    def _work(self) -> None:
        me = threading.current_thread()
        while self._worker is me and not (self._closing and not len(self._queue)):
            self.step(_IDLE)

    def _next(self) -> tuple[list[Request], _Call | None]:
        """Return what is past its use, and the next batch, which counts as running from now on."""
        now = self._clock()
        expired = self._queue.expire(now)
        shares = [share for share in self._queue.take(now) if self._wanted(share, now)]
        metrics.QUEUE.set(len(self._queue))
        if not shares:
            return expired, None
        model = shares[0].request.model
        engine = self._models[model].engine
        assert engine is not None  # requests of a model fail when its engine is given up
        self._call = _Call(model, engine, shares)
        return expired, self._call

    def _wanted(self, share: Share, now: float) -> bool:
        """Return whether the answer is still waited for."""
        request = share.request
        if request.pending.done():
            self._queue.discard(request)
            return False
        if share.start == 0:
            request.pending.waited = now - request.arrived
            _WAITED.observe(request.pending.waited)
        return True

    def _run(self, call: _Call) -> None:
        started = self._clock()
        results: list[Arrays] = []
        finite = False
        failure: EngineError | None = None
        try:
            outputs = call.engine(join(call.shares))
            results, finite = split(outputs, call.shares), is_finite(outputs)
        except Exception as error:
            # The outermost frame of every engine: whatever fails inside ends these requests, not the service.
            log.exception("the engine of %s failed on %d rows", call.model, call.rows)
            failure = error if isinstance(error, EngineError) else EngineError(f"The engine failed: {error}")
        with self._changed:
            if self._call is not call:
                return  # it was given up, and its requests have failed
            self._call = None
            seconds = self._clock() - started
            self._queue.learn_cost(call.model, call.rows, seconds)
        if failure is not None:
            self._fail_all(call, failure)
            self._strike(call, "error", str(failure))
            return
        _CALLED.observe(seconds)
        metrics.BATCH_SIZE.observe(call.rows)
        faults = [self._finish(share, result, finite) for share, result in zip(call.shares, results, strict=True)]
        metrics.PREDICTIONS.labels(call.model).inc(
            sum(share.rows for share, fault in zip(call.shares, faults, strict=True) if fault is None)
        )
        if None in faults:
            self._models[call.model].strikes = 0
        else:
            self._strike(call, "nan", str(faults[0]))

    def _finish(self, share: Share, result: Arrays, finite: bool) -> EngineError | None:
        """Hand a share's outputs on, or return what is wrong with them; `finite`: no output of the batch is NaN."""
        request = share.request
        try:
            if not finite:
                require_finite(result, f"The engine of {request.model!r}")
        except EngineError as error:
            log.error("%s", error)
            with self._changed:
                self._queue.discard(request)
            request.fail(error)
            return error
        request.parts.append(result)
        if share.stop == request.rows:
            parts = request.parts
            whole = parts[0] if len(parts) == 1 else {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
            with suppress(InvalidStateError):  # cancelled meanwhile
                request.pending.set_result(whole)
        return None

    def _drop(self, expired: list[Request]) -> None:
        for request in expired:
            metrics.SKIPPED.labels("late").inc()
            waited = self._clock() - request.arrived
            request.fail(Superseded(f"A request for {request.model!r} waited {waited:.2f} s, past its use."))

    def _fail_all(self, call: _Call, error: EngineError) -> None:
        with self._changed:
            for share in call.shares:
                self._queue.discard(share.request)
        for share in call.shares:
            share.request.fail(error)

    def _watch(self) -> None:
        seen: _Call | None = None
        checks = 0
        while not self._over.wait(self._hung_after / _CHECKS):
            with self._changed:
                running, expired = self._call, self._queue.expire(self._clock())
                metrics.QUEUE.set(len(self._queue))
            self._drop(expired)  # now, so that their sessions send something newer before the call is over
            checks = checks + 1 if running is not None and running is seen else 0
            seen = running
            if running is not None and checks * self._hung_after / _CHECKS >= self._patience(running):
                self._abandon(running)

    def _patience(self, call: _Call) -> float:
        """Return the seconds that a call may take."""
        expected = self._queue.expected(call.model, call.rows)
        return FIRST * self._hung_after if expected is None else max(self._hung_after, SLOWER * expected)

    def _abandon(self, call: _Call) -> None:
        """Fail the requests of a call that hangs, and start a new thread in place of the one that it blocks."""
        with self._changed:
            if self._call is not call or self._closing:
                return
            self._call = None
            why = f"The engine of {call.model!r} gave nothing for {self._patience(call):.2g} s."
            report = self._give_up(call, why)  # before another thread can call it
            if self._worker is not None:
                self._left_behind = [thread for thread in (*self._left_behind, self._worker) if thread.is_alive()]
            self._start_worker()
        metrics.ENGINE_FAILURES.labels(call.model, "hung").inc()
        log.error("%s", why)
        self._fail_all(call, EngineError(why))
        report()

    def _strike(self, call: _Call, reason: str, why: str) -> None:
        """Count a call that failed, and give the engine up after `STRIKES` in a row."""
        metrics.ENGINE_FAILURES.labels(call.model, reason).inc()
        with self._changed:
            model = self._models[call.model]
            model.strikes += 1
            if model.strikes < STRIKES:
                return
            report = self._give_up(call, why)
        report()

    def _give_up(self, call: _Call, why: str) -> Callable[[], None]:
        """Stop calling the engine, and return what is to be done about it once the lock is free."""
        model = self._models[call.model]
        if model.engine is not call.engine:
            return lambda: None
        model.engine, model.why = None, why
        left = self._queue.clear(call.model)

        def report() -> None:
            for request in left:
                request.fail(EngineError(why))
            model.failed(why)

        return report
