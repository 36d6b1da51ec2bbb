"""Events from a worker process to the service in front of it, through a pipe: finished JSON, landmarks beside it.

Each message is its length in four bytes, big endian, and as many bytes. The first one tells whether the worker is
ready; all others are events: a JSON object of landmarks by track (float32 in base64), a line feed, the event's JSON.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from typing import IO, Any

import numpy as np

from service.events import Event
from service.publish.hub import Hub

SINK = "relay"
LENGTH_BYTES = 4
BUFFER = 4096  # events kept while the service in front does not read: its loop has much to do
BATCH = 64  # events a write
DRAIN_TIMEOUT = 1.0  # s that closing waits for what is buffered


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


def pack(event: Event) -> bytes:
    """The body of an event's message."""
    landmarks = {
        track: b64encode(np.ascontiguousarray(points, "<f4").tobytes()).decode()
        for track, points in event.landmarks.items()
    }
    return json.dumps(landmarks).encode() + b"\n" + event.text.encode()


def unpack(body: bytes) -> Event:
    """The event in a message's body."""
    head, _, text = body.partition(b"\n")
    landmarks: dict[str, Any] = json.loads(head)
    points = {
        int(track): np.frombuffer(b64decode(given), "<f4").reshape(-1, 2).astype(np.float32)
        for track, given in landmarks.items()
    }
    return Event.from_text(text.decode(), points)
