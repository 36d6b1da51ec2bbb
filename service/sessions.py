"""The sessions that are open: opens, lists and closes them, within limits."""

import contextlib
import itertools
import re
import threading
import time
from collections.abc import Callable

from engines.errors import UserError
from service import metrics
from service.capture.open import open_source
from service.capture.source import Source
from service.events import Event
from service.runtime import Runtime
from service.session import Session

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class NameTaken(UserError):
    """409."""


class TooMany(UserError):
    """429."""


class UnknownSession(UserError):
    """404."""


class Sessions:
    """Registry of live sessions. Thread-safe. One that ended by itself stays listed, with how it ended, until its
    name is used again, somebody closes it, or as many others have ended after it as may be open at once."""

    def __init__(
        self,
        runtime: Runtime,
        publish: Callable[[Event], None],
        forget: Callable[[str], None] = lambda name: None,
        *,
        limit: int,
    ) -> None:
        """`publish` takes every event, `forget` the name of a session of which nothing more will come."""
        self._runtime = runtime
        self._publish = publish
        self._forget = forget
        self._limit = limit
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}
        metrics.SESSIONS.set_function(lambda: sum(not session.over for session in self.list()))

    def open(self, source: str, name: str | None = None, *, purpose: str | None = None) -> Session:
        """Opens `source` on this side. Raises `UserError` for a bad source or name."""
        return self.adopt(open_source(source, realtime=True), name, purpose=purpose)

    def adopt(self, source: Source, name: str | None = None, *, purpose: str | None = None) -> Session:
        """Runs a session on a source that exists already, such as a WebRTC peer."""
        with self._lock:
            name = self._check(name)
            self._make_room(name)
            session = Session(source, self._runtime.pipeline(name, live=True), self._publish, purpose=purpose)
            self._open[name] = session
        return session

    def check(self, name: str | None) -> None:
        """Raises what `adopt` would raise for `name` now."""
        with self._lock:
            self._check(name)

    def get(self, name: str) -> Session:
        """Raises `UnknownSession`."""
        with self._lock:
            session = self._open.get(name)
        if session is None:
            raise UnknownSession(f"no session is called {name!r}; GET /v1/sessions lists them")
        return session

    def list(self) -> list[Session]:
        """In the order of opening."""
        with self._lock:
            return [*self._open.values()]

    def close(self, name: str, timeout: float = 5.0) -> None:
        """Ends a session and forgets it. Blocks; raises `UnknownSession`."""
        session = self.get(name)
        session.close(timeout)
        with self._lock:
            if self._open.get(name) is session:
                self._drop(name)

    def close_all(self, timeout: float = 5.0) -> None:
        """Ends every session, all at once; returns within about `timeout` seconds."""
        deadline = time.monotonic() + timeout

        def end(name: str) -> None:
            with contextlib.suppress(UnknownSession):  # somebody else closed it just now
                self.close(name, timeout)

        closers = [threading.Thread(target=end, args=(session.name,), daemon=True) for session in self.list()]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join(max(0.0, deadline - time.monotonic()))

    def _check(self, name: str | None) -> str:
        if name is None:
            name = next(f"s{n}" for n in itertools.count(1) if f"s{n}" not in self._open)
        elif not NAME.fullmatch(name):
            raise UserError(
                f"session name {name[:80]!r} is not made of 1 to 64 letters, digits, _ or -; choose another"
            )
        taken = self._open.get(name)
        if taken is not None and not taken.over:
            raise NameTaken(f"a session called {name!r} is open; choose another name or close it first")
        if sum(not session.over for session in self._open.values()) >= self._limit:
            raise TooMany(f"{self._limit} sessions are open, as many as this server allows; close one first")
        return name

    def _make_room(self, name: str) -> None:
        """Forgets the session that had the name before, and the oldest of those that ended."""
        ended = [other for other, session in self._open.items() if session.over]
        for other in [name, *ended[: max(0, len(ended) - self._limit + 1)]]:
            if other in self._open:
                self._drop(other)

    def _drop(self, name: str) -> None:
        del self._open[name]
        self._forget(name)


def split_name(spec: str) -> tuple[str | None, str]:
    """`[NAME=]SRC` -> (name or None, source); an address with "=" in its query is no name."""
    name, equals, source = spec.partition("=")
    return (name, source) if equals and NAME.fullmatch(name) else (None, spec)
