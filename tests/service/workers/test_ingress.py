"""Front ends in Ray Serve, through its proxies on a real cluster: HTTP, WebSocket and WHIP, and one that dies."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from helpers.redis_server import free_port, redis_in
from helpers.serve_process import PATIENCE, environment_of
from helpers.streams import first, listen, until
from helpers.webrtc_peer import visit
from redis import Redis

from service.bench.ray_nodes import RayCluster, ray_cluster

pytest.importorskip("ray", reason="needs pip install 'affectstream[cluster]'")


class Front:
    """Two front ends behind Serve's proxies, as a client finds them."""

    def __init__(self, cluster: RayCluster, redis_url: str, folder: Path) -> None:
        self.cluster, self.port, self.folder = cluster, free_port(), folder
        self.redis_url = redis_url

    def deploy(self, *options: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "service.cli", "cluster", "deploy", "--cluster", self.cluster.address]
        command += ["--port", str(port or self.port), "--redis", self.redis_url, *options]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, env=environment_of({}), check=False
        )

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE)

    def replicas(self) -> list[psutil.Process]:
        """The processes of the front ends."""
        found = []
        for one in [one for node in self.cluster.nodes for one in self.cluster.processes(node)]:
            with contextlib.suppress(psutil.Error):  # it has just ended
                if "ServeReplica:affectstream:FrontEnd" in " ".join(one.cmdline()):
                    found.append(one)
        return found

    def owner_of(self, name: str) -> psutil.Process:
        """The process of the front end that has a session: the one that listens where its service says it does."""
        with Redis.from_url(self.redis_url, decode_responses=True) as redis:
            record = json.loads(redis.hget("affectstream:sessions", name))
            address = json.loads(redis.get(f"affectstream:service:{record['service']}"))["address"]
        port = int(address.rpartition(":")[2])
        (found,) = [one for one in self.replicas() if port in {link.laddr.port for link in one.net_connections("tcp")}]
        return found


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    environment = environment_of({})
    with redis_in(folder) as redis, ray_cluster("head", "one", "two", **environment) as cluster:
        redis.start()
        made = Front(cluster, redis.url, folder)
        done = made.deploy("--replicas", "2", "--source", "hall=demo:", "--rate", "10")
        assert done.returncode == 0, done.stderr
        assert f"Affectstream is at http://localhost:{made.port}" in done.stdout
        yield made


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    with front.client() as client:
        yield client


def test_the_configuration_is_in_a_file_without_secrets(front: Front) -> None:
    config = yaml.safe_load((front.folder / "affectstream-serve.yaml").read_text("utf-8"))
    (application,) = config["applications"]
    assert application["args"]["source"] == ["hall=demo:"]
    assert len(front.replicas()) == 2


def test_every_front_end_serves_every_session(front: Front, client: httpx.Client) -> None:
    until(lambda: client.get("/v1/sessions/hall").json(), state="live")
    assert client.post("/v1/sessions", json={"source": "demo:", "name": "desk"}).status_code == 201
    answers = [client.get("/v1/sessions/desk", headers={"connection": "close"}) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200}
    for _ in range(3):  # each connection goes to a front end of Serve's choice
        with listen(front, "desk") as stream:  # type: ignore[arg-type]
            event = first(stream, state="live")
            assert first(stream, state="live")["seq"] > event["seq"]
        with client.stream("GET", "/v1/sessions/desk/preview") as answer:
            assert b"affectstream-frame" in next(answer.iter_bytes())
    metrics = client.get("/metrics").text
    assert sum(float(value) for value in re.findall(r"^affect_sessions(?:\{.*\})? (\S+)$", metrics, re.M)) == 2
    assert client.delete("/v1/sessions/desk").status_code == 204
    refused = client.get("/v1/sessions/hall", headers={"host": "elsewhere.example"})
    assert refused.status_code == 403


def test_a_whip_peer_is_answered_through_the_proxy_and_sends_past_it(front: Front, client: httpx.Client) -> None:
    asyncio.run(visit(client, "phone"))


def test_a_front_end_that_is_killed_takes_no_session_along(front: Front, client: httpx.Client) -> None:
    def session() -> dict[str, Any]:
        try:
            found: dict[str, Any] = client.get("/v1/sessions/hall").json()
        except (httpx.TransportError, ValueError):
            found = {}
        return found

    before = until(session, state="live")["incarnation"]
    front.owner_of("hall").kill()
    until(lambda: session().get("incarnation", 0) > before)
    until(session, state="live")
    # Serve has started another one. Each look reads the command of every process of the cluster.
    until(lambda: len(front.replicas()) == 2, every=1.0)


def test_what_serve_cannot_take_is_refused_with_a_sentence(front: Front) -> None:
    elsewhere = front.deploy("--replicas", "2", port=front.port + 1)
    assert elsewhere.returncode == 2
    assert f"listens at 127.0.0.1:{front.port} already" in elsewhere.stderr
    gpu = front.deploy("--engine", "torch")
    assert gpu.returncode == 2
    assert "a front end of the cluster does not start: --engine torch needs a GPU" in gpu.stderr
    assert "Traceback" not in gpu.stderr
