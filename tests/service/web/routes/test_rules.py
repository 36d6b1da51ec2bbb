"""Rules by requests, over sessions that really run: their alerts are events of the stream and stay in the history."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from helpers.kept_runtime import real_app
from helpers.live_server import LiveServer, serving
from websockets.sync.client import connect

from models.labels import ACTION_UNITS
from service.events import event_schema
from service.rules import ENOUGH
from service.runtime import Runtime

PATIENCE = 180.0  # s
ALWAYS = "seen: valence > -1 for 0.2 s"


@pytest.fixture(scope="module")
def server(runtime: Runtime) -> Iterator[LiveServer]:
    with serving(real_app(runtime, rule=["away: no_face for 3 s"])) as running, running.client() as client:
        client.post("/v1/sessions", json={"source": "demo:", "name": "desk"}).raise_for_status()
        while not client.get("/v1/sessions/desk").json()["figures"]["events"] > 10:
            time.sleep(0.05)
        yield running


def put(client: httpx.Client, *rules: str) -> httpx.Response:
    return client.put("/v1/sessions/desk/rules", json={"rules": [*rules]})


def first(stream: Any, **wanted: Any) -> dict[str, Any]:
    """The first alert with these fields."""
    while True:
        event: dict[str, Any] = json.loads(stream.recv(timeout=PATIENCE))
        if wanted.items() <= event.get("alert", {}).items():
            return event


def test_a_session_begins_with_the_rules_of_the_settings(client: httpx.Client) -> None:
    client.post("/v1/sessions", json={"source": "demo:", "name": "fresh"}).raise_for_status()
    rules = client.get("/v1/sessions/fresh/rules").json()["rules"]
    client.delete("/v1/sessions/fresh")
    assert rules == [
        {
            "name": "away", "condition": "no_face for 3 s", "value": "no_face", "comparison": None, "threshold": None,
            "seconds": 3.0, "problem": None,
        }
    ]  # fmt: skip


def test_an_alert_is_an_event_and_stays_in_the_history(server: LiveServer, client: httpx.Client) -> None:
    with connect(f"{server.ws}/v1/stream?session=desk", max_size=None) as stream:
        assert put(client, "once: valence > -1 for 0.2 s").json()["rules"][0]["condition"] == "valence > -1 for 0.2 s"
        raised = first(stream, rule="once", status="raised")
        jsonschema.validate(raised, event_schema())
        assert raised["t"] - raised["alert"]["since"] >= 0.2 - 1e-3
        assert put(client).json() == {"rules": []}
        cleared = first(stream, rule="once", status="cleared")
    past = client.get("/v1/sessions/desk/history").json()["alerts"]
    assert {**raised["alert"], "t": raised["t"]} in past
    assert {**cleared["alert"], "t": cleared["t"]} in past


def test_what_is_no_rule_is_refused_with_a_sentence_and_changes_nothing(client: httpx.Client) -> None:
    put(client, ALWAYS)
    answer = put(client, "valance > 0.5")
    assert (answer.status_code, answer.json()["detail"]) == (
        400, "the rule 'valance > 0.5' is on 'valance', which no event holds; did you mean valence?",
    )  # fmt: skip
    assert put(client, "x" * 201).status_code == 422
    assert put(client, *(f"r{n}: valence > 0" for n in range(33))).status_code == 422
    assert client.put("/v1/sessions/desk/rules", json={}).status_code == 422
    assert [rule["name"] for rule in client.get("/v1/sessions/desk/rules").json()["rules"]] == ["seen"]
    assert client.get("/v1/sessions/nobody/rules").status_code == 404
    assert client.put("/v1/sessions/nobody/rules", json={"rules": []}).status_code == 404


def test_a_rule_on_a_unit_that_the_model_does_not_give_is_one_sentence(
    server: LiveServer, client: httpx.Client
) -> None:
    faces: list[dict[str, Any]] = []
    with connect(f"{server.ws}/v1/stream?session=desk", max_size=None) as stream:
        put(client, "any: arousal > -1")
        first(stream, rule="any", status="raised")
        read = 0
        while read < ENOUGH:  # then it is known what the model gives
            faces = json.loads(stream.recv(timeout=PATIENCE))["faces"] or faces
            read += bool(faces)
    missing = next(name for name in ACTION_UNITS if name not in faces[0]["aus"])
    answer = put(client, f"x: {missing} > 0.5")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"the rule 'x' is on {missing}, which face-mt does not give; it gives ")


def test_a_session_that_has_ended_takes_no_rules(server: LiveServer, client: httpx.Client) -> None:
    session: Any = server.live.sessions.open("demo:", "over")
    session.close()
    answer = client.put("/v1/sessions/over/rules", json={"rules": []})
    assert (answer.status_code, answer.json()["detail"]) == (
        409, "the session 'over' has ended: it judges by no rules any more; open it anew first",
    )  # fmt: skip
