"""A service without a network behind it, and its event stream, for tests of WHIP."""

import asyncio
import json
from typing import Any, cast

from helpers.live_server import MODEL, PURPOSE, FakeRuntime, LiveServer
from websockets.asyncio.client import connect

from service.pipeline import Pipeline
from service.publish.hub import Hub
from service.runtime import Runtime
from service.sessions import Sessions
from service.settings import Settings
from service.web.app import create_app


class SeesNobody(FakeRuntime):
    """A runtime whose pipelines find no face, so that no network is needed."""

    model = MODEL["name"]

    def pipeline(self, name: str, *, live: bool = False, incarnation: int = 1, options: Any = None) -> Pipeline:
        def unused(*_: Any) -> Any:
            raise AssertionError("there are no faces to estimate")

        return Pipeline(name, lambda frame: [], cast(Any, unused), unused, lambda: MODEL, incarnation=incarnation)


def whip_app(**options: Any) -> Any:
    def registry(settings: Settings, runtime: Runtime, hub: Hub) -> Sessions:
        return Sessions(runtime, hub.publish, hub.forget, limit=settings.max_sessions, purpose=settings.purpose)

    return create_app(
        Settings(**({"purpose": PURPOSE} | options)),
        runtime_factory=lambda _: cast(Runtime, SeesNobody()),
        sessions_factory=registry,
    )


async def events_until(
    server: LiveServer, name: str, state: str, count: int = 1, token: str | None = None, *, heard: bool = False
) -> list[dict[str, Any]]:
    """Events of session `name`, once it is there, until `count` of them are in `state` and, if `heard`, with sound."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(180):
        while name not in {session.name for session in server.live.sessions.list()}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        async with connect(f"{server.ws}/v1/stream?session={name}", additional_headers=headers) as socket:
            async for text in socket:
                events.append(json.loads(text))
                silent = heard and events[-1]["audio"]["status"] == "no_sound"
                if not silent and sum(event["state"] == state for event in events) >= count:
                    break
    return events
