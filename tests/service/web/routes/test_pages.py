"""The pages: small, self-contained, and the built dashboard in their place once it is there."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from helpers.live_server import LiveServer, serving
from pydantic import SecretStr

from service.settings import Settings
from service.web.routes.pages import pages


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving() as running:
        yield running


def get(dist: Path, path: str) -> httpx.Response:
    """What a browser gets where the dashboard was built into `dist`."""
    return ask(Settings(), dist, "GET", f"http://localhost{path}")


def ask(settings: Settings, dist: Path, method: str, url: str, **content: Any) -> httpx.Response:
    app = FastAPI()
    app.include_router(pages(settings, dist))

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.request(method, url, **content)

    return asyncio.run(run())


def test_the_live_page_runs_its_own_script_and_nothing_else(tmp_path: Path) -> None:
    answer = get(tmp_path, "/")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    for tag in ("script", "style"):
        [block] = re.findall(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy
    assert (
        " on"
        not in re.sub(r"<script>.*</script>", "", answer.text, flags=re.DOTALL).split("<body>")[1].partition("=")[0]
    )


def test_the_built_dashboard_takes_its_place(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<title>dashboard</title>")
    (tmp_path / "icon.svg").write_text("<svg/>")
    (tmp_path / "assets" / "main-1a2b.js").write_text("0")
    (tmp_path.parent / "secret.txt").write_text("secret")
    assert get(tmp_path, "/").text == "<title>dashboard</title>"
    script = get(tmp_path, "/assets/main-1a2b.js")
    assert (script.text, "immutable" in script.headers["cache-control"]) == ("0", True)
    assert "javascript" in script.headers["content-type"]
    assert get(tmp_path, "/icon.svg").headers["content-type"].startswith("image/svg")
    for path in (
        "/assets/",
        "/assets/none.js",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/index",
    ):
        assert get(tmp_path, path).status_code == 404, path


def test_there_is_no_login_where_no_token_is_set(server: LiveServer) -> None:
    with server.client() as http:
        answer = http.get("/login")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        answer = http.post("/login", json={"token": "whatever"})
        assert (answer.status_code, "set-cookie" in answer.headers) == (204, False)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_cookie_stays_on_encrypted_connections_where_there_is_one(tmp_path: Path, scheme: str) -> None:
    settings = Settings(token=SecretStr("secret"))
    answer = ask(settings, tmp_path, "POST", f"{scheme}://localhost/login", json={"token": "secret"})
    assert answer.status_code == 204
    assert ("; Secure" in answer.headers["set-cookie"]) == (scheme == "https")
