"""A Ray cluster of several nodes on this machine, for measurements and tests: nodes are added, killed, cut off."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import psutil

STOP_WITHIN = 20.0  # s


class RayCluster:
    """Run a cluster in a process of its own; `nodes` has the process of each node's raylet by the node's name."""

    def __init__(self, *names: str, cpus: int = 1, environment: dict[str, str] | None = None) -> None:
        """Start nodes of these names with `environment`: the head without a CPU, then others with `cpus`."""
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **(environment or {})},
        )
        self.nodes: dict[str, psutil.Process] = {}
        self._added = 0
        first, *others = names
        self.address = self._ask(add=first, cpus=0)["address"]
        for name in others:
            self.add(name, cpus)

    def add(self, name: str | None = None, cpus: int = 1) -> str:
        """Add a node and return its name."""
        self._added += 1
        name = name or f"more-{self._added}"
        self._ask(add=name, cpus=cpus)
        return name

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the raylet of a node and all that it started, the worker program among them."""
        raylet = self.nodes[name]
        return [raylet, *raylet.children(recursive=True)]

    def kill(self, name: str) -> None:
        """End a node as a power cut does, except that its kernel closes its connections."""
        found = self.processes(name)
        del self.nodes[name]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def end(self, name: str) -> None:
        """Send SIGTERM to Ray on a node, as a machine does that is shut down."""
        self.nodes.pop(name).send_signal(signal.SIGTERM)

    def freeze(self, name: str) -> list[psutil.Process]:
        """Stop all processes of a node, as if it were cut off, and return them for `thaw`."""
        found = self.processes(name)
        del self.nodes[name]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return found

    def thaw(self, found: list[psutil.Process]) -> None:
        """Let the processes of a node that was cut off go on."""
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def drain(self, name: str) -> None:
        """Ask the cluster to drain a node, as `ray drain-node` does."""
        del self.nodes[name]
        assert self._ask(drain=name)["accepted"]

    def close(self) -> None:
        """End all nodes."""
        self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.stdout.close()  # type: ignore[union-attr]

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                if "raylet" in answer:
                    self.nodes[question["add"]] = psutil.Process(answer["raylet"])
                return answer
        raise AssertionError("the cluster has ended")


@contextmanager
def ray_cluster(*names: str, cpus: int = 1, **environment: str) -> Iterator[RayCluster]:
    """Run a cluster inside the block; see `RayCluster`."""
    cluster = RayCluster(*names, cpus=cpus, environment=environment)
    try:
        yield cluster
    finally:
        cluster.close()


def _serve() -> None:
    """Do what the lines of standard input ask for, until it ends."""
    from ray.cluster_utils import Cluster

    client, messages = import_module("ray._raylet"), import_module("ray.core.generated.autoscaler_pb2")
    cluster: Any = Cluster()
    ids: dict[str, str] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "add" in asked:
            head = {"include_dashboard": False} if not ids else {}
            node = cluster.add_node(
                num_cpus=asked["cpus"], node_name=asked["add"], object_store_memory=80 << 20, **head
            )
            ids[asked["add"]] = node.node_id
            raylet = node.all_processes["raylet"][0].process.pid
            answer: dict[str, Any] = {"address": cluster.address, "raylet": raylet}
        else:
            reason = messages.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            deadline = int((time.time() + 60) * 1e3)
            accepted, _ = client.GcsClient(address=cluster.address).drain_node(
                ids[asked["drain"]], reason, "test", deadline
            )
            answer = {"accepted": accepted}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    signal.alarm(int(STOP_WITHIN))
    cluster.shutdown()


if __name__ == "__main__":
    _serve()
