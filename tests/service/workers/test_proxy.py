"""For how long the service in front waits for a worker that has to load the model of a WHIP peer first."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from fastapi import Request

from service.register import Unavailable
from service.session_options import RequestedOptions, SessionOptions
from service.web.live import Live
from service.workers import proxy
from service.workers.handle import Worker
from service.workers.http_peer import ANSWER_WITHIN, HttpPeer
from service.workers.remote_session import RemoteSession
from service.workers.sessions import RemoteSessions

LOADING = 90.0  # s that a large model takes; no test waits for them


class Loading(HttpPeer):
    """A worker that answers an offer once its model is there, after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def send(self, method: str, path: str, *, within: float = ANSWER_WITHIN, **more: Any) -> httpx.Response:
        if within < self.seconds:
            raise Unavailable("the worker process does not answer (ReadTimeout); try again")
        return httpx.Response(201, text="v=0", headers={"location": path.removeprefix("/worker") + "/key"})


class OfOneWorker(RemoteSessions):
    """The sessions of a service with that worker."""

    def __init__(self, worker: HttpPeer) -> None:
        self.worker = cast(Worker, worker)
        self.calls: list[str] = []

    def find(self, name: str) -> RemoteSession | None:
        return None

    def place(self, name: str | None, source: str | None, **more: Any) -> RemoteSession:
        return RemoteSession(name or "", 1, self.worker, source, None, SessionOptions(model="tsav"))

    def confirm(self, session: RemoteSession) -> None:
        self.calls.append("confirmed")

    def undo(self, session: RemoteSession) -> None:
        self.calls.append("undone")

    def drop(self, session: RemoteSession) -> None:
        self.calls.append("dropped")


def offer(sessions: RemoteSessions) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"v=0"}

    scope = {
        "type": "http", "method": "POST", "headers": [(b"content-type", b"application/sdp")], "query_string": b"",
        "raw_path": b"/whip/desk", "path": "/whip/desk",
    }  # fmt: skip
    live = cast(Live, SimpleNamespace(sessions=sessions))
    return asyncio.run(proxy._publish("desk", Request(scope, receive), live, None, 0, RequestedOptions(model="tsav")))


def test_an_offer_waits_for_a_worker_that_loads_a_large_model_first() -> None:
    sessions = OfOneWorker(Loading(LOADING))
    answer = offer(sessions)
    assert (answer.status_code, answer.headers["location"]) == (201, "/whip/desk/key")
    assert sessions.calls == ["confirmed"]


def test_an_offer_that_a_worker_does_not_answer_at_all_is_undone() -> None:
    sessions = OfOneWorker(Loading(float("inf")))
    with pytest.raises(Unavailable, match="try again"):  # HTTP 503 with Retry-After
        offer(sessions)
    assert sessions.calls == ["undone", "dropped"]
