"""Openings in a worker that the service in front has given up: they are undone, whichever request comes first."""

import asyncio
import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest
from helpers.streams import until

from models.errors import UserError
from service.loaded_model import LoadedModel
from service.publish.hub import Hub
from service.register import Unavailable, UnknownSession
from service.session_figures import Latency, SessionFigures
from service.settings import load_settings
from service.workers.fleet import Fleet, pause_after
from service.workers.handle import Worker
from service.workers.heartbeat import Beat, is_beat, pack_beat, unpack_beat
from service.workers.local import LocalLauncher
from service.workers.sessions import RemoteSessions


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with closing(Fleet(LocalLauncher(load_settings(workers=1), 1))) as fleet:
        fleet.start()
        fleet.wait_for()
        yield fleet.workers[0]


def opening(name: str, incarnation: int) -> dict[str, object]:
    return {"source": "demo:", "name": name, "purpose": None, "incarnation": incarnation}


def names(worker: Worker) -> list[str]:
    return [one["id"] for one in worker.request("GET", "/v1/sessions")["sessions"]]


def test_an_opening_that_was_ended_before_it_began_opens_nothing(worker: Worker) -> None:
    worker.request("DELETE", "/worker/sessions/early/1")
    with pytest.raises(UnknownSession, match="closed while it was being opened"):
        worker.request("POST", "/worker/sessions", json=opening("early", 1))
    assert names(worker) == []
    worker.request("POST", "/worker/sessions", json=opening("early", 2))  # the next one of that name
    assert names(worker) == ["early"]
    worker.request("DELETE", "/worker/sessions/early/2")
    assert names(worker) == []


def test_the_end_of_an_older_incarnation_leaves_the_newer_one_alone(worker: Worker) -> None:
    worker.request("POST", "/worker/sessions", json=opening("two", 7))
    worker.request("DELETE", "/worker/sessions/two/6")
    assert names(worker) == ["two"]
    worker.request("DELETE", "/worker/sessions/two/7")
    assert names(worker) == []


def test_an_opening_that_took_too_long_is_undone_in_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.workers.sessions.OPENED_IN", 1.0)
    monkeypatch.setattr("service.workers.sessions.UNDO_WITHIN", 1.0)
    for module in ("fleet", "handle"):  # the worker is slow, not hung
        monkeypatch.setattr(f"service.workers.{module}.HUNG_AFTER", 600.0)

    async def run(fleet: Fleet) -> None:
        hub = Hub(asyncio.get_running_loop())
        sessions = RemoteSessions(fleet, hub)
        await asyncio.to_thread(fleet.wait_for)
        (stopped,) = fleet.workers
        os.kill(stopped.process.pid, signal.SIGSTOP)
        with pytest.raises(Unavailable):
            await asyncio.to_thread(sessions.open, "demo:", "slow")
        assert sessions.list() == []
        os.kill(stopped.process.pid, signal.SIGCONT)  # it opens the session now, although nobody waits for it

        def opened() -> bool:
            with suppress(UserError):
                sessions.open("demo:", "slow")
            return sessions.find("slow") is not None

        await asyncio.to_thread(until, opened)
        again = sessions.get("slow")

        def alone() -> bool:
            running = [worker for worker in {*fleet.workers, stopped} if worker.running]
            return [name for worker in running for name in names(worker)] == ["slow"]

        await asyncio.to_thread(until, alone)
        with hub.subscribe("slow", maxlen=100) as subscription:
            async with asyncio.timeout(180):
                assert {event.incarnation for event in await subscription.take(30)} == {again.incarnation}
        await asyncio.to_thread(sessions.close_all)

    with closing(Fleet(LocalLauncher(load_settings(workers=1), 1))) as fleet:
        fleet.start()
        asyncio.run(run(fleet))


def test_a_session_waits_for_a_worker_of_its_own_on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    passing = itertools.count(0, 60)  # s: a worker that takes a moment to start takes minutes by this clock
    monkeypatch.setattr("service.workers.sessions.time", SimpleNamespace(monotonic=lambda: float(next(passing))))

    async def run(fleet: Fleet) -> None:
        sessions = RemoteSessions(fleet, Hub(asyncio.get_running_loop()))
        one, two = [await asyncio.to_thread(sessions.open, "demo:", name) for name in ("one", "two")]
        assert one.worker is not two.worker
        monkeypatch.undo()
        await asyncio.to_thread(sessions.close_all)

    with closing(Fleet(LocalLauncher(load_settings(workers=2), 2))) as fleet:
        fleet.start()
        asyncio.run(run(fleet))


def test_a_worker_that_was_ended_answers_with_a_sentence() -> None:
    with closing(Fleet(LocalLauncher(load_settings(workers=1), 1))) as fleet:
        fleet.start()
        fleet.wait_for()
        ended = fleet.workers[0]
    with pytest.raises(Unavailable, match="has ended"):
        ended.request("GET", "/v1/sessions")
    assert not ended.alive


def test_a_beat_comes_out_as_it_went_in() -> None:
    beat = Beat(
        {"desk": SessionFigures(fps=29.9, latency_ms=Latency(9.0, 14.0), events=7)},
        ["No."],
        {"name": "face-mt"},
        ["face-mt-1: Apache-2.0"],
        [LoadedModel({"name": "tsav"}, ["tsav-1: MIT"], ["it failed"])],
    )
    body = pack_beat(beat)
    assert is_beat(body)
    assert unpack_beat(body) == beat


def test_new_starts_come_at_once_and_then_ever_later() -> None:
    assert [pause_after(breaks) for breaks in (1, 2, 3, 4, 5, 99)] == [0.0, 0.0, 1.0, 2.0, 4.0, 30.0]
