"""Markers from a request to the stream and the history, over sessions that really run."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import jsonschema
import pytest
from helpers.kept_runtime import real_app
from helpers.live_server import LiveServer, serving
from websockets.sync.client import connect

from models.errors import UserError
from service.events import event_schema
from service.runtime import Runtime
from service.web.live import mark_all, mark_own

PATIENCE = 180.0  # s


@pytest.fixture(scope="module")
def server(runtime: Runtime) -> Iterator[LiveServer]:
    with serving(real_app(runtime)) as running, running.client() as client:
        client.post("/v1/sessions", json={"source": "demo:", "name": "desk"}).raise_for_status()
        while not client.get("/v1/sessions/desk").json()["figures"]["events"] > 2:
            time.sleep(0.05)
        yield running


def mark(client: httpx.Client, **wanted: Any) -> httpx.Response:
    return client.post("/v1/sessions/desk/markers", json=wanted)


def test_a_marker_is_an_event_of_the_stream_in_order(server: LiveServer, client: httpx.Client) -> None:
    with connect(f"{server.ws}/v1/stream?session=desk") as stream:
        seqs = [json.loads(stream.recv(timeout=PATIENCE))["seq"]]
        answer = mark(client, label="stimulus_1", t=0.02)
        assert answer.status_code == 201
        while True:
            event = json.loads(stream.recv(timeout=PATIENCE))
            seqs.append(event["seq"])
            if event.get("marker"):
                break
    jsonschema.validate(event, event_schema())
    assert event["marker"] == answer.json()
    assert (event["marker"]["label"], event["marker"]["t"]) == ("stimulus_1", 0.02)
    assert (event["faces"], event["image_size"], event["reasons"]) == ([], None, [])
    assert event["t"] > 0.02
    assert seqs[1:] == list(range(seqs[1], seqs[1] + len(seqs) - 1))


def test_who_comes_later_finds_the_marker_in_the_history_and_not_in_the_stream(
    server: LiveServer, client: httpx.Client
) -> None:
    made = mark(client, label="later").json()
    while made not in client.get("/v1/sessions/desk/history").json()["markers"]:
        time.sleep(0.05)
    assert client.get("/v1/sessions/desk/history", params={"since": made["t"]}).json()["markers"] == []
    with connect(f"{server.ws}/v1/stream?session=desk") as stream:
        assert "marker" not in json.loads(stream.recv(timeout=PATIENCE))


@pytest.mark.parametrize(
    ("wanted", "status", "why"),
    [
        ({}, 422, "label"),
        ({"label": ""}, 422, "label"),
        ({"label": "x" * 201}, 422, "label"),
        ({"label": "a\tb"}, 400, "unprintable"),
        ({"label": "go", "when": 1}, 422, "when"),
        ({"label": "go", "t": 1e6}, 400, "outside"),
        ({"label": "go", "t": -1}, 400, "outside"),
        ({"label": "go", "at": "2026-11-29T10:00:00"}, 422, "at"),
        ({"label": "go", "at": "1999-01-01T10:00:00Z"}, 400, "outside"),
        ({"label": "go", "t": 0.1, "at": "1999-01-01T10:00:00Z"}, 400, "either"),
    ],
)
def test_what_cannot_be_marked_is_refused_with_a_sentence(
    client: httpx.Client, wanted: dict[str, Any], status: int, why: str
) -> None:
    answer = mark(client, **wanted)
    assert answer.status_code == status
    assert why in answer.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_time_that_is_no_number_is_refused(client: httpx.Client, number: str) -> None:
    headers = {"content-type": "application/json"}
    body = f'{{"label": "go", "t": {number}}}'
    refused = client.post("/v1/sessions/desk/markers", content=body, headers=headers)
    assert refused.status_code == 400
    assert f"{number}, which is no number of JSON" in refused.json()["detail"]
    assert client.get("/v1/sessions/desk/history", params={"since": number}).status_code == 422


def test_a_session_that_is_not_there_and_one_that_has_ended_take_no_markers(server: LiveServer) -> None:
    with server.client() as client:
        assert client.post("/v1/sessions/nobody/markers", json={"label": "go"}).status_code == 404
        session: Any = server.live.sessions.open("demo:", "over")
        session.close()
        answer = client.post("/v1/sessions/over/markers", json={"label": "go"})
        assert answer.status_code == 409
        assert answer.json()["detail"] == (
            "the session 'over' has ended: it takes no markers any more; open it anew first"
        )


def test_a_marker_for_all_sessions_reaches_those_that_can_take_it(server: LiveServer, client: httpx.Client) -> None:
    sessions = server.live.sessions
    early: Any = sessions.open("demo:?seconds=0.01", "early")
    while not early.over:
        time.sleep(0.05)
    mark_all(sessions, "everywhere", datetime.now(UTC))  # one that has ended is left out
    with pytest.raises(UserError, match="lies outside of it"):
        mark_all(sessions, "nowhere", datetime(1999, 1, 1, tzinfo=UTC))
    mark_own(sessions, "elsewhere", datetime.now(UTC), "early")
    with pytest.raises(UserError, match="no session is called 'nobody'"):
        mark_own(sessions, "nowhere", datetime.now(UTC), "nobody")
    while not (found := labels(client)).count("everywhere"):
        time.sleep(0.05)
    assert "nowhere" not in found


def labels(client: httpx.Client) -> list[str]:
    """Labels of all markers in the session's history."""
    return [marker["label"] for marker in client.get("/v1/sessions/desk/history").json()["markers"]]
