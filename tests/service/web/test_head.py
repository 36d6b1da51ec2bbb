"""HEAD is answered wherever GET is: monitors and link checkers send it."""

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from helpers.live_server import driven_app, serving

from service.settings import Settings
from service.web.routes.pages import pages


def test_every_address_that_takes_get_takes_head() -> None:
    with serving() as server, server.client() as client:
        server.open("desk")
        paths = [path for path, methods in driven_app(Settings()).openapi()["paths"].items() if "get" in methods]
        assert len(paths) > 8
        refused = {}
        for path in [*paths, "/openapi.json"]:
            status = client.head(path.replace("{id}", "desk").replace("{session}", "desk")).status_code
            if status == 405:
                refused[path] = status
        assert refused == {}


@pytest.mark.parametrize("path", ["/healthz", "/"])
def test_the_answer_to_head_has_no_body(path: str) -> None:
    with serving() as server, server.client() as client:
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_files_of_the_page_take_head(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for name in ("index.html", "icon.svg", "assets/index-1.js"):
        (tmp_path / name).write_text("x")
    app = FastAPI()
    app.include_router(pages(Settings(), tmp_path))

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for path in ("/", "/icon.svg", "/assets/index-1.js"):
                answer = await client.head(path)
                assert (path, answer.status_code) == (path, 200)

    asyncio.run(run())
