"""Liveness, readiness, metrics, models, schema, and the committed description of the API."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import jsonschema
import pytest
from helpers.live_server import MODEL, PURPOSE, LiveServer, driven_app, event_data, serving
from helpers.redis_server import free_port, redis_in
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from websockets.sync.client import connect

from engines import weights
from engines.errors import UserError
from service.loaded_model import commercial
from service.publish import redis_sink
from service.runtime import Runtime
from service.settings import Settings


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving() as running:
        yield running


def test_it_is_alive_and_ready(server: LiveServer) -> None:
    with server.client() as http:
        assert http.get("/healthz").json() == {"status": "alive"}
        answer = http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})


def test_readiness_follows_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_sink, "PING_PERIOD", 0.05)
    monkeypatch.setattr(redis_sink, "LONGEST_DELAY", 0.1)
    with (
        redis_in(tmp_path) as redis,
        serving(redis=SecretStr(f"redis://:hunter2@127.0.0.1:{redis.port}/0")) as running,
        running.client() as http,
    ):
        answer = http.get("/readyz")
        assert answer.status_code == 503
        [reason] = answer.json()["reasons"]
        assert f"127.0.0.1:{redis.port}" in reason
        assert "hunter2" not in reason
    with redis_in(tmp_path) as redis, serving(redis=SecretStr(redis.url)) as running, running.client() as http:
        redis.start()
        while http.get("/readyz").status_code != 200:
            pass
        redis.stop()
        while http.get("/readyz").status_code != 503:
            pass
        assert "does not answer" in http.get("/readyz").json()["reasons"][0]
        redis.start()
        while http.get("/readyz").status_code != 200:
            pass


def test_events_of_the_stream_are_in_redis_too(tmp_path: Path) -> None:
    from redis import Redis

    with redis_in(tmp_path) as redis:
        redis.start()
        with serving(redis=SecretStr(redis.url)) as running, connect(f"{running.ws}/v1/stream") as client:
            running.open().emit(20)
            streamed = [client.recv(timeout=60) for _ in range(20)]
        with Redis.from_url(redis.url, decode_responses=True) as reader:
            stored = [fields["event"] for _, fields in reader.xrange("affect:desk")]
    assert stored[:20] == streamed
    assert json.loads(stored[20])["state"] == "ended"  # the last event of a server that stops


def test_metrics_can_be_scraped_and_name_no_session(server: LiveServer) -> None:
    server.open("private-name").emit(3)
    with server.client() as http, connect(f"{server.ws}/v1/stream?session=private-name") as client:
        client.recv(timeout=60)
        answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {
        "affect_frames", "affect_frames_dropped", "affect_stage_seconds", "affect_event_latency_seconds",
        "affect_sessions", "affect_faces", "affect_subscribers", "affect_publish_errors", "affect_batch_size",
        "affect_engine_info",
    } <= set(families)  # fmt: skip
    samples = families["affect_subscribers"].samples
    assert {sample.labels["sink"]: sample.value for sample in samples}["websocket"] >= 1
    assert "private-name" not in answer.text
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert not labels & {"session", "id", "name", "source", "url", "track"}


def test_metrics_speak_openmetrics_when_asked(server: LiveServer) -> None:
    with server.client() as http:
        answer = http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_models_say_what_runs_and_under_which_licence(server: LiveServer) -> None:
    with server.client() as http:
        models = [MODEL | {"commercial": False}]  # of weights that nobody here knows
        assert http.get("/v1/models").json() == {
            "models": models, "licences": ["face-mt-0: Apache-2.0"], "available": ["face-mt"],
        }  # fmt: skip


def test_the_schema_is_a_schema_and_describes_events(server: LiveServer) -> None:
    with server.client() as http:
        schema = http.get("/v1/schema").json()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "affect/1"
    jsonschema.validate(event_data("desk", 0), schema)


def test_every_route_is_described(server: LiveServer) -> None:
    with server.client() as http:
        document = http.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["bearer"] == {"type": "http", "scheme": "bearer"}
    unguarded = ("/healthz", "/login", "/notice")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary"), (method, path)
            assert operation.get("description"), (method, path)
            assert any(400 <= int(status) < 600 for status in operation["responses"]), (method, path)
            assert (operation.get("security") == []) == (path in unguarded)


def test_the_description_of_the_stream_has_the_schema_of_its_events(server: LiveServer) -> None:
    with server.client() as http:
        document, schema = http.get("/openapi.json").json(), http.get("/v1/schema").json()
    components = document["components"]["schemas"]
    assert components["AffectEvent"]["properties"].keys() == schema["properties"].keys()
    assert set(schema["$defs"]) <= set(components)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= set(components)
    message = document["paths"]["/v1/stream"]["get"]["responses"]["101"]["content"]["application/json"]["schema"]
    alert = document["webhooks"]["alert"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert message == alert == {"$ref": "#/components/schemas/AffectEvent"}
    event = event_data("desk", 1)
    jsonschema.Draft202012Validator({**message, "components": document["components"]}).validate(event)


def test_what_is_nowhere_is_404_in_a_sentence(server: LiveServer) -> None:
    with server.client() as http:
        assert http.get("/v2/anything").status_code == 404
        assert http.put("/v1/sessions").status_code == 405


@pytest.mark.parametrize("url", ["localhost:6379", "redis://localhost:port"])
def test_a_malformed_redis_url_is_refused_before_anything_starts(url: str) -> None:
    with pytest.raises(UserError, match="Redis URL"):
        driven_app(Settings(redis=SecretStr(url)))


def test_a_source_that_cannot_be_opened_at_the_start_is_told_in_a_sentence() -> None:
    import uvicorn

    app = driven_app(Settings(source=["desk=demo:", "camera:99"], purpose=PURPOSE))
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_level="critical"))
    with pytest.raises(SystemExit):
        server.run()
    assert isinstance(app.state.failure, UserError)
    assert "camera 99" in str(app.state.failure)


def test_sources_of_the_settings_are_opened_whatever_the_api_may_open() -> None:
    with serving(source=["desk=file:clip.mp4?loop=1", "demo:"], allowed_sources=[], purpose=PURPOSE) as running:
        listed = httpx.get(f"{running.url}/v1/sessions", timeout=60).json()["sessions"]
    assert [(info["id"], info["source"]) for info in listed] == [("desk", "file:clip.mp4?loop=1"), ("s2", "demo:")]


def test_commercial_use_is_allowed_where_all_weights_that_are_named_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [replace(weights.entry("face-mt"), version=name, commercial=name != "c") for name in ("a", "b", "c")]
    monkeypatch.setattr(weights, "entries", lambda: tuple(known))
    assert commercial({"weights": "a"})
    assert commercial({"weights": "a", "voice": "b"})
    assert not commercial({"weights": "a", "voice": "c"})
    assert not commercial({"weights": "c"})
    assert not commercial({"weights": "brought-along"})


def test_the_default_weights_are_not_for_commercial_use_and_events_do_not_say_so(runtime: Runtime) -> None:
    assert not commercial(runtime.info)
    assert "commercial" not in runtime.info
