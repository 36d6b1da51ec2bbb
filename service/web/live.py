"""What runs behind the routes: hub, sinks, model and sessions, brought up together and drained together."""

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

CLOSE_SESSIONS = 1.5  # s that stopping waits for sessions; the sinks then have their own 2 s
FAREWELL = 0.5  # s that stopping waits for watchers to take their last events


class Reader(Protocol):
    """What reads the faces: a `service.runtime.Runtime`, or a `service.workers.fleet.Fleet` of such processes."""

    @property
    def info(self) -> Mapping[str, Any]:
        """What the events say of the model."""

    def licences(self) -> list[str]:
        """A line for each of the weights in use."""

    def problems(self) -> list[str]:
        """Why nothing is read, in sentences."""

    def close(self) -> None:
        """Reads nothing any more."""


class Watched(Protocol):
    """One session, here or in a worker: see `service.session.Session`."""

    name: str
    label: str
    purpose: str | None
    state: State
    detail: str

    def figures(self) -> Figures:
        """Return the live figures."""

    def reset_baseline(self) -> None:
        """Starts the neutral baseline anew."""

    def latest_frame(self) -> Frame | None:
        """The newest frame that an event was made of."""

    def history(self, since: float, resolution: int) -> list[list[float | None]]:
        """Return a row for every `resolution` seconds after second `since`."""


class Registry(Protocol):
    """The sessions, here or in workers: see `service.sessions.Sessions`. All of it may block."""

    def open(self, source: str, name: str | None = None, *, purpose: str | None = None) -> Watched:
        """Opens a source."""

    def get(self, name: str) -> Watched:
        """Raises `UnknownSession`."""

    def list(self) -> Sequence[Watched]:
        """In the order of opening."""

    def close(self, name: str, timeout: float = 5.0) -> None:
        """Ends a session and forgets it."""

    def close_all(self, timeout: float = 5.0) -> None:
        """Ends every session."""


class Sink(Protocol):
    """Where events go besides to subscribers."""

    @property
    def problem(self) -> str | None:
        """Why they do not arrive, in a sentence."""

    async def close(self) -> None:
        """Lets it have what waits, within 2 s."""


RuntimeFactory = Callable[[Settings], Reader]
SessionsFactory = Callable[[Settings, Any, Hub], Registry]
SinksFactory = Callable[[Settings, Hub], Sequence[Sink]]


@dataclass
class Live:
    """The running service. Made by `start`, ended by `stop`."""

    settings: Settings
    hub: Hub
    runtime: Reader
    sessions: Registry
    sinks: Sequence[Sink]
    encoder: ThreadPoolExecutor  # previews' JPEGs: one thread, so that they never take more than one core
    watchers: int = 0  # clients of the stream and of previews
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _unwatched: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: asyncio.Task[None] | None = None

    def problems(self) -> list[str]:
        """Why the service is not ready, in sentences; none when it is."""
        stopping = ["the server is stopping"] if self.stopping.is_set() else []
        return stopping + self.runtime.problems() + [sink.problem for sink in self.sinks if sink.problem is not None]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around the service of one client of the stream or of a preview."""
        self.watchers += 1
        try:
            yield
        finally:
            self.watchers -= 1
            self._unwatched.set()

    @property
    def crowded(self) -> bool:
        """Whether as many clients watch as the settings allow."""
        return self.watchers >= self.settings.max_subscribers

    async def stop(self) -> None:
        """Ends the sessions, lets subscribers and sinks have their last events, and returns within 4 s. May be called
        again: all callers return when it is done.
        """
        if self._stop is None:
            self._stop = asyncio.create_task(self._drain())
        await asyncio.shield(self._stop)

    async def _drain(self) -> None:
        self.stopping.set()
        await asyncio.to_thread(self.sessions.close_all, CLOSE_SESSIONS)
        self.hub.close()
        await asyncio.gather(self._farewell(), *(sink.close() for sink in self.sinks))
        self.encoder.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.runtime.close)

    async def _farewell(self) -> None:
        """Waits until the watchers had their last events and know why nothing more comes; not for slow ones."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self.watchers:
                    self._unwatched.clear()
                    await self._unwatched.wait()


def load(settings: Settings) -> Runtime:
    """The model that `settings` name, compiled and verified. Raises `UserError`."""
    return load_runtime(RuntimeOptions.of(settings))


def registry(settings: Settings, runtime: Runtime, hub: Hub) -> Sessions:
    """The sessions of a service, none open yet."""
    return Sessions(runtime, hub.publish, hub.forget, limit=settings.max_sessions)


def redis(settings: Settings, hub: Hub) -> Sequence[Sink]:
    """The sinks that the settings name."""
    if settings.redis is None:
        return []
    from service.publish.redis_sink import RedisSink  # a tenth of a second of a start, and few have Redis

    return [RedisSink(settings.redis.get_secret_value(), hub, ttl=settings.redis_ttl)]


async def start(
    settings: Settings, make_runtime: RuntimeFactory, make_sessions: SessionsFactory, make_sinks: SinksFactory
) -> Live:
    """Compiles the model, connects the sinks and opens the sources of `settings`. Raises `UserError`."""
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
