"""Messages from a worker process to the service in front of it, through a pipe or a connection (`NonBlockingWriter`).

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
from typing import IO, Protocol

import numpy as np
import orjson

from service import metrics
from service.events import Event
from service.publish.hub import Hub

SINK = "relay"
READY = b"ready"  # the message of a worker that takes sessions
LEAVING = b"leaving"  # the message of one that is about to end although the service in front did not ask it to
LENGTH_BYTES = 4
BUFFER = 4096  # messages kept while the service in front does not read them because its loop is busy
DRAIN_TIMEOUT = 1.0  # s that closing waits for what is buffered
_POINTS, _FLOAT = (68, 2), np.dtype("<f4")  # of a face
_POINTS_BYTES = 68 * 2 * 4


class NonBlockingWriter(Protocol):
    """Describe what takes bytes without waiting: a pipe, or a connection."""

    def fileno(self) -> int:
        """Return the file that the loop can wait for."""

    def write(self, data: bytes) -> int:
        """Write the beginning of `data` and return how much; raise `BlockingIOError` if there is no room now.

        Raise `OSError` if nobody reads any more.
        """


class Pipe:
    """Present a pipe as a `NonBlockingWriter`."""

    def __init__(self, pipe: IO[bytes]) -> None:
        """Write to `pipe` without waiting from now on."""
        self._file = pipe.fileno()
        os.set_blocking(self._file, False)

    def fileno(self) -> int:
        """Return the pipe's file."""
        return self._file

    def write(self, data: bytes) -> int:
        """Write what there is room for."""
        return os.write(self._file, data)


class RelaySink:
    """Write a worker's messages to a writer, each in the thread that has it, until closed.

    Waking the event loop for every event would cost more than the write. The loop writes only what did not fit into
    the writer, so that no session waits for it.
    """

    problem = None  # the service in front reports its workers' problems itself

    def __init__(self, writer: NonBlockingWriter | None, hub: Hub) -> None:
        """Write all events of `hub` to `writer` from now on; keep them until `connect` where there is none yet.

        Made and closed on the hub's loop.
        """
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()  # held for as long as it takes to write what the pipe has room for
        self._waiting: deque[bytes] = deque()  # the first may be the rest of a message
        self._written = asyncio.Event()  # cleared while the loop waits, or is about to wait, for room in the pipe
        self._written.set()
        self._closed = False
        hub.tap(lambda event: self.send(pack(event)))

    @property
    def connected(self) -> bool:
        """Return whether there is a writer that neither `close` nor a failed write has ended."""
        return self._writer is not None and not self._closed

    def connect(self, writer: NonBlockingWriter) -> None:
        """Write to `writer` from now on, beginning with what was kept. In the loop."""
        with self._lock:
            self._writer = writer
            if not self._write():
                self._written.clear()
                self._loop.add_writer(writer.fileno(), self._go_on)

    async def close(self) -> None:
        """Write what is buffered, if it is read within `DRAIN_TIMEOUT`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._written.wait(), DRAIN_TIMEOUT)
        with self._lock:
            self._closed = True
            self._waiting.clear()
        if self._writer is not None and self._writer.fileno() >= 0:  # a line that was lost is closed already
            self._loop.remove_writer(self._writer.fileno())

    def send(self, body: bytes) -> None:
        """Write a message, or keep it until there is room in the writer; never waits. Thread-safe."""
        packed = message(body)
        with self._lock:
            if self._closed:
                return
            if len(self._waiting) > BUFFER:
                del self._waiting[1]  # the oldest that was not begun
                metrics.EVENTS_DROPPED.labels(SINK).inc()
            self._waiting.append(packed)
            writer = self._writer
            if writer is None or not self._written.is_set() or self._write():
                return
            self._written.clear()
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker is about to end
            self._loop.call_soon_threadsafe(self._loop.add_writer, writer.fileno(), self._go_on)

    def _go_on(self) -> None:
        """Write the rest, now that there is room in the writer again."""
        with self._lock:
            if self._closed or self._write():
                self._written.set()
                if self._writer is not None:
                    self._loop.remove_writer(self._writer.fileno())

    def _write(self) -> bool:
        """Write until nothing waits, and return True, or until the writer is full, and return False."""
        assert self._writer is not None
        try:
            while self._waiting:
                rest = self._waiting[0][self._writer.write(self._waiting[0]) :]
                if rest:
                    self._waiting[0] = rest
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            return False
        except OSError:  # the service in front is gone, and so will be this worker
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
        "kind": event.kind,
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
        kind=head["kind"],
        text=rest[length:].decode(),
        landmarks=dict(zip(tracks, points, strict=True)),
    )
