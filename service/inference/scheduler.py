"""One thread that runs the requests of all sessions in batches: whatever is ready when the engine gets free."""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import InvalidStateError
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays, Engine, require_finite
from engines.errors import EngineError
from service import metrics
from service.inference.ready import Pending, Ready, Request, Share, Superseded

log = logging.getLogger(__name__)

DROP_AFTER = 1.0  # s past its deadline: nobody wants the answer any more


class Scheduler:
    """Batches across sessions. `max_batch`: rows per engine call. `max_wait`: seconds that a batch may wait for the
    next request of sessions that are known to be active; a lone session never waits. `drop_after`: seconds past a
    request's deadline after which it fails with `Superseded`."""

    def __init__(self, max_batch: int = 16, max_wait: float = 0.0, drop_after: float = DROP_AFTER) -> None:
        self._engines: dict[str, Engine] = {}
        self._ready = Ready(max_batch, max_wait, drop_after)
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def register(self, model: str, engine: Engine) -> None:
        """Runs the requests for `model` on `engine` from now on."""
        with self._changed:
            self._engines[model] = engine

    def submit(
        self,
        model: str,
        inputs: Mapping[str, NDArray[np.generic]],
        *,
        session: str,
        deadline: float | None = None,
    ) -> Pending:
        """Outputs to come for `inputs` (n, ...) by name, n >= 1, which must not be written to until then.

        `deadline`: `time.monotonic()` by which they are wanted; now, if not given. The future raises `Superseded` if
        a newer request of the session took its place or it came too late, and `EngineError` if the engine failed or
        gave NaN. Raises `EngineError` for an unknown model and after `close`."""
        now = time.monotonic()
        request = Request(model, inputs, session, now, now if deadline is None else deadline)
        if model not in self._engines:
            raise EngineError(f"There is no engine for the model {model!r}; known are: {', '.join(self._engines)}.")
        if not inputs or request.rows < 1:
            raise EngineError(f"A request for {model!r} holds no rows.")
        with self._changed:
            if self._closing:
                raise EngineError("The service is shutting down and takes no more requests.")
            old = self._ready.add(request)
            self._changed.notify()
        if old is not None:
            _drop(old, f"A newer request of the same session for {model!r} took this one's place.")
        return request.pending

    def close(self, timeout: float = 5.0) -> None:
        """Runs what waits, for `timeout` seconds at most; fails the rest. Calling it again does nothing."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        with self._changed:
            left = self._ready.clear()
        for request in left:
            _fail(request, EngineError(f"The service shut down before a request for {request.model!r} was run."))

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                expired, shares = self._ready.expire(now), self._ready.take(now)
                if not expired and not shares:
                    if self._closing and not len(self._ready):
                        return
                    due = self._ready.due()
                    self._changed.wait(None if due is None else max(due - now, 0.0))
                    continue
                engine = self._engines[shares[0].request.model] if shares else None
            for request in expired:
                _drop(request, f"A request for {request.model!r} waited {now - request.arrived:.2f} s, past its use.")
            shares = [share for share in shares if self._begin(share, now)]
            if engine is not None and shares:
                self._call(engine, shares)

    def _begin(self, share: Share, now: float) -> bool:
        """Whether anybody still waits for it."""
        request = share.request
        if request.pending.done():
            self._discard(request)
            return False
        if share.start == 0:
            request.pending.waited = now - request.arrived
            metrics.STAGE_SECONDS.labels("queue").observe(request.pending.waited)
        return True

    def _call(self, engine: Engine, shares: list[Share]) -> None:
        started = time.perf_counter()
        try:
            outputs = engine(_join(shares))
            results = _split(outputs, shares)
        except Exception as error:
            # The outermost frame of every engine: whatever went wrong in there ends these requests, not the service.
            log.exception("the engine of %s failed on %d rows", shares[0].request.model, sum(s.rows for s in shares))
            failure = error if isinstance(error, EngineError) else EngineError(f"The engine failed: {error}")
            for share in shares:
                self._discard(share.request)
                _fail(share.request, failure)
            return
        metrics.STAGE_SECONDS.labels("engine").observe(time.perf_counter() - started)
        metrics.BATCH_SIZE.observe(sum(share.rows for share in shares))
        for share, result in zip(shares, results, strict=True):
            self._finish(share, result)

    def _finish(self, share: Share, result: Arrays) -> None:
        request = share.request
        try:
            require_finite(result, f"The engine of {request.model!r}")
        except EngineError as error:
            log.error("%s", error)
            self._discard(request)
            _fail(request, error)
            return
        request.parts.append(result)
        if share.stop == request.rows:
            parts = request.parts
            whole = parts[0] if len(parts) == 1 else {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
            with suppress(InvalidStateError):  # cancelled or superseded meanwhile
                request.pending.set_result(whole)

    def _discard(self, request: Request) -> None:
        with self._changed:
            self._ready.discard(request)


def _join(shares: list[Share]) -> Arrays:
    """One batch of all rows; a single request's arrays are handed on as they are."""
    if len(shares) == 1:
        share = shares[0]
        return {k: v[share.start : share.stop] for k, v in share.request.inputs.items()}
    names = shares[0].request.inputs
    return {k: np.concatenate([s.request.inputs[k][s.start : s.stop] for s in shares]) for k in names}


def _split(outputs: Arrays, shares: list[Share]) -> list[Arrays]:
    """Each share's own rows. Raises `EngineError` if the engine gave another number of rows than it took."""
    rows = sum(share.rows for share in shares)
    for name, values in outputs.items():
        if values.shape[:1] != (rows,):
            raise EngineError(f"The engine gave {name!r} of shape {values.shape} for {rows} rows.")
    if len(shares) == 1:
        return [outputs]
    results, start = [], 0
    for share in shares:
        results.append({k: v[start : start + share.rows].copy() for k, v in outputs.items()})
        start += share.rows
    return results


def _drop(request: Request, why: str) -> None:
    metrics.FRAMES_DROPPED.labels("stale").inc()
    _fail(request, Superseded(why))


def _fail(request: Request, error: EngineError) -> None:
    with suppress(InvalidStateError):  # cancelled or answered already
        request.pending.set_exception(error)
