"""Events from a worker process to the service in front of it, through a pipe: finished JSON, landmarks beside it.

Each message is its length in four bytes, big endian, and as many bytes. The first one tells whether the worker is
ready; all others are events: a JSON object of what the service in front needs to know, a line feed, the landmarks of
the tracks that it names (68 points each, float32), the event's JSON, which is passed on unread.
"""

import asyncio
from functools import cached_property
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.events import Event
from service.publish.hub import Hub

SINK = "relay"
LENGTH_BYTES = 4
BUFFER = 4096  # events kept while the service in front does not read: its loop has much to do
BATCH = 64  # events a write
DRAIN_TIMEOUT = 1.0  # s that closing waits for what is buffered
_POINTS, _FLOAT = (68, 2), np.dtype("<f4")  # of a face
_POINTS_BYTES = 68 * 2 * 4


class RelaySink:
    """Subscribes to the hub of a worker and writes to `pipe` until closed. Made and used on the hub's loop."""

    problem = None  # whoever reads the other end knows better

    def __init__(self, pipe: IO[bytes], hub: Hub) -> None:
        self._pipe = pipe
        self._subscription = hub.subscribe(maxlen=BUFFER, sink=SINK)
        self._task = asyncio.create_task(self._run(), name="relay")

    async def close(self) -> None:
        """Writes what is buffered, if it is read within `DRAIN_TIMEOUT`."""
        self._subscription.close()
        await asyncio.wait([self._task], timeout=DRAIN_TIMEOUT)
        self._task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, self._pipe)
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        try:
            while batch := await self._subscription.take(BATCH):
                writer.write(b"".join(message(pack(event)) for event in batch))
                await writer.drain()
        except ConnectionError:
            return  # nobody reads any more; the worker is about to be ended
        finally:
            writer.close()


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


class Relayed(Event):
    """An event that another process encoded. It goes out as it is; what is in it is read only where somebody asks."""

    def __init__(self, head: dict[str, Any], points: bytes, text: str) -> None:
        self._tracks: list[int]
        self._points: bytes
        vars(self).update(
            session=head["session"],
            seq=head["seq"],
            state=head["state"],
            detail=head["detail"],
            text=text,
            _tracks=head["tracks"],
            _points=points,
        )

    @cached_property
    def data(self) -> dict[str, Any]:
        """See `Event`."""
        read: dict[str, Any] = orjson.loads(self.text)
        return read

    @cached_property
    def landmarks(self) -> dict[int, NDArray[np.float32]]:
        """See `Event`."""
        points = np.frombuffer(self._points, _FLOAT).reshape(-1, *_POINTS).astype(np.float32)
        return dict(zip(self._tracks, points, strict=True))


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
    length = len(head["tracks"]) * _POINTS_BYTES
    return Relayed(head, rest[:length], rest[length:].decode())
