"""The whole web application in a real server on a free port of loopback, with sessions that the test drives."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from helpers.redis_server import free_port

from engines.errors import UserError
from service import loaded_model
from service.capture.media import Frame, State
from service.events import Event
from service.history import Past
from service.neutral import ASKED, NeutralStep
from service.publish.hub import Hub
from service.purpose import decide
from service.register import NameTaken, TooMany, UnknownSession
from service.rules import RuleState
from service.runtime import Runtime
from service.session_figures import Latency, SessionFigures
from service.session_options import Offer, RequestedOptions, SessionOptions
from service.sessions import Sessions
from service.settings import Settings
from service.web import live as web_live
from service.web.app import create_app, drain
from service.web.live import Live
from service.web.routes import stream
from service.web.server import configuration

PATIENCE = 60.0  # s
PURPOSE = "research"  # what the tests' sessions are for, where a test is not about purposes
MODEL = {"name": "face-mt", "weights": "face-mt-0", "engine": "openvino", "precision": "fp32", "trained": True}


def event_data(session: str, seq: int, state: str = "live") -> dict[str, Any]:
    """An event without faces that the schema accepts."""
    return {
        "schema": "affect/1", "session": session, "seq": seq, "state": state, "reasons": ["no_face"], "t": seq / 30,
        "captured_at": "2026-11-21T02:39:14.123Z",
        "timing_ms": {"perception": 2.1, "queue": 0.4, "inference": 6.0, "total": 11.8},
        "model": MODEL, "image_size": [640, 360], "audio": {"status": "no_sound", "age_ms": None}, "faces": [],
    }  # fmt: skip


class DrivenSession:
    """Stands in for a session whose source would need a camera: emits when the test says so."""

    def __init__(self, name: str, source: str, publish: Any, purpose: str | None) -> None:
        self.name, self.label, self.purpose = name, source, purpose
        self.state, self.detail, self.incarnation = State.LIVE, "", 1
        self.options = SessionOptions()
        self.baselines = 0
        self.node = None
        self.foreign = False
        self.frame: Frame | None = None
        self.asked = 0  # how often a preview looked for a frame
        self._publish = publish
        self._seq = 0

    def emit(self, count: int = 1, padding: int = 0) -> None:
        for _ in range(count):
            data = event_data(self.name, self._seq, self.state.value)
            if padding:
                data["detail"] = "x" * padding
            self._publish(Event.of(data))
            self._seq += 1

    @property
    def emitted(self) -> int:
        return self._seq

    def show(self, t: float, width: int = 64, height: int = 48) -> None:
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 0] = 255  # red
        self.frame = Frame(image, t)

    def figures(self) -> SessionFigures:
        return SessionFigures(
            fps=30.0, latency_ms=Latency(9.0, 14.0), dropped={"late": 2}, faces=1, events=self._seq, uptime_s=3.0
        )

    def reset_baseline(self) -> None:
        self.baselines += 1

    def begin_neutral_step(self) -> NeutralStep:
        return ASKED

    def erase(self) -> int:
        self.frame = None
        return self._seq

    def history(self, since: float, resolution: int) -> Past:
        return Past([], [], [])

    def rules(self) -> list[RuleState]:
        return []

    def latest_frame(self) -> Frame | None:
        self.asked += 1
        return self.frame


class DrivenSessions:
    """What the application uses of `Sessions`."""

    def __init__(self, limit: int, hub: Hub, purpose: str | None) -> None:
        self._limit, self._hub, self._purpose = limit, hub, purpose
        self._open: dict[str, DrivenSession] = {}
        self.gate = threading.Event()  # opening waits for it
        self.gate.set()

    def open(
        self,
        source: str,
        name: str | None = None,
        *,
        purpose: str | None = None,
        allowed: Any = None,
        asked: RequestedOptions | None = None,
    ) -> DrivenSession:
        self.gate.wait()
        options = Offer.of(Settings.model_construct()).decide(asked)
        purpose = decide(source, purpose, self._purpose)
        name = name or f"s{len(self._open) + 1}"
        if name in self._open:
            raise NameTaken(f"a session called {name!r} is open; choose another name or close it first")
        if len(self._open) >= self._limit:
            raise TooMany(f"{self._limit} sessions are open, as many as this server allows; close one first")
        if source == "camera:99":
            raise UserError("there is no camera 99 on this machine; camera:0 is the first")
        session = self._open[name] = DrivenSession(name, source, self._hub.publish, purpose)
        session.options = options
        return session

    def get(self, name: str) -> DrivenSession:
        if name not in self._open:
            raise UnknownSession(f"no session is called {name!r}; GET /v1/sessions lists them")
        return self._open[name]

    def list(self) -> "list[DrivenSession]":
        return [*self._open.values()]

    def models_beside(self) -> Sequence[loaded_model.LoadedModel]:
        return []

    def close(self, name: str, timeout: float = 5.0) -> None:
        session = self.get(name)
        session.state = State.ENDED
        session.emit()
        del self._open[name]
        self._hub.forget(name)

    def close_all(self, timeout: float = 5.0) -> None:
        for session in self.list():
            self.close(session.name)


class FakeRuntime:
    """What the application uses of `Runtime`."""

    info = MODEL
    lingers = False
    alive = True

    def licences(self) -> list[str]:
        return ["face-mt-0: Apache-2.0"]

    def problems(self) -> list[str]:
        return []

    def expect(self, sessions: int) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to let go of."""


class LiveServer:
    """A running server and the application in it."""

    def __init__(self, app: FastAPI, port: int) -> None:
        self.app, self.port = app, port
        self.url, self.ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"

    @property
    def live(self) -> Live:
        live: Live = self.app.state.live
        return live

    @property
    def sessions(self) -> DrivenSessions:
        return cast(DrivenSessions, self.live.sessions)

    def open(self, name: str = "desk") -> DrivenSession:
        return self.sessions.open("demo:", name)

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)


def registry(settings: Settings, runtime: Runtime, hub: Hub) -> Sessions:
    """Sessions that the test drives."""
    return cast(Sessions, DrivenSessions(settings.max_sessions, hub, settings.purpose))


def driven_app(settings: Settings) -> FastAPI:
    """The application with such sessions and no network."""
    return create_app(settings, runtime_factory=lambda _: cast(Runtime, FakeRuntime()), sessions_factory=registry)


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: Any = None) -> None:
        await drain(cast(FastAPI, self.config.app))
        await super().shutdown(sockets)


@contextmanager
def serving(app: FastAPI | None = None, *, port: int | None = None, **settings: Any) -> Iterator[LiveServer]:
    """Runs the server in a thread until the block ends; then it must have ended by itself.

    An event may wait `PATIENCE` seconds for its reader, and the last ones of a server that stops too: on a machine that
    is held up nobody loses any.
    """
    port = port or free_port()
    app = app or driven_app(Settings(**settings))
    config = configuration(app, app.state.settings)
    config.host, config.port, config.timeout_graceful_shutdown = "127.0.0.1", port, 2
    server = _Server(config)
    ready = threading.Event()
    inner = server.startup

    async def startup(sockets: Any = None) -> None:
        await inner(sockets)
        ready.set()

    server.startup = startup  # type: ignore[method-assign]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), name="server")
    thread.start()
    with (
        mock.patch.object(stream, "MAX_AGE", PATIENCE),
        mock.patch.object(web_live, "CLOSE_SESSIONS", PATIENCE),
        mock.patch.object(web_live, "DELIVER", PATIENCE),
    ):
        try:
            while not ready.wait(0.05):
                assert thread.is_alive(), "the server did not start"
            yield LiveServer(app, port)
        finally:
            server.should_exit = True
            thread.join()
