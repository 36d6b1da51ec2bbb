"""A service's side of a pool: it sends what is ready, in one call to each replica, and hands the answers on.

While calls are on their way, further requests gather, so that under load calls grow and do not become more. A
recording's request is sent again where its replica ended. A request of a live session fails, and the session's events
say so until its next request is answered. Where the whole cluster is gone, sessions go on without answers, and the
connection is made anew.
"""

import logging
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import EngineError
from engines.load import LoadedEngine
from engines.weights import verified
from models.errors import UserError
from service import metrics
from service.cluster import NAMESPACE, check_guarded, connect, first_line
from service.inference.queue import Pending, Request, Superseded
from service.inference.scheduler import DROP_AFTER, HUNG_AFTER
from service.pool.messages import Answer, Facts, PoolRequest, PoolStatus, Spec
from service.pool.options import PoolOptions
from service.pool.pictures import FORGET, Packed, Sent
from service.pool.routing import Routes
from service.pool.shown import forget, show
from service.pool.supervisor import Supervisor

log = logging.getLogger(__name__)

CALLS = 2  # on their way to a replica at once: one that is computed, and one that waits there
ASK_EVERY = 1.0  # s between questions about the pool
ASK_WITHIN = 5.0  # s that an answer to that may take
CLOSES_WITHIN = 1.0  # s for which `close` waits for a question that is under way
STARTS_WITHIN = 300.0  # s for the first replica, which may have to be compiled
GONE_FOR = 5.0  # s without calls to a replica after one failed, in which the supervisor finds out whether it ended
TRIES = 5  # times that a recording's request is sent
_WAITED, _CALLED = map(metrics.STAGE_SECONDS.labels, ("queue", "engine"))


class PooledEngine:
    """Describe the engine that the replicas of a pool run; only the pool's scheduler calls it."""

    def __init__(self, facts: Facts) -> None:
        self.name, self.precision, self.inputs = facts.name, facts.precision, facts.inputs

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Raise `EngineError`: requests go through `Pool.submit`."""
        raise EngineError("The engine of a pool is not called directly.")


class PooledSoundEngine(PooledEngine):
    """Describe a pool's engine that also returns the embedding of the sound (`engines.engine.KeepsSound`)."""

    def __init__(self, facts: Facts, kept: int) -> None:
        super().__init__(facts)
        self.kept = kept


def described(facts: Facts) -> LoadedEngine:
    """Return a description of the pool's engine and its weights, for adapters and events."""
    engine = PooledEngine(facts) if facts.kept is None else PooledSoundEngine(facts, facts.kept)
    return LoadedEngine(engine, facts.weights, facts.figures)


@dataclass(eq=False, slots=True)
class _Replica:
    """Hold a replica that takes requests."""

    name: str
    handle: Any
    calls: list["_Call"] = field(default_factory=list)

    @property
    def silent(self) -> bool:
        """Return whether a call to it has had no answer for too long."""
        return any(call.given_up for call in self.calls)


@dataclass(eq=False, slots=True)
class _Call:
    """Hold one call on its way; `given_up` says that its live requests have failed."""

    replica: _Replica
    requests: list[Request]
    sent: float  # s
    given_up: bool = False


class Pool:
    """Send the requests of this process's sessions to the replicas of one pool. Thread-safe."""

    searching = False  # `service.inference.standby.Standby` compiles engines; a pool's replicas do that themselves

    def __init__(self, options: PoolOptions, spec: Spec, supervisor: type[Supervisor] = Supervisor) -> None:
        """Hold no connection yet; `supervisor` is what looks after the replicas."""
        self._options = options
        self._spec = spec
        self._kind = supervisor
        self._period = 1.0 / spec.rate
        self._service = secrets.token_hex(4)  # so that two services may have sessions of the same name
        self._changed = threading.Condition()
        self._outbox: dict[str, Request] = {}  # by session
        self._tries: dict[Request, int] = {}  # times that a recording's request was sent in vain
        self._replicas: dict[str, _Replica] = {}
        self._routes = Routes()
        self._pictures: dict[str, Sent] = {}  # by session
        self._gone: dict[str, float] = {}  # s, when a call to a replica failed, which the supervisor may still list
        self._connection = threading.Lock()  # so that it is not closed while something is sent
        self._supervisor: Any = None
        self._heard = time.monotonic()  # s, when the supervisor answered last
        self._status = PoolStatus()  # the newest
        self._closing = threading.Event()
        self._loaded: LoadedEngine | None = None
        self._problem: str | None = None
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for work, name in ((self._send_all, "pool"), (self._watch, "pool-watch"))
        ]

    def open(self) -> None:
        """Find the pool or start it, and wait for its first replica. Raise `UserError` if there is none."""
        deadline = time.monotonic() + STARTS_WITHIN
        self._connect()
        from ray.exceptions import RayError

        while self._loaded is None:
            problem = f"No replica of {self._spec.model} was ready within {STARTS_WITHIN:g} s."
            try:
                status = self._ask()
            except RayError as error:  # the supervisor is being started
                problem = f"The pool at {self._options.address} does not answer: {first_line(error)}"
            else:
                self._note(status)
                if self._loaded is None and status.problem:
                    raise UserError(status.problem)
            if self._loaded is None and time.monotonic() > deadline:
                raise UserError(problem)
            time.sleep(0.2)
        for thread in self._threads:
            thread.start()

    @property
    def loaded(self) -> LoadedEngine:
        """Return the engine and the weights of the pool."""
        assert self._loaded is not None  # after `open`
        return self._loaded

    @property
    def problem(self) -> str | None:
        """Return a sentence while no replica takes requests; None otherwise."""
        return self._problem

    @property
    def replicas(self) -> int:
        """Return the number of replicas that take requests."""
        return len(self._replicas)

    def submit(
        self, model: str, inputs: Mapping[str, NDArray[np.generic]], *, session: str, patient: bool = False
    ) -> Pending:
        """Return the outputs to come for `inputs`; see `service.inference.scheduler.Scheduler.submit`."""
        request = Request(model, inputs, session, time.monotonic(), self._period, patient)
        if not inputs or request.rows < 1:
            raise EngineError(f"A request for {model!r} holds no rows.")
        with self._changed:
            if self._closing.is_set():
                raise EngineError("The service is shutting down and takes no more requests.")
            if self._problem is not None and not patient:
                request.fail(EngineError(self._problem))
                return request.pending
            old = self._outbox.pop(session, None)
            self._outbox[session] = request
            metrics.QUEUE.set(len(self._outbox))
            self._changed.notify_all()
        if old is not None:
            self._skip(old, "newer", "A newer request of the same session took this one's place.")
        return request.pending

    def close(self) -> None:
        """Fail what waits. The replicas go on for other services, and end by themselves where there are none."""
        self._closing.set()
        with self._changed:
            left = [*self._outbox.values(), *self._sent()]
            self._outbox.clear()
            self._changed.notify_all()
        for request in left:
            request.fail(EngineError("The service shut down before a request was answered."))
        for thread in self._threads:
            if thread.is_alive():
                thread.join(CLOSES_WITHIN)  # Ray ends a thread that still asks when the connection is closed
        forget(self._spec.model)

    def end(self) -> None:
        """End the replicas and their supervisor, also for other services; after `close`."""
        import ray

        with suppress(ray.exceptions.RayError):
            ray.get(self._supervisor.end.remote(), timeout=ASK_WITHIN)
        ray.kill(self._supervisor)

    # Sending

    def _send_all(self) -> None:
        while not self._closing.is_set():
            with self._changed:
                calls, late = self._take()
                if not calls and not late:
                    self._changed.wait(0.05 if self._outbox else 1.0)
                    continue
            for request in late:
                self._skip(request, "late", "The request waited past its use.")
            for call in calls:
                self._send(call)

    def _take(self) -> tuple[list[_Call], list[Request]]:
        """Return the calls to make now, and the requests that are past their use."""
        now = time.monotonic()
        late = [r for r in self._outbox.values() if not r.patient and now >= r.arrived + r.period + DROP_AFTER]
        for request in late:
            del self._outbox[request.session]
        usable = sorted(name for name, one in self._replicas.items() if not one.silent)
        calls: dict[str, _Call] = {}
        for session, request in [*self._outbox.items()] if usable else []:
            one = self._replicas[self._routes.replica_of(f"{self._service}/{session}", usable, now)]
            if one.name not in calls and len(one.calls) >= CALLS:
                continue
            if one.name not in calls:
                calls[one.name] = _Call(one, [], now)
                one.calls.append(calls[one.name])
            calls[one.name].requests.append(request)
            del self._outbox[session]
        metrics.QUEUE.set(len(self._outbox))
        return [*calls.values()], late

    def _send(self, call: _Call) -> None:
        now = time.monotonic()
        asked = [
            PoolRequest(f"{self._service}/{r.session}", self._packed(call.replica, r), now - r.arrived, r.patient)
            for r in call.requests
        ]
        try:
            with self._connection:
                future: Future[Sequence[Answer]] = call.replica.handle.run.remote(asked).future()
        except Exception as error:
            # Ray raises errors of many kinds where its connection is gone, and each has to end only these requests.
            self._failed(call, error)
            return
        future.add_done_callback(lambda done: self._answered(call, done))

    def _packed(self, replica: _Replica, request: Request) -> Packed:
        """Return the inputs to send, without the pictures that the replica has."""
        with self._changed:
            sent = self._pictures.get(request.session)
            if sent is None or sent.replica != replica.name:
                sent = self._pictures[request.session] = Sent(replica.name, self._options.jpeg)
        return sent.packed(request.inputs, time.monotonic())

    def _answered(self, call: _Call, done: "Future[Sequence[Answer]]") -> None:
        error = done.exception()
        if error is not None:
            self._failed(call, error)
            return
        with self._changed:
            self._take_back(call)
            for request in call.requests:
                self._tries.pop(request, None)
        rows = 0
        results = done.result()
        self._send_whole([r for r, answer in zip(call.requests, results, strict=True) if answer.incomplete])
        for request, answer in zip(call.requests, results, strict=True):
            if answer.outputs is not None:
                request.pending.waited = answer.waited
                _WAITED.observe(answer.waited)
                rows += request.rows
                with suppress(InvalidStateError):  # cancelled, or given up
                    request.pending.set_result(answer.outputs)
            elif answer.skipped:
                self._skip(request, answer.skipped, answer.error)
            elif not answer.incomplete:
                metrics.ENGINE_FAILURES.labels(self._spec.model, "error").inc()
                request.fail(EngineError(answer.error))
        if rows:
            metrics.PREDICTIONS.labels(self._spec.model).inc(rows)
            metrics.BATCH_SIZE.observe(rows)
            _CALLED.observe(time.monotonic() - call.sent)

    def _send_whole(self, requests: Sequence[Request]) -> None:
        """Send requests again, with all of their pictures, unless a newer one of their session waits."""
        with self._changed:
            for request in requests:
                self._pictures.pop(request.session, None)
                if self._outbox.setdefault(request.session, request) is not request:
                    request.fail(Superseded("A newer request of the same session took this one's place.", "newer"))
            self._changed.notify_all()

    def _failed(self, call: _Call, error: BaseException) -> None:
        """Send a recording's requests again, and fail those of live sessions, because of a call that failed."""
        if not self._closing.is_set():
            log.error("replica %s did not answer: %s", call.replica.name, first_line(error))
        metrics.ENGINE_FAILURES.labels(self._spec.model, "error").inc()
        again: list[Request] = []
        with self._changed:
            self._take_back(call)
            self._replicas.pop(call.replica.name, None)
            self._gone[call.replica.name] = time.monotonic()
            for request in call.requests:
                tries = self._tries.pop(request, 0) + 1
                if request.patient and tries < TRIES and not self._closing.is_set():
                    again.append(request)
                    self._tries[request] = tries
                    self._outbox.setdefault(request.session, request)
        for request in call.requests:
            if request not in again:
                request.fail(EngineError("The replica that read the face ended; another one goes on."))

    def _sent(self) -> list[Request]:
        return [r for one in self._replicas.values() for call in one.calls for r in call.requests]

    def _take_back(self, call: _Call) -> None:
        if call in call.replica.calls:
            call.replica.calls.remove(call)
        self._changed.notify_all()

    # Watching

    def _watch(self) -> None:
        while not self._closing.wait(ASK_EVERY):
            self._give_up_silent()
            try:
                self._note(self._ask())
            except Exception as error:
                # The outermost frame of this thread: Ray raises errors of many kinds where a node is gone.
                self._lost(error)

    def _give_up_silent(self) -> None:
        """Fail the live requests of calls that had no answer for `HUNG_AFTER` seconds, and send nothing more there."""
        now, left = time.monotonic(), []
        with self._changed:
            for one in self._replicas.values():
                for call in one.calls:
                    if now - call.sent > HUNG_AFTER and not call.given_up:
                        call.given_up = not all(request.patient for request in call.requests)
                        left += [request for request in call.requests if not request.patient]
            self._update_problem()
        if left:
            metrics.ENGINE_FAILURES.labels(self._spec.model, "hung").inc()
        for request in left:
            request.fail(EngineError(f"A replica of the pool gave nothing for {HUNG_AFTER:g} s."))

    def _ask(self) -> PoolStatus:
        import ray

        if self._supervisor is None:
            self._connect()
        status: PoolStatus = ray.get(self._supervisor.status.remote(), timeout=ASK_WITHIN)
        if status.wants_file:
            content = verified(self._spec.weights).read_bytes()
            ray.get(self._supervisor.take_file.remote(content), timeout=60.0)
        return status

    def _note(self, status: PoolStatus) -> None:
        """Take over what the supervisor says."""
        self._heard = time.monotonic()
        if status.facts is not None:
            self._loaded = described(status.facts)
        with self._changed:
            self._gone = {name: at for name, at in self._gone.items() if self._heard - at < GONE_FOR}
            for session in [s for s, sent in self._pictures.items() if self._heard - sent.used > FORGET]:
                del self._pictures[session]
            for name in [name for name in self._replicas if name not in status.members]:
                del self._replicas[name]  # its calls are still answered
            for name, handle in status.members.items():
                if name not in self._replicas and name not in self._gone:
                    self._replicas[name] = _Replica(name, handle)
            self._update_problem(status.problem)
            self._changed.notify_all()
        if not self._closing.is_set():
            show(self._spec.model, self._status, status)
            self._status = status

    def _update_problem(self, why: str = "") -> None:
        """Note whether a replica takes requests, and if not, fail what live sessions wait for."""
        if self._loaded is None:  # `open` still waits for the first one
            return
        if any(not one.silent for one in self._replicas.values()):
            if self._problem is not None:
                log.warning("the pool of %s answers again", self._spec.model)
            self._problem = None
        else:
            reason = why or "its replicas are being started anew"
            if self._problem is None:
                log.error("no replica of %s takes requests: %s", self._spec.model, reason)
            self._problem = f"No replica of the pool of {self._spec.model} takes requests: {reason}"
            for session in [s for s, r in self._outbox.items() if not r.patient]:
                self._outbox.pop(session).fail(EngineError(self._problem))
        weights, engine = self._loaded.weights, self._loaded.engine
        runs = metrics.ENGINE_INFO.labels(self._spec.model, weights.version, engine.name, engine.precision)
        runs.set(self._problem is None)

    # Connecting

    def _connect(self) -> None:
        """Find the supervisor of the pool, or start it. Raise `UserError` without a cluster."""
        ray = connect(self._options.address)
        check_guarded(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"])
        actor: Any = ray.remote(self._kind)
        self._supervisor = actor.options(
            name=self._spec.name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True,
            num_cpus=0, max_restarts=-1, max_task_retries=0,
        ).remote(self._spec)  # fmt: skip

    def _lost(self, error: BaseException) -> None:
        """Note that the supervisor does not answer; after a while, make the connection anew."""
        import ray

        log.warning("the supervisor of %s does not answer: %s", self._spec.name, first_line(error))
        if isinstance(error, ray.exceptions.ActorDiedError):
            self._supervisor = None  # the pool has ended, as one does that no service has used
        silent = time.monotonic() - self._heard
        if silent < 2 * ASK_WITHIN:
            return
        with self._changed:
            sent = self._sent()
            self._replicas.clear()
            for request in sent:
                if request.patient and not request.pending.done():
                    self._outbox.setdefault(request.session, request)
            self._update_problem(f"the Ray cluster at {self._options.address} has been away for {silent:.0f} s")
        for request in sent:
            if not request.patient:
                request.fail(EngineError("The cluster that reads the faces cannot be reached."))
        with self._connection:
            self._supervisor = None
            ray.shutdown()  # a cluster that begins anew at the same address is another one

    def _skip(self, request: Request, reason: str, sentence: str) -> None:
        metrics.SKIPPED.labels(reason).inc()
        request.fail(Superseded(sentence, reason))
