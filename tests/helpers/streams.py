"""The event stream of a running service, as a subscriber sees it."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from helpers.serve_process import PATIENCE, Process
from websockets.sync.client import ClientConnection, connect


def listen(running: Process, name: str) -> ClientConnection:
    """A connection that brings the events of one session."""
    return connect(f"ws://127.0.0.1:{running.port}/v1/stream?session={name}", max_size=None)


def events(stream: ClientConnection) -> Iterator[dict[str, Any]]:
    """Its events from now on."""
    event: dict[str, Any] = {}
    while True:
        try:
            event = json.loads(stream.recv(timeout=PATIENCE))
        except TimeoutError:
            raise AssertionError(f"no event for {PATIENCE:g} s after {event}") from None
        yield event


def first(stream: ClientConnection, **wanted: Any) -> dict[str, Any]:
    """The first event that has these values."""
    return next(event for event in events(stream) if wanted.items() <= event.items())


def until(holds: Callable[[], Any], every: float = 0.05, **wanted: Any) -> Any:
    """Waits until `holds` returns something true, or with `wanted` an object with these values, and returns it.

    It is asked `every` so many seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()) or not wanted.items() <= dict(found if wanted else {}).items():
        assert time.monotonic() < deadline, f"still {found!r} after {PATIENCE:g} s"
        time.sleep(every)
    return found
