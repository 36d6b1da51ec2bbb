"""Alerts to real web servers: signed, retried, and never in the way of anything."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from helpers.affect_events import an_alert, an_event
from prometheus_client import REGISTRY

from models.errors import UserError
from service.publish import webhook
from service.publish.hub import Hub
from service.publish.webhook import Webhook, check_webhook, signing_key


class Site:
    """A web server that answers with `statuses` in turn, the last one for ever; 0 lets the client wait."""

    def __init__(self) -> None:
        self.statuses = [200]
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.release = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = site.statuses.pop(0) if len(site.statuses) > 1 else site.statuses[0]
                site.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
                if status == 0:
                    site.release.wait()
                self.send_response(status or 200)
                if status == 302:
                    self.send_header("location", f"{site.url}/elsewhere")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(webhook, "LONGEST_DELAY", 0.02)
    monkeypatch.setattr(webhook, "ANSWER_WITHIN", 60.0)
    monkeypatch.setattr(webhook, "DRAIN_TIMEOUT", 60.0)


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"sink": "webhook"}) or 0.0


def post(site: Site, *events: Any, secret: str | None = None) -> None:
    async def run() -> None:
        hub = Hub(asyncio.get_running_loop())
        sink = Webhook(f"{site.url}/hook", hub, secret)
        for event in events:
            hub.publish(event)
        await sink.close()

    asyncio.run(run())


def test_alerts_and_nothing_else_are_posted_in_order(site: Site) -> None:
    alerts = [an_alert(seq) for seq in (2, 4)]
    post(site, an_event(1), alerts[0], an_event(3), alerts[1])
    assert [json.loads(body) for _, body in site.requests] == [alert.data for alert in alerts]
    assert [headers["webhook-id"] for headers, _ in site.requests] == ["desk-1-2", "desk-1-4"]
    assert "webhook-signature" not in site.requests[0][0]


@pytest.mark.parametrize("secret", ["hunter2", "whsec_" + base64.b64encode(b"a key of bytes").decode()])
def test_the_signature_covers_id_time_and_body(site: Site, secret: str) -> None:
    post(site, an_alert(1), secret=secret)
    headers, body = site.requests[0]
    key = b"hunter2" if secret == "hunter2" else b"a key of bytes"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"


def test_a_failure_is_tried_again_with_the_same_id(site: Site) -> None:
    site.statuses = [500, 503, 429, 204]
    before = counted("affect_publish_errors_total")
    post(site, an_alert(1), an_alert(2))
    assert [headers["webhook-id"] for headers, _ in site.requests] == ["desk-1-1"] * 4 + ["desk-1-2"]
    assert counted("affect_publish_errors_total") - before == 3


def test_what_is_refused_for_good_is_lost_and_counted_and_redirects_are_not_followed(site: Site) -> None:
    site.statuses = [404, 302, 200]
    before = counted("affect_events_dropped_total")
    post(site, an_alert(1), an_alert(2), an_alert(3))
    assert [headers["webhook-id"] for headers, _ in site.requests] == ["desk-1-1", "desk-1-2", "desk-1-3"]
    assert counted("affect_events_dropped_total") - before == 2


def test_attempts_are_bounded(site: Site) -> None:
    site.statuses = [500]
    before = counted("affect_events_dropped_total")
    post(site, an_alert(1))
    assert len(site.requests) == webhook.ATTEMPTS
    assert counted("affect_events_dropped_total") - before == 1


def test_an_address_that_hangs_holds_up_neither_the_hub_nor_another_address(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "DRAIN_TIMEOUT", 0.1)
    hanging = Site()
    hanging.statuses = [0]
    before = counted("affect_events_dropped_total")

    async def run() -> int:
        hub = Hub(asyncio.get_running_loop())
        stuck, well = Webhook(hanging.url, hub, None), Webhook(site.url, hub, None)
        seen = hub.subscribe()
        for seq in range(webhook.BUFFER + 44):
            hub.publish(an_alert(seq))
            if seq == 0:
                while not (hanging.requests and site.requests):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        waiting = len(seen)
        while len(site.requests) < webhook.BUFFER:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await stuck.close()
        await well.close()
        return waiting

    try:
        assert asyncio.run(run()) == 256  # all that a subscriber's queue holds: publishing waited for nobody
    finally:
        hanging.close()
    assert {headers["webhook-id"] for headers, _ in hanging.requests} == {"desk-1-0"}
    assert counted("affect_events_dropped_total") > before


def test_a_secret_in_the_address_is_not_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "ATTEMPTS", 1)

    async def run() -> None:
        hub = Hub(asyncio.get_running_loop())
        sink = Webhook("http://user:hunter2@127.0.0.1:9/s3cr3t?key=hunter3", hub, "hunter4")
        hub.publish(an_alert(1))
        await sink.close()

    with caplog.at_level("DEBUG"):
        asyncio.run(run())
    assert "cannot be reached" in caplog.text
    assert not any(secret in caplog.text for secret in ("hunter2", "s3cr3t", "hunter3", "hunter4"))


@pytest.mark.parametrize("url", ["", "hook", "ftp://host/x", "http://", "http://host:99999/", "file:///etc/passwd"])
def test_what_is_no_web_address_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(UserError, match="is no web address"):
        check_webhook(url)


def test_a_key_that_is_no_base64_is_refused() -> None:
    with pytest.raises(UserError, match="is not Base64"):
        signing_key("whsec_***")
