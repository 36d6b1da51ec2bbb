"""Events as OSC messages, received by python-osc's own server."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from helpers.affect_events import a_face, a_marker, a_note, an_alert, an_event
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer

from models.errors import UserError
from models.labels import ACTION_UNITS
from service.events import Event
from service.publish import osc
from service.publish.arkit import blend_shapes
from service.publish.hub import Hub
from service.publish.osc import LARGEST, OscSink, address_of, datagrams, messages


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(osc, "DRAIN_TIMEOUT", 60.0)


class Receiver:
    """A server of python-osc and what it got."""

    def __init__(self) -> None:
        self.got: dict[str, tuple[Any, ...]] = {}
        self.last = threading.Event()
        dispatcher = Dispatcher()
        dispatcher.set_default_handler(self._take)
        self._server = BlockingOSCUDPServer(("127.0.0.1", 0), dispatcher)
        self.port = self._server.server_address[1]

    def _take(self, address: str, *arguments: Any) -> None:
        self.got[address] = arguments
        if address == "/affect/desk/marker" and arguments[0] == "last":
            self.last.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def received(*events: Event) -> dict[str, tuple[Any, ...]]:
    """What a receiver gets of `events`, by address."""
    receiver = Receiver()

    async def run() -> None:
        hub = Hub(asyncio.get_running_loop())
        sink = OscSink(f"127.0.0.1:{receiver.port}", hub)
        for event in (*events, a_marker(99, "last")):
            hub.publish(event)
        await sink.close()
        await asyncio.to_thread(receiver.last.wait, 60)

    with receiver.running():
        asyncio.run(run())
    assert receiver.last.is_set()
    return receiver.got


def test_a_receiver_gets_a_face_by_names_of_affect_and_of_arkit() -> None:
    got = received(an_event(1, a_face(3)))
    assert got["/affect/desk/faces"] == (1,)
    assert got["/affect/desk/3/valence"] == (0.5,)
    assert "/affect/desk/3/arousal" not in got  # unknown
    assert got["/affect/desk/3/head_pose"] == (1.0, -2.0, 3.0)
    assert got["/affect/desk/3/expression/happiness"] == (0.75,)
    assert got["/affect/desk/3/au/AU12"] == pytest.approx((0.9,))
    assert got["/affect/desk/3/arkit/mouthSmileLeft"] == got["/affect/desk/3/arkit/mouthSmileRight"]
    assert got["/affect/desk/3/arkit/mouthSmileLeft"] == pytest.approx((0.8,))  # intensity 4 of 5
    assert got["/affect/desk/3/arkit/browDownLeft"] == pytest.approx((0.2,))  # no intensity: the probability


def test_markers_alerts_and_states_have_addresses_of_their_own() -> None:
    got = received(a_note(1, detail="the camera is open"), a_marker(2, "go", 0.5), an_alert(3))
    assert got["/affect/desk/state"] == ("live",)
    assert got["/affect/desk/alert"] == ("frown", "raised", 1.0)
    assert got["/affect/desk/marker"] == ("last", 0.5)


def test_a_face_that_was_not_read_has_no_values() -> None:
    addresses = {address for address, _ in messages(an_event(1, a_face(3, status="held")).data)}
    assert addresses == {"/affect/desk/faces"}


def test_no_datagram_is_so_large_that_networks_cut_it() -> None:
    aus = dict.fromkeys(ACTION_UNITS, 0.5)
    event = an_event(1, *(a_face(track, aus=aus, intensities=aus) for track in range(20)))
    sizes = [len(datagram) for datagram in datagrams(messages(event.data))]
    assert len(sizes) > 20
    assert max(sizes) <= LARGEST


def test_blend_shapes_lie_between_0_and_1() -> None:
    assert blend_shapes({}, {"AU26": 7.0, "AU28": -1.0}) == {
        "jawOpen": 1.0, "mouthRollLower": 0.0, "mouthRollUpper": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("target", ["", "9000", "localhost", "localhost:", "localhost:0", "localhost:99999", ":9000"])
def test_what_is_no_receiver_is_refused_with_a_sentence(target: str) -> None:
    with pytest.raises(UserError, match="is not HOST:PORT"):
        address_of(target)
    with pytest.raises(UserError, match="the host cannot be found"):
        address_of("no-such-host.invalid:9000")
