"""Markers out of a real Redis that comes late, goes away and comes back."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.live_server import serving
from helpers.redis_server import RedisServer, redis_in
from helpers.waiting import until
from prometheus_client import REGISTRY
from pydantic import SecretStr, ValidationError
from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from websockets.sync.client import ClientConnection, connect

from models.errors import UserError
from service.publish.redis_markers import RedisMarkers
from service.settings import Settings
from service.web.app import create_app

Got = list[tuple[str, datetime, str | None]]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_in(tmp_path) as server:
        yield server


def refused() -> float:
    return REGISTRY.get_sample_value("affect_publish_errors_total", {"sink": "redis_markers"}) or 0.0


@asynccontextmanager
async def reading(server: RedisServer, got: Got) -> AsyncIterator[RedisMarkers]:
    def mark(label: str, at: datetime, session: str | None) -> None:
        if session == "nobody":
            raise UserError("no session is called 'nobody'")
        got.append((label, at, session))

    markers = RedisMarkers(server.url, "cues", mark)
    try:
        yield markers
    finally:
        await markers.close()


async def add(server: RedisServer, **fields: str) -> None:
    async with Redis.from_url(server.url) as client:
        await client.xadd("cues", fields)  # type: ignore[arg-type]


def test_entries_become_markers_at_their_own_time_and_what_is_none_is_counted(redis_server: RedisServer) -> None:
    got: Got = []

    async def run() -> None:
        redis_server.start()
        await add(redis_server, label="before the start")
        await asyncio.sleep(1.5)  # longer than an answer of Redis takes, by which the start is known
        counted = refused()
        async with reading(redis_server, got):
            before = datetime.now(UTC)
            await add(redis_server, label="stim\nulus")
            await add(redis_server, name="no label")
            await add(redis_server, label="x", at="yesterday")
            await add(redis_server, label="x", session="nobody")
            await add(redis_server, label="answer", session="desk", at="2026-11-29T20:15:00.250Z")
            await until(lambda: len(got) == 2)
        assert refused() - counted == 3
        assert (got[0][0], got[0][2]) == ("stim ulus", None)
        assert before - timedelta(seconds=0.1) < got[0][1] <= datetime.now(UTC)
        assert got[1] == ("answer", datetime(2026, 11, 29, 20, 15, 0, 250_000, UTC), "desk")

    asyncio.run(run())


def test_a_redis_that_comes_late_goes_away_and_comes_back_loses_no_marker(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    got: Got = []

    async def run() -> None:
        counted = refused()
        async with reading(redis_server, got):
            await until(lambda: refused() > counted + 1)
            redis_server.start()
            await add(redis_server, label="late")
            await until(lambda: len(got) == 1)
            redis_server.stop()
            counted = refused()
            await until(lambda: refused() > counted)
            redis_server.start()
            await add(redis_server, label="again")
            await until(lambda: len(got) == 2)

    with caplog.at_level("WARNING", "service.publish.redis_markers"):
        asyncio.run(run())
    assert [label for label, _, _ in got] == ["late", "again"]
    said = [record.message for record in caplog.records if record.name == "service.publish.redis_markers"]
    assert 1 <= len(said) <= 4  # one for each outage, and not one for each attempt
    assert all(text.startswith("no markers are read: redis://") for text in said)


def test_a_key_that_is_no_stream_is_a_sentence(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        redis_server.start()
        async with Redis.from_url(redis_server.url) as client:
            await client.set("cues", "a text")
        counted = refused()
        async with reading(redis_server, []):
            await until(lambda: refused() > counted + 1)

    asyncio.run(run())
    (record,) = [record for record in caplog.records if record.name == "service.publish.redis_markers"]
    assert "is no stream; give --redis-markers another name" in record.message


def test_a_marker_of_redis_is_an_event_of_the_session(redis_server: RedisServer) -> None:
    redis_server.start()
    settings = Settings(redis=SecretStr(redis_server.url), redis_markers="cues", source=["desk=demo:"])
    with (
        serving(create_app(settings)) as server,
        connect(f"{server.ws}/v1/stream?session=desk") as client,
        BlockingRedis.from_url(redis_server.url) as redis,
    ):
        while not json.loads(client.recv(timeout=60))["faces"]:
            pass
        redis.xadd("cues", {"label": "stimulus_1"})
        while (event := json.loads(client.recv(timeout=60))).get("marker") is None:
            pass
    assert event["marker"]["label"] == "stimulus_1"
    assert event["marker"]["at"] is not None


def test_two_services_that_read_one_stream_mark_each_moment_once(redis_server: RedisServer) -> None:
    redis_server.start()
    with ExitStack() as stack:
        streams: dict[str, ClientConnection] = {}
        for name in ("desk", "hall"):
            settings = Settings(redis=SecretStr(redis_server.url), redis_markers="cues", source=[f"{name}=demo:"])
            server = stack.enter_context(serving(create_app(settings)))
            streams[name] = stack.enter_context(connect(f"{server.ws}/v1/stream?session={name}"))
        for stream in streams.values():
            while not json.loads(stream.recv(timeout=60))["faces"]:
                pass
        redis = stack.enter_context(BlockingRedis.from_url(redis_server.url))
        redis.xadd("cues", {"label": "both"})
        redis.xadd("cues", {"label": "desk alone", "session": "desk"})
        redis.xadd("cues", {"label": "hall alone", "session": "hall"})
        redis.xadd("cues", {"label": "end"})
        marked: dict[str, list[str]] = {name: [] for name in streams}
        for name, stream in streams.items():
            while "end" not in marked[name]:
                if (event := json.loads(stream.recv(timeout=60))).get("marker") is not None:
                    marked[name].append(event["marker"]["label"])
        kept = {name: [json.loads(fields["event"]) for _, fields in entries(redis, name)] for name in streams}
    assert marked == {"desk": ["both", "desk alone", "end"], "hall": ["both", "hall alone", "end"]}
    for name, events in kept.items():  # as the streams of events in Redis have them
        assert [one["marker"]["label"] for one in events if one.get("marker")] == marked[name]


def entries(redis: BlockingRedis, session: str) -> list[tuple[str, dict[str, str]]]:
    """The events of a session in Redis, once the marker `end` is among them."""
    while True:
        found: Any = redis.xrange(f"affect:{session}")
        decoded = [(key.decode(), {k.decode(): v.decode() for k, v in fields.items()}) for key, fields in found]
        if any('"label":"end"' in fields["event"] for _, fields in decoded):
            return decoded
        time.sleep(0.05)


def test_a_stream_of_markers_wants_a_redis() -> None:
    with pytest.raises(ValidationError, match="--redis-markers names a stream of the Redis that --redis gives"):
        Settings(redis_markers="cues")
