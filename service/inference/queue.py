"""Which requests run next: the scheduler's rules without its threads or clock.

The request with the earliest deadline is run first. Deadlines lie on a virtual clock that stands still while requests
are behind: a session may begin one period of its model after it last began, or when the clock has come that far,
whichever is later, and its deadline is a period after that. Under overload the rates of all sessions fall alike, no
matter which of them asks more often or a moment earlier (start-time fair queueing; Goyal, Vin and Cheng 1996).

A newer request of the same session and model takes the place of the one that still waits; so does the one that follows
a request which expired. A request with more rows than a batch holds is run in parts, each of which counts as a run of
its session.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import EngineError

ACTIVE = 0.25  # s; a session with a request within this time will have another one soon, and may be waited for
FORGET = 2.0  # s without a request, after which a session's place in the order is forgotten
BATCH_SECONDS = 0.2  # that an engine call may be expected to take, if it has more than one row

Key = tuple[str, str]  # model, session


class Superseded(EngineError):
    """Report a request that was not run; `reason` is "newer" if one took its place, "late" if it waited past its use.

    These are the labels of `service.metrics.SKIPPED`.
    """

    def __init__(self, sentence: str, reason: str = "late") -> None:
        super().__init__(sentence)
        self.reason = reason


class Pending(Future[Arrays]):
    """Hold the outputs to come; `waited` is the seconds from `submit` to the start of the engine call."""

    waited: float = 0.0


@dataclass(eq=False, slots=True)
class Request:
    """Hold rows of one session for one model.

    Attributes:
        model: Name of the model.
        inputs: Arrays by name, (rows, ...).
        session: Name of the session.
        arrived: Seconds of a monotonic clock.
        period: Seconds after which the session wants its answer, and to ask again.
        patient: Whether the answer is of use however late, as for a recording.
        alone: Whether it waits for no others to share its batch.
        pending: What the session waits for.
        taken: Rows handed to the engine so far.
        parts: Outputs of those rows.
        start: Seconds of the virtual clock at which the session may begin.
        runs: How many runs its session had so far.
        since: Seconds at which it arrived, or the first of those whose place it took.
        kind: What requests must share to run in one batch.
    """

    model: str
    inputs: Mapping[str, NDArray[np.generic]]
    session: str
    arrived: float
    period: float
    patient: bool = False
    alone: bool = False
    pending: Pending = field(default_factory=Pending)
    taken: int = 0
    parts: list[Arrays] = field(default_factory=list)
    start: float = 0.0
    runs: int = 0
    since: float = 0.0
    kind: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        self.since = self.arrived
        self.kind = (self.model, *sorted((k, v.shape[1:], v.dtype.str) for k, v in self.inputs.items()))

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return int(next(iter(self.inputs.values())).shape[0])

    def fail(self, error: EngineError) -> None:
        """Give the session an error in place of outputs, unless it was answered, or has cancelled the request."""
        with suppress(InvalidStateError):
            self.pending.set_exception(error)

    @property
    def deadline(self) -> tuple[float, int, float]:
        """Return what requests are ordered by: deadline, then runs of the session, then arrival.

        Where a batch is just too small for all requests, it must not leave out the same session each time.
        """
        return self.start + self.period, self.runs, self.since

    @property
    def key(self) -> Key:
        """Return model and session, of which one request waits at most."""
        return self.model, self.session


@dataclass(frozen=True, slots=True)
class Share:
    """Hold rows `start` to `stop` - 1 of a request, as a part of a batch."""

    request: Request
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.stop - self.start


class RequestQueue:
    """Hold the requests that wait, and choose the next batch."""

    def __init__(
        self, max_batch: int, max_wait: float, drop_after: float, busy: Callable[[], bool] = lambda: True
    ) -> None:
        """Begin empty.

        Args:
            max_batch: Rows of an engine call at most.
            max_wait: Seconds that a batch may wait to grow.
            drop_after: Seconds, beyond its period, after which a request that has not begun is of no use.
            busy: Whether a larger batch is worth the wait now.
        """
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._drop_after = drop_after
        self._busy = busy
        self._waiting: dict[Key, Request] = {}
        self._begun: dict[Key, Request] = {}  # requests of which some rows were run
        self._clock = 0.0  # s, the virtual clock
        self._next: dict[Key, float] = {}  # s of the virtual clock, when a session may begin again
        self._runs: dict[Key, int] = {}  # runs that each session had
        self._owed: dict[Key, Request] = {}  # expired requests, whose place the next one takes
        self._seen: dict[Key, float] = {}  # s, of the last request
        self._row_seconds: dict[str, float] = {}  # model -> s that a row of it takes

    def __len__(self) -> int:
        return len(self._waiting) + len(self._begun)

    def add(self, request: Request) -> Request | None:
        """Take a request in, and return the one whose place it takes, if any."""
        if not len(self):
            self._clock = max(self._clock, request.arrived)
        old = self._waiting.pop(request.key, None)
        owed = old or self._owed.pop(request.key, None)
        request.runs = self._runs.get(request.key, 0)
        if owed is not None:
            request.start, request.since = owed.start, owed.since
        else:
            request.start = max(self._clock, self._next.get(request.key, 0.0))
        self._waiting[request.key] = request
        self._seen[request.key] = request.arrived
        return old

    def expire(self, now: float) -> list[Request]:
        """Remove and return the requests that are past their use at `now` seconds."""
        gone = [request for request in self._waiting.values() if now >= self._end_of_use(request)]
        for request in gone:
            del self._waiting[request.key]
            self._owed[request.key] = request
        return gone

    def take(self, now: float) -> list[Share]:
        """Remove and return the next batch, all of one kind; empty if there is none, or one that may still grow."""
        self._tidy(now)
        after = [request for key, request in self._waiting.items() if key not in self._begun]
        kinds: dict[tuple[object, ...], list[Request]] = {}
        for request in sorted((*self._begun.values(), *after), key=lambda r: r.deadline):
            kinds.setdefault(request.kind, []).append(request)
        same = next((requests for requests in kinds.values() if not self._may_grow(requests, now)), [])
        shares: list[Share] = []
        room = self._room(same[0].model) if same else 0
        self._clock = max(self._clock, same[0].start) if same else self._clock
        for request in same:
            rows = min(room, request.rows - request.taken)
            shares.append(Share(request, request.taken, request.taken + rows))
            request.taken += rows
            self.discard(request)
            self._next[request.key] = request.start + request.period
            self._runs[request.key] = self._runs.get(request.key, 0) + 1
            if request.taken < request.rows:
                request.start += request.period
                self._begun[request.key] = request
            room -= rows
            if not room:
                break
        return shares

    def learn_cost(self, model: str, rows: int, seconds: float) -> None:
        """Note that a call of `rows` took `seconds`."""
        cost = seconds / rows
        self._row_seconds[model] = (self._row_seconds.get(model, cost) + cost) / 2

    def forget(self, model: str) -> None:
        """Forget what calls of `model` took, because another engine runs it."""
        self._row_seconds.pop(model, None)

    def expected(self, model: str, rows: int) -> float | None:
        """Return the seconds that a call of `rows` should take by earlier ones; None if there was none."""
        cost = self._row_seconds.get(model)
        return None if cost is None else cost * rows

    def due(self) -> float | None:
        """Return when `take` or `expire` may have something without a new request; None for never."""
        if self._begun:
            return -inf
        return min((min(self._grown(r), self._end_of_use(r)) for r in self._waiting.values()), default=None)

    def discard(self, request: Request) -> None:
        """Forget a request whose part failed, or that no session waits for any more."""
        for where in (self._waiting, self._begun):
            if where.get(request.key) is request:
                del where[request.key]

    def clear(self, model: str | None = None) -> list[Request]:
        """Remove and return all requests, or all for `model`."""
        everything = (*self._begun.values(), *self._waiting.values())
        gone = [request for request in everything if model in (None, request.model)]
        for request in gone:
            self.discard(request)
        return gone

    def _tidy(self, now: float) -> None:
        """Forget sessions that had no request for `FORGET` seconds."""
        for key in [k for k, seen in self._seen.items() if now - seen > FORGET and k not in self._waiting]:
            del self._seen[key]
            self._next.pop(key, None)
            self._runs.pop(key, None)
            self._owed.pop(key, None)

    def _end_of_use(self, request: Request) -> float:
        return inf if request.patient else request.arrived + request.period + self._drop_after

    def _grown(self, request: Request) -> float:
        """Return when a batch waits for others no longer, because of this request."""
        return request.arrived + (0.0 if request.alone else self._max_wait)

    def _room(self, model: str) -> int:
        """Return the rows of the next batch: one to learn the cost, then as many as take `BATCH_SECONDS` at most."""
        cost = self._row_seconds.get(model)
        if cost is None:
            return 1
        return self._max_batch if cost * self._max_batch <= BATCH_SECONDS else max(1, int(BATCH_SECONDS / cost))

    def _may_grow(self, same: list[Request], now: float) -> bool:
        """Return whether a batch should wait: only while an active session of the model has nothing in it yet."""
        if any(now >= self._grown(r) for r in same):
            return False
        if sum(r.rows - r.taken for r in same) >= self._room(same[0].model):
            return False
        model = same[0].model
        active = {session for (of, session), seen in self._seen.items() if of == model and now - seen <= ACTIVE}
        return not active <= {r.session for r in same} and self._busy()


def join(shares: list[Share]) -> Arrays:
    """Return one batch of all rows; views of a single request's arrays, or copies of several."""
    if len(shares) == 1:
        share = shares[0]
        return {k: v[share.start : share.stop] for k, v in share.request.inputs.items()}
    names = shares[0].request.inputs
    return {k: np.concatenate([s.request.inputs[k][s.start : s.stop] for s in shares]) for k in names}


def split(outputs: Arrays, shares: list[Share]) -> list[Arrays]:
    """Return each share's own rows. Raise `EngineError` if the engine gave another number of rows than it took."""
    rows = sum(share.rows for share in shares)
    for name, values in outputs.items():
        if values.shape[:1] != (rows,):
            raise EngineError(f"The engine gave {name!r} of shape {values.shape} for {rows} rows.")
    if len(shares) == 1:
        return [outputs]
    results, start = [], 0
    for share in shares:
        results.append({k: v[start : start + share.rows] for k, v in outputs.items()})
        start += share.rows
    return results
