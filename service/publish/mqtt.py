"""Events to an MQTT broker: every event, the largest face once a second, and entities for Home Assistant.

The broker may be away, at the start or later: events wait in a bounded queue, the oldest are lost and counted, and the
sink connects again with growing pauses.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from affectstream import __version__
from models.errors import UserError
from service import metrics
from service.events import Event
from service.publish.draining import DRAIN_TIMEOUT, drain
from service.publish.hub import Hub
from service.redact import check_address, redact, redact_setting
from service.register import Unavailable

if TYPE_CHECKING:
    from aiomqtt import Client

SINK = "mqtt"
BUFFER = 1024  # events that wait at most while the broker is away
BATCH = 64  # events that are taken from the queue at once
TIMEOUT = 5.0  # s for an answer of the broker
FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0  # s between attempts, doubling, with jitter
FACE_EVERY = 1.0  # s between two messages of the largest face
DISCOVERY = "homeassistant"  # where Home Assistant looks for announcements
REASONS = ("unreachable", "password", "refused")
_NOT_AUTHORIZED = frozenset({4, 5, 134, 135})  # reason codes of CONNACK, of MQTT 3.1.1 and 5
_KEPT = ("face", "state")  # below the session's topic
_READ = ("ok", "warming_up")
_OVER = ("ended", "failed")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """Hold what `--mqtt` says: where the broker is, who connects, and what all topics begin with."""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None = field(repr=False)
    prefix: str

    @classmethod
    def of(cls, url: str) -> "Broker":
        """Return the broker of a URL. Raise `UserError` for a malformed one, and without the library."""
        try:
            import aiomqtt  # noqa: F401
        except ImportError:
            raise UserError("--mqtt needs aiomqtt; install it: pip install 'affectstream[mqtt]'") from None
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        prefix = unquote(parts.path.strip("/")) or "affectstream"
        unusable = set(prefix) & set("+\0") or set(url) & set("?#")
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or unusable:
            raise UserError(
                f"--mqtt {redact_setting(url)} cannot be used; write mqtt://USER:PASSWORD@HOST:1883, or mqtts:// for "
                "TLS, with a /PREFIX of the topics if wanted"
            )
        check_address(url)
        tls = parts.scheme == "mqtts"
        name = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        return cls(parts.hostname, port or (8883 if tls else 1883), tls, name, password, prefix)


class MqttSink:
    """Publish the events of all sessions until closed. Made and used on the hub's loop."""

    def __init__(self, url: str, hub: Hub) -> None:
        """Begin to publish; a broker that is away is no error. Raise `UserError` for a malformed URL."""
        self.label = redact(url)
        self._broker = Broker.of(url)
        self._subscription = hub.subscribe(maxlen=BUFFER, sink=SINK)
        self._reason = "unreachable"
        self._sentence: str | None = f"{self.label} has not answered yet"
        self._connected_before = False
        self._batch: list[Event] = []  # taken from the queue and not published yet
        self._announced: set[str] = set()  # sessions that Home Assistant was told of over this connection
        self._client_now: Client | None = None  # while the broker is connected
        self._kept: dict[str, set[str]] = {}  # session -> topics that the broker keeps a message of
        self._face_at: dict[str, float] = {}  # s, monotonic, of each session's last message of its largest face
        for reason in REASONS:
            metrics.SINK_PROBLEM.labels(SINK, reason).set(0)
        self._task = asyncio.create_task(self._run(), name="mqtt-sink")

    @property
    def problem(self) -> str | None:
        """Return why events do not reach the broker now, in a sentence without credentials; None if they do."""
        if self._sentence is None:
            return None
        waiting, lost = len(self._subscription), self._subscription.dropped
        return f"{self._sentence}; {waiting} events wait, {lost} were lost"

    @property
    def name(self) -> str:
        """Return the name under which an erasure's answer counts messages."""
        return SINK

    @property
    def retention(self) -> str:
        """Return what is kept, where and for how long, in a sentence for the people in view."""
        return "The newest reading of each session's largest face is kept by a broker (MQTT) until it is erased."

    async def erase(self, session: str) -> int:
        """Let the broker forget what it keeps of a session; return how many messages were published to be kept.

        Raise `Unavailable` where the broker does not answer; nothing is erased then.
        """
        from aiomqtt import MqttError

        client = self._client_now
        if client is None:
            raise Unavailable(f"nothing was erased: {self._sentence or 'the sink is closed'}; try again later")
        try:
            for what in _KEPT:  # also those of an earlier run of the service, which cannot be counted
                await client.publish(self._topic(session, what), b"", retain=True)
        except MqttError as error:
            raise Unavailable(f"nothing was erased: {self.label} does not answer ({error}); try again later") from None
        kept = self._kept.pop(session, set())
        self._face_at.pop(session, None)
        return len(kept)

    async def close(self) -> None:
        """Publish what waits if the broker takes it within `DRAIN_TIMEOUT`; the rest is lost and counted."""
        await drain(self._task, self._subscription, DRAIN_TIMEOUT)
        metrics.EVENTS_DROPPED.labels(SINK).inc(len(self._batch))
        metrics.SINK_PROBLEM.labels(SINK, self._reason).set(0)

    async def _run(self) -> None:
        from aiomqtt import MqttError

        delay = FIRST_DELAY
        while True:
            try:
                async with self._client() as client:
                    self._client_now = client
                    self._answered()
                    delay = FIRST_DELAY
                    await client.publish(self._topic("status"), "online", retain=True)
                    self._announced.clear()
                    while self._batch or (events := await self._next(client)):
                        self._batch = self._batch or events
                        await self._publish(client, self._batch[0])
                        del self._batch[0]
                    with contextlib.suppress(MqttError):
                        await client.publish(self._topic("status"), "offline", retain=True)
                    return
            except (MqttError, OSError) as error:
                self._failed(error)
            finally:
                self._client_now = None
            if self._subscription.closed:
                return
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, LONGEST_DELAY)

    async def _next(self, client: "Client") -> list[Event]:
        """Return the next events; none once the sink is closed. Raise `MqttError` if the connection ends meanwhile."""
        taking = asyncio.ensure_future(self._subscription.take(BATCH))
        # Only a task that reads notices that the broker went away while there is nothing to publish.
        lost = asyncio.ensure_future(anext(aiter(client.messages)))
        try:
            await asyncio.wait((taking, lost), return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
            lost.result()  # raises; there are no messages, because nothing was subscribed to
            return []
        finally:
            for task in (taking, lost):
                task.cancel()
            await asyncio.gather(taking, lost, return_exceptions=True)

    def _client(self) -> "Client":
        import aiomqtt

        broker = self._broker
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            timeout=TIMEOUT,
            tls_params=aiomqtt.TLSParameters() if broker.tls else None,
            will=aiomqtt.Will(self._topic("status"), "offline", retain=True),
            max_queued_outgoing_messages=BUFFER,
        )

    async def _publish(self, client: "Client", event: Event) -> None:
        session = event.session
        if event.kind != "affect":
            note = event.data[event.kind]
            await client.publish(self._topic(session, event.kind), json.dumps(note))
            await client.publish(self._topic(session, "event"), event.text)
            return
        if session not in self._announced:
            self._announced.add(session)
            for topic, config in announcements(session, self._broker.prefix):
                await client.publish(topic, json.dumps(config), retain=True)
        await client.publish(self._topic(session, "event"), event.text)
        if event.detail is not None:
            await self._keep(client, session, "state", event.state)
        now = time.monotonic()
        over = event.state in _OVER
        if over or now - self._face_at.get(session, -FACE_EVERY) >= FACE_EVERY:
            self._face_at[session] = now
            await self._keep(client, session, "face", json.dumps(largest_face(event.data)))
        if over:
            self._face_at.pop(session, None)
            self._announced.discard(session)

    async def _keep(self, client: "Client", session: str, what: str, text: str) -> None:
        """Publish a retained message, which the broker also sends to clients that subscribe later."""
        await client.publish(self._topic(session, what), text, retain=True)
        self._kept.setdefault(session, set()).add(what)

    def _topic(self, *parts: str) -> str:
        return "/".join((self._broker.prefix, *parts))

    def _answered(self) -> None:
        metrics.SINK_PROBLEM.labels(SINK, self._reason).set(0)
        log.info("the MQTT broker %s takes events", self.label)
        if self._connected_before:
            metrics.RECONNECTS.labels(SINK).inc()
        self._connected_before, self._sentence = True, None

    def _failed(self, error: Exception) -> None:
        metrics.PUBLISH_ERRORS.labels(SINK).inc()
        from aiomqtt.exceptions import MqttConnectError

        if isinstance(error, MqttConnectError) and getattr(error.rc, "value", error.rc) in _NOT_AUTHORIZED:
            reason, sentence = "password", f"{self.label} refuses the user name or password; correct those in --mqtt"
        elif isinstance(error, MqttConnectError):  # the broker answered with a refusal
            reason, sentence = "refused", f"{self.label} refuses the connection ({error})"
        else:
            reason, sentence = "unreachable", f"the MQTT broker {self.label} does not answer ({error})"
        if sentence != self._sentence:
            log.warning("%s", sentence)
        metrics.SINK_PROBLEM.labels(SINK, self._reason).set(0)
        metrics.SINK_PROBLEM.labels(SINK, reason).set(1)
        self._reason, self._sentence = reason, sentence


def largest_face(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Home Assistant shows of an event: whether a face is in view, how many, and the largest one's values.

    Values are None where they are unknown.
    """
    faces = [face for face in event["faces"] if face["status"] != "held"]
    read = [face for face in faces if face["status"] in _READ]
    face = max(read, key=lambda one: one["box"][2] * one["box"][3], default=None)
    expression = face["expression"]["label"] if face is not None and face["expression"] is not None else None
    return {
        "present": bool(faces),
        "faces": len(faces),
        "valence": face["valence"] if face is not None else None,
        "arousal": face["arousal"] if face is not None else None,
        "expression": expression,
    }


def announcements(session: str, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (topic, payload) of each of a session's entities, as Home Assistant's MQTT discovery reads them."""
    node = f"affectstream_{session}"
    common = {
        "state_topic": f"{prefix}/{session}/face",
        "availability_topic": f"{prefix}/status",
        "device": {"identifiers": [node], "name": f"Affectstream {session}", "manufacturer": "Affectstream"},
        "origin": {"name": "affectstream", "sw_version": __version__},
    }
    number = {"state_class": "measurement", "suggested_display_precision": 2}
    # Home Assistant reads the text None as "unknown", and an empty one as "leave it".
    entities: dict[str, tuple[str, dict[str, Any]]] = {
        "valence": ("sensor", {"name": "Valence", "value_template": "{{ value_json.valence }}", **number}),
        "arousal": ("sensor", {"name": "Arousal", "value_template": "{{ value_json.arousal }}", **number}),
        "expression": ("sensor", {"name": "Expression", "value_template": "{{ value_json.expression }}"}),
        "faces": (
            "sensor",
            {"name": "Faces", "value_template": "{{ value_json.faces }}", "state_class": "measurement"},
        ),
        "present": (
            "binary_sensor",
            {
                "name": "Face in view",
                "device_class": "occupancy",
                "value_template": "{{ 'ON' if value_json.present else 'OFF' }}",
            },
        ),
    }
    return [
        (f"{DISCOVERY}/{kind}/{node}/{name}/config", {**common, "unique_id": f"{node}_{name}", **config})
        for name, (kind, config) in entities.items()
    ]
