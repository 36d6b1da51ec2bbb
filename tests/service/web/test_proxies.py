"""A path of a proxy's: real nginx and Caddy, with the blocks of docs/operations.md, in front of a real server."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from helpers.browser import chromium
from helpers.live_server import LiveServer, serving
from helpers.proxies import blocks, caddy, found, nginx
from helpers.webrtc_peer import MovingPicture, make_offer
from helpers.whip import whip_app
from websockets.sync.client import connect

BOSS = {"authorization": "Bearer boss"}


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    options = {"token": "boss", "root_path": "/affect", "max_connections_per_client": 0}
    with serving(whip_app(**options)) as running:
        yield running


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of the service as visitors of the proxy have it."""
    with request.param(tmp_path_factory.mktemp("proxy"), server.port) as url:
        with httpx.Client(base_url=url, headers=BOSS, timeout=60) as client:
            opened = client.post("/affect/v1/sessions", json={"source": "demo:", "name": "desk"})
            assert opened.status_code == 201, opened.text
            assert opened.headers["location"] == "/affect/v1/sessions/desk"
        yield url
        with httpx.Client(base_url=url, headers=BOSS, timeout=60) as client:
            assert client.delete(opened.headers["location"]).status_code == 204


def test_the_page_and_the_login_lie_under_the_path(proxy: str) -> None:
    with httpx.Client(base_url=proxy, timeout=60) as client:
        moved = client.get("/affect")
        assert (moved.status_code, moved.headers["location"].removeprefix(proxy)) == (308, "/affect/")
        asked = client.get("/affect/", headers={"accept": "text/html"})
        assert (asked.status_code, asked.headers["location"]) == (303, "/affect/login")
        form = {"content-type": "application/x-www-form-urlencoded"}
        entered = client.post("/affect/login", content="token=boss", headers=form)
        assert (entered.status_code, entered.headers["location"]) == (303, "/affect/")
        page = client.get("/affect/")
        assert page.status_code == 200
        assert "Affectstream" in page.text
        for place in ('"/assets', '"/icon', '"/v1', '"/login', '"/notice'):
            assert place not in page.text


def test_the_api_answers_under_the_path(proxy: str) -> None:
    with httpx.Client(base_url=proxy, headers=BOSS, timeout=60) as client:
        assert client.get("/affect/v1/sessions/desk").json()["id"] == "desk"
        assert client.get("/affect/openapi.json").json()["servers"] == [{"url": "/affect"}]
        assert client.get("/affect/healthz", headers={"authorization": ""}).status_code == 200
        refused = client.get("/affect/v1/sessions", headers={"authorization": "Bearer wrong"})
        assert refused.json()["code"] == "unauthorized"
        with client.stream("GET", "/affect/v1/sessions/desk/preview") as preview:
            assert b"image/jpeg" in next(preview.iter_bytes())


def test_the_stream_comes_through(proxy: str) -> None:
    with connect(f"{proxy.replace('http', 'ws', 1)}/affect/v1/stream?session=desk", additional_headers=BOSS) as stream:
        assert json.loads(stream.recv(timeout=60))["session"] == "desk"
    ticket = httpx.post(f"{proxy}/affect/v1/tickets", headers=BOSS, timeout=60).json()["ticket"]
    with connect(f"{proxy.replace('http', 'ws', 1)}/affect/v1/stream?ticket={ticket}") as stream:
        assert json.loads(stream.recv(timeout=60))["session"] == "desk"


def test_a_whip_session_is_ended_at_its_location(proxy: str) -> None:
    async def make() -> str:
        peer, sdp = await make_offer(MovingPicture())
        await peer.close()
        return sdp

    with httpx.Client(base_url=proxy, headers=BOSS, timeout=60) as client:
        headers = {"content-type": "application/sdp"}
        answer = client.post("/affect/whip/phone", content=asyncio.run(make()), headers=headers)
        assert answer.status_code == 201, answer.text
        assert answer.headers["location"].startswith("/affect/whip/phone/")
        assert client.delete(answer.headers["location"]).status_code == 200


def test_the_page_asks_for_nothing_outside_its_path(proxy: str) -> None:
    asked: list[str] = []
    with chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.goto(f"{proxy}/affect/login")
        page.locator("input[name=token]").fill("boss")
        page.get_by_role("button").click()
        page.wait_for_url(f"{proxy}/affect/")
        with page.expect_websocket() as opened:
            page.goto(f"{proxy}/affect/?session=desk")
        opened.value.wait_for_event("framereceived")
        page.goto(f"{proxy}/affect/docs", wait_until="networkidle")  # the API's page, where it was built
        context.close()
    assert any("/affect/v1/stream?" in url for url in asked)
    assert [url for url in asked if "/affect/" not in url] == []


def test_caddy_takes_the_block_as_it_is_written(tmp_path: Path) -> None:
    (block,) = blocks("caddyfile")
    (tmp_path / "Caddyfile").write_text(block)
    command = [found("caddy", "caddy"), "validate", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "Valid configuration" in done.stdout + done.stderr
