"""Events through a worker's pipe: whole and in order, and no session waits for who reads them."""

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import IO

import numpy as np
import pytest

from service.events import Event
from service.publish.hub import Hub
from service.workers import relay
from service.workers.relay import Pipe, RelaySink, pack, read_message, unpack


def event(seq: int) -> Event:
    faces = [{"track": 3}, {"track": 5}]
    points = {track: np.full((68, 2), track + seq, np.float32) for track in (3, 5)}
    data = {"session": "desk", "seq": seq, "state": "live", "faces": faces, "é": "x" * 5000}
    return Event.of(data, points)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "DRAIN_TIMEOUT", 60.0)


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    out, into = os.pipe()
    with os.fdopen(out, "rb") as reading, os.fdopen(into, "wb", buffering=0) as writing:
        yield reading, writing


def test_an_event_is_the_same_on_the_other_side() -> None:
    sent = event(7)
    got = unpack(pack(sent))
    assert (got.session, got.seq, got.state, got.detail, got.data) == ("desk", 7, "live", None, sent.data)
    assert (got.text, got.text_with_landmarks) == (sent.text, sent.text_with_landmarks)
    assert unpack(pack(Event.of({"session": "a", "seq": 0, "state": "failed", "detail": "No."}))).detail == "No."
    marked = Event.of({"session": "a", "seq": 0, "state": "live", "marker": {"label": "go"}})
    assert unpack(pack(marked)).kind == marked.kind == "marker"


def test_no_session_waits_and_nothing_is_lost_where_nobody_reads_for_a_while(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    reading, writing = pipe
    seen: list[int] = []

    def read() -> None:
        while len(seen) < 400 and (body := read_message(reading)) is not None:
            seen.append(unpack(body).seq)

    async def run() -> bool:
        hub = Hub(asyncio.get_running_loop())
        sink = RelaySink(Pipe(writing), hub)
        publishers = threading.Thread(target=lambda: [hub.publish(event(seq)) for seq in range(400)])  # 2.5 MB
        publishers.start()
        await asyncio.to_thread(publishers.join, 60)
        waits = publishers.is_alive()
        reader = threading.Thread(target=read)
        reader.start()
        await sink.close()
        await asyncio.to_thread(reader.join)
        return waits

    assert not asyncio.run(run())
    assert seen == [*range(400)]


def test_the_oldest_give_way_where_nobody_reads_for_long(
    pipe: tuple[IO[bytes], IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    monkeypatch.setattr(relay, "BUFFER", 5)

    seen: list[int] = []

    def read() -> None:
        while not seen or seen[-1] != 99:
            seen.append(unpack(read_message(reading) or b"").seq)

    async def run() -> None:
        hub = Hub(asyncio.get_running_loop())
        sink = RelaySink(Pipe(writing), hub)
        for seq in range(100):
            hub.publish(event(seq))
        reader = threading.Thread(target=read)
        reader.start()
        await sink.close()
        await asyncio.to_thread(reader.join)

    asyncio.run(run())
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-5:] == [95, 96, 97, 98, 99]
    assert len(seen) < 30  # what the pipe holds, and as many as are kept


def test_who_no_longer_reads_is_no_fault(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    reading, writing = pipe

    async def run() -> int:
        hub = Hub(asyncio.get_running_loop())
        sink = RelaySink(Pipe(writing), hub)
        reading.close()
        for seq in range(2):
            hub.publish(event(seq))
        await sink.close()
        return seq

    assert asyncio.run(run()) == 1  # neither a publication nor the end raised
