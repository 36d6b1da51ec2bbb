"""Traces, sent by OpenTelemetry's real exporter to a receiver of OTLP in this process."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from helpers.live_server import serving
from helpers.serve_process import process
from helpers.streams import until
from helpers.whip import whip_app
from websockets.sync.client import connect

from service import tracing

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'affectstream[otel]'")


class Receiver:
    """What a collector of traces gets."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        received = self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    held = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", held.url)
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")  # FastAPI's own spans hold paths and queries
    yield held
    tracing.end()
    held.close()


@contextmanager
def traced() -> Iterator[None]:
    tracing.set_up()
    assert tracing.is_on()
    yield
    tracing.end()  # sends what is left


def test_requests_openings_and_offers_are_spans_without_names_or_secrets(receiver: Receiver) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with traced(), serving(whip_app(token="hunter2", purpose="research")) as server, server.client() as client:
        client.headers["authorization"] = "Bearer hunter2"
        source = {"source": "demo:", "name": "ann-desk"}
        assert client.post("/v1/sessions", json=source, headers={"traceparent": parent}).status_code == 201
        assert client.get("/v1/sessions/ann-desk?secret=hunter2").status_code == 200
        assert client.get("/hunter2/hunter2").status_code == 404
        refused = client.post("/whip/ann-phone", content="v=0", headers={"content-type": "application/sdp"})
        assert refused.status_code == 406
        assert client.get("/healthz").status_code == 200
        with connect(f"{server.ws}/v1/stream", additional_headers={"authorization": "Bearer hunter2"}):
            pass
        with connect(
            f"{server.ws}/v1/stream?session=ann-desk", additional_headers={"authorization": "Bearer hunter2"}
        ) as s:
            while json.loads(s.recv(timeout=60))["image_size"] is None:
                pass
    spans = {span.name: span for span in receiver.spans()}
    assert set(spans) == {
        "POST /v1/sessions", "open session", "GET /v1/sessions/{id}", "GET /{unknown}", "POST /whip/{session}",
        "WHIP offer", "WEBSOCKET /v1/stream", "open source", "take model", "decode first picture",
        "perceive first picture",
    }  # fmt: skip
    request, opening = spans["POST /v1/sessions"], spans["open session"]
    assert request.trace_id.hex() == parent.split("-")[1]  # the caller's trace goes on
    assert opening.parent_span_id == request.span_id
    assert {one.key: one.value.string_value for one in opening.attributes} == {"affectstream.source": "demo"}
    for name in ("open source", "take model", "decode first picture", "perceive first picture"):
        assert spans[name].parent_span_id == opening.span_id
        assert opening.start_time_unix_nano <= spans[name].start_time_unix_nano <= spans[name].end_time_unix_nano
    decoded, perceived = spans["decode first picture"], spans["perceive first picture"]
    assert decoded.end_time_unix_nano == perceived.start_time_unix_nano
    assert spans["WHIP offer"].parent_span_id == spans["POST /whip/{session}"].span_id
    assert {one.key: one.value.string_value for one in spans["WHIP offer"].attributes} == {
        "error.type": "HTTPException"
    }
    codes = {one.key: one.value.int_value for one in request.attributes}
    assert codes["http.status_code"] == 201
    sent = str(receiver.received)
    for hidden in ("hunter2", "ann", "127.0.0.1", "localhost"):
        assert hidden not in sent, hidden
    assert 'string_value: "affectstream"' in sent  # service.name


def test_an_error_that_nobody_expected_is_a_failed_span_without_its_words(receiver: Receiver) -> None:
    app = None
    with traced():
        app = whip_app()

        @app.get("/v1/schema.json")
        def broken() -> None:
            raise RuntimeError("rtsp://ann:hunter2@camera")

        with serving(app) as server, server.client() as client:
            assert client.get("/v1/schema.json").status_code == 500
    (span,) = receiver.spans()
    assert span.status.code == 2
    assert [one.value.string_value for one in span.attributes if one.key == "error.type"] == ["RuntimeError"]
    assert "hunter2" not in str(receiver.received)


def test_nothing_is_imported_unless_it_is_asked_for() -> None:
    code = """
import os, sys
from service import tracing
import service.web.app

for variables in ({}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}):
    os.environ.update(variables and {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **variables})
    tracing.set_up()
    for name in variables:
        del os.environ[name]
# FastAPI itself imports the interface, which sends nothing.
assert not [one for one in ("sdk", "exporter", "instrumentation") if f"opentelemetry.{one}" in sys.modules]
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": ""})


def test_what_is_missing_is_said_once_and_nothing_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    tracing.set_up()
    assert "there is no exporter zipkin" in caplog.text
    tracing.end()
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    tracing.set_up()
    assert not tracing.is_on()
    assert "OTEL_TRACES_EXPORTER asks for traces; for that run: pip install 'affectstream[otel]'" in caplog.text


def test_a_receiver_that_is_away_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with traced(), tracing.span("nothing"):
        pass
    assert not tracing.is_on()


def test_a_worker_goes_on_with_the_trace_of_the_request(receiver: Receiver) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with process("--workers", "2", OTEL_BSP_SCHEDULE_DELAY="100") as running:
        with running.client() as client:
            running.wait(client)
            source = {"source": "demo:", "name": "ann-desk"}
            assert client.post("/v1/sessions", json=source, headers={"traceparent": parent}).status_code == 201
        until(lambda: "perceive first picture" in {span.name for span in receiver.spans()})
    spans = {span.name: span for span in receiver.spans()}
    opening, worker = spans["open session"], spans["open session in a worker"]
    assert {span.trace_id.hex() for span in spans.values()} == {parent.split("-")[1]}
    assert worker.parent_span_id == opening.span_id
    for name in ("open source", "take model", "decode first picture", "perceive first picture"):
        assert spans[name].parent_span_id == worker.span_id
    assert not [name for name in spans if "worker/" in name or "unknown" in name]
    assert "ann" not in str(receiver.received)
