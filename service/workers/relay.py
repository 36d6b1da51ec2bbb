"""Messages from a worker process to the service in front of it, through a pipe.

Each message is its length in four bytes, big endian, and as many bytes. The first one that is not a beat
(`service.workers.heartbeat`) says whether the worker is ready, or why it cannot be; all later ones are beats and
events. An event is a JSON object of what the service in front needs of it, a line feed, the landmarks of the tracks
that the object names (68 points each, float32), and the event's JSON text, which is passed on unread.
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
READY = b"ready"  # the message of a worker that takes sessions
LENGTH_BYTES = 4
BUFFER = 4096  # messages kept while the service in front does not read them because its loop is busy
DRAIN_TIMEOUT = 1.0  # s that closing waits for what is buffered
_POINTS, _FLOAT = (68, 2), np.dtype("<f4")  # of a face
_POINTS_BYTES = 68 * 2 * 4


class RelaySink:
    """Write a worker's messages to a pipe, each in the thread that has it, until closed.

    Waking the event loop for every event would cost more than the write. The loop writes only what did not fit into
    the pipe, so that no session waits for it.
    """

    problem = None  # the service in front reports its workers' problems itself

    def __init__(self, pipe: IO[bytes], hub: Hub) -> None:
        """Write all events of `hub` to `pipe` from now on. Made and closed on the hub's loop."""
        self._pipe = pipe.fileno()
        os.set_blocking(self._pipe, False)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()  # held for as long as it takes to write what the pipe has room for
        self._waiting: deque[bytes] = deque()  # the first may be the rest of a message
        self._written = asyncio.Event()  # cleared while the loop waits, or is about to wait, for room in the pipe
        self._written.set()
        self._closed = False
        hub.tap(lambda event: self.send(pack(event)))

    async def close(self) -> None:
        """Write what is buffered, if it is read within `DRAIN_TIMEOUT`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._written.wait(), DRAIN_TIMEOUT)
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._loop.remove_writer(self._pipe)

    def send(self, body: bytes) -> None:
        """Write a message, or keep it until there is room in the pipe; never waits. Thread-safe."""
        packed = message(body)
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
        """Write the rest, now that there is room in the pipe again."""
        with self._lock:
            if self._closed or self._write():
                self._written.set()
                self._loop.remove_writer(self._pipe)

    def _write(self) -> bool:
        """Write until nothing waits, and return True, or until the pipe is full, and return False."""
        try:
            while self._waiting:
                rest = self._waiting[0][os.write(self._pipe, self._waiting[0]) :]
                if rest:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            return False
        except BrokenPipeError:  # the service in front is gone, and ends this worker
            self._closed = True
            self._waiting.clear()
        return True


def message(body: bytes) -> bytes:
    """Return `body` as it goes through the pipe, after its length."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_message(pipe: IO[bytes]) -> bytes | None:
    """Return the body of the next message; None at the end, also in the middle of one. Blocks."""
    head = _read_exactly(pipe, LENGTH_BYTES)
    return None if head is None else _read_exactly(pipe, int.from_bytes(head, "big"))


def _read_exactly(pipe: IO[bytes], count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        part = pipe.read(count - len(data))
        if not part:
            return None
        data += part
    return data


async def next_message(reader: asyncio.StreamReader) -> bytes | None:
    """Return the body of the next message; None at the end, also in the middle of one."""
    try:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big"))
    except asyncio.IncompleteReadError:
        return None


def pack(event: Event) -> bytes:
    """Return the body of the message for `event`."""
    head = {
        "session": event.session,
        "seq": event.seq,
        "incarnation": event.incarnation,
        "state": event.state,
        "detail": event.detail,
        "tracks": [*event.landmarks],
    }
    points = b"".join(np.ascontiguousarray(points, _FLOAT).tobytes() for points in event.landmarks.values())
    return orjson.dumps(head) + b"\n" + points + event.text.encode()


def unpack(body: bytes) -> Event:
    """Return the event in a message's body."""
    line, _, rest = body.partition(b"\n")
    head = orjson.loads(line)
    tracks = head["tracks"]
    length = len(tracks) * _POINTS_BYTES
    points = np.frombuffer(rest, _FLOAT, len(tracks) * 68 * 2).reshape(-1, *_POINTS)
    return Event(
        session=head["session"],
        seq=head["seq"],
        incarnation=head["incarnation"],
        state=head["state"],
        detail=head["detail"],
        text=rest[length:].decode(),
        landmarks=dict(zip(tracks, points, strict=True)),
    )
