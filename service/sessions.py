"""The sessions that this process runs itself."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from models.errors import UserError
from service import metrics
from service.capture.open import open_source
from service.capture.source import Source
from service.events import Event
from service.register import Register, UnknownSession
from service.runtime import Runtime
from service.session import Session


class Sessions:
    """Open, list and close live sessions; thread-safe."""

    def __init__(
        self,
        runtime: Runtime,
        publish: Callable[[Event], None],
        forget: Callable[[str], None] = lambda name: None,
        *,
        limit: int,
    ) -> None:
        """Call `publish` with every event and `forget` with the name of each session that is no longer listed."""
        self._runtime = runtime
        self._publish = publish
        self._register: Register[Session] = Register(limit, forget)
        metrics.SESSIONS.set_function(lambda: sum(not session.over for session in self.list()))

    def open(
        self, source: str, name: str | None = None, *, purpose: str | None = None, incarnation: int | None = None
    ) -> Session:
        """Open `source` and run a session on it. Raise `UserError` for a bad source or name."""
        self._register.check(name)  # before a camera is opened for nothing
        return self.adopt(open_source(source, realtime=True), name, purpose=purpose, incarnation=incarnation)

    def adopt(
        self, source: Source, name: str | None = None, *, purpose: str | None = None, incarnation: int | None = None
    ) -> Session:
        """Run a session on a source that exists already, such as a WebRTC peer. Raise `UserError` for a bad name."""

        def begin(name: str, incarnation: int) -> Session:
            pipeline = self._runtime.pipeline(name, live=True, incarnation=incarnation)
            return Session(source, pipeline, self._publish, purpose=purpose)

        return self._register.add(name, begin, incarnation)

    def check(self, name: str | None) -> None:
        """Raise what `adopt` would raise for `name` now."""
        self._register.check(name)

    def get(self, name: str) -> Session:
        """Return the session called `name`. Raise `UnknownSession` if there is none."""
        return self._register.get(name)

    def list(self) -> list[Session]:
        """Return all sessions in the order of opening."""
        return self._register.list()

    def close(self, name: str, timeout: float = 5.0) -> None:
        """End the session called `name` and remove it, within about `timeout` seconds. Blocks.

        Raise `UnknownSession` if there is none.
        """
        session = self.get(name)
        session.close(timeout)
        self._register.remove(name, session)

    def close_all(self, timeout: float = 5.0) -> None:
        """End every session, all at once, and refuse new ones; return within about `timeout` seconds."""
        self._register.close()
        deadline = time.monotonic() + timeout

        def end(name: str) -> None:
            with contextlib.suppress(UnknownSession):  # another request closed it just now
                self.close(name, timeout)

        closers = [threading.Thread(target=end, args=(session.name,), daemon=True) for session in self.list()]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(max(0.0, deadline - time.monotonic()))


def split_name(spec: str) -> tuple[str | None, str]:
    """Split `[NAME=]SRC` into the name, or None, and the source.

    An "=" after a ":", "/", or "?" is part of an address or path. A name that cannot be used is returned as it is: the
    register refuses it with a sentence of its own.
    """
    name, equals, source = spec.partition("=")
    if equals and not set(name) & set(":/?\\") and not Path(spec).exists():
        return name, source
    return None, spec


def close_if_open(sessions: Sessions, name: str, incarnation: int) -> None:
    """Close the session called `name` if it is of this incarnation; do nothing otherwise."""
    with contextlib.suppress(UserError):
        if sessions.get(name).incarnation == incarnation:
            sessions.close(name)
