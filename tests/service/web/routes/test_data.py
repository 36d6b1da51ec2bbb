"""Erasing what is kept of a session: in memory and in a real Redis, while it runs, after its end, after its closing."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.live_server import LiveServer, serving
from helpers.redis_server import RedisServer, redis_in
from helpers.streams import until
from helpers.whip import whip_app
from redis import Redis

from service import audit

PATIENCE = 180.0  # s


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_in(tmp_path) as server:
        server.start()
        yield server


@pytest.fixture
def server(store: RedisServer) -> Iterator[LiveServer]:
    with serving(whip_app(redis=store.url)) as running:
        yield running


def stored(store: RedisServer, session: str = "desk") -> list[int]:
    """Sequence numbers in the session's stream."""
    with Redis.from_url(store.url, decode_responses=True) as redis:
        entries: Any = redis.xrange(f"affect:{session}")
    return [json.loads(fields["event"])["seq"] for _, fields in entries]


def rows(client: httpx.Client, session: str = "desk") -> list[list[float | None]]:
    found: list[list[float | None]] = client.get(f"/v1/sessions/{session}/history").json()["rows"]
    return found


def test_a_running_session_begins_its_record_anew(client: httpx.Client, store: RedisServer) -> None:
    client.post("/v1/sessions", json={"source": "demo:", "name": "desk"})
    until(lambda: len(stored(store)) > 20 and rows(client))
    before = max(stored(store))
    answer = client.delete("/v1/sessions/desk/data")
    assert answer.status_code == 200
    assert answer.json()["session"] == "desk"
    assert answer.json()["erased"]["redis"] > 20
    assert answer.json()["erased"]["history"] >= 1
    after = until(lambda: stored(store))
    assert min(after) > before
    assert client.get("/v1/sessions/desk").json()["state"] == "live"
    with Redis.from_url(store.url) as redis:
        assert until(lambda: redis.ttl("affect:desk") > 0)  # what is kept anew expires too


def test_a_session_that_ended_and_one_that_was_closed_leave_nothing(client: httpx.Client, store: RedisServer) -> None:
    client.post("/v1/sessions", json={"source": "demo:?seconds=0.5", "name": "desk"})
    until(lambda: client.get("/v1/sessions/desk").json()["state"] == "ended")
    until(lambda: len(stored(store)) == client.get("/v1/sessions/desk").json()["figures"]["events"])
    assert client.delete("/v1/sessions/desk/data").json()["erased"]["history"] == 1
    assert rows(client) == []
    assert stored(store) == []

    client.post("/v1/sessions", json={"source": "demo:", "name": "door"})
    until(lambda: stored(store, "door"))
    assert client.delete("/v1/sessions/door").status_code == 204
    answer = client.delete("/v1/sessions/door/data")
    assert answer.status_code == 200
    assert answer.json()["erased"]["redis"] > 0
    time.sleep(0.2)  # nothing that was on its way comes after it
    assert stored(store, "door") == []
    again = client.delete("/v1/sessions/door/data")
    assert again.status_code == 404
    assert "nothing is kept of a session called 'door'" in again.json()["detail"]


def test_a_key_that_is_not_ours_stays(client: httpx.Client, store: RedisServer) -> None:
    with Redis.from_url(store.url, decode_responses=True) as redis:
        redis.set("affect:theirs", "a text of other people")
        redis.xadd("affect:other", {"event": "{}"})
        assert client.delete("/v1/sessions/theirs/data").status_code == 404
        assert client.delete("/v1/sessions/no%20name/data").status_code == 404
        assert redis.get("affect:theirs") == "a text of other people"
        assert redis.xlen("affect:other") == 1


def test_while_redis_is_away_nothing_is_called_erased(client: httpx.Client, store: RedisServer) -> None:
    client.post("/v1/sessions", json={"source": "demo:", "name": "desk"})
    until(lambda: stored(store) and rows(client))
    store.stop()
    answer = client.delete("/v1/sessions/desk/data")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("nothing was erased: ")
    assert rows(client)
    store.start()
    until(lambda: client.get("/readyz").status_code == 200)
    before = max(stored(store))
    assert client.delete("/v1/sessions/desk/data").status_code == 200
    assert min(until(lambda: stored(store))) > before


def test_the_audit_trail_and_the_metrics_name_nobody(
    client: httpx.Client, store: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, audit.LOGGER):
        wanted = {"source": "demo:", "name": "anna-schmidt", "purpose": "other: how Anna Schmidt sleeps"}
        assert client.post("/v1/sessions", json=wanted).status_code == 201
        until(lambda: stored(store, "anna-schmidt"))
        metrics = client.get("/metrics").text
        client.delete("/v1/sessions/anna-schmidt/data")
        client.delete("/v1/sessions/anna-schmidt")
    lines = [record.getMessage() for record in caplog.records if record.name == audit.LOGGER]
    entries = [json.loads(line) for line in lines]
    assert [entry["action"] for entry in entries] == ["start", "erase", "stop"]
    assert len({entry["session"] for entry in entries}) == 1
    start, erase, stop = entries
    assert (start["source"], start["purpose"]) == ("demo", "other")
    assert erase["redis"] > 0
    assert (stop["state"], stop["seconds"] > 0) == ("ended", True)
    assert "anna" not in "".join([*lines, metrics]).lower()
