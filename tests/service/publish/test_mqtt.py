"""Events to a real MQTT broker that comes late, goes away, comes back, or refuses the password."""

import asyncio
import json
from pathlib import Path

import aiomqtt
import pytest
from helpers.affect_events import a_face, a_marker, a_note, an_alert, an_event
from helpers.mosquitto import Mosquitto, mosquitto_in
from helpers.waiting import until
from prometheus_client import REGISTRY

from models.errors import UserError
from service.publish import mqtt
from service.publish.hub import Hub
from service.publish.mqtt import Broker, MqttSink, announcements, largest_face
from service.publish.sinks import Keeper
from service.register import Unavailable


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(mqtt, "LONGEST_DELAY", 0.1)
    monkeypatch.setattr(mqtt, "TIMEOUT", 60.0)
    monkeypatch.setattr(mqtt, "DRAIN_TIMEOUT", 60.0)


class Reader:
    """A client of the broker that keeps all messages, by topic."""

    def __init__(self, broker: Mosquitto) -> None:
        self.got: dict[str, list[str]] = {}
        self._port = broker.port
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def ready(self) -> None:
        await self._ready.wait()

    def has(self, topic: str, count: int = 1) -> bool:
        return len(self.got.get(topic, [])) >= count

    def end(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        async with aiomqtt.Client("127.0.0.1", self._port) as client:
            await client.subscribe("#")
            self._ready.set()
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                self.got.setdefault(str(message.topic), []).append(message.payload.decode())


def test_a_client_gets_events_faces_markers_alerts_and_what_home_assistant_reads(tmp_path: Path) -> None:
    event, marker, alert = an_event(2, a_face(3)), a_marker(3), an_alert(4)

    async def run(broker: Mosquitto) -> dict[str, list[str]]:
        reader = Reader(broker)
        await reader.ready()
        hub = Hub(asyncio.get_running_loop())
        sink = MqttSink(f"{broker.url}/lab", hub)
        for one in (a_note(1, detail="the camera is open"), event, marker, alert):
            hub.publish(one)
        await until(lambda: reader.has("lab/desk/event", 4))
        assert sink.problem is None
        await sink.close()
        await until(lambda: reader.has("lab/status", 2))
        reader.end()
        return reader.got

    with mosquitto_in(tmp_path) as broker:
        broker.start()
        got = asyncio.run(run(broker))
    assert [json.loads(text)["seq"] for text in got["lab/desk/event"]] == [1, 2, 3, 4]
    assert json.loads(got["lab/desk/event"][1]) == event.data
    assert got["lab/desk/state"] == ["live"]
    assert [json.loads(text) for text in got["lab/desk/marker"]] == [marker.data["marker"]]
    assert [json.loads(text) for text in got["lab/desk/alert"]] == [alert.data["alert"]]
    assert got["lab/status"] == ["online", "offline"]
    config = json.loads(got[_topic("sensor", "valence")][0])
    assert config["state_topic"] == "lab/desk/face"
    assert config["availability_topic"] == "lab/status"
    assert json.loads(got["lab/desk/face"][0])["present"] is False


def test_what_the_broker_keeps_of_a_session_is_erased(tmp_path: Path) -> None:
    async def run(broker: Mosquitto) -> tuple[list[int], dict[str, list[str]]]:
        hub = Hub(asyncio.get_running_loop())
        sink = MqttSink(broker.url, hub)
        with pytest.raises(Unavailable, match="nothing was erased"):
            await sink.erase("desk")  # not connected yet
        watching = Reader(broker)
        await watching.ready()
        hub.publish(a_note(1, detail="open"))
        hub.publish(an_event(2, a_face()))
        await until(lambda: watching.has("affectstream/desk/event", 2))
        erased = [await sink.erase("desk"), await sink.erase("nobody")]
        watching.end()
        late = Reader(broker)
        await late.ready()
        hub.publish(a_marker(3))
        await until(lambda: late.has("affectstream/desk/event"))
        late.end()
        assert isinstance(sink, Keeper)
        await sink.close()
        return erased, late.got

    with mosquitto_in(tmp_path) as broker:
        broker.start()
        erased, got = asyncio.run(run(broker))
    assert erased == [2, 0]
    assert not {"affectstream/desk/face", "affectstream/desk/state"} & set(got)


def _topic(kind: str, name: str) -> str:
    return f"homeassistant/{kind}/affectstream_desk/{name}/config"


def test_the_largest_face_that_was_read_is_shown_and_unknown_is_null() -> None:
    faces = [a_face(1), a_face(2, box=[0, 0, 200, 200], valence=-0.5), a_face(3, status="held", box=[0, 0, 900, 900])]
    assert largest_face(an_event(1, *faces).data) == {
        "present": True, "faces": 2, "valence": -0.5, "arousal": None, "expression": "happiness",
    }  # fmt: skip
    assert largest_face(an_event(1).data) == {
        "present": False, "faces": 0, "valence": None, "arousal": None, "expression": None,
    }  # fmt: skip


def test_announcements_name_one_device_with_entities_of_unique_names() -> None:
    configs = dict(announcements("desk", "lab"))
    assert len({config["unique_id"] for config in configs.values()}) == len(configs) == 5
    assert {json.dumps(config["device"]) for config in configs.values()} == {json.dumps(
        {"identifiers": ["affectstream_desk"], "name": "Affectstream desk", "manufacturer": "Affectstream"}
    )}  # fmt: skip
    assert _topic("binary_sensor", "present") in configs


def test_a_broker_that_comes_late_goes_away_and_comes_back_gets_what_waited(tmp_path: Path) -> None:
    async def run(broker: Mosquitto) -> list[int]:
        hub = Hub(asyncio.get_running_loop())
        sink = MqttSink(broker.url, hub)
        await until(lambda: sink.problem is not None and "does not answer" in sink.problem)
        await asyncio.to_thread(broker.start)
        await until(lambda: sink.problem is None)
        await asyncio.to_thread(broker.stop)
        await until(lambda: sink.problem is not None)
        for seq in range(20):
            hub.publish(an_event(seq))
        await asyncio.to_thread(broker.start)
        reader = Reader(broker)
        await reader.ready()
        hub.publish(a_marker(20))
        await until(lambda: reader.has("affectstream/desk/marker"))
        await sink.close()
        reader.end()
        assert sink.problem is None
        return [json.loads(text)["seq"] for text in reader.got.get("affectstream/desk/event", [])]

    before = REGISTRY.get_sample_value("affect_reconnects_total", {"kind": "mqtt"}) or 0.0
    with mosquitto_in(tmp_path) as broker:
        seen = asyncio.run(run(broker))
    assert seen == sorted(seen)  # the reader may have come after the first of them
    assert (REGISTRY.get_sample_value("affect_reconnects_total", {"kind": "mqtt"}) or 0.0) - before == 1


def test_what_waits_for_a_broker_is_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "BUFFER", 10)
    monkeypatch.setattr(mqtt, "DRAIN_TIMEOUT", 0.1)

    async def run() -> str | None:
        hub = Hub(asyncio.get_running_loop())
        sink = MqttSink("mqtt://127.0.0.1:9", hub)
        for seq in range(100):
            hub.publish(an_event(seq))
        problem = sink.problem
        await sink.close()
        return problem

    before = REGISTRY.get_sample_value("affect_events_dropped_total", {"sink": "mqtt"}) or 0.0
    problem = asyncio.run(run())
    assert problem is not None
    assert problem.endswith("10 events wait, 90 were lost")
    assert (REGISTRY.get_sample_value("affect_events_dropped_total", {"sink": "mqtt"}) or 0.0) - before == 100


@pytest.mark.parametrize(("password", "taken"), [("hunter2", True), ("wrong-1", False)])
def test_a_password_is_used_and_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, password: str, taken: bool
) -> None:
    async def run(broker: Mosquitto) -> str | None:
        sink = MqttSink(broker.url.replace("//", f"//ann:{password}@"), Hub(asyncio.get_running_loop()))
        await until(lambda: sink.problem is None or "refuses" in sink.problem)
        problem = sink.problem
        await sink.close()
        return problem

    with mosquitto_in(tmp_path, "ann", "hunter2") as broker, caplog.at_level("DEBUG"):
        broker.start()
        problem = asyncio.run(run(broker))
    assert (problem is None) is taken
    assert taken or (problem is not None and "refuses the user name or password" in problem)
    assert password not in caplog.text
    assert password not in str(problem)
    assert password not in repr(Broker.of(f"mqtt://ann:{password}@host"))


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", "mqtt://", "mqtt://host:port", "mqtt://host/a/#"])
def test_what_is_no_broker_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(UserError, match="cannot be used; write mqtt://"):
        Broker.of(url)


def test_ports_and_topics_have_their_usual_values() -> None:
    assert (Broker.of("mqtt://h").port, Broker.of("mqtts://h").port, Broker.of("mqtt://h").prefix) == (
        1883, 8883, "affectstream",
    )  # fmt: skip
    assert Broker.of("mqtt://h:1/lab/one").prefix == "lab/one"
