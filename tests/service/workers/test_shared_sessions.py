"""Sessions of two services that share a Redis, without a cluster: names, claims, and the heritage of one that died."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.redis_server import RedisServer, redis_in
from helpers.streams import until

from service.capture.media import State
from service.publish.hub import Hub
from service.register import NameTaken, OpenElsewhere, Unavailable
from service.settings import Settings, load_settings
from service.workers.fleet import Fleet
from service.workers.foreign import ForeignSession, NoWorkerHere
from service.workers.handle import Worker
from service.workers.leases import NoLeases
from service.workers.local import LocalLauncher, LocalWorkerProcess
from service.workers.remote_session import RemoteSession
from service.workers.shared import SharedSessions


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_in(tmp_path) as running:
        running.start()
        yield running


def shared(settings: Settings, fleet: Fleet) -> SharedSessions:
    """The sessions of a service that nobody can ask by HTTP."""
    return SharedSessions(fleet, Hub(asyncio.get_running_loop()), settings, NoLeases(), "http://127.0.0.1:1")


def alerts(session: RemoteSession) -> list[dict[str, Any]]:
    past: dict[str, Any] = session.worker.request("GET", f"/v1/sessions/{session.name}/history?since=-1000")
    return list(past["alerts"])


def with_markers(session: RemoteSession) -> dict[str, Any] | None:
    """The session's history, once it has markers: those from before have a time once it has shown something."""
    past: dict[str, Any] = session.worker.request("GET", f"/v1/sessions/{session.name}/history")
    return past if past["markers"] else None


def test_a_session_has_one_name_and_is_inherited_from_a_service_that_died(server: RedisServer) -> None:
    async def run(settings: Settings, first: Fleet, second: Fleet) -> None:
        here, there = shared(settings, first), shared(settings, second)
        await asyncio.to_thread(lambda: here.open("demo:", "hall", allowed=["demo:"]))
        found = there.find("hall")  # at once
        assert isinstance(found, ForeignSession)
        assert [session.name for session in there.list()] == ["hall"]
        with pytest.raises(OpenElsewhere, match="'hall' is open at another service"):
            await asyncio.to_thread(there.open, "demo:", "hall")
        assert [session.name for session in there.list()] == ["hall"]
        assert (await asyncio.to_thread(there.open, "demo:")).name == "s1"
        await asyncio.to_thread(until, lambda: here.get("hall").state == State.LIVE)
        await asyncio.to_thread(here.get("hall").set_rules, ["seen: valence > -1"])
        await asyncio.to_thread(until, lambda: here.get("hall").notes)  # the alert
        marker = await asyncio.to_thread(here.get("hall").mark, "begin")
        here._closing.set()  # it says nothing any more, as one that was killed
        await asyncio.to_thread(until, lambda: [one.name for one in there.own() if not one.over] == ["s1", "hall"])
        await asyncio.to_thread(until, lambda: there.get("hall").opened and there.get("hall").state == State.LIVE)
        again = there.get("hall")
        assert (again.incarnation, again.allowed) == (2, ["demo:"])
        assert [rule.text for rule in await asyncio.to_thread(again.rules)] == ["seen: valence > -1"]
        past = await asyncio.to_thread(until, lambda: with_markers(again))
        (kept,) = past["markers"]
        assert (kept["label"], kept["at"]) == ("begin", marker["at"])
        assert kept["t"] < 0  # before the session began anew
        assert (past["alerts"][0]["rule"], past["alerts"][0]["status"]) == ("seen", "raised")
        assert past["alerts"][0]["since"] <= past["alerts"][0]["t"] <= kept["t"]
        await asyncio.to_thread(until, lambda: [one["status"] for one in alerts(again)][1:2] == ["cleared"])
        await asyncio.to_thread(again.erase)
        past = await asyncio.to_thread(again.worker.request, "GET", "/v1/sessions/hall/history?since=-1000")
        assert past["markers"] == []
        assert there._records.notes("hall") == []
        await asyncio.to_thread(there.close, "hall")
        assert there.find("hall") is None
        for one in (here, there):
            await asyncio.to_thread(one.close_all)
            one.release()

    with_two_fleets(run, server)


def test_a_service_that_leaves_hands_its_sessions_over(server: RedisServer) -> None:
    async def run(settings: Settings, first: Fleet, second: Fleet) -> None:
        here, there = shared(settings, first), shared(settings, second)
        await asyncio.to_thread(here.open, "demo:", "hall")
        with here._hub.subscribe("hall", maxlen=10_000) as subscription:
            await asyncio.to_thread(until, lambda: here.get("hall").state == State.LIVE)
            await asyncio.to_thread(here.hand_over)
            await asyncio.to_thread(here.close_all)
            while events := await asyncio.wait_for(subscription.take(1), 10):
                assert events[0].state not in (State.ENDED, State.FAILED)
        await asyncio.to_thread(until, lambda: [one.name for one in there.own() if one.state == State.LIVE] == ["hall"])
        assert there.get("hall").incarnation == 2
        await asyncio.to_thread(there.close_all)
        for one in (here, there):
            one.release()

    with_two_fleets(run, server)


def test_a_session_whose_new_worker_does_not_answer_at_first_is_inherited_all_the_same(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(settings: Settings, first: Fleet, second: Fleet) -> None:
        here, there = shared(settings, first), shared(settings, second)
        await asyncio.to_thread(here.open, "demo:", "hall")
        opens, takes, attempts = there._open_in_worker, there._take_lease, []
        recorded: list[bool] = []  # at each attempt

        refused: list[RemoteSession] = []

        def no_lease(session: RemoteSession, cut_off: Worker | None = None) -> None:
            refused.append(session)
            raise Unavailable("its lease is another worker's")

        def third_time(session: RemoteSession) -> None:
            if len(attempts) == 2:
                raise Unavailable("the worker does not answer")
            opens(session)

        def second_time(session: RemoteSession, cut_off: Worker | None = None) -> None:
            attempts.append(session)
            recorded.append(there._records._redis.hexists("affectstream:sessions", "hall"))
            if len(attempts) == 1:
                raise Unavailable("its lease is another worker's")
            takes(session, cut_off)

        monkeypatch.setattr(there, "_open_in_worker", third_time)
        monkeypatch.setattr(there, "_take_lease", second_time)
        await asyncio.to_thread(here.hand_over)
        await asyncio.to_thread(until, lambda: [one.name for one in there.own() if one.state == State.LIVE] == ["hall"])
        assert len(attempts) == 3
        assert recorded == [True] * 3
        monkeypatch.setattr(there, "_take_lease", no_lease)
        there._adopting.add("lost")
        record = {**json.loads(there._records._redis.hget("affectstream:sessions", "hall")), "source": "demo:"}
        there._records._redis.hset("affectstream:sessions", "lost", json.dumps(record))
        adopting = threading.Thread(target=there._adopt, args=("lost", record))
        adopting.start()
        await asyncio.to_thread(until, lambda: refused)
        await asyncio.to_thread(there.close, "lost")  # while the service waits to try again
        await asyncio.to_thread(adopting.join)
        assert there.find("lost") is None
        assert len(refused) == 1
        monkeypatch.undo()
        with pytest.raises(OpenElsewhere, match="'hall' is open;"):  # its own `--source hall=demo:` comes late
            await asyncio.to_thread(there.open, "demo:", "hall")
        await asyncio.to_thread(there.close, "hall")
        assert (await asyncio.to_thread(there.open, "demo:", "hall")).incarnation == 3
        with pytest.raises(NameTaken):
            await asyncio.to_thread(there.open, "demo:", "hall")
        for one in (here, there):
            await asyncio.to_thread(one.close_all)
            one.release()

    with_two_fleets(run, server)


def test_a_service_without_a_worker_leaves_its_sessions_to_others_and_opens_none(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalLauncher, "new_worker_within", 0.0)

    async def run(settings: Settings, first: Fleet, second: Fleet) -> None:
        here, there = shared(settings, first), shared(settings, second)
        await asyncio.to_thread(lambda: here.open("demo:", "hall", allowed=["demo:"]))
        assert json.loads(here._records._redis.get(f"affectstream:service:{here.id}"))[
            "reads"
        ]  # at once: nobody takes it over
        await asyncio.to_thread(until, lambda: (last := here.get("hall").last) and last.data["captured_at"])
        await asyncio.to_thread(here.get("hall").mark, "begin")
        with here._hub.subscribe("hall", maxlen=10_000) as subscription:
            without_room(first)
            first.workers[0].process.kill()
            await asyncio.to_thread(until, lambda: [one.name for one in there.own()] == ["hall"])
            await asyncio.to_thread(until, lambda: there.get("hall").opened and there.get("hall").state == State.LIVE)
            again = there.get("hall")
            assert (again.incarnation, again.allowed, [note.kind for note in again.notes]) == (2, ["demo:"], ["marker"])
            await asyncio.to_thread(until, lambda: here.own() == [])
            assert isinstance(here.find("hall"), ForeignSession)
            states = [event.state for event in await subscription.take(10_000)]
            assert states[-1] == State.RECONNECTING
            assert {State.ENDED, State.FAILED}.isdisjoint(states)
            assert not subscription.closed  # the events of the other service follow
        with pytest.raises(NoWorkerHere, match="this service has no worker now"):
            await asyncio.to_thread(here.place, "desk", None, purpose="research")
        with pytest.raises(Unavailable, match="does not answer"):  # nobody can ask the other service by HTTP here
            await asyncio.to_thread(lambda: here.open("demo:", "desk", allowed=["demo:"]))
        assert there.find("desk") is None
        without_room(second, most=2)
        beside = await asyncio.to_thread(there.open, "demo:", "desk")  # starts a worker, and does not wait for it
        assert beside.worker is there.get("hall").worker
        assert len(second.workers) == 2
        monkeypatch.setattr(second.launcher, "has_room", lambda: False)
        await asyncio.to_thread(until, lambda: len(second.workers) == 1)  # what it would take is left to the other
        for one in (here, there):
            await asyncio.to_thread(one.close_all)
            one.release()

    with_two_fleets(run, server)


class NoRoom(LocalWorkerProcess):
    """A worker that is not started, as on a cluster without a free CPU."""

    def wait_ready(self, heard: Callable[[bytes], None]) -> str | None:
        self._program._process.wait()
        return "no node of the cluster has a free CPU"


def without_room(fleet: Fleet, most: int = 1) -> None:
    """Lets a fleet, of `most` workers, start none from now on."""
    launcher = fleet.launcher
    assert isinstance(launcher, LocalLauncher)
    path = launcher._folder / "none"
    launcher._most = most
    launcher.start = lambda number, node: NoRoom(launcher._settings, number, 0, path)  # type: ignore[method-assign]


def with_two_fleets(run: Callable[[Settings, Fleet, Fleet], Coroutine[Any, Any, None]], server: RedisServer) -> None:
    settings = load_settings(redis=server.url, workers=1, cluster="auto")
    with closing(Fleet(LocalLauncher(settings, 1))) as first, closing(Fleet(LocalLauncher(settings, 1))) as second:
        first.start()
        second.start()
        asyncio.run(run(settings, first, second))
