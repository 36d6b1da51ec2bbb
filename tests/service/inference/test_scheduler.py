"""The scheduler: batches across sessions, the newest only, no error outlives its batch, and no engine that hangs or
fails again and again is waited for.

Its threads are real. Its clock moves only when a test says so: on a busy machine a thread may wake later than a request
is of use. What the tests wait for must come, within `SOON`.
"""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import Counter, Gauge

from engines.engine import Arrays
from engines.errors import EngineError
from service import metrics
from service.inference.queue import Pending, Superseded
from service.inference.scheduler import HUNG_AFTER, Scheduler

SOON = 60.0  # s


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Doubling:
    """An engine that doubles; it can be held, and it remembers its batch sizes."""

    name = "openvino"
    precision = "fp32"
    inputs: Mapping[str, tuple[int, ...]] = {}

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.entered = threading.Event()
        self.go.set()
        self.broken = False

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        self.entered.set()
        self.go.wait(SOON)
        x = np.asarray(inputs["x"], np.float32)
        self.batches.append(len(x))
        if self.broken:
            raise RuntimeError("out of memory")
        return {"y": x * 2}

    def hold(self) -> None:
        self.go.clear()
        self.entered.clear()


def started(clock: Clock | None = None, hung_after: float = HUNG_AFTER) -> Scheduler:
    made = Scheduler(hung_after=hung_after, clock=clock or Clock())
    made.start()
    return made


def doubling(clock: Clock | None = None) -> tuple[Doubling, Scheduler]:
    """Return an engine that doubles and the started scheduler that runs it."""
    engine, scheduler = Doubling(), started(clock)
    scheduler.register("double", engine)
    return engine, scheduler


def held(engine: Doubling, scheduler: Scheduler, inputs: Arrays, session: str) -> Pending:
    """Return a request that the engine has begun and holds, so that what comes next has to wait."""
    engine.hold()
    request = scheduler.submit("double", inputs, session=session)
    assert engine.entered.wait(SOON)
    return request


def rows(*values: float) -> Arrays:
    return {"x": np.array([[v] for v in values], np.float32)}


def test_one_request_is_answered_with_its_own_rows() -> None:
    scheduler = started()
    scheduler.register("double", Doubling())
    result = scheduler.submit("double", rows(1, 2, 3), session="a").result(SOON)
    scheduler.close()
    assert result["y"].ravel().tolist() == [2, 4, 6]


def test_requests_of_several_sessions_share_a_batch() -> None:
    engine, scheduler = doubling()
    first = held(engine, scheduler, rows(1), "first")
    others = [scheduler.submit("double", rows(i, i + 10), session=f"s{i}") for i in range(5)]
    engine.go.set()
    wait([first, *others], SOON)
    scheduler.close()
    assert engine.batches == [1, 10]
    assert [f.result()["y"].ravel().tolist() for f in others] == [[2 * i, 2 * i + 20] for i in range(5)]
    assert all(f.waited >= 0 for f in others)


def test_a_newer_request_supersedes_the_waiting_one_and_is_counted() -> None:
    engine, scheduler = doubling()
    before = metrics.SKIPPED.labels("newer")._value.get()
    running = held(engine, scheduler, rows(0), "a")
    old, new = (scheduler.submit("double", rows(v), session="a") for v in (1, 2))
    with pytest.raises(Superseded):
        old.result(SOON)
    engine.go.set()
    assert running.result(SOON)["y"].item() == 0
    assert new.result(SOON)["y"].item() == 4
    scheduler.close()
    assert metrics.SKIPPED.labels("newer")._value.get() == before + 1


def test_a_request_past_its_use_is_dropped() -> None:
    clock = Clock()
    engine, scheduler = doubling(clock)
    held(engine, scheduler, rows(0), "a")
    late = scheduler.submit("double", rows(1), session="b")
    clock.now += 1.0
    engine.go.set()
    with pytest.raises(Superseded, match="past its use"):
        late.result(SOON)
    scheduler.close()


def test_a_request_is_dropped_in_time_for_a_newer_one_while_the_engine_is_busy() -> None:
    clock = Clock()
    engine, scheduler = doubling(clock)
    held(engine, scheduler, rows(0), "a")
    late = scheduler.submit("double", rows(1), session="b")
    clock.now += 1.0
    with pytest.raises(Superseded, match="past its use"):
        late.result(SOON)
    newer = scheduler.submit("double", rows(2), session="b", patient=True)
    engine.go.set()
    assert newer.result(SOON)["y"].item() == 4
    scheduler.close()


def test_nan_fails_only_the_request_that_got_it(caplog: pytest.LogCaptureFixture) -> None:
    engine, scheduler = doubling()
    held(engine, scheduler, rows(0), "first")
    good = scheduler.submit("double", rows(1), session="good")
    bad = scheduler.submit("double", rows(1, np.nan, np.inf), session="bad")
    engine.go.set()
    with pytest.raises(EngineError, match="2 values that are not finite"):
        bad.result(SOON)
    assert good.result(SOON)["y"].item() == 2
    assert scheduler.submit("double", rows(3), session="bad").result(SOON)["y"].item() == 6
    scheduler.close()


def test_an_engine_that_breaks_fails_its_batch_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    engine, scheduler = doubling()
    engine.broken = True
    with caplog.at_level(logging.CRITICAL), pytest.raises(EngineError, match="out of memory"):
        scheduler.submit("double", rows(1), session="a").result(SOON)
    engine.broken = False
    assert scheduler.submit("double", rows(1), session="a").result(SOON)["y"].item() == 2
    scheduler.close()


def test_requests_of_another_layout_never_share_a_batch() -> None:
    engine, scheduler = doubling()
    held(engine, scheduler, rows(0), "first")
    wide = scheduler.submit("double", {"x": np.ones((1, 4), np.float32)}, session="wide")
    narrow = scheduler.submit("double", rows(1), session="narrow")
    engine.go.set()
    assert wide.result(SOON)["y"].shape == (1, 4)
    assert narrow.result(SOON)["y"].shape == (1, 1)
    scheduler.close()


def test_close_runs_what_waits_and_takes_no_more() -> None:
    engine, scheduler = doubling()
    engine.hold()
    futures = [scheduler.submit("double", rows(i), session=f"s{i}") for i in range(4)]
    threading.Timer(0.05, engine.go.set).start()
    scheduler.close(SOON)
    assert [f.result(0)["y"].item() for f in futures] == [0, 2, 4, 6]
    with pytest.raises(EngineError, match="shutting down"):
        scheduler.submit("double", rows(1), session="a")
    scheduler.close()


def test_close_fails_what_a_hung_engine_leaves_behind() -> None:
    engine, scheduler = doubling()
    held(engine, scheduler, rows(0), "a")
    left = scheduler.submit("double", rows(0), session="b")
    scheduler.close(timeout=0.05)
    with pytest.raises(EngineError, match="shut down"):
        left.result(SOON)
    engine.go.set()


def test_an_unknown_model_and_an_empty_request_are_refused() -> None:
    scheduler = started()
    with pytest.raises(EngineError, match="no engine for the model 'nobody'"):
        scheduler.submit("nobody", rows(1), session="a")
    scheduler.register("double", Doubling())
    with pytest.raises(EngineError, match="no rows"):
        scheduler.submit("double", rows(), session="a")
    scheduler.close()


def test_a_cancelled_request_is_not_run() -> None:
    engine, scheduler = doubling()
    held(engine, scheduler, rows(0), "a")
    assert scheduler.submit("double", rows(1), session="b").cancel()
    engine.go.set()
    scheduler.close()
    assert engine.batches == [1]


def counted(metric: Counter | Gauge) -> float:
    return float(metric._value.get())


def test_back_pressure_is_visible_in_metrics() -> None:
    clock = Clock()
    engine, scheduler = doubling(clock)
    late, read = metrics.SKIPPED.labels("late"), metrics.PREDICTIONS.labels("double")
    before = counted(late), counted(read)
    running = held(engine, scheduler, rows(0), "a")
    waiting = [scheduler.submit("double", rows(1, 2), session=session) for session in "bc"]
    while counted(metrics.QUEUE) != 2:  # the scheduler of the shared runtime, where there is one, writes it as well
        time.sleep(0.01)
    clock.now += 1.0
    engine.go.set()
    wait([running, *waiting], SOON)
    scheduler.close()
    assert counted(metrics.QUEUE) == 0
    assert (counted(late), counted(read)) == (before[0] + 2, before[1] + 1)


def test_a_recording_waits_however_long_it_takes() -> None:
    clock = Clock()
    engine, scheduler = doubling(clock)
    held(engine, scheduler, rows(0), "a")
    patient = scheduler.submit("double", rows(1), session="b", patient=True)
    clock.now += 3600.0
    engine.go.set()
    assert patient.result(SOON)["y"].item() == 2
    scheduler.close()


class Faults(list[str]):
    """The sentences with which an engine was given up; `came` once there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()

    def __call__(self, why: str) -> None:
        self.append(why)
        self.came.set()


def test_a_call_that_hangs_is_left_behind_and_another_thread_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    hangs, other, faults = Doubling(), Doubling(), Faults()
    scheduler = started(hung_after=0.5)
    scheduler.register("hangs", hangs, failed=faults)
    scheduler.register("other", other)
    before = counted(metrics.ENGINE_FAILURES.labels("hangs", "hung"))
    hangs.hold()
    running = scheduler.submit("hangs", rows(1), session="a")
    assert hangs.entered.wait(SOON)
    behind = scheduler.submit("hangs", rows(1), session="b", patient=True)
    beside = scheduler.submit("other", rows(2), session="a", patient=True)
    for pending in (running, behind):
        with pytest.raises(EngineError, match=r"'hangs' gave nothing for 1.5 s"):
            pending.result(SOON)
    scheduler._hung_after = SOON  # from now on no call counts as hung only because the machine is busy
    assert beside.result(SOON)["y"].item() == 4
    assert faults.came.wait(SOON)
    assert len(faults) == 1
    assert scheduler.stuck == 1
    with pytest.raises(EngineError, match="gave nothing"):
        scheduler.submit("hangs", rows(1), session="a").result(0)
    assert counted(metrics.ENGINE_FAILURES.labels("hangs", "hung")) == before + 1
    scheduler.register("hangs", other, failed=faults)
    assert scheduler.submit("hangs", rows(3), session="a").result(SOON)["y"].item() == 6
    hangs.go.set()  # the call comes back after all: nobody waits for it, and its thread ends
    for thread in scheduler._left_behind:
        thread.join(SOON)
    assert scheduler.stuck == 0
    assert scheduler.submit("hangs", rows(4), session="a").result(SOON)["y"].item() == 8
    scheduler.close()
    assert not scheduler.lingers
    assert hangs.batches == [1]


def test_a_call_is_left_longer_where_such_calls_are_known_to_take_longer() -> None:
    """An overloaded machine is no reason to give its engine up."""
    engine, faults = Doubling(), Faults()
    scheduler = started(hung_after=0.1)
    scheduler.register("slow", engine, failed=faults)
    scheduler._queue.learn_cost("slow", 1, 60.0)
    engine.hold()
    pending = scheduler.submit("slow", rows(1), session="a")
    assert not faults.came.wait(0.5)
    engine.go.set()
    assert pending.result(SOON)["y"].item() == 2
    scheduler.close()


@pytest.mark.parametrize("fault", ["raises", "nan"])
def test_an_engine_that_fails_three_times_in_a_row_is_given_up(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    engine, faults = Doubling(), Faults()
    scheduler = started()
    scheduler.register("double", engine, failed=faults)

    def ask(good: bool) -> Pending:
        engine.broken = fault == "raises" and not good
        pending = scheduler.submit("double", rows(np.nan if fault == "nan" and not good else 1), session="a")
        wait([pending], SOON)
        return pending

    with caplog.at_level(logging.CRITICAL):
        assert [ask(good).exception() is None for good in (False, False, True, False, False, True)] == [
            *(False, False, True, False, False, True)
        ]
        assert not faults, "only failures in a row count"
        for _ in range(3):
            assert isinstance(ask(False).exception(), EngineError)
    assert faults.came.wait(SOON)
    assert len(faults) == 1
    assert "out of memory" in faults[0] if fault == "raises" else "not finite" in faults[0]
    with pytest.raises(EngineError):
        ask(True).result(0)
    scheduler.close()


def test_close_fails_the_call_that_hangs_too() -> None:
    engine, scheduler = doubling()
    running = held(engine, scheduler, rows(0), "a")
    scheduler.close(timeout=0.05)
    with pytest.raises(EngineError, match="shut down"):
        running.result(0)
    assert scheduler.lingers
    engine.go.set()
