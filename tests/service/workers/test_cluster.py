"""The service on a real Ray cluster: sessions run on its nodes, and survive them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from helpers.clips import write_clip
from helpers.serve_process import Process, process
from helpers.streams import events, first, listen, until
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import ClientConnection

from service.bench.ray_nodes import RayCluster, ray_cluster

pytest.importorskip("ray", reason="needs pip install 'affectstream[cluster]'")


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayCluster]:
    with ray_cluster("head", "one", "two") as cluster:
        yield cluster


@pytest.fixture
def cluster(nodes: RayCluster) -> RayCluster:
    """Three nodes, whatever tests before have done to theirs."""
    while len(nodes.nodes) < 3:
        nodes.add()
    return nodes


@pytest.fixture(scope="module")
def running(nodes: RayCluster) -> Iterator[Process]:
    with process("--cluster", nodes.address, "--allowed-sources", "demo:,file:,camera:") as started:
        with started.client() as client:
            started.wait(client)
        yield started


@pytest.fixture
def client(running: Process) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client
        for one in client.get("/v1/sessions").json()["sessions"]:
            client.delete(f"/v1/sessions/{one['id']}")


def node_of(client: httpx.Client, name: str) -> str:
    node: str = client.get(f"/v1/sessions/{name}").json()["node"]
    return node


def programs(cluster: RayCluster, node: str) -> list[psutil.Process]:
    return [one for one in cluster.processes(node) if "service.workers.main" in one.cmdline()]


def open_on_some_node(client: httpx.Client, name: str) -> str:
    """Opens a session and returns the node that reads it."""
    assert client.post("/v1/sessions", json={"source": "demo:", "name": name}).status_code == 201
    return node_of(client, name)


@contextmanager
def read_somewhere(running: Process, client: httpx.Client, name: str) -> Iterator[tuple[str, ClientConnection]]:
    """Opens a session, and gives the node that reads it and its stream, once it is live."""
    node = open_on_some_node(client, name)
    with listen(running, name) as stream:
        first(stream, state="live")
        yield node, stream


def status_when(cluster: RayCluster, wanted: Callable[[list[dict[str, Any]]], bool]) -> dict[str, Any]:
    """What `cluster status` says once its workers are as wanted; they tell of their sessions once a second."""
    command = [sys.executable, "-P", "-m", "service.cli", "cluster", "status", "--json", "--cluster", cluster.address]
    said: dict[str, Any] = {}

    def looked() -> bool:
        said.update(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        return wanted(said["workers"])

    until(looked)
    return said


def states_until_live_again(stream: ClientConnection) -> list[tuple[int, str]]:
    """The incarnation and state of each event up to the first live one of the second incarnation."""
    states = []
    for event in events(stream):
        states.append((event["incarnation"], event["state"]))
        if states[-1] == (2, "live"):
            break
    return states


def test_sessions_run_on_the_nodes(cluster: RayCluster, running: Process, client: httpx.Client) -> None:
    on = [open_on_some_node(client, name) for name in ("a", "b")]
    assert len(set(on)) == 2
    for name, node in zip(("a", "b"), on, strict=True):
        with listen(running, name) as stream:
            assert first(stream, state="live")["incarnation"] == 1
        assert len(programs(cluster, node)) == 1
        with client.stream("GET", f"/v1/sessions/{name}/preview") as answer:
            assert b"affectstream-frame" in next(answer.iter_bytes())
    assert running.workers() == []  # none of its own


def test_figures_and_the_status_say_on_which_node_and_worker_a_session_is(
    cluster: RayCluster, running: Process, client: httpx.Client
) -> None:
    on = {name: open_on_some_node(client, name) for name in ("a", "b")}
    for name in on:
        with listen(running, name) as stream:
            first(stream, state="live")
    families = text_string_to_metric_families(client.get("/metrics").text)
    found = [sample for family in families for sample in family.samples if "node" in sample.labels]
    sessions = {s.labels["node"]: s for s in found if s.name == "affect_sessions" and s.value}
    assert {node: sample.value for node, sample in sessions.items()} == dict.fromkeys(on.values(), 1.0)
    assert len({sample.labels["worker"] for sample in sessions.values()}) == 2
    assert all("worker" in sample.labels for sample in found)

    said = status_when(cluster, lambda workers: sum(worker["sessions"] != "-" for worker in workers) == 2)
    assert {worker["sessions"]: worker["node"] for worker in said["workers"] if worker["sessions"] != "-"} == on
    assert {node["node"] for node in said["nodes"]} == {"head", *cluster.nodes}
    assert {node["node"] for node in said["nodes"] if node["sessions"]} == set(on.values())
    assert [node["CPUs free"] for node in said["nodes"] if node["node"] in on.values()] == ["0 of 1", "0 of 1"]


def test_a_node_that_is_killed_takes_no_session_along(
    cluster: RayCluster, running: Process, client: httpx.Client
) -> None:
    with read_somewhere(running, client, "kept") as (node, stream):
        cluster.kill(node)
        states = states_until_live_again(stream)
    assert (1, "reconnecting") in states
    assert "ended" not in [state for _, state in states]
    assert node_of(client, "kept") != node


def test_a_drained_node_hands_its_sessions_over(cluster: RayCluster, running: Process, client: httpx.Client) -> None:
    with read_somewhere(running, client, "moved") as (node, stream):
        cluster.drain(node)
        states = states_until_live_again(stream)
    assert states == sorted(states, key=lambda one: one[0])  # once the new one has begun, nothing comes of the old one
    assert {state for _, state in states}.isdisjoint({"ended", "failed"})
    assert node_of(client, "moved") != node
    assert open_on_some_node(client, "next") != node


def test_a_node_that_is_shut_down_hands_its_sessions_over(
    cluster: RayCluster, running: Process, client: httpx.Client
) -> None:
    with read_somewhere(running, client, "handed") as (node, stream):
        (program,) = programs(cluster, node)
        cluster.end(node)
        moving = first(stream, state="reconnecting")
        assert moving["detail"] == "Its node leaves the cluster; another one goes on"
        states = states_until_live_again(stream)
    assert {state for _, state in states}.isdisjoint({"ended", "failed"})
    assert node_of(client, "handed") != node
    until(lambda: not program.is_running() or program.status() == psutil.STATUS_ZOMBIE)


def test_a_node_that_was_cut_off_and_comes_back_late_gives_its_sessions_up(
    cluster: RayCluster, running: Process, client: httpx.Client
) -> None:
    with read_somewhere(running, client, "late") as (node, stream):
        (program,) = programs(cluster, node)
        frozen = cluster.freeze(node)
        states = states_until_live_again(stream)
        assert (1, "reconnecting") in states
        cluster.thaw(frozen)
        until(lambda: not program.is_running() or program.status() == psutil.STATUS_ZOMBIE)
        assert {event["incarnation"] for event, _ in zip(events(stream), range(30), strict=False)} == {2}


def test_files_and_cameras_are_on_the_node_that_they_name(
    cluster: RayCluster, running: Process, client: httpx.Client, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    node = sorted(cluster.nodes)[-1]

    def refused() -> str:
        answer = client.post("/v1/sessions", json={"source": f"file:{clip}", "purpose": "research"})
        assert answer.status_code == 400
        return str(answer.json()["detail"])

    until(lambda: node in refused())  # a node that has just joined is heard of a little later
    assert "?node=NAME" in refused()
    unknown = client.post("/v1/sessions", json={"source": "camera:0?node=attic", "purpose": "research"})
    assert unknown.status_code == 400
    assert "'attic'" in unknown.json()["detail"]
    source = f"file:{clip}?loop=1&node={node}"
    assert (
        client.post("/v1/sessions", json={"source": source, "name": "clip", "purpose": "research"}).status_code == 201
    )
    assert node_of(client, "clip") == node
    with listen(running, "clip") as stream:
        first(stream, state="live")
