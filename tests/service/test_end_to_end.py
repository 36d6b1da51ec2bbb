"""The service as an operator runs it: its own process, a real camera server, a real Redis, subscribers."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from helpers.redis_server import RedisServer, free_port, redis_in
from helpers.rtsp import RtspServer
from helpers.serve_process import environment_of
from jsonschema import Draft202012Validator
from websockets.sync.client import ClientConnection, connect

from service.bench.live import encode_demo
from service.events import event_schema

VALIDATOR = Draft202012Validator(event_schema())
PATIENCE = 180.0  # s


class Service:
    """`affectstream serve` in its own process."""

    def __init__(self, *options: str, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "service.cli", "serve", "--port", str(self.port), *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment_of(environment))

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self.url + "/healthz", timeout=60).status_code == 200:
                    return
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def session(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/v1/sessions/{name}", timeout=60).json()
        return found

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, log.decode()


@contextlib.contextmanager
def service(*options: str, **environment: str) -> Iterator[Service]:
    running = Service(*options, **environment)
    try:
        running.wait()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.communicate()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode_demo(tmp_path_factory.mktemp("clip") / "demo.mp4")


@pytest.fixture
def camera(clip: Path) -> Iterator[RtspServer]:
    server = RtspServer(clip, sound=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_in(tmp_path) as server:
        server.start()
        yield server


def until(socket: ClientConnection, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The next event that is wanted; every event on the way is valid and none goes back in time."""
    deadline = time.monotonic() + PATIENCE
    last = 0.0
    while True:
        event: dict[str, Any] = json.loads(socket.recv(timeout=max(0.1, deadline - time.monotonic())))
        VALIDATOR.validate(event)
        assert event["t"] >= last
        last = event["t"]
        if wanted(event):
            return event


def read(event: dict[str, Any]) -> bool:
    return event["state"] == "live" and any(face["valence"] is not None for face in event["faces"])


def smiles(event: dict[str, Any]) -> bool:
    return read(event) and any((face["expression"] or {}).get("label") == "happiness" for face in event["faces"])


def test_camera_and_redis_are_killed_and_come_back_and_no_session_is_lost(
    camera: RtspServer, store: RedisServer
) -> None:
    client = redis.Redis(port=store.port)
    with (
        service("--source", f"door={camera.url}", "--redis", store.url) as running,
        connect(f"ws://127.0.0.1:{running.port}/v1/stream?session=door") as socket,
    ):
        first = until(socket, smiles)
        assert _sequence(client, first["seq"])[0] == 1

        store.stop()
        assert "redis://" in " ".join(_not_ready(running))
        camera.stop()
        lost = until(socket, lambda event: event["state"] in ("stalled", "reconnecting"))
        assert lost["reasons"] == ["stale"]
        camera.start()
        back = until(socket, read)
        assert back["t"] > first["t"]
        store.start()
        _ready(running)

        newest = until(socket, lambda event: event["seq"] > back["seq"] + 30)
        kept = _sequence(client, newest["seq"])
        assert kept[0] == 1
        assert sorted(set(kept)) == kept, "events came out of order or twice"
        assert set(range(1, newest["seq"] + 1)) <= set(kept), "events were lost while Redis was away"
        figures = running.session("door")["figures"]
        assert figures["reconnects"] >= 1
        code, log = running.stop()
    assert code == 0
    assert "Traceback" not in log


def test_a_subscriber_gets_the_demo_and_the_stop_is_clean() -> None:
    with service("--source", "demo:") as running:
        with connect(f"ws://127.0.0.1:{running.port}/v1/stream?landmarks=1") as socket:
            event = until(socket, read)
            assert len(event["faces"][0]["landmarks"]) == 68
            running.process.send_signal(signal.SIGINT)
            until(socket, lambda event: event["state"] == "ended")
        _, log = running.process.communicate(timeout=PATIENCE)
    assert running.process.returncode == 0
    assert "Traceback" not in log.decode()


def test_credentials_show_nowhere(store: RedisServer) -> None:
    address = f"redis://user:hunter2@127.0.0.1:{store.port}/0"
    source = f"rtsp://admin:hunter2@127.0.0.1:{free_port()}/door"
    with service("--source", f"door={source}", "--redis", address) as running:
        with connect(f"ws://127.0.0.1:{running.port}/v1/stream") as socket:
            event = until(socket, lambda event: "trying again" in event.get("detail", ""))
        answers = [
            httpx.get(running.url + path, timeout=60).text
            for path in ("/v1/sessions", "/readyz", "/metrics", "/v1/models")
        ]
        code, log = running.stop()
    assert code == 0
    for text in (json.dumps(event), *answers, log):
        assert "hunter2" not in text


def test_a_token_guards_everything_but_liveness() -> None:
    with service(AFFECTSTREAM_TOKEN="open-sesame") as running:
        assert httpx.get(running.url + "/v1/sessions", timeout=60).status_code == 401
        bearer = {"Authorization": "Bearer open-sesame"}
        assert httpx.get(running.url + "/v1/sessions", headers=bearer, timeout=60).json() == {"sessions": []}
        opened = httpx.post(
            running.url + "/v1/sessions", headers=bearer, json={"source": "demo:", "name": "d"}, timeout=60
        )
        assert opened.status_code == 201
        assert (
            httpx.post(
                running.url + "/v1/sessions", headers=bearer, json={"source": "file:/etc/passwd"}, timeout=60
            ).status_code
            == 403
        )
        code, log = running.stop()
    assert code == 0
    assert not re.search("open-sesame", log)


def _sequence(client: "redis.Redis[bytes]", until_seq: int) -> list[int]:
    """Sequence numbers in the stream, once the newest wanted one has arrived."""
    deadline = time.monotonic() + PATIENCE
    while True:
        entries = client.xrange("affect:door", count=20_000)
        numbers = [json.loads(fields[b"event"])["seq"] for _, fields in entries]
        if numbers and numbers[-1] >= until_seq:
            return numbers
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _not_ready(running: Service) -> list[str]:
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = httpx.get(running.url + "/readyz", timeout=60)
        if answer.status_code == 503:
            reasons: list[str] = answer.json()["reasons"]
            return reasons
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _ready(running: Service) -> None:
    deadline = time.monotonic() + PATIENCE
    while httpx.get(running.url + "/readyz", timeout=60).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
