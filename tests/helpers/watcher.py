"""What tests of addresses share: a source that is read in a thread, and an HTTP server with a handler of the test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.capture.media import Frame, Item, Sound, State, StateChange
from service.capture.open import open_source
from service.capture.source import Check, Timeouts

PATIENCE = 180.0  # seconds after which a test gives up waiting
PATIENT = Timeouts(open=PATIENCE, read=PATIENCE, stall=PATIENCE)  # a machine that is held up is no source that is


class Watcher:
    """Reads a source in a thread and lets the test wait for what it wants to see."""

    def __init__(self, url: str, timeouts: Timeouts = PATIENT, *, check: Check | None = None) -> None:
        self.items: list[Item] = []
        self.stop = threading.Event()
        self._changed = threading.Condition()
        self._source = open_source(url, timeouts=timeouts, check=check)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _read(self) -> None:
        for item in self._source.read(self.stop):
            with self._changed:
                self.items.append(item)
                self._changed.notify_all()

    def wait_for(self, seen: Callable[[list[Item]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: seen(self.items), PATIENCE), self.states

    @property
    def states(self) -> list[State]:
        return [item.state for item in self.items if isinstance(item, StateChange)]

    @property
    def frames(self) -> list[Frame]:
        return [item for item in self.items if isinstance(item, Frame)]

    @property
    def sounds(self) -> list[Sound]:
        return [item for item in self.items if isinstance(item, Sound)]

    def wait_for_state(self, *states: State) -> None:
        """Until the last states are `states`."""
        self.wait_for(lambda _: tuple(self.states[-len(states) :]) == states)

    def wait_for_media(self, frames: int) -> None:
        """Until so many more frames came."""
        wanted = len(self.frames) + frames
        self.wait_for(lambda _: len(self.frames) >= wanted)


@contextmanager
def http_server(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
