"""The scheduler: batches across sessions, the newest only, evenly under overload, and no error outlives its batch."""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import wait
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import EngineError
from service import metrics
from service.inference.ready import Pending, Ready, Request, Superseded
from service.inference.scheduler import Scheduler


class Doubling:
    """An engine that doubles; it can be held, and it remembers its batch sizes."""

    name = "openvino"
    precision = "fp32"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.entered = threading.Event()
        self.go.set()
        self.broken = False

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        self.entered.set()
        self.go.wait(10)
        x = np.asarray(inputs["x"], np.float32)
        self.batches.append(len(x))
        if self.broken:
            raise RuntimeError("out of memory")
        return {"y": x * 2}

    def hold(self) -> None:
        self.go.clear()
        self.entered.clear()


def rows(*values: float) -> Arrays:
    return {"x": np.array([[v] for v in values], np.float32)}


def test_one_request_is_answered_with_its_own_rows() -> None:
    scheduler = Scheduler()
    scheduler.register("double", Doubling())
    result = scheduler.submit("double", rows(1, 2, 3), session="a").result(5)
    scheduler.close()
    assert result["y"].ravel().tolist() == [2, 4, 6]


def test_requests_of_several_sessions_share_a_batch() -> None:
    engine = Doubling()
    scheduler = Scheduler()
    scheduler.register("double", engine)
    engine.hold()
    first = scheduler.submit("double", rows(1), session="first")
    assert engine.entered.wait(5)
    others = [scheduler.submit("double", rows(i, i + 10), session=f"s{i}") for i in range(5)]
    engine.go.set()
    wait([first, *others], 5)
    scheduler.close()
    assert engine.batches == [1, 10]
    assert [f.result()["y"].ravel().tolist() for f in others] == [[2 * i, 2 * i + 20] for i in range(5)]
    assert all(f.waited >= 0 for f in others)


def test_a_newer_request_supersedes_the_waiting_one_and_is_counted() -> None:
    engine = Doubling()
    scheduler = Scheduler()
    scheduler.register("double", engine)
    before = metrics.FRAMES_DROPPED.labels("stale")._value.get()
    engine.hold()
    running = scheduler.submit("double", rows(0), session="a")
    assert engine.entered.wait(5)
    old, new = (scheduler.submit("double", rows(v), session="a") for v in (1, 2))
    with pytest.raises(Superseded):
        old.result(5)
    engine.go.set()
    assert running.result(5)["y"].item() == 0
    assert new.result(5)["y"].item() == 4
    scheduler.close()
    assert metrics.FRAMES_DROPPED.labels("stale")._value.get() == before + 1


def test_a_request_past_its_use_is_dropped() -> None:
    engine = Doubling()
    scheduler = Scheduler(drop_after=0.05)
    scheduler.register("double", engine)
    engine.hold()
    scheduler.submit("double", rows(0), session="a")
    assert engine.entered.wait(5)
    late = scheduler.submit("double", rows(1), session="b")
    time.sleep(0.1)
    engine.go.set()
    with pytest.raises(Superseded, match="past its use"):
        late.result(5)
    scheduler.close()


def test_nan_fails_only_the_request_that_got_it(caplog: pytest.LogCaptureFixture) -> None:
    engine = Doubling()
    scheduler = Scheduler()
    scheduler.register("double", engine)
    engine.hold()
    scheduler.submit("double", rows(0), session="first")
    assert engine.entered.wait(5)
    good = scheduler.submit("double", rows(1), session="good")
    bad = scheduler.submit("double", rows(1, np.nan, np.inf), session="bad")
    engine.go.set()
    with pytest.raises(EngineError, match="2 values that are not finite"):
        bad.result(5)
    assert good.result(5)["y"].item() == 2
    assert scheduler.submit("double", rows(3), session="bad").result(5)["y"].item() == 6
    scheduler.close()


def test_an_engine_that_breaks_fails_its_batch_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    engine = Doubling()
    scheduler = Scheduler()
    scheduler.register("double", engine)
    engine.broken = True
    with caplog.at_level(logging.CRITICAL), pytest.raises(EngineError, match="out of memory"):
        scheduler.submit("double", rows(1), session="a").result(5)
    engine.broken = False
    assert scheduler.submit("double", rows(1), session="a").result(5)["y"].item() == 2
    scheduler.close()


def test_requests_of_another_layout_never_share_a_batch() -> None:
    engine = Doubling()
    scheduler = Scheduler()
    scheduler.register("double", engine)
    engine.hold()
    scheduler.submit("double", rows(0), session="first")
    assert engine.entered.wait(5)
    wide = scheduler.submit("double", {"x": np.ones((1, 4), np.float32)}, session="wide")
    narrow = scheduler.submit("double", rows(1), session="narrow")
    engine.go.set()
    assert wide.result(5)["y"].shape == (1, 4)
    assert narrow.result(5)["y"].shape == (1, 1)
    scheduler.close()


def test_close_runs_what_waits_and_takes_no_more() -> None:
    engine = Doubling()
    scheduler = Scheduler()
    scheduler.register("double", engine)
    engine.hold()
    futures = [scheduler.submit("double", rows(i), session=f"s{i}") for i in range(4)]
    threading.Timer(0.05, engine.go.set).start()
    scheduler.close()
    assert [f.result(0)["y"].item() for f in futures] == [0, 2, 4, 6]
    with pytest.raises(EngineError, match="shutting down"):
        scheduler.submit("double", rows(1), session="a")
    scheduler.close()


def test_close_fails_what_a_hung_engine_leaves_behind() -> None:
    engine = Doubling()
    scheduler = Scheduler()
    scheduler.register("double", engine)
    engine.hold()
    scheduler.submit("double", rows(0), session="a")
    assert engine.entered.wait(5)
    left = scheduler.submit("double", rows(0), session="b")
    scheduler.close(timeout=0.05)
    with pytest.raises(EngineError, match="shut down"):
        left.result(5)
    engine.go.set()


def test_an_unknown_model_and_an_empty_request_are_refused() -> None:
    scheduler = Scheduler()
    with pytest.raises(EngineError, match="no engine for the model 'nobody'"):
        scheduler.submit("nobody", rows(1), session="a")
    scheduler.register("double", Doubling())
    with pytest.raises(EngineError, match="no rows"):
        scheduler.submit("double", rows(), session="a")
    scheduler.close()


def test_a_cancelled_request_is_not_run() -> None:
    engine = Doubling()
    scheduler = Scheduler()
    scheduler.register("double", engine)
    engine.hold()
    scheduler.submit("double", rows(0), session="a")
    assert engine.entered.wait(5)
    assert scheduler.submit("double", rows(1), session="b").cancel()
    engine.go.set()
    scheduler.close()
    assert engine.batches == [1]


def request(session: str, now: float, count: int = 1, deadline: float | None = None, model: str = "m") -> Request:
    inputs = {"x": np.zeros((count, 1), np.float32)}
    return Request(model, inputs, session, now, now if deadline is None else deadline, Pending())


def test_a_lone_session_never_waits_for_a_batch_to_grow() -> None:
    ready = Ready(max_batch=16, max_wait=0.01, drop_after=1.0)
    for now in (0.0, 0.033, 0.066):
        ready.add(request("only", now))
        assert len(ready.take(now)) == 1


def test_a_batch_waits_for_active_sessions_but_not_longer_than_it_may() -> None:
    ready = Ready(max_batch=16, max_wait=0.01, drop_after=1.0)
    for session in "ab":
        ready.add(request(session, 0.0))
    assert len(ready.take(0.0)) == 2
    ready.add(request("a", 0.1))
    assert ready.take(0.1) == []
    assert ready.due() == pytest.approx(0.11)
    ready.add(request("b", 0.105))
    assert len(ready.take(0.105)) == 2
    ready.add(request("a", 0.2))
    assert len(ready.take(0.2101)) == 1
    ready.add(request("a", 0.6))  # b has been silent for longer than it counts as active
    assert len(ready.take(0.6)) == 1


def test_those_in_time_go_by_their_deadline() -> None:
    ready = Ready(max_batch=1, max_wait=0.0, drop_after=1.0)
    for session, deadline in (("later", 0.9), ("soon", 0.3), ("late", -0.1)):
        ready.add(request(session, 0.0, deadline=deadline))
    assert [ready.take(0.0)[0].request.session for _ in range(3)] == ["soon", "later", "late"]


def test_a_session_with_many_faces_does_not_starve_one_with_few() -> None:
    ready = Ready(max_batch=8, max_wait=0.0, drop_after=10.0)
    served = {"crowd": 0, "alone": 0}
    for step in range(20):
        now = step * 0.01
        ready.add(request("crowd", now, 40)) if step % 5 == 0 else None
        ready.add(request("alone", now, 1))
        for share in ready.take(now):
            served[share.request.session] += share.rows
    assert served["alone"] >= 10
    assert served["crowd"] >= 100


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
    ready = Ready(max_batch, max_wait, drop_after=0.3)
    now = 0.0
    asked: list[Request] = []
    given_back: list[Request] = []
    ran: dict[int, list[tuple[int, int]]] = {}

    def take() -> None:
        shares = ready.take(now)
        assert sum(s.rows for s in shares) <= max_batch
        assert len({s.request.kind for s in shares}) <= 1
        for share in shares:
            assert share.rows > 0
            ran.setdefault(id(share.request), []).append((share.start, share.stop))

    for session, count, pause, model, run in steps:
        now += pause
        given_back += ready.expire(now)
        new = request(f"s{session}", now, count, now + 0.1, model)
        asked.append(new)
        if (old := ready.add(new)) is not None:
            assert (old.session, old.model) == (new.session, new.model)
            given_back.append(old)
        if run:
            take()
    while len(ready):
        before, now = len(ready), max(now, ready.due() or 0.0)
        given_back += ready.expire(now)
        rows_before = sum(b - a for parts in ran.values() for a, b in parts)
        take()
        assert len(ready) < before or sum(b - a for parts in ran.values() for a, b in parts) > rows_before
    assert ready.due() is None
    back = {id(r) for r in given_back}
    for one in asked:
        parts = ran.get(id(one), [])
        assert all(a[1] == b[0] for a, b in pairwise(parts))  # in order, each row once
        finished = bool(parts) and parts[0][0] == 0 and parts[-1][1] == one.rows
        assert finished != (id(one) in back)


@settings(max_examples=40, deadline=None)
@given(sessions=st.integers(2, 40), max_batch=st.integers(1, 8))
def test_overload_lowers_every_session_alike(sessions: int, max_batch: int) -> None:
    """Each session asks anew every 10 ms, an engine call takes 10 ms: far more is asked than can be run."""
    ready = Ready(max_batch, 0.0, drop_after=10.0)
    served = [0] * sessions
    rounds = 200
    for step in range(rounds):
        now = step * 0.01
        for s in range(sessions):
            ready.add(request(str(s), now - 1e-6))
        for share in ready.take(now):
            served[int(share.request.session)] += 1
    fair = min(rounds, rounds * max_batch / sessions)
    assert min(served) >= np.floor(fair) - 1
    assert max(served) <= np.ceil(fair) + 1
