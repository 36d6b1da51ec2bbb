"""Which requests run next: the scheduler's rules without its thread or clock.

A newer request of the same session and model supersedes the one that still waits. Requests in time go by their
deadline; once late, the session that was served longest ago goes first, so that overload lowers everybody's rate
evenly. A request with more rows than a batch holds is served in parts, and the others go between them.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import EngineError

ACTIVE = 0.25  # s; a session that asked within this is expected to ask again, and may be waited for


class Superseded(EngineError):
    """The request was not run: a newer one took its place, or it waited past its use."""


class Pending(Future[Arrays]):
    """Outputs to come. `waited`: seconds between `submit` and the start of the engine call, once it has started."""

    waited: float = 0.0


@dataclass(eq=False, slots=True)
class Request:
    """Rows of one session for one model. Times are seconds of one monotonic clock."""

    model: str
    inputs: Mapping[str, NDArray[np.generic]]
    session: str
    arrived: float
    deadline: float
    pending: Pending = field(default_factory=Pending)
    taken: int = 0  # rows handed to the engine so far
    parts: list[Arrays] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Batch size of its own."""
        return int(next(iter(self.inputs.values())).shape[0])

    @property
    def kind(self) -> tuple[object, ...]:
        """What requests must share to run in one batch."""
        layout = sorted((k, v.shape[1:], v.dtype.str) for k, v in self.inputs.items())
        return (self.model, *layout)


@dataclass(frozen=True, slots=True)
class Share:
    """Rows `start` to `stop` - 1 of a request, in a batch."""

    request: Request
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Their number."""
        return self.stop - self.start


class Ready:
    """The requests that wait, at most one of each session and model."""

    def __init__(self, max_batch: int, max_wait: float, drop_after: float) -> None:
        self._max_batch = max_batch  # rows
        self._max_wait = max_wait  # s that a batch may wait to grow
        self._drop_after = drop_after  # s past its deadline after which a request is of no use
        self._waiting: dict[tuple[str, str], Request] = {}
        self._seen: dict[tuple[str, str], float] = {}  # last request
        self._served: dict[str, int] = {}  # session -> number of its last share, counted over all
        self._shares = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: Request) -> Request | None:
        """Takes a request in; returns the one that it supersedes."""
        key = (request.model, request.session)
        old = self._waiting.pop(key, None)
        self._waiting[key] = request
        self._seen[key] = request.arrived
        return old

    def expire(self, now: float) -> list[Request]:
        """Removes the requests that are past their use."""
        gone = [k for k, r in self._waiting.items() if now >= self._end_of_use(r)]
        return [self._waiting.pop(key) for key in gone]

    def take(self, now: float) -> list[Share]:
        """The next batch, all of one kind; empty if there is none, or one that may still grow."""
        self._tidy(now)
        kinds: dict[tuple[object, ...], list[Request]] = {}
        for request in sorted(self._waiting.values(), key=lambda r: self._urgency(r, now)):
            kinds.setdefault(request.kind, []).append(request)
        same = next((requests for requests in kinds.values() if not self._may_grow(requests, now)), [])
        if not same:
            return []
        shares: list[Share] = []
        room = self._max_batch
        for request in same:
            rows = min(room, request.rows - request.taken)
            shares.append(Share(request, request.taken, request.taken + rows))
            request.taken += rows
            self._shares += 1
            self._served[request.session] = self._shares
            if request.taken == request.rows:
                del self._waiting[(request.model, request.session)]
            room -= rows
            if not room:
                break
        return shares

    def due(self) -> float | None:
        """When `take` or `expire` may have something without a new request; None: never."""
        if not self._waiting:
            return None
        return min(min(r.arrived + self._max_wait, self._end_of_use(r)) for r in self._waiting.values())

    def discard(self, request: Request) -> None:
        """Forgets a request whose part failed, or that nobody waits for any more."""
        if self._waiting.get((request.model, request.session)) is request:
            del self._waiting[(request.model, request.session)]

    def clear(self) -> list[Request]:
        """Removes everything."""
        gone = list(self._waiting.values())
        self._waiting.clear()
        return gone

    def _tidy(self, now: float) -> None:
        """Forgets sessions that are no longer active."""
        for key in [k for k, seen in self._seen.items() if now - seen > ACTIVE and k not in self._waiting]:
            del self._seen[key]
        known = {session for _, session in self._seen}
        for session in self._served.keys() - known:
            del self._served[session]

    def _end_of_use(self, request: Request) -> float:
        return max(request.deadline, request.arrived) + self._drop_after

    def _urgency(self, request: Request, now: float) -> tuple[bool, float, float]:
        if request.deadline >= now:
            return (False, request.deadline, request.arrived)
        return (True, self._served.get(request.session, 0), -request.deadline)

    def _may_grow(self, same: list[Request], now: float) -> bool:
        """Waiting pays only while a session that is active on this model has nothing in the batch yet."""
        if any(now >= r.arrived + self._max_wait for r in same):
            return False
        if sum(r.rows - r.taken for r in same) >= self._max_batch:
            return False
        model = same[0].model
        active = {session for (of, session), seen in self._seen.items() if of == model and now - seen <= ACTIVE}
        return not active <= {r.session for r in same}
