"""`WS /v1/stream` over real sockets: order, late joiners, slow readers, limits, and how it ends."""

import contextlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest
from helpers.live_server import LiveServer, event_data, serving
from prometheus_client import REGISTRY
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect
from websockets.uri import parse_uri

from service.events import Event, event_schema
from service.web.routes import stream

MAX_AGE = stream.MAX_AGE  # s, where no test has changed it


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with serving(max_subscribers=4) as running:
        yield running


def receive(client: ClientConnection) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(client.recv(timeout=60))
    return event


def close_code(client: ClientConnection) -> tuple[int, str]:
    """Code and reason of the server's close, after whatever came before it."""
    return drain(client)[1:]


def drain(client: ClientConnection) -> tuple[list[dict[str, Any]], int, str]:
    """The events until the server's close, its code and its reason."""
    events = []
    while True:
        try:
            events.append(receive(client))
        except ConnectionClosed as closed:
            close = closed.rcvd
            return events, close.code if close else 1006, close.reason if close else ""


def dropped() -> float:
    return REGISTRY.get_sample_value("affect_events_dropped_total", {"sink": "websocket"}) or 0.0


def subscribers() -> float:
    return REGISTRY.get_sample_value("affect_subscribers", {"sink": "websocket"}) or 0.0


def test_events_come_in_order_and_follow_the_schema(server: LiveServer) -> None:
    desk = server.open()
    desk.emit()
    with connect(f"{server.ws}/v1/stream") as client:
        first = receive(client)
        desk.emit(50)
        events = [first, *(receive(client) for _ in range(50))]
    assert [event["seq"] for event in events] == list(range(51))
    for event in events:
        jsonschema.validate(event, event_schema())


def test_a_late_joiner_gets_the_last_event_of_each_session_at_once(server: LiveServer) -> None:
    server.open("desk").emit(5)
    server.open("door").emit(3)
    with connect(f"{server.ws}/v1/stream") as client:
        assert {(e["session"], e["seq"]) for e in (receive(client), receive(client))} == {("desk", 4), ("door", 2)}


def test_one_session_can_be_asked_for_alone(server: LiveServer) -> None:
    desk, door = server.open("desk"), server.open("door")
    desk.emit()
    with connect(f"{server.ws}/v1/stream?session=door") as client:
        desk.emit(3)
        door.emit(2)
        desk.emit(3)
        door.emit()
        events = [receive(client) for _ in range(3)]
    assert [(event["session"], event["seq"]) for event in events] == [("door", 0), ("door", 1), ("door", 2)]


def test_landmarks_come_when_asked_for(server: LiveServer) -> None:
    face = {"track": 3}
    event = Event.of({**event_data("desk", 0), "faces": [face]}, {3: np.ones((68, 2), np.float32)})
    server.live.hub.publish(event)
    with connect(f"{server.ws}/v1/stream?landmarks=1") as with_them, connect(f"{server.ws}/v1/stream") as without:
        assert len(receive(with_them)["faces"][0]["landmarks"]) == 68
        assert receive(without)["faces"] == [face]


def test_never_queue_never_block_a_slow_reader_loses_its_oldest_events_and_slows_nobody(server: LiveServer) -> None:
    desk = server.open()
    lost = dropped()
    events = 1500
    with (
        connect(f"{server.ws}/v1/stream", max_queue=1, compression=None) as slow,
        connect(f"{server.ws}/v1/stream", compression=None) as quick,
    ):
        for seq in range(events):  # 45 MB: more than the sockets of the slow reader hold
            desk.emit(padding=30_000)
            assert receive(quick)["seq"] == seq
        got = [receive(slow)["seq"]]
        while got[-1] != events - 1:
            got.append(receive(slow)["seq"])
    assert got == sorted(set(got))
    assert len(got) + dropped() - lost == events
    assert dropped() > lost


class SlowReader:
    """Takes one event at a time, and no more of the socket than it needs, as a small device would."""

    def __init__(self, server: LiveServer) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self._protocol = ClientProtocol(parse_uri(f"{server.ws}/v1/stream"), max_size=None)
        self._protocol.send_request(self._protocol.connect())
        self._events: list[dict[str, Any]] = []
        self._write()

    def take(self) -> dict[str, Any]:
        while not self._events:
            data = self._socket.recv(512)
            assert data
            self._protocol.receive_data(data)
            self._write()
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                    self._events.append(json.loads(frame.data))
        return self._events.pop(0)

    def close(self) -> None:
        self._socket.close()

    def _write(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)


def test_a_slow_reader_is_never_far_behind(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_AGE", MAX_AGE)
    desk = server.open()
    lost = dropped()
    with contextlib.closing(SlowReader(server)) as reader:
        behind = []
        for _ in range(40):  # it takes one event in the time in which six are made
            for _ in range(6):
                desk.emit()
                time.sleep(0.03)
            behind.append(desk.emitted - reader.take()["seq"])
    assert max(behind) < 120  # 4 s at the rate of a camera, when all would be 200 behind by now
    assert dropped() > lost


def test_a_reader_that_reads_nothing_is_not_cut_off(server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    desk = server.open()
    with contextlib.closing(SlowReader(server)) as reader:
        desk.emit()
        reader.take()
        desk.emit(200)
        time.sleep(1.0)
        desk.emit()
        while reader.take()["seq"] < desk.emitted - 1:
            pass
    while server.live.watchers:  # it is gone, in the middle of what was sent
        desk.emit()
    # What asyncio itself says of writes to a connection that has just gone is about its own loop, which is not serve's.
    said = [record for record in caplog.records if record.name != "asyncio"]
    assert [record for record in said if record.levelno >= logging.WARNING] == []


def test_an_unknown_session_is_closed_with_a_code_and_a_sentence(server: LiveServer) -> None:
    with connect(f"{server.ws}/v1/stream?session=nobody") as client:
        code, reason = close_code(client)
    assert code == 4404
    assert "nobody" in reason


def test_a_session_with_a_very_long_name_is_unknown_too(server: LiveServer) -> None:
    with connect(f"{server.ws}/v1/stream?session={'ä' * 300}") as client:
        assert close_code(client)[0] == 4404


def test_a_closed_session_ends_its_own_stream_after_the_last_event(server: LiveServer) -> None:
    server.open().emit()
    with connect(f"{server.ws}/v1/stream?session=desk") as client, server.client() as http:
        receive(client)
        assert http.delete("/v1/sessions/desk").status_code == 204
        assert receive(client)["state"] == "ended"
        assert close_code(client)[0] == 1000
    with connect(f"{server.ws}/v1/stream") as late:
        server.open("door").emit()
        assert receive(late)["session"] == "door"


def test_more_subscribers_than_allowed_are_told_to_try_later(server: LiveServer) -> None:
    server.open().emit()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            receive(stack.enter_context(connect(f"{server.ws}/v1/stream")))
        with connect(f"{server.ws}/v1/stream") as fifth:
            assert close_code(fifth)[0] == 1013


def test_a_subscriber_that_leaves_is_no_longer_counted(server: LiveServer) -> None:
    before = subscribers()
    desk = server.open()
    desk.emit()
    with connect(f"{server.ws}/v1/stream") as client:
        receive(client)
        assert subscribers() == before + 1
    while subscribers() != before:
        desk.emit()


def test_what_a_client_says_is_ignored_until_it_is_too_much(server: LiveServer) -> None:
    desk = server.open()
    with connect(f"{server.ws}/v1/stream") as client:
        client.send("hello")
        client.send(b"\x00")
        desk.emit()
        assert receive(client)["seq"] == 0
        with contextlib.suppress(ConnectionClosed):
            for _ in range(100):
                client.send("hello")
        assert close_code(client)[0] == 1008


def test_a_message_beyond_the_size_limit_ends_the_stream(server: LiveServer) -> None:
    with connect(f"{server.ws}/v1/stream") as client:
        client.send("x" * 70_000)
        assert close_code(client)[0] == 1009


def test_a_malformed_query_is_refused(server: LiveServer) -> None:
    with pytest.raises(InvalidStatus) as caught, connect(f"{server.ws}/v1/stream?landmarks=perhaps"):
        pass
    assert caught.value.response.status_code == 403


def test_a_stopping_server_ends_the_sessions_first_and_says_goodbye() -> None:
    with contextlib.ExitStack() as stack:
        with serving() as server:
            server.open().emit()
            clients = [stack.enter_context(connect(f"{server.ws}/v1/stream")) for _ in range(20)]
            for client in clients:
                receive(client)
        for client in clients:
            events, code, reason = drain(client)
            assert [event["state"] for event in events] == ["ended"]
            assert (code, reason) == (1001, "the server is stopping")
