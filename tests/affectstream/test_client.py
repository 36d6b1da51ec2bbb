"""The client that other programs use, against a real server and a real Redis that go away and come back."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import live_server
from helpers.live_server import event_data, serving
from helpers.redis_server import free_port, redis_in
from redis import Redis

from affectstream import Refused, client, redis_stream, stream


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_PAUSE", 0.4)
    monkeypatch.setattr(client, "BLOCK", 0.2)


async def take(events: AsyncIterator[Any], count: int) -> list[Any]:
    async with asyncio.timeout(180):
        return [await anext(events) for _ in range(count)]


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(180):
        while not await reached():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_events_come_as_they_happen_and_the_end_ends_the_stream() -> None:
    async def scenario(server: live_server.LiveServer) -> None:
        desk, door = server.open("desk"), server.open("door")
        desk.emit()
        events = stream(server.url, session="desk")
        assert [event["seq"] for event in await take(events, 1)] == [0]
        door.emit()
        desk.emit(2)
        assert [event["seq"] for event in await take(events, 2)] == [1, 2]
        await asyncio.to_thread(server.sessions.close, "desk")
        assert [event["state"] async for event in events] == ["ended"]
        every = stream(server.ws)
        assert {event["session"] for event in await take(every, 1)} == {"door"}
        await every.aclose()

    with serving() as server:
        asyncio.run(scenario(server))


def test_a_server_that_restarts_is_found_again_and_nothing_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(live_server, "free_port", lambda: port)

    async def scenario() -> None:
        events = stream(f"http://127.0.0.1:{port}", session="desk")
        first = asyncio.create_task(take(events, 3))  # before there is a server, and before there is the session
        for seqs in ([0, 1, 2], [0, 1]):
            running = serving()
            server = await asyncio.to_thread(running.__enter__)
            desk = server.open("desk")
            while server.live.hub.count("websocket") == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            desk.emit(len(seqs))
            assert [event["seq"] for event in await first] == seqs
            # A crash says no goodbye: the session is not closed, the server is gone.
            server.sessions._open.clear()
            await asyncio.to_thread(running.__exit__, None, None, None)
            first = asyncio.create_task(take(events, 2))
        first.cancel()

    asyncio.run(scenario())


def test_the_same_event_after_a_reconnect_comes_once() -> None:
    async def scenario(server: live_server.LiveServer) -> None:
        desk = server.open("desk")
        desk.emit(3)
        events = stream(server.url)
        await take(events, 1)
        for subscription in [*server.live.hub._subscriptions]:
            subscription.close()
        nxt = asyncio.create_task(take(events, 1))

        async def back() -> bool:
            return server.live.hub.count("websocket") == 1

        await until(back)
        desk.emit()
        assert [event["seq"] for event in await nxt] == [3]
        await events.aclose()

    with serving() as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_wrong_token_is_raised_in_the_servers_words(token: str | None) -> None:
    with serving(token="secret") as server:
        with pytest.raises(Refused, match="the token is missing or wrong"):
            asyncio.run(take(stream(server.url, token=token), 1))
        server.open("desk").emit()
        assert asyncio.run(take(stream(server.url, token="secret"), 1))[0]["session"] == "desk"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "http://127.0.0.1:nine"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="is not the address of a server"):
        asyncio.run(take(stream(url), 1))


@pytest.mark.parametrize(
    "url",
    ["http://me:pa-ss@127.0.0.1:1", "http://me:pa-ss/1@host", "ftp://me:pa-ss@host", "http://me:pa-ss@127.0.0.1:nine"],
)
def test_no_sentence_on_an_address_holds_its_password(url: str) -> None:
    with pytest.raises(Refused) as refused:
        asyncio.run(take(stream(url, wait=False), 1))
    assert "pa-ss" not in str(refused.value)
    assert "me:" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("127.0.0.1:8000", "ws://127.0.0.1:8000/v1/stream?session=a+b&landmarks=1"),
        ("https://host/behind/", "wss://host/behind/v1/stream?session=a+b&landmarks=1"),
        ("wss://host/v1/stream", "wss://host/v1/stream?session=a+b&landmarks=1"),
    ],
)
def test_addresses_are_completed(url: str, path: str) -> None:
    assert client._address(url, "a b", True) == path


def add(url: str, *seqs: int) -> None:
    with Redis.from_url(url) as redis:
        for seq in seqs:
            redis.xadd("affect:desk", {"event": json.dumps(event_data("desk", seq))})


async def reads(url: str) -> bool:
    """Whether somebody waits for what is added."""
    with Redis.from_url(url) as redis:
        return int(redis.info("clients")["blocked_clients"]) > 0


def test_redis_goes_on_where_it_was_although_it_restarts(tmp_path: Path) -> None:
    async def scenario(server: Any) -> None:
        add(server.url, 0, 1)
        events = redis_stream(server.url, session="desk", after="0")
        taken = await take(events, 2)
        assert [event["seq"] for _, event in taken] == [0, 1]
        rest = asyncio.create_task(take(events, 2))
        await until(lambda: reads(server.url))
        server.stop()
        await asyncio.sleep(0.5)
        server.start()
        add(server.url, 2, 3)
        assert [event["seq"] for _, event in await rest] == [2, 3]
        await events.aclose()
        again = redis_stream(server.url, session="desk", after=taken[0][0])
        assert [event["seq"] for _, event in await take(again, 3)] == [1, 2, 3]
        await again.aclose()

    with redis_in(tmp_path) as server:
        server.start()
        asyncio.run(scenario(server))


def test_redis_from_now_on(tmp_path: Path) -> None:
    async def scenario(server: Any) -> None:
        add(server.url, 0, 1)
        events = redis_stream(server.url, session="desk")
        coming = asyncio.create_task(take(events, 1))
        await until(lambda: reads(server.url))
        add(server.url, 2)
        assert [event["seq"] for _, event in await coming] == [2]
        await events.aclose()

    with redis_in(tmp_path) as server:
        server.start()
        asyncio.run(scenario(server))


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://:pa/ss@127.0.0.1/0", "redis://admin:12/3pass@127.0.0.1"])
def test_a_malformed_redis_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(Refused, match="the Redis URL is malformed") as caught:
        asyncio.run(take(redis_stream(url, session="desk"), 1))
    assert "pa/" not in str(caught.value)
    assert "pass@" not in str(caught.value)
