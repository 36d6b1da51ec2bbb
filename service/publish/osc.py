"""Events as Open Sound Control messages over UDP, for stages and avatars: `/affect/SESSION/TRACK/valence 0.31`.

UDP promises nothing: what the network or the receiver does not take is lost, and nothing here waits for it.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from models.errors import UserError
from service import metrics
from service.events import Event
from service.publish.arkit import blend_shapes
from service.publish.draining import DRAIN_TIMEOUT, drain
from service.publish.hub import Hub

SINK = "osc"
BATCH = 64  # events that are sent before others may run
LARGEST = 1400  # bytes of a datagram, so that networks do not cut it
FLOAT_BYTES = 4
_READ = ("ok", "warming_up")

Message = tuple[str, tuple[float | int | str, ...]]  # address, arguments

log = logging.getLogger(__name__)


class OscSink:
    """Send the events of all sessions to one receiver until closed. Made and used on the hub's loop."""

    problem = None  # nobody can know whether datagrams arrive

    def __init__(self, target: str, hub: Hub) -> None:
        """Begin to send to `target`, HOST:PORT. Raise `UserError` if it names no receiver."""
        family, self._address = address_of(target)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._failing = False
        self._subscription = hub.subscribe(sink=SINK)
        self._task = asyncio.create_task(self._run(), name="osc")

    async def close(self) -> None:
        """Send what waits, and end."""
        await drain(self._task, self._subscription, DRAIN_TIMEOUT)
        self._socket.close()

    async def _run(self) -> None:
        while events := await self._subscription.take(BATCH):
            for event in events:
                self._send(event)
            await asyncio.sleep(0)

    def _send(self, event: Event) -> None:
        try:
            for datagram in datagrams(messages(event.data)):
                self._socket.sendto(datagram, self._address)
        except OSError as error:  # the kernel's buffer is full, or there is no way to the receiver
            metrics.PUBLISH_ERRORS.labels(SINK).inc()
            metrics.EVENTS_DROPPED.labels(SINK).inc()
            if not self._failing:
                self._failing = True
                log.warning("OSC messages cannot be sent (%s); the lost ones are counted", error.strerror)
        else:
            self._failing = False


def messages(event: Mapping[str, Any]) -> Iterator[Message]:
    """Yield the messages of an event (schema affect/1). An unknown value has no message."""
    base = f"/affect/{event['session']}"
    if event.get("marker") is not None:
        yield f"{base}/marker", (event["marker"]["label"], float(event["marker"]["t"]))
        return
    if event.get("alert") is not None:
        alert = event["alert"]
        yield f"{base}/alert", (alert["rule"], alert["status"], float(alert["since"]))
        return
    if event.get("detail") is not None:
        yield f"{base}/state", (event["state"],)
        return
    yield f"{base}/faces", (len(event["faces"]),)
    for face in event["faces"]:
        if face["status"] not in _READ:
            continue
        place = f"{base}/{face['track']}"
        for name in ("valence", "arousal"):
            if face[name] is not None:
                yield f"{place}/{name}", (float(face[name]),)
        pose = face["head_pose"]
        yield f"{place}/head_pose", (float(pose["pitch"]), float(pose["yaw"]), float(pose["roll"]))
        if face["expression"] is not None:
            for name, share in face["expression"]["probabilities"].items():
                yield f"{place}/expression/{name}", (float(share),)
        for name, probability in face["aus"].items():
            yield f"{place}/au/{name}", (float(probability),)
        for name, value in blend_shapes(face["aus"], face.get("intensities", {})).items():
            yield f"{place}/arkit/{name}", (value,)


def datagrams(messages: Iterable[Message]) -> Iterator[bytes]:
    """Yield bundles, to be acted on at once, of as many messages as fit into `LARGEST` bytes each."""
    head = b"#bundle\x00" + (1).to_bytes(8, "big")  # the time tag 1 says "immediately" (OSC 1.0)
    bundle = head
    for address, arguments in messages:
        encoded = _message(address, arguments)
        element = len(encoded).to_bytes(4, "big") + encoded
        if len(bundle) + len(element) > LARGEST and bundle != head:
            yield bundle
            bundle = head
        bundle += element
    if bundle != head:
        yield bundle


def _message(address: str, arguments: tuple[float | int | str, ...]) -> bytes:
    if all(isinstance(argument, float) for argument in arguments):
        return _head(address, len(arguments)) + struct.pack(f">{len(arguments)}f", *arguments)
    return _built(address, arguments)


@lru_cache(8192)  # addresses repeat in every event, and building one takes ten times as long as packing its numbers
def _head(address: str, floats: int) -> bytes:
    """Return what a message of so many numbers begins with: its address and their types."""
    return _built(address, (0.0,) * floats)[: -FLOAT_BYTES * floats]


def _built(address: str, arguments: tuple[float | int | str, ...]) -> bytes:
    from pythonosc.osc_message_builder import OscMessageBuilder

    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    return builder.build().dgram


def address_of(target: str) -> tuple[socket.AddressFamily, Any]:
    """Return the family and address of the receiver HOST:PORT. Raise `UserError` if there is none, or no library."""
    try:
        import pythonosc  # noqa: F401
    except ImportError:
        raise UserError("--osc needs python-osc; install it: pip install 'affectstream[osc]'") from None
    host, _, port = target.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--osc {target} is not HOST:PORT; write it like 127.0.0.1:9000")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise UserError(f"--osc {target}: the host cannot be found ({error.strerror}); check its name") from None
    return family, address
