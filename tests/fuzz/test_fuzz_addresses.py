"""Secrets in addresses: whatever the address looks like, no answer, event, metric or log line shows them."""

import logging
import time
from collections.abc import Callable

import httpx
import pytest
from helpers.fuzz import cases
from helpers.live_server import LiveServer, serving
from helpers.redis_server import free_port
from helpers.whip import whip_app
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import UserError
from service.publish.mqtt import Broker
from service.publish.redis_sink import check_url
from service.publish.webhook import check_webhook
from service.redact import redact_setting

ADDRESSES = 40
NOBODY = free_port()  # nobody listens there, so that every address that is taken fails at once
# Forms of addresses that cameras and people have, with the secret in every place it may have.
FORMS = [
    "{scheme}://user:{secret}@{host}/live",
    "{scheme}://{secret}@{host}/live",
    "{scheme}://{secret}:pw@{host}/live",
    "{scheme}:/user:{secret}@{host}/live",
    "{scheme}:user:{secret}@{host}",
    "{scheme}://{host}/live?usr=me&pw={secret}&x=1",
    "{scheme}://{host}/user=admin_password={secret}_channel=1_stream=0.sdp",
    "{scheme}://{host}/{secret}/live.m3u8",
    "{scheme}://{host}/live#{secret}",
    "{scheme}://admin:123/{secret}@{host}/live",
    "{scheme}://admin:{secret}/456@{host}/live?rotate=90",
    " {scheme}://user:{secret}@{host}/live",
    "{scheme}://user:{secret}@{host}/live?rotate={secret}",
    "{scheme}://{host}/live?transport={secret}",
    "one={scheme}://user:{secret}@{host}/live",
]
BETWEEN = st.text("abcXYZ0123456789/?#@:&=%;,.'\"\\ \t\n<>[]{}|^`~+-_é€\0", max_size=12)


@given(
    form=st.sampled_from(FORMS),
    scheme=st.sampled_from(["rtsp", "rtsps", "http", "https", "RTSP", "Http"]),
    between=BETWEEN,
    name=st.sampled_from([None, "odd", "no name"]),
)
@settings(max_examples=cases(ADDRESSES), deadline=None, suppress_health_check=list(HealthCheck))
def try_addresses(server: LiveServer, seen: list[str], form: str, scheme: str, between: str, name: str | None) -> None:
    address = form.format(scheme=scheme, secret=f"qZ7{between}Zq9", host=f"127.0.0.1:{NOBODY}")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        opened = client.post("/v1/sessions", json={"source": address, "name": name})
        assert opened.status_code < 500
        seen.append(opened.text)
        if opened.status_code == 201:
            session = server.live.sessions.get(opened.json()["id"])
            began = time.monotonic()
            while not session.detail and time.monotonic() - began < 5:
                time.sleep(0.01)
        seen.extend(client.get(path).text for path in ("/v1/sessions", "/metrics", "/readyz"))
        if opened.status_code == 201:
            client.delete(f"/v1/sessions/{opened.json()['id']}")


def test_no_secret_of_an_address_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    with (
        caplog.at_level(logging.DEBUG),
        serving(whip_app(allowed_sources=["rtsp:", "rtsps:", "http:", "https:"])) as server,
    ):
        server.live.hub.tap(lambda event: seen.append(event.text))
        try_addresses(server, seen)
    own = [record for record in caplog.records if record.name.startswith(("service", "httpx", "uvicorn", "libav"))]
    seen += [record.getMessage() for record in own]
    assert len(seen) > 4 * cases(ADDRESSES)
    assert [text for text in seen if "qZ7" in text or "Zq9" in text] == []


# The same of what is no source, where the scheme may be forgotten too.
ELSEWHERE = [
    "{scheme}://user:{secret}@{host}/0",
    "{scheme}://:{secret}@{host}",
    "{scheme}://user:12/{secret}@{host}/0",
    "{scheme}://{host}/0?password={secret}",
    "{scheme}://{host}/{secret}",
    "{scheme}:/user:{secret}@{host}",
    "{scheme}:user:{secret}@{host}",
    "//user:{secret}@{host}",
    "u:{secret}@{host}",
    "{secret}@{host}",
    "{secret}",
]
REFUSALS: dict[str, Callable[[str], object]] = {
    "redis": check_url, "rediss": check_url, "unix": check_url,
    "mqtt": Broker.of, "mqtts": Broker.of,
    "https": check_webhook, "http": check_webhook,
}  # fmt: skip


@given(form=st.sampled_from(ELSEWHERE), scheme=st.sampled_from(sorted(REFUSALS)), between=BETWEEN)
@settings(max_examples=cases(10 * ADDRESSES), deadline=None, suppress_health_check=list(HealthCheck))
def test_no_secret_of_a_sinks_address_is_shown(form: str, scheme: str, between: str) -> None:
    """Redis, brokers and webhooks: what is refused quotes nothing, and what is taken has one host."""
    address = form.format(scheme=scheme, secret=f"qZ7{between}Zq9", host=f"127.0.0.1:{NOBODY}")
    shown = [redact_setting(address)]
    try:
        taken = REFUSALS[scheme](address)
        assert getattr(taken, "host", "127.0.0.1") == "127.0.0.1"
    except UserError as error:
        shown.append(str(error))
    assert [text for text in shown if "qZ7" in text or "Zq9" in text] == []


@pytest.mark.parametrize("scheme", ["redis", "mqtt", "https"])
def test_what_looks_like_a_host_and_is_a_user_is_never_contacted(scheme: str) -> None:
    with pytest.raises(UserError, match="percent-encode the password") as caught:
        REFUSALS[scheme](f"{scheme}://admin:12/3@127.0.0.1/0")
    assert "admin" not in str(caught.value)
