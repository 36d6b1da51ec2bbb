"""The sessions that this process runs itself."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from models.errors import UserError
from service import metrics, tracing
from service.capture.allowed_sources import check_of
from service.capture.open import open_source
from service.capture.source import Source
from service.events import Event
from service.history import Note
from service.loaded_model import LoadedModel
from service.models_beside import Models
from service.purpose import decide
from service.register import Register, UnknownSession
from service.rules import Rule
from service.runtime import Runtime, load_beside
from service.session import Session
from service.session_options import Offer, RequestedOptions
from service.settings import Settings


class Sessions:
    """Open, list and close live sessions; thread-safe."""

    def __init__(
        self,
        runtime: Runtime,
        publish: Callable[[Event], None],
        forget: Callable[[str], None] = lambda name: None,
        *,
        limit: int,
        purpose: str | None = None,
        rules: Sequence[Rule] = (),
        offer: Offer | None = None,
        max_models: int = 1,
    ) -> None:
        """Call `publish` with every event and `forget` with the name of each session that is no longer listed.

        `purpose` is that of the sessions that are opened without one; each session begins with `rules`. `offer` is what
        sessions may choose from, and `max_models` how many models there may be in memory for them.
        """
        self._offer = offer or Offer.of(Settings.model_construct())
        self._models = Models(runtime, partial(load_beside, runtime), max_models)
        self._rules = tuple(rules)
        self._publish = publish
        self._purpose = purpose
        self._register: Register[Session] = Register(limit, forget)
        metrics.SESSIONS.set_function(self._running)

    def open(
        self,
        source: str,
        name: str | None = None,
        *,
        purpose: str | None = None,
        incarnation: int | None = None,
        allowed: Sequence[str] | None = None,
        asked: RequestedOptions | None = None,
        rules: Sequence[Rule] | None = None,
        earlier: Sequence[Note] = (),
    ) -> Session:
        """Open `source` and run a session on it. Raise `UserError` for a bad source, name, purpose or option.

        `allowed` are the prefixes of sources that an address may lead to by redirects and playlists; None: all.
        `asked` is what the session is to have other than what the server gives, and `rules` are in place of those that
        each session begins with. `earlier` are the markers and alerts of earlier incarnations.
        """
        purpose = decide(source, purpose, self._purpose)
        self._offer.decide(asked)
        self._register.check(name)  # before a camera is opened for nothing
        with tracing.span("open source"):
            opened = open_source(source, realtime=True, check=check_of(source, allowed))
        return self.adopt(
            opened, name, purpose=purpose, incarnation=incarnation, asked=asked, rules=rules, earlier=earlier
        )

    def adopt(
        self,
        source: Source,
        name: str | None = None,
        *,
        purpose: str | None = None,
        incarnation: int | None = None,
        asked: RequestedOptions | None = None,
        rules: Sequence[Rule] | None = None,
        earlier: Sequence[Note] = (),
    ) -> Session:
        """Run a session on a source that exists already, such as a WebRTC peer. Blocks while its model is loaded.

        Raise `UserError` for a bad name, purpose or option.
        """
        purpose = decide(source.label, purpose, self._purpose)
        options = self._offer.decide(asked)
        with tracing.span("take model", **{"affectstream.model": options.model}):  # which may have to be loaded first
            runtime = self._models.acquire(options.model)
        release = partial(self._models.release, options.model)

        def begin(name: str, incarnation: int) -> Session:
            pipeline = runtime.pipeline(name, live=True, incarnation=incarnation, options=options)
            begun_with = self._rules if rules is None else rules
            return Session(
                source, pipeline, self._publish, purpose=purpose, rules=begun_with, options=options, ended=release,
                earlier=earlier,
            )  # fmt: skip

        try:
            session = self._register.add(name, begin, incarnation)
        except BaseException:
            release()
            raise
        runtime.expect(self._running())
        return session

    def check(self, name: str | None, purpose: str | None, asked: RequestedOptions | None = None) -> None:
        """Raise what `adopt` would raise now for a peer of this name and purpose that asks for this."""
        decide(None, purpose, self._purpose)
        self._offer.decide(asked)
        self._register.check(name)

    def find(self, name: str) -> Session | None:
        """Return the session called `name`, or None."""
        return self._register.find(name)

    def get(self, name: str) -> Session:
        """Return the session called `name`. Raise `UnknownSession` if there is none."""
        return self._register.get(name)

    def list(self) -> list[Session]:
        """Return all sessions in the order of opening."""
        return self._register.list()

    def models_beside(self) -> Sequence[LoadedModel]:
        """Return what is said of the models in memory beside the server's own, which sessions asked for."""
        return self._models.beside()

    def close(self, name: str, timeout: float = 5.0) -> None:
        """End the session called `name` and remove it, within about `timeout` seconds. Blocks.

        Raise `UnknownSession` if there is none.
        """
        self._end(name, timeout)

    def close_all(self, timeout: float = 5.0) -> None:
        """End every session, all at once, and refuse new ones; return within about `timeout` seconds."""
        self._register.close()
        deadline = time.monotonic() + timeout

        def end(name: str) -> None:
            with contextlib.suppress(UnknownSession):  # another request closed it just now
                self._end(name, timeout)

        closers = [threading.Thread(target=end, args=(session.name,), daemon=True) for session in self.list()]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(max(0.0, deadline - time.monotonic()))
        self._models.close()

    def _running(self) -> int:
        """Return the number of sessions that are not over."""
        return sum(not session.over for session in self.list())

    def _end(self, name: str, timeout: float) -> None:
        session = self.get(name)
        session.close(timeout)
        self._register.remove(name, session)


def close_if_open(sessions: Sessions, name: str, incarnation: int) -> None:
    """Close the session called `name` if it is of this incarnation; do nothing otherwise."""
    with contextlib.suppress(UserError):
        if sessions.get(name).incarnation == incarnation:
            sessions.close(name)
