"""The scheduler's rules on a simulated clock with a simulated engine: deadlines, fairness, bounded waits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import EngineError
from service.inference.queue import BATCH_SECONDS, Pending, Request, RequestQueue
from service.inference.scheduler import Scheduler

TICK = 0.002  # s of the simulated clock


def request(session: str, now: float, count: int = 1, period: float = 0.033, model: str = "m") -> Request:
    return Request(model, {"x": np.zeros((count, 1), np.float32)}, session, now, period)


def ready(max_batch: int = 16, max_wait: float = 0.0, drop_after: float = 1.0, models: str = "m") -> RequestQueue:
    """That knows already that a row costs next to nothing."""
    made = RequestQueue(max_batch, max_wait, drop_after)
    for model in models:
        made.learn_cost(model, 1, 1e-6)
    return made


def test_a_lone_session_never_waits_for_a_batch_to_grow() -> None:
    queue = ready(max_wait=0.01)
    for now in (0.0, 0.033, 0.066):
        queue.add(request("only", now))
        assert len(queue.take(now)) == 1


def test_a_batch_waits_for_active_sessions_but_not_longer_than_it_may() -> None:
    queue = ready(max_wait=0.01)
    for session in "ab":
        queue.add(request(session, 0.0))
    assert len(queue.take(0.0)) == 2
    queue.add(request("a", 0.1))
    assert queue.take(0.1) == []
    assert queue.due() == pytest.approx(0.11)
    queue.add(request("b", 0.105))
    assert len(queue.take(0.105)) == 2
    queue.add(request("a", 0.2))
    assert len(queue.take(0.2101)) == 1
    queue.add(request("a", 0.6))  # b has been silent for longer than it counts as active
    assert len(queue.take(0.6)) == 1


def test_nobody_waits_while_there_is_cpu_to_spare_or_for_a_model_that_wants_it_alone() -> None:
    busy = True
    queue = RequestQueue(16, 0.01, 1.0, busy=lambda: busy)
    queue.learn_cost("m", 1, 1e-6)
    for session in "ab":
        queue.add(request(session, 0.0))
    assert len(queue.take(0.0)) == 2
    queue.add(request("a", 0.1))
    assert queue.take(0.1) == []
    busy = False
    assert len(queue.take(0.101)) == 1
    busy = True
    alone = request("b", 0.12)
    alone.alone = True
    queue.add(alone)
    assert queue.due() == pytest.approx(0.12)
    assert [share.request for share in queue.take(0.12)] == [alone]


def test_the_earliest_deadline_goes_first() -> None:
    queue = ready(max_batch=1)
    for session, period in (("patient", 0.9), ("steady", 0.3), ("hasty", 0.1)):
        queue.add(request(session, 0.0, period=period))
    assert [queue.take(0.0)[0].request.session for _ in range(3)] == ["hasty", "steady", "patient"]
    order = ""
    for step in range(60):  # one turn every 50 ms, all three always ask
        for session, period in (("c", 0.9), ("b", 0.3), ("a", 0.1)):
            queue.add(request(session, 1 + step * 0.05, period=period))
        order += queue.take(1 + step * 0.05)[0].request.session
    rates = [order.count(session) for session in "abc"]
    assert rates == pytest.approx([60 * 9 / 13, 60 * 3 / 13, 60 / 13], abs=2), "nobody's deadlines are the only ones"


def test_a_newer_request_takes_the_place_of_the_one_that_was_never_run() -> None:
    queue = ready(max_batch=1, drop_after=0.1)
    old = request("a", 0.0, period=0.1)
    queue.add(old)
    queue.add(request("b", 0.01, period=0.1))
    newer = request("a", 0.05, period=0.1)
    assert queue.add(newer) is old
    assert queue.take(0.05)[0].request is newer
    queue.add(request("c", 0.06, period=0.1))
    assert [gone.session for gone in queue.expire(0.22)] == ["b"]
    again = request("b", 0.23, period=0.1)  # the next one of the session that came too late
    queue.add(again)
    assert queue.take(0.23)[0].request is again


def test_a_request_that_has_begun_is_finished_before_its_sessions_next() -> None:
    queue = ready(max_batch=8)
    crowd, newer = request("crowd", 0.0, 20), request("crowd", 0.02)
    queue.add(crowd)
    assert queue.take(0.02)[0].rows == 8
    assert queue.add(newer) is None
    queue.add(request("alone", 0.01))
    assert [(s.request.session, s.rows) for s in queue.take(0.02)] == [("alone", 1), ("crowd", 7)]
    assert [(s.request, s.rows) for s in queue.take(0.03)] == [(crowd, 5)]
    assert [s.request for s in queue.take(0.04)] == [newer]


def test_a_session_with_many_faces_does_not_starve_one_with_few() -> None:
    queue = ready(max_batch=8, drop_after=10.0)
    served = {"crowd": 0, "alone": 0}
    for step in range(20):
        now = step * 0.01
        if step % 5 == 0:
            queue.add(request("crowd", now, 40))
        queue.add(request("alone", now, 1))
        for share in queue.take(now):
            served[share.request.session] += share.rows
    assert served["alone"] >= 10
    assert served["crowd"] >= 100


def test_a_call_is_not_expected_to_last_longer_than_the_others_may_wait() -> None:
    queue = RequestQueue(16, 0.0, 1.0)
    queue.add(request("crowd", 0.0, 30))
    assert sum(s.rows for s in queue.take(0.0)) == 1, "the first call tells what a row costs"
    queue.learn_cost("m", 1, BATCH_SECONDS / 4)
    assert sum(s.rows for s in queue.take(0.1)) == 4
    assert queue.expected("m", 4) == pytest.approx(BATCH_SECONDS)
    queue.learn_cost("m", 4, 10 * BATCH_SECONDS)
    assert sum(s.rows for s in queue.take(0.2)) == 1
    queue.forget("m")
    assert queue.expected("m", 4) is None


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 30), st.floats(0.0, 0.2), st.sampled_from("mn"), st.booleans()),
        max_size=60,
    ),
    max_batch=st.integers(1, 16),
    max_wait=st.sampled_from([0.0, 0.01, 0.1]),
)
def test_every_request_is_run_in_full_once_or_given_back(
    steps: list[tuple[int, int, float, str, bool]], max_batch: int, max_wait: float
) -> None:
    queue = RequestQueue(max_batch, max_wait, drop_after=0.3)
    now = 0.0
    asked: list[Request] = []
    given_back: list[Request] = []
    ran: dict[int, list[tuple[int, int]]] = {}

    def take() -> None:
        shares = queue.take(now)
        assert sum(s.rows for s in shares) <= max_batch
        assert len({s.request.kind for s in shares}) <= 1
        for share in shares:
            assert share.rows > 0
            ran.setdefault(id(share.request), []).append((share.start, share.stop))

    for session, count, pause, model, run in steps:
        now += pause
        given_back += queue.expire(now)
        new = request(f"s{session}", now, count, 0.1, model)
        asked.append(new)
        if (old := queue.add(new)) is not None:
            assert old.key == new.key
            given_back.append(old)
        if run:
            take()
    while len(queue):
        before, now = len(queue), max(now, queue.due() or 0.0)
        given_back += queue.expire(now)
        rows_before = sum(b - a for parts in ran.values() for a, b in parts)
        take()
        assert len(queue) < before or sum(b - a for parts in ran.values() for a, b in parts) > rows_before
    assert queue.due() is None
    back = {id(r) for r in given_back}
    for one in asked:
        parts = ran.get(id(one), [])
        assert all(a[1] == b[0] for a, b in pairwise(parts))  # in order, each row once
        finished = bool(parts) and parts[0][0] == 0 and parts[-1][1] == one.rows
        assert finished != (id(one) in back)


@dataclass
class Clock:
    """Seconds that pass when somebody says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Costly:
    """An engine that takes its time on the simulated clock; some of its calls fail."""

    clock: Clock
    seconds: float  # per row
    fails: frozenset[int] = frozenset()  # numbers of the calls that do
    calls: int = 0
    longest: float = 0.0  # s
    precision: str = "fp32"
    name: str = "simulated"
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        x = inputs["x"]
        assert len({*x.ravel().astype(int) // 1000}) == 1, "requests of two models share a batch"
        self.calls += 1
        spent = self.seconds * len(x)
        self.clock.now += spent
        self.longest = max(self.longest, spent if len(x) > 1 and self.calls > 2 else 0.0)
        if self.calls in self.fails:
            raise RuntimeError("out of memory")
        return {"y": x * 2}


@dataclass
class Watching:
    """A session: asks for `faces` rows every `period`, and, if it `waits`, not before it was answered."""

    name: str
    model: int
    faces: int
    period: float
    waits: bool
    due: float = 0.0
    asked: list[Pending] = field(default_factory=list)
    told: int = 0  # of how many it is over, one way or another
    wrong: int = 0  # answers to somebody else's rows
    answered: list[float] = field(default_factory=list)  # s, when
    waited: list[float] = field(default_factory=list)  # s, from asking to the answer

    def look(self, scheduler: Scheduler, clock: Clock) -> None:
        """Asks, if it is time to."""
        now = clock.now
        if now < self.due or (self.waits and self.asked and not self.asked[-1].done()):
            return
        self.due = max(self.due + self.period, now - self.period)
        rows = np.full((self.faces, 1), 1000.0 * self.model + int(self.name), np.float32)
        pending = scheduler.submit(str(self.model), {"x": rows}, session=self.name)
        self.asked.append(pending)
        pending.add_done_callback(lambda _: self.read(pending, now, clock.now))

    def read(self, pending: Pending, asked: float, now: float) -> None:
        """Takes note of an answer."""
        self.told += 1
        if pending.exception() is None:
            self.wrong += pending.result()["y"].tolist() != [[2 * (1000 * self.model + int(self.name))]] * self.faces
            self.answered.append(now)
            self.waited.append(now - asked)


def simulate(
    sessions: list[Watching],
    row_seconds: list[float],
    seconds: float,
    max_batch: int = 16,
    max_wait: float = 0.0,
    fails: frozenset[int] = frozenset(),
) -> list[Costly]:
    """Runs the real scheduler against the simulated clock; checks that each request is answered once."""
    clock = Clock()
    scheduler = Scheduler(max_batch, max_wait, clock=clock)
    engines = [Costly(clock, cost, fails) for cost in row_seconds]
    for model, engine in enumerate(engines):
        period = min((one.period for one in sessions if one.model == model), default=0.1)
        scheduler.register(str(model), engine, rate=1 / period)
    while clock.now < seconds:
        for one in sessions:
            one.look(scheduler, clock)
        before = clock.now
        scheduler.step()
        if clock.now == before:
            clock.now += TICK
    scheduler.close()
    for one in sessions:
        assert (one.told, one.wrong) == (len(one.asked), 0)
        assert all(isinstance(pending.exception(), (type(None), EngineError)) for pending in one.asked)
    return engines


watching = st.tuples(st.integers(0, 1), st.integers(1, 20), st.sampled_from([1 / 30, 0.1, 0.2]), st.booleans())


@settings(max_examples=40, deadline=None)
@given(
    drawn=st.lists(watching, min_size=1, max_size=8),
    costs=st.tuples(st.sampled_from([0.0005, 0.003, 0.02]), st.sampled_from([0.001, 0.05])),
    max_batch=st.integers(1, 16),
    max_wait=st.sampled_from([0.0, 0.005]),
    fails=st.frozensets(st.integers(2, 40).map(lambda n: 3 * n), max_size=4),
)
def test_every_request_is_answered_once_nobody_starves_and_no_wait_grows(
    drawn: list[tuple[int, int, float, bool]],
    costs: tuple[float, float],
    max_batch: int,
    max_wait: float,
    fails: frozenset[int],
) -> None:
    sessions = [Watching(str(n), *one) for n, one in enumerate(drawn)]
    seconds = 6.0
    engines = simulate(sessions, list(costs), seconds, max_batch, max_wait, fails)
    assert all(engine.longest <= 2 * BATCH_SECONDS for engine in engines)
    call = max(BATCH_SECONDS, *costs)  # s, that a call may take
    # A round, in which each session has its turn: at worst every part of every request is a call of its own.
    parts = sum(-(-one.faces // max_batch) + one.faces * costs[one.model] / call for one in sessions)
    around = (parts + 2) * call
    hasty = min(one.period for one in sessions)  # such a session has several turns for one of a slower model's
    for one in sessions:
        begun = one.period + 0.25 + 2 * call  # asked, late, and a call that ran and one that is its own
        room = max(1, min(max_batch, int(call / costs[one.model])))
        # Further parts, where the first had to do with one row; twice a round each, because a session that filled up
        # the batches of others is ahead of its turn.
        own = -(-(one.faces - 1) // room)
        assert max(one.waited, default=0.0) <= begun + 2 * own * around * one.period / hasty + max_wait + 2 * TICK
        if not fails and (1 + own) * around * one.period / hasty < seconds / 2:
            assert one.answered, f"{one} starves"


@settings(max_examples=15, deadline=None)
@given(
    count=st.integers(2, 40),
    max_batch=st.integers(1, 8),
    cost=st.sampled_from([0.02, 0.05, 0.3]),
    waits=st.booleans(),
    fast=st.integers(0, 3),
)
@example(count=4, max_batch=4, cost=0.05, waits=False, fast=0)  # a batch that holds all only every other time
def test_overload_lowers_every_session_alike(count: int, max_batch: int, cost: float, waits: bool, fast: int) -> None:
    """Far more is asked than can be run, by some sessions more often than by others: rates stay a step apart."""
    sessions = [Watching(str(n), 0, 1, 1 / 60 if n < fast else 1 / 30, waits) for n in range(count)]
    seconds = 150 * cost
    simulate(sessions, [cost], seconds, max_batch)
    counts = [len(one.answered) for one in sessions]
    assert sum(counts) * cost >= 0.9 * min(seconds, sum(seconds / one.period for one in sessions) * cost)
    if count * cost > 2 / 30:  # overload
        assert max(counts) - min(counts) <= 2


def test_a_slow_model_and_a_fast_one_share_the_engine() -> None:
    """Neither the model with the nearer deadlines nor the one with the longer calls shuts the other out: all rates
    are lowered by the same factor."""
    fast = [Watching(str(n), 0, 1, 1 / 30, True) for n in range(8)]
    slow = [Watching(str(n), 1, 1, 1 / 5, True) for n in range(8, 12)]
    simulate(fast + slow, [0.01, 0.05], 10.0)
    asked_for = 8 * 30 * 0.01 + 4 * 5 * 0.05  # seconds of the engine in a second
    assert [len(one.answered) / 10 for one in fast] == pytest.approx([30 / asked_for] * 8, rel=0.2)
    assert [len(one.answered) / 10 for one in slow] == pytest.approx([5 / asked_for] * 4, rel=0.2)
