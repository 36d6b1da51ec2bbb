"""The sessions that this process runs: opens, lists and closes them."""

import contextlib
import threading
import time
from collections.abc import Callable

from service import metrics
from service.capture.open import open_source
from service.capture.source import Source
from service.events import Event
from service.register import NAME, Register, UnknownSession
from service.runtime import Runtime
from service.session import Session


class Sessions:
    """Registry of live sessions. Thread-safe."""

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
        self._register: Register[Session] = Register(limit, forget)
        metrics.SESSIONS.set_function(lambda: sum(not session.over for session in self.list()))

    def open(self, source: str, name: str | None = None, *, purpose: str | None = None) -> Session:
        """Opens `source` on this side. Raises `UserError` for a bad source or name."""
        return self.adopt(open_source(source, realtime=True), name, purpose=purpose)

    def adopt(self, source: Source, name: str | None = None, *, purpose: str | None = None) -> Session:
        """Runs a session on a source that exists already, such as a WebRTC peer."""

        def begin(name: str) -> Session:
            return Session(source, self._runtime.pipeline(name, live=True), self._publish, purpose=purpose)

        return self._register.add(name, begin)

    def check(self, name: str | None) -> None:
        """Raises what `adopt` would raise for `name` now."""
        self._register.check(name)

    def get(self, name: str) -> Session:
        """Raises `UnknownSession`."""
        return self._register.get(name)

    def list(self) -> list[Session]:
        """In the order of opening."""
        return self._register.list()

    def close(self, name: str, timeout: float = 5.0) -> None:
        """Ends a session and forgets it. Blocks; raises `UnknownSession`."""
        session = self.get(name)
        session.close(timeout)
        self._register.remove(name, session)

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


def split_name(spec: str) -> tuple[str | None, str]:
    """`[NAME=]SRC` -> (name or None, source); an address with "=" in its query is no name."""
    name, equals, source = spec.partition("=")
    return (name, source) if equals and NAME.fullmatch(name) else (None, spec)
