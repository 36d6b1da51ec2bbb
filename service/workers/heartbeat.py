"""The signs of life of a worker process: who sends them, how often, and after what silence a worker counts as hung.

A beat is a message of the worker's pipe (`service.workers.relay`). It carries what the front process shows of the
worker: its sessions' figures, its problems and its model. The front process therefore answers requests about a
worker that hangs from its last beat, without waiting.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import TypeAdapter

from service.loaded_model import LoadedModel
from service.session_figures import SessionFigures

EVERY = 0.5  # s between beats
HUNG_AFTER = 2.0  # s of silence of a running worker, after which it is killed and another one started
BUSY_HUNG_AFTER = 15.0  # s of silence of one that uses the CPU or waits for it, as on a machine with too much work
START_SILENCE = 60.0  # s of silence of a worker that starts: a large library may hold the interpreter while it loads
LOOP_WITHIN = 10.0  # s that the worker's event loop may take to run a callback before the beats stop

_MARK = b"B"  # first byte of a beat; an event's message begins with "{"


@dataclass(frozen=True, slots=True)
class Beat:
    """Hold figures by session, sentences of problems, what events say of the model, and a line for each licence.

    `beside` are the models in memory besides the service's own.
    """

    figures: dict[str, SessionFigures]
    problems: list[str]
    model: dict[str, Any]
    licences: list[str]
    beside: list[LoadedModel] = field(default_factory=list)


_BEAT = TypeAdapter(Beat)


def pack_beat(beat: Beat) -> bytes:
    """Return the body of the message for `beat`."""
    return _MARK + orjson.dumps(beat)


def is_beat(body: bytes) -> bool:
    """Return whether a message is a beat."""
    return body.startswith(_MARK)


def unpack_beat(body: bytes) -> Beat:
    """Return the beat in a message's body."""
    return _BEAT.validate_json(body[len(_MARK) :])


STARTING = Beat({}, [], {}, [])


class Heart(threading.Thread):
    """Send beats from a thread of its own, so that a busy event loop does not look like a hung process."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        """Call `send` with the body of each beat. Starts at once, with empty beats until `attach` is called."""
        super().__init__(name="heart", daemon=True)
        self._lock = threading.Lock()
        self._send = send
        self._look: Callable[[], Beat] = lambda: STARTING
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_ran = time.monotonic()
        self.start()

    def attach(self, loop: asyncio.AbstractEventLoop, send: Callable[[bytes], None], look: Callable[[], Beat]) -> None:
        """Send what `look` returns through `send` from now on, as long as `loop` runs callbacks."""
        with self._lock:
            self._loop, self._send, self._look = loop, send, look
            self._loop_ran = time.monotonic()

    def run(self) -> None:
        """Send a beat every `EVERY` seconds until the process ends."""
        while True:
            time.sleep(EVERY)
            with self._lock:
                self._beat()

    def _beat(self) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._note_loop)
            except RuntimeError:  # the loop is closed: the process is about to end
                return
            if time.monotonic() - self._loop_ran > LOOP_WITHIN:
                return
        self._send(pack_beat(self._look()))

    def _note_loop(self) -> None:
        self._loop_ran = time.monotonic()
