"""Events from a worker process to the service in front of it, through a pipe: finished JSON, landmarks beside it.

Each message is its length in four bytes, big endian, and as many bytes. The first one tells whether the worker is
ready; all others are events: a JSON object of what the service in front needs to know, a line feed, the landmarks of
the tracks that it names (68 points each, float32), the event's JSON, which is passed on unread.
"""

import asyncio
import contextlib
import os
import threading
from collections import deque
from typing import IO

import numpy as np
import orjson

from service import metrics
from service.events import Event
from service.publish.hub import Hub

SINK = "relay"
LENGTH_BYTES = 4
BUFFER = 4096  # events kept while the service in front does not read: its loop has much to do
DRAIN_TIMEOUT = 1.0  # s that closing waits for what is buffered
_POINTS, _FLOAT = (68, 2), np.dtype("<f4")  # of a face
_POINTS_BYTES = 68 * 2 * 4


class RelaySink:
    """Writes a worker's events to `pipe` until closed, each in the thread that published it: woken for every one of
    them, the loop would cost more than the write. It helps where the pipe is full, for no session waits.
    """

    problem = None  # whoever reads the other end knows better

    def __init__(self, pipe: IO[bytes], hub: Hub) -> None:
        """Made and closed on the hub's loop."""
        self._pipe = pipe.fileno()
        os.set_blocking(self._pipe, False)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()  # held for as long as it takes to write what the pipe has room for
        self._waiting: deque[bytes] = deque()  # the first may be the rest of a message
        self._written = asyncio.Event()  # while it is not, the loop is told, or about to be, of room in the pipe
        self._written.set()
        self._closed = False
        hub.tap(self._take)

    async def close(self) -> None:
        """Writes what is buffered, if it is read within `DRAIN_TIMEOUT`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._written.wait(), DRAIN_TIMEOUT)
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._loop.remove_writer(self._pipe)

    def _take(self, event: Event) -> None:
        packed = message(pack(event))
        with self._lock:
            if self._closed:
                return
            if len(self._waiting) > BUFFER:
                del self._waiting[1]  # the oldest that was not begun
                metrics.EVENTS_DROPPED.labels(SINK).inc()
            self._waiting.append(packed)
            if not self._written.is_set() or self._write():
                return
            self._written.clear()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker is about to end
            self._loop.call_soon_threadsafe(self._loop.add_writer, self._pipe, self._go_on)

    def _go_on(self) -> None:
        """There is room in the pipe again."""
        with self._lock:
            if self._closed or self._write():
                self._written.set()
                self._loop.remove_writer(self._pipe)

    def _write(self) -> bool:
        """Writes until the pipe is full, which is false, or nothing waits."""
        try:
            while self._waiting:
                rest = self._waiting[0][os.write(self._pipe, self._waiting[0]) :]
                if rest:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            return False
        except BrokenPipeError:  # nobody reads any more; the worker is about to be ended
            self._closed = True
            self._waiting.clear()
        return True


def message(body: bytes) -> bytes:
    """`body` as it goes through the pipe."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_message(pipe: IO[bytes]) -> bytes | None:
    """The body of the next message; None at the end. Blocks."""
    head = pipe.read(LENGTH_BYTES)
    return pipe.read(int.from_bytes(head, "big")) if len(head) == LENGTH_BYTES else None


async def next_message(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next message; None at the end, also in the middle of one."""
    try:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big"))
    except asyncio.IncompleteReadError:
        return None


def pack(event: Event) -> bytes:
    """The body of an event's message."""
    head = {
        "session": event.session,
        "seq": event.seq,
        "state": event.state,
        "detail": event.detail,
        "tracks": [*event.landmarks],
    }
    points = b"".join(np.ascontiguousarray(points, _FLOAT).tobytes() for points in event.landmarks.values())
    return orjson.dumps(head) + b"\n" + points + event.text.encode()


def unpack(body: bytes) -> Event:
    """The event in a message's body."""
    line, _, rest = body.partition(b"\n")
    head = orjson.loads(line)
    tracks = head["tracks"]
    length = len(tracks) * _POINTS_BYTES
    points = np.frombuffer(rest, _FLOAT, len(tracks) * 68 * 2).reshape(-1, *_POINTS)
    return Event(
        session=head["session"],
        seq=head["seq"],
        state=head["state"],
        detail=head["detail"],
        text=rest[length:].decode(),
        landmarks=dict(zip(tracks, points, strict=True)),
    )
