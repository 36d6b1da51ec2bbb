"""What runs behind the routes: hub, sinks, model and sessions, started together and drained together.

What reads faces is imported where it is used: a service with workers has it in their processes alone.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from models.errors import UserError
from service.capture.media import Frame, State
from service.history import Past
from service.loaded_model import LoadedModel
from service.neutral import NeutralStep
from service.publish.hub import Hub
from service.publish.sinks import Keeper, Sink
from service.register import OpenElsewhere, split_name
from service.rules import RuleState, parse_rules
from service.session_figures import SessionFigures
from service.session_options import Offer, RequestedOptions, SessionOptions
from service.settings import Settings

if TYPE_CHECKING:
    from service.runtime import Runtime
    from service.sessions import Sessions

CLOSE_SESSIONS = 1.0  # s that stopping waits for sessions
DELIVER = 2.0  # s from the start of stopping in which watchers and sinks must have taken the last events


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
    options: SessionOptions
    incarnation: int
    state: State
    detail: str
    foreign: bool  # another service of the cluster has it

    @property
    def node(self) -> str | None:
        """Return the name of the cluster's node that reads it; None without a cluster."""

    def figures(self) -> SessionFigures:
        """Return the live figures."""

    def reset_baseline(self) -> None:
        """Start the neutral baseline anew."""

    def begin_neutral_step(self) -> NeutralStep:
        """Begin the neutral step with the next frame, and return it. May block."""

    def latest_frame(self) -> Frame | None:
        """Return the newest frame that an event was made of."""

    def erase(self) -> int:
        """Forget what is kept of the session and return the rows of its history. May block."""

    def history(self, since: float, resolution: int) -> Past:
        """Return a row for every `resolution` seconds after second `since`, and what was marked."""

    def mark(self, label: str, *, t: float | None = None, at: datetime | None = None) -> dict[str, Any]:
        """Return the marker that the next event will report. May block."""

    def rules(self) -> Sequence[RuleState]:
        """Return the session's rules. May block."""

    def set_rules(self, texts: Sequence[str]) -> Sequence[RuleState]:
        """Judge by these rules from now on, and return them. May block."""


class Registry(Protocol):
    """Describe the sessions, here or in workers: see `service.sessions.Sessions`. All methods may block."""

    def open(
        self,
        source: str,
        name: str | None = None,
        *,
        purpose: str | None = None,
        allowed: Sequence[str] | None = None,
        asked: RequestedOptions | None = None,
    ) -> Watched:
        """Open a source. Redirects and playlists may lead to the prefixes `allowed` only; anywhere if that is None."""

    def get(self, name: str) -> Watched:
        """Return the session called `name`. Raise `UnknownSession` if there is none."""

    def list(self) -> Sequence[Watched]:
        """Return all sessions in the order of opening."""

    def models_beside(self) -> Sequence[LoadedModel]:
        """Return what is said of the models in memory beside the server's own."""

    def close(self, name: str, timeout: float = 5.0) -> None:
        """End a session and remove it."""

    def close_all(self, timeout: float = 5.0) -> None:
        """End every session."""


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
    sinks: list[Sink]
    encoder: ThreadPoolExecutor  # previews' JPEGs: one thread, so that they never take more than one core
    watchers: int = 0  # clients of the stream and of previews
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _unwatched: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: asyncio.Task[None] | None = None

    def problems(self) -> list[str]:
        """Return why the service is not ready, in sentences; an empty list when it is."""
        stopping = ["the server is stopping"] if self.stopping.is_set() else []
        beside = [f"{one.info['name']}: {text}" for one in self.sessions.models_beside() for text in one.problems]
        faces = [*self.runtime.problems(), *dict.fromkeys(beside)]
        return stopping + faces + [sink.problem for sink in self.sinks if sink.problem is not None]

    @property
    def keepers(self) -> list[Keeper]:
        """Return the sinks that keep events."""
        return [sink for sink in self.sinks if isinstance(sink, Keeper)]

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
        deadline = asyncio.get_running_loop().time() + DELIVER
        self.stopping.set()
        await asyncio.to_thread(self.sessions.close_all, CLOSE_SESSIONS)
        self.hub.close()
        delivering = [asyncio.ensure_future(done) for done in (self._farewell(), *(one.close() for one in self.sinks))]
        await asyncio.wait(delivering, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        self.encoder.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.runtime.close)

    async def _farewell(self) -> None:
        """Wait until every watcher has had its last events."""
        while self.watchers:
            self._unwatched.clear()
            await self._unwatched.wait()


def load(settings: Settings) -> "Runtime":
    """Return the model that `settings` name, compiled and verified. Raise `UserError` if it cannot be had."""
    import service.capture.webrtc  # noqa: F401 # so that no first WebRTC offer waits for it
    from service.runtime import RuntimeOptions, load_runtime

    return load_runtime(RuntimeOptions.of(settings))


def registry(settings: Settings, runtime: "Runtime", hub: Hub) -> "Sessions":
    """Return the sessions of a service without workers, none open yet."""
    from service.sessions import Sessions

    return Sessions(
        runtime,
        hub.publish,
        hub.forget,
        limit=settings.max_sessions,
        purpose=settings.purpose,
        rules=parse_rules(settings.rule),
        offer=Offer.of(settings),
        max_models=settings.max_models,
    )


async def start(
    settings: Settings, make_runtime: RuntimeFactory, make_sessions: SessionsFactory, make_sinks: SinksFactory
) -> Live:
    """Compile the model, connect the sinks and open the sources of `settings`. Raise `UserError`."""
    runtime = await asyncio.to_thread(make_runtime, settings)
    hub = Hub(asyncio.get_running_loop())
    sinks = [*make_sinks(settings, hub)]
    sessions = make_sessions(settings, runtime, hub)
    live = Live(settings, hub, runtime, sessions, sinks, ThreadPoolExecutor(1, "preview"))
    try:
        for spec in settings.source:
            name, source = split_name(spec)
            with contextlib.suppress(OpenElsewhere):  # another service of the cluster was started with it as well
                await asyncio.to_thread(sessions.open, source, name)
        if settings.lsl_markers is not None:
            live.sinks.append(_lsl_markers(settings.lsl_markers, sessions))
        if settings.redis is not None and settings.redis_markers is not None:
            from service.publish.redis_markers import RedisMarkers

            url = settings.redis.get_secret_value()
            live.sinks.append(RedisMarkers(url, settings.redis_markers, partial(mark_own, sessions)))
    except BaseException:
        await live.stop()
        raise
    return live


def mark_all(sessions: Registry, label: str, at: datetime) -> None:
    """Mark a moment of every open session. If sessions refuse, mark the others and raise the last `UserError`."""
    _mark(sessions.list(), label, at)


def mark_own(sessions: Registry, label: str, at: datetime, only: str | None = None) -> None:
    """Mark a moment of the session called `only`, or of every open one, as far as this service has them itself.

    Raise `UserError` as `mark_all` does. So a marker that every service of a cluster reads for itself is not set twice.
    """
    named = [sessions.get(only)] if only is not None else sessions.list()
    _mark([session for session in named if not session.foreign], label, at)


def _mark(sessions: Sequence[Watched], label: str, at: datetime) -> None:
    refusal: UserError | None = None
    for session in sessions:
        if session.state not in (State.ENDED, State.FAILED):
            try:
                session.mark(label, at=at)
            except UserError as error:
                refusal = error
    if refusal is not None:
        raise refusal


def _lsl_markers(name: str, sessions: Registry) -> Sink:
    """Return what marks every open session with the texts of a Lab Streaming Layer stream."""
    from service.publish.lsl_markers import LslMarkers

    return LslMarkers(name, partial(mark_all, sessions))


def _live(connection: HTTPConnection) -> Live:
    live: Live = connection.app.state.live
    return live


Running = Annotated[Live, Depends(_live)]
