"""Events into a real Redis that comes late, goes away and comes back."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.redis_server import RedisServer, redis_in
from helpers.waiting import until
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from engines.errors import UserError
from service.events import Event
from service.publish import redis_sink
from service.publish.hub import Hub
from service.publish.redis_sink import SINK, RedisSink, check_url


def event(seq: int, session: str = "desk") -> Event:
    return Event.of({"session": session, "seq": seq, "state": "live", "faces": []})


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"sink": "redis"}) or 0.0


def problems() -> dict[str, float]:
    """Reasons of `affect_sink_problem` that are above 0."""
    (metric,) = (metric for metric in REGISTRY.collect() if metric.name == "affect_sink_problem")
    own = [sample for sample in metric.samples if sample.labels["sink"] == SINK]
    return {sample.labels["reason"]: sample.value for sample in own if sample.value}


async def stored(server: RedisServer, session: str = "desk") -> list[int]:
    """Sequence numbers in the session's stream."""
    async with Redis.from_url(server.url, decode_responses=True) as client:
        entries: Any = await client.xrange(f"affect:{session}")
    return [json.loads(fields["event"])["seq"] for _, fields in entries]


def answers(sink: RedisSink) -> bool:
    return sink.problem is None


def fails(sink: RedisSink) -> bool:
    return sink.problem is not None and "does not answer" in sink.problem


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_in(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_sink, "PING_PERIOD", 0.05)
    monkeypatch.setattr(redis_sink, "LONGEST_DELAY", 0.1)
    for patience in ("TIMEOUT", "CONNECT_TIMEOUT", "DRAIN_TIMEOUT"):
        monkeypatch.setattr(redis_sink, patience, 60.0)


def test_each_session_has_its_stream_in_order(redis_server: RedisServer) -> None:
    async def run() -> tuple[list[int], list[int]]:
        hub = Hub(asyncio.get_running_loop())
        sink = RedisSink(redis_server.url, hub)
        for seq in range(300):
            hub.publish(event(seq, "desk"))
            hub.publish(event(seq, "door"))
        await sink.close()
        return await stored(redis_server, "desk"), await stored(redis_server, "door")

    redis_server.start()
    assert asyncio.run(run()) == (list(range(300)), list(range(300)))


def test_the_event_arrives_unchanged(redis_server: RedisServer) -> None:
    sent = event(3)

    async def run() -> Any:
        hub = Hub(asyncio.get_running_loop())
        sink = RedisSink(redis_server.url, hub)
        hub.publish(sent)
        await sink.close()
        async with Redis.from_url(redis_server.url, decode_responses=True) as client:
            return await client.xrange("affect:desk")

    redis_server.start()
    [[_, fields]] = asyncio.run(run())
    assert fields == {"event": sent.text}


def test_it_starts_without_redis_and_loses_nothing_until_it_comes(redis_server: RedisServer) -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        sink = RedisSink(redis_server.url, hub)
        for seq in range(500):
            hub.publish(event(seq))
        await until(lambda: fails(sink))
        await asyncio.to_thread(redis_server.start)
        await until(lambda: answers(sink))
        await sink.close()
        return await stored(redis_server)

    assert asyncio.run(run()) == list(range(500))


def test_it_resumes_by_itself_in_order_and_sends_nothing_twice_when_redis_is_killed_under_load(
    redis_server: RedisServer,
) -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        sink = RedisSink(redis_server.url, hub)
        reconnects = REGISTRY.get_sample_value("affect_reconnects_total", {"kind": "redis"}) or 0.0
        for seq in range(3000):
            hub.publish(event(seq))
            if seq % 10 == 0:
                await asyncio.sleep(0.001)
            if seq in (1000, 2000):
                await asyncio.to_thread(redis_server.stop)
            if seq in (1300, 2300):
                await until(lambda: fails(sink))
                await asyncio.to_thread(redis_server.start)
        await until(lambda: answers(sink))
        await sink.close()
        assert (REGISTRY.get_sample_value("affect_reconnects_total", {"kind": "redis"}) or 0.0) - reconnects == 2
        return await stored(redis_server)

    redis_server.start()
    assert asyncio.run(run()) == list(range(3000))


def test_an_event_whose_answer_was_lost_is_not_sent_again(redis_server: RedisServer) -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        sink = RedisSink(redis_server.url, hub)
        async with Redis.from_url(redis_server.url) as client:
            for seq in range(3):  # as if a batch of 0..4 had been cut off after it was stored in part
                await client.xadd("affect:desk", {"event": event(seq).text})
        sink._unsure = True
        for seq in range(5):
            hub.publish(event(seq))
        await sink.close()
        return await stored(redis_server)

    redis_server.start()
    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_never_queue_the_oldest_are_lost_and_counted_when_the_buffer_overflows(redis_server: RedisServer) -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        before = counted("affect_events_dropped_total")
        sink = RedisSink(redis_server.url, hub, buffer=20)
        for seq in range(100):
            hub.publish(event(seq))
        assert counted("affect_events_dropped_total") - before == 80
        await until(lambda: fails(sink))
        assert sink.problem is not None
        assert "lost" in sink.problem
        await asyncio.to_thread(redis_server.start)
        await until(lambda: answers(sink))
        await sink.close()
        return await stored(redis_server)

    assert asyncio.run(run()) == list(range(80, 100))


def test_a_redis_that_goes_away_while_nothing_happens_is_noticed(redis_server: RedisServer) -> None:
    async def run() -> None:
        sink = RedisSink(redis_server.url, Hub(asyncio.get_running_loop()))
        await until(lambda: answers(sink))
        await asyncio.to_thread(redis_server.stop)
        await until(lambda: fails(sink))
        await asyncio.to_thread(redis_server.start)
        await until(lambda: answers(sink))
        await sink.close()

    redis_server.start()
    asyncio.run(run())


def test_a_key_of_another_kind_costs_its_own_events_only(redis_server: RedisServer) -> None:
    async def run() -> tuple[list[int], float]:
        hub = Hub(asyncio.get_running_loop())
        before = counted("affect_publish_errors_total")
        async with Redis.from_url(redis_server.url) as client:
            await client.set("affect:desk", "not a stream")
        sink = RedisSink(redis_server.url, hub)
        for seq in range(3):
            hub.publish(event(seq, "desk"))
            hub.publish(event(seq, "door"))
        await sink.close()
        return await stored(redis_server, "door"), counted("affect_publish_errors_total") - before

    redis_server.start()
    assert asyncio.run(run()) == ([0, 1, 2], 3)


def test_a_redis_that_is_full_keeps_events_waiting_in_order(redis_server: RedisServer) -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        async with Redis.from_url(redis_server.url) as client:
            sink = RedisSink(redis_server.url, hub)
            await until(lambda: answers(sink))
            await client.config_set("maxmemory", "1")
            for seq in range(200):
                hub.publish(event(seq))
            await until(lambda: "maxmemory is reached" in (sink.problem or ""))
            assert problems() == {"memory": 1}
            await client.config_set("maxmemory", "0")
            await until(lambda: answers(sink))
        await sink.close()
        return await stored(redis_server)

    redis_server.start()
    assert asyncio.run(run()) == list(range(200))


def test_a_key_of_another_type_is_told_once_and_ends_with_the_key(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> tuple[str, dict[str, float], list[int]]:
        hub = Hub(asyncio.get_running_loop())
        async with Redis.from_url(redis_server.url) as client:
            await client.set("affect:desk", "not a stream")
            sink = RedisSink(redis_server.url, hub)
            await until(lambda: answers(sink))
            for seq in range(50):
                hub.publish(event(seq))
                await asyncio.sleep(0.002)
            await until(lambda: not answers(sink))
            told, counted_problems = sink.problem or "", problems()
            assert await client.ttl("affect:desk") == -1, "a key of other people never expires by us"
            await client.delete("affect:desk")
            hub.publish(event(50))
            await until(lambda: answers(sink))
        await sink.close()
        return told, counted_problems, await stored(redis_server)

    redis_server.start()
    told, counted_problems, seqs = asyncio.run(run())
    assert "the key affect:desk of redis://127.0.0.1" in told
    assert "something else than a stream" in told
    assert counted_problems == {"wrong_type": 1}
    assert problems() == {}
    assert seqs[-1] == 50
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def publish_refused(hub: Hub, sink: RedisSink, words: str, reason: str) -> None:
    """Publish twenty events, of which Redis refuses each attempt for one `reason`, that the sink tells in `words`."""
    for seq in range(20):
        hub.publish(event(seq))
    before = counted("affect_publish_errors_total")
    await until(lambda: counted("affect_publish_errors_total") >= before + 3)
    assert words in (sink.problem or "")
    assert "XADD affect:desk" not in (sink.problem or ""), "no event's text in a sentence"
    assert problems() == {reason: 1}


@pytest.mark.parametrize(
    ("refusal", "allow", "reason", "words"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "read_only", "read-only replica"),
        (
            ("ACL", "SETUSER", "default", "-xadd"), ("ACL", "SETUSER", "default", "+xadd"),
            "permission", "does not let this user run XADD",
        ),
    ],
)  # fmt: skip
def test_a_redis_that_refuses_is_told_in_its_own_words_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture,
    refusal: tuple[str, ...], allow: tuple[str, ...], reason: str, words: str,
) -> None:  # fmt: skip
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        async with Redis.from_url(redis_server.url) as client:
            sink = RedisSink(redis_server.url, hub)
            await until(lambda: answers(sink))
            await client.execute_command(*refusal)
            await publish_refused(hub, sink, words, reason)
            await client.execute_command(*allow)
            await until(lambda: answers(sink))
        await sink.close()
        return await stored(redis_server)

    redis_server.start()
    assert asyncio.run(run()) == list(range(20))
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_wrong_password_is_told(redis_server: RedisServer) -> None:
    async def run() -> str:
        async with Redis.from_url(redis_server.url) as client:
            await client.config_set("requirepass", "right")
        url = f"redis://:hunter2@127.0.0.1:{redis_server.port}/0"
        sink = RedisSink(url, Hub(asyncio.get_running_loop()))
        await until(lambda: "refuses the user name or password" in (sink.problem or ""))
        told = sink.problem or ""
        assert problems() == {"password": 1}
        await sink.close()
        return told

    redis_server.start()
    assert "hunter2" not in asyncio.run(run())


USER = ("ACL", "SETUSER", "sink", "reset", "on", ">right", "~affect:*")
NEEDED = ("+xadd", "+xrevrange", "+xlen", "+type", "+del", "+expire", "+persist", "+multi", "+exec", "+ping")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (("-@all",), "does not let this user run "),
        (("-xadd",), "does not let this user run XADD"),
        (("-exec",), "does not let this user run EXEC"),
        (("resetkeys", "~other:*"), "does not let this user use the keys affect:*"),
        (("resetkeys", "%R~affect:*"), "does not let this user use the keys affect:*"),
    ],
)
def test_a_user_without_permission_is_told_once_what_it_may_not_do(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, rules: tuple[str, ...], words: str
) -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        async with Redis.from_url(redis_server.url) as client:
            await client.execute_command(*USER, *NEEDED, *rules)
            sink = RedisSink(f"redis://sink:right@127.0.0.1:{redis_server.port}/0", hub)
            await publish_refused(hub, sink, words, "permission")
            await client.execute_command(*USER, *NEEDED)
            await until(lambda: answers(sink))
        await sink.close()
        return await stored(redis_server)

    redis_server.start()
    assert asyncio.run(run()) == list(range(20))
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(("rule", "lines"), [("-ping", 0), ("-expire", 1), ("-xrevrange", 0), ("-multi", 1)])
def test_what_a_user_may_not_do_besides_writing_costs_no_event(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, rule: str, lines: int
) -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        async with Redis.from_url(redis_server.url) as client:
            await client.execute_command(*USER, *NEEDED, rule)
        sink = RedisSink(f"redis://sink:right@127.0.0.1:{redis_server.port}/0", hub)
        await until(lambda: answers(sink))
        for seq in range(3):
            hub.publish(event(seq))
            hub.publish(event(seq, "door"))
            await asyncio.sleep(0.2)  # some pings
            assert sink.problem is None
        await sink.close()
        return await stored(redis_server)

    redis_server.start()
    assert asyncio.run(run()) == list(range(3))
    assert len(warnings(caplog)) == lines


def test_a_password_that_changes_while_connected_costs_no_event(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        async with Redis.from_url(redis_server.url) as client:
            await client.execute_command(*USER, *NEEDED)
            sink = RedisSink(f"redis://sink:right@127.0.0.1:{redis_server.port}/0", hub)
            hub.publish(event(0))
            await until(lambda: answers(sink))
            await client.execute_command("ACL", "SETUSER", "sink", "resetpass", ">other")
            hub.publish(event(1))
            await client.execute_command("CLIENT", "KILL", "USER", "sink")
            for seq in range(2, 20):
                hub.publish(event(seq))
            await until(lambda: "refuses the user name or password" in (sink.problem or ""))
            assert problems() == {"password": 1}
            await client.execute_command("ACL", "SETUSER", "sink", ">right")
            await until(lambda: answers(sink))
        await sink.close()
        return await stored(redis_server)

    redis_server.start()
    assert asyncio.run(run()) == list(range(20))
    assert sum("password" in line for line in warnings(caplog)) == 1
    assert len(warnings(caplog)) <= 2  # the connection that was killed, and the password
    assert "right" not in caplog.text


def test_streams_expire_after_their_last_event(redis_server: RedisServer) -> None:
    async def run(ttl: int) -> int:
        hub = Hub(asyncio.get_running_loop())
        sink = RedisSink(redis_server.url, hub, ttl=ttl)
        hub.publish(event(1))
        hub.publish(Event.of({"session": "desk", "seq": 2, "state": "ended", "detail": "Over.", "faces": []}))
        await sink.close()
        async with Redis.from_url(redis_server.url) as client:
            left: int = await client.ttl("affect:desk")
        return left

    redis_server.start()
    assert 3500 < asyncio.run(run(3600)) <= 3600
    assert asyncio.run(run(0)) == -1  # it stays, although it was to expire before


def test_sessions_that_share_a_batch_go_into_a_cluster(tmp_path: Path) -> None:
    async def run(server: RedisServer) -> list[list[int]]:
        async with Redis.from_url(server.url) as client:
            await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in await client.execute_command("CLUSTER", "INFO"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        hub = Hub(asyncio.get_running_loop())
        sink = RedisSink(server.url, hub)
        for seq in range(200):
            for session in ("desk", "door", "hall"):
                hub.publish(event(seq, session))
        await until(lambda: answers(sink))
        await sink.close()
        return [await stored(server, session) for session in ("desk", "door", "hall")]

    with redis_in(tmp_path) as server:
        server.cluster()
        server.start()
        assert asyncio.run(run(server)) == [list(range(200))] * 3


def test_closing_without_redis_ends_and_counts_what_is_lost(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_sink, "DRAIN_TIMEOUT", 0.2)

    async def run() -> float:
        hub = Hub(asyncio.get_running_loop())
        before = counted("affect_events_dropped_total")
        sink = RedisSink(redis_server.url, hub)
        for seq in range(10):
            hub.publish(event(seq))
        await sink.close()
        return counted("affect_events_dropped_total") - before

    assert asyncio.run(run()) == 10


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://localhost:6379",
        "redis://",
        "redis://localhost:redis",
        "redis://localhost:99999",
        "redis://localhost/first",
        "redis://localhost?db=first",
        "redis://localhost?colour=red",
        "redis://[::1",
        "",
    ],
)
def test_a_malformed_url_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(UserError, match="Redis URL"):
        check_url(url)


def test_credentials_are_never_told(redis_server: RedisServer) -> None:
    with pytest.raises(UserError) as caught:
        check_url("redis://user:hunter2@localhost:port?password=hunter3")
    assert "hunter" not in str(caught.value)

    async def run() -> str:
        sink = RedisSink(f"redis://user:hunter2@127.0.0.1:{redis_server.port}", Hub(asyncio.get_running_loop()))
        await until(lambda: fails(sink))
        problem = sink.problem or ""
        await sink.close()
        return problem

    assert "hunter" not in asyncio.run(run())
