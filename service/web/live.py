"""What runs behind the routes: hub, sinks, model and sessions, started together and drained together."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.capture.media import Frame, State
from service.figures import Figures
from service.publish.hub import Hub
from service.runtime import Runtime, RuntimeOptions, load_runtime
from service.sessions import Sessions, split_name
from service.settings import Settings

CLOSE_SESSIONS = 1.0  # s that stopping waits for sessions
FAREWELL = 0.5  # s that stopping waits for watchers to take their last events
CLOSE_SINKS = 1.0  # s that stopping waits for sinks to deliver what they hold


class FaceReader(Protocol):
    """Describe what reads the faces: a `service.runtime.Runtime`, or a `service.workers.fleet.Fleet` of processes."""

    @property
    def alive(self) -> bool:
        """Return whether faces can be read now."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Return what the events say of the model."""

    def licences(self) -> list[str]:
        """Return a line for each of the weights in use."""

    def problems(self) -> list[str]:
        """Return why faces are not read, in sentences."""

    def close(self) -> None:
        """Stop reading."""


class Watched(Protocol):
    """Describe one session, here or in a worker: see `service.session.Session`."""

    name: str
    label: str
    purpose: str | None
    incarnation: int
    state: State
    detail: str

    def figures(self) -> Figures:
        """Return the live figures."""

    def reset_baseline(self) -> None:
        """Start the neutral baseline anew."""

    def latest_frame(self) -> Frame | None:
        """Return the newest frame that an event was made of."""

    def history(self, since: float, resolution: int) -> list[list[float | None]]:
        """Return a row for every `resolution` seconds after second `since`."""


class Registry(Protocol):
    """Describe the sessions, here or in workers: see `service.sessions.Sessions`. All methods may block."""

    def open(self, source: str, name: str | None = None, *, purpose: str | None = None) -> Watched:
        """Open a source."""

    def get(self, name: str) -> Watched:
        """Return the session called `name`. Raise `UnknownSession` if there is none."""

    def list(self) -> Sequence[Watched]:
        """Return all sessions in the order of opening."""

    def close(self, name: str, timeout: float = 5.0) -> None:
        """End a session and remove it."""

    def close_all(self, timeout: float = 5.0) -> None:
        """End every session."""


class Sink(Protocol):
    """Describe where events go besides to subscribers."""

    @property
    def problem(self) -> str | None:
        """Return why events do not arrive, in a sentence; None where they do."""

    async def close(self) -> None:
        """Deliver what waits, within 2 s."""


RuntimeFactory = Callable[[Settings], FaceReader]
SessionsFactory = Callable[[Settings, Any, Hub], Registry]
SinksFactory = Callable[[Settings, Hub], Sequence[Sink]]


@dataclass
class Live:
    """Hold the running service, from `start` to `stop`."""

    settings: Settings
    hub: Hub
    runtime: FaceReader
    sessions: Registry
    sinks: Sequence[Sink]
    encoder: ThreadPoolExecutor  # previews' JPEGs: one thread, so that they never take more than one core
    watchers: int = 0  # clients of the stream and of previews
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _unwatched: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: asyncio.Task[None] | None = None

    def problems(self) -> list[str]:
        """Return why the service is not ready, in sentences; an empty list when it is."""
        stopping = ["the server is stopping"] if self.stopping.is_set() else []
        return stopping + self.runtime.problems() + [sink.problem for sink in self.sinks if sink.problem is not None]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count one client of the stream or of a preview inside the block."""
        self.watchers += 1
        try:
            yield
        finally:
            self.watchers -= 1
            self._unwatched.set()

    @property
    def crowded(self) -> bool:
        """Return whether as many clients watch as the settings allow."""
        return self.watchers >= self.settings.max_subscribers

    async def stop(self) -> None:
        """End the sessions, deliver the last events to subscribers and sinks, and return within 3 s.

        It may be called again: all callers return when it is done.
        """
        if self._stop is None:
            self._stop = asyncio.create_task(self._drain())
        await asyncio.shield(self._stop)

    async def _drain(self) -> None:
        self.stopping.set()
        await asyncio.to_thread(self.sessions.close_all, CLOSE_SESSIONS)
        self.hub.close()
        closing = [asyncio.ensure_future(sink.close()) for sink in self.sinks]
        await self._farewell()
        if closing:
            await asyncio.wait(closing, timeout=max(0.0, CLOSE_SINKS - FAREWELL))
        self.encoder.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.runtime.close)

    async def _farewell(self) -> None:
        """Wait until the watchers have had their last events, but no longer than `FAREWELL` for slow ones."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self.watchers:
                    self._unwatched.clear()
                    await self._unwatched.wait()


def load(settings: Settings) -> Runtime:
    """Return the model that `settings` name, compiled and verified. Raise `UserError` if it cannot be had."""
    return load_runtime(RuntimeOptions.of(settings))


def registry(settings: Settings, runtime: Runtime, hub: Hub) -> Sessions:
    """Return the sessions of a service without workers, none open yet."""
    return Sessions(runtime, hub.publish, hub.forget, limit=settings.max_sessions)


def redis(settings: Settings, hub: Hub) -> Sequence[Sink]:
    """Return the sinks that the settings name."""
    if settings.redis is None:
        return []
    from service.publish.redis_sink import (
        RedisSink,
    )  # imported in a tenth of a second, which a service without Redis saves

    return [RedisSink(settings.redis.get_secret_value(), hub, ttl=settings.redis_ttl)]


async def start(
    settings: Settings, make_runtime: RuntimeFactory, make_sessions: SessionsFactory, make_sinks: SinksFactory
) -> Live:
    """Compile the model, connect the sinks and open the sources of `settings`. Raise `UserError`."""
    runtime = await asyncio.to_thread(make_runtime, settings)
    hub = Hub(asyncio.get_running_loop())
    sinks = make_sinks(settings, hub)
    sessions = make_sessions(settings, runtime, hub)
    live = Live(settings, hub, runtime, sessions, sinks, ThreadPoolExecutor(1, "preview"))
    try:
        for spec in settings.source:
            name, source = split_name(spec)
            await asyncio.to_thread(sessions.open, source, name)
    except BaseException:
        await live.stop()
        raise
    return live


def _live(connection: HTTPConnection) -> Live:
    live: Live = connection.app.state.live
    return live


Running = Annotated[Live, Depends(_live)]
