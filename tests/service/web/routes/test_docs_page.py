"""The API's description as a page: in a real browser, under the service's own policy, without any other host."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from helpers.browser import chromium
from helpers.live_server import serving
from helpers.repository import ROOT
from starlette.exceptions import HTTPException

from service.settings import Settings
from service.web.problem import answer_http_error
from service.web.routes.pages import pages

BUILT = ROOT / "service" / "dashboard" / "dist" / "docs.html"


@pytest.fixture
def page() -> Iterator[Any]:
    with chromium() as browser:
        yield browser.new_page()


@pytest.mark.skipif(not BUILT.is_file(), reason="needs the built page: make dashboard")
def test_the_page_shows_and_tries_the_api_and_asks_no_other_host(page: Any) -> None:
    complaints: list[str] = []
    asked: set[str] = set()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: asked.add(request.url.split("/")[2] if "//" in request.url else request.url[:5]))
    with serving(token="secret") as server:
        server.open("desk")
        page.goto(f"{server.url}/login")
        page.get_by_label("Token").fill("secret")
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{server.url}/")
        page.goto(f"{server.url}/docs")
        row = page.locator("#operations-sessions-list_sessions_v1_sessions_get")
        row.locator("button").first.click()
        row.get_by_role("button", name="Try it out").click()
        row.get_by_role("button", name="Execute").click()
        row.locator(".live-responses-table").get_by_text("200").first.wait_for()
        assert '"desk"' in row.locator(".live-responses-table").inner_text()
        ground = "() => getComputedStyle(document.documentElement).backgroundColor"
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"{ground} === 'rgba(0, 0, 0, 0)'")
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{ground} === 'rgb(28, 32, 34)'")
        assert asked <= {server.url.split("//")[1], "data:", "blob:"}
    assert complaints == []


def test_where_the_page_was_not_built_a_sentence_says_so(tmp_path: Path) -> None:
    app = FastAPI(docs_url=None)
    app.include_router(pages(Settings(), tmp_path))
    app.add_exception_handler(HTTPException, answer_http_error)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get("/docs")

    answer = asyncio.run(ask())
    assert answer.status_code == 404
    assert "make dashboard" in answer.json()["detail"]
