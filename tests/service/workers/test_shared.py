"""Several services on one cluster: each shows and serves the sessions of all, and takes over those of one that died."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from helpers.redis_server import redis_in
from helpers.serve_process import Process, process
from helpers.streams import first, listen, until
from helpers.webrtc_peer import visit

from service.bench.ray_nodes import RayCluster, ray_cluster

pytest.importorskip("ray", reason="needs pip install 'affectstream[cluster]'")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_in(tmp_path_factory.mktemp("redis")) as server:
        server.start()
        yield server.url


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster("head", "one", "two") as cluster:
        yield cluster


def serving(cluster: RayCluster, redis_url: str) -> Process:
    return Process("--cluster", cluster.address, "--redis", redis_url)


@pytest.fixture
def two(cluster: RayCluster, redis_url: str) -> Iterator[tuple[Process, Process]]:
    both = serving(cluster, redis_url), serving(cluster, redis_url)
    try:
        for one in both:
            with one.client() as client:
                one.wait(client)
        yield both
    finally:
        for one in both:
            one.kill()


def ids(client: httpx.Client) -> list[str]:
    return [one["id"] for one in client.get("/v1/sessions").json()["sessions"]]


def test_each_service_serves_the_sessions_of_both_and_outlives_the_other(two: tuple[Process, Process]) -> None:
    here, there = two
    with here.client() as ours, there.client() as theirs:
        assert ours.post("/v1/sessions", json={"source": "demo:", "name": "hall"}).status_code == 201
        with listen(here, "hall") as stream:
            first(stream, state="live")
        until(lambda: "hall" in ids(theirs))
        assert theirs.post("/v1/sessions", json={"source": "demo:", "name": "hall"}).status_code == 409
        with listen(there, "hall") as stream:  # from its Redis stream
            event = first(stream, state="live")
            assert event["session"] == "hall"
            assert first(stream)["seq"] > event["seq"]
            with theirs.stream("GET", "/v1/sessions/hall/preview") as answer:
                assert answer.status_code == 200
                assert b"affectstream-frame" in next(answer.iter_bytes())
            assert theirs.get("/v1/sessions/hall/history").json()["session"] == "hall"
            assert theirs.post("/v1/sessions/hall/baseline").status_code == 204
            here.kill()
            again = first(stream, state="live", incarnation=2)  # of the same subscription, opened by the other service
            assert again["session"] == "hall"
        assert theirs.delete("/v1/sessions/hall").status_code == 204
        assert ids(theirs) == []


def test_sessions_outlive_the_node_of_a_service_that_finds_no_other(
    cluster: RayCluster, two: tuple[Process, Process]
) -> None:
    here, there = two  # each has a worker on one of the two nodes that have a CPU
    with here.client() as ours, there.client() as theirs:
        assert ours.post("/v1/sessions", json={"source": "demo:", "name": "hall"}).status_code == 201
        with listen(here, "hall") as stream:
            first(stream, state="live")
            node = ours.get("/v1/sessions/hall").json()["node"]
            cluster.kill(node)
            first(stream, state="live", incarnation=2)  # of the same subscription, from the other service
        until(lambda: ours.get("/v1/sessions/hall").json(), state="live")
        assert ours.get("/v1/sessions/hall").json()["node"] != node
        until(lambda: ours.get("/readyz").status_code == 503)
        opened = ours.post("/v1/sessions", json={"source": "demo:", "name": "desk", "smoothing": "strong"})
        assert opened.status_code == 201, opened.text
        assert opened.json()["smoothing"] == "strong"
        assert {*ids(ours)} == {"hall", "desk"}
        until(lambda: {*ids(theirs)} == {"hall", "desk"})
        asyncio.run(visit(ours, "phone"))
        cluster.add(node)  # it comes back, and with it the worker
        until(lambda: ours.get("/readyz").status_code == 200)
        for name in ("hall", "desk"):
            assert ours.delete(f"/v1/sessions/{name}").status_code == 204


def test_a_second_service_without_redis_is_refused(cluster: RayCluster, redis_url: str, tmp_path: Path) -> None:
    with process("--cluster", cluster.address, "--redis", redis_url) as running:
        with running.client() as client:
            running.wait(client)
        alone = Process("--cluster", cluster.address)
        try:
            code, log = alone.stop(0)
        finally:
            alone.kill()
        assert code == 2
        assert "several need --redis" in log
        assert "Traceback" not in log
        code, log = running.stop(signal.SIGTERM)
        assert code == 0, log


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_service_without_redis_can_be_started_anew_at_once(cluster: RayCluster, end: int) -> None:
    for number in (end, signal.SIGTERM):
        with process("--cluster", cluster.address) as running, running.client() as client:
            running.wait(client)
            code, log = running.stop(number)
            assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL), log
