"""Workers as processes and as actors of a Ray cluster on this machine, in one run; nodes that are lost and drained.

The nodes are processes of this machine. So the figures show what the cluster's way costs, and how long sessions are
away when a node is lost or drained, but nothing of a network.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx
import numpy as np
import psutil
from websockets.sync.client import connect

from engines.errors import UserError
from service.bench.live import START_TIMEOUT, listening
from service.bench.ray_nodes import RayCluster, ray_cluster
from service.workers.fleet import BREAKS_WITHIN
from service.workers.sessions import MOST_BREAKS

STREAMS = (1, 2, 4, 8)
WARM_UP = 4.0  # s that are not measured
MEASURED = 15.0  # s of a run
ORDER = ("processes", "actors", "actors", "processes")  # so that what drifts disturbs both alike
WORKERS = 2
CPU, P95 = "CPU of an event, ms", "p95, ms"


@dataclass(frozen=True)
class Run:
    """Hold what came of one run: its seconds, the CPU seconds in them, and the latency of each event in ms."""

    spent: float
    busy: float
    latencies: list[float]


def streams(counts: Sequence[int] = STREAMS, seconds: float = MEASURED) -> dict[str, Any]:
    """Return cost and latency of so many streams with both kinds of workers, each from two runs of `seconds`."""
    with ray_cluster("head", "one", "two") as nodes:
        options = {"processes": list[str](), "actors": ["--cluster", nodes.address]}
        rows, compared = [], []
        for count in counts:
            runs = [(where, _run(count, options[where], seconds)) for where in ORDER]
            processes, actors = (row(count, where, [run for at, run in runs if at == where]) for where in options)
            rows += [processes, actors]
            compared.append(
                {
                    "streams": count,
                    "CPU of actors to that of processes": round(actors[CPU] / processes[CPU], 3),
                    "p95 of actors less that of processes, ms": round(actors[P95] - processes[P95], 1),
                }
            )
    return {"workers": rows, "compared": compared}


def gaps(turns: int) -> dict[str, Any]:
    """Return how long a session gives no event when its node is lost, drained or shut down, `turns` times each."""
    with ray_cluster("head", "one", "two") as nodes:
        return _gaps(nodes, turns)


def row(count: int, where: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Return the row of `count` streams with workers of the kind `where`, from all events of `runs`."""
    latencies = [ms for run in runs for ms in run.latencies]
    p50, p95 = np.percentile(latencies, [50, 95])
    return {
        "streams": count,
        "workers": where,
        "events/s a stream": round(len(latencies) / sum(run.spent for run in runs) / count, 2),
        CPU: round(1e3 * sum(run.busy for run in runs) / len(latencies), 2),
        "frame to subscriber p50, ms": round(float(p50), 1),
        P95: round(float(p95), 1),
    }


def _run(count: int, options: list[str], seconds: float) -> Run:
    """Run `count` demo streams and return what came of them."""
    sources = [word for n in range(count) for word in ("--source", f"b{n}=demo:")]
    with _service([*options, "--workers", str(WORKERS), *sources]) as (process, url), listening(url) as received:
        deadline = time.monotonic() + START_TIMEOUT
        while len(set(received.sessions)) < count:
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError("the service did not start; run `affectstream serve --source demo:` to see why")
            time.sleep(0.05)
        time.sleep(WARM_UP)
        begin, busy = time.monotonic(), _cpu_seconds(process)
        time.sleep(seconds)
        spent = time.monotonic() - begin
        busy = _cpu_seconds(process) - busy
        came = zip(received.at, received.arrival_ms, strict=False)
    return Run(spent, busy, [ms for at, ms in came if begin <= at < begin + spent])


def _gaps(nodes: RayCluster, turns: int) -> dict[str, list[dict[str, Any]]]:
    """Return the rows on the time without events when a node is lost, drained and shut down, in turn."""
    lost: list[float] = []
    drained: list[float] = []
    ended: list[float] = []
    with _service(["--cluster", nodes.address]) as (_, url):
        httpx.post(f"http://{url}/v1/sessions", json={"source": "demo:", "name": "gap"}, timeout=START_TIMEOUT)
        with connect(f"ws://{url}/v1/stream?session=gap", max_size=None) as stream:
            _until_live(stream, 1)
            ways = ((nodes.kill, lost), (nodes.drain, drained), (nodes.end, ended))
            for turn in range(len(ways) * turns):
                while len(nodes.nodes) < 3:
                    nodes.add()
                node = httpx.get(f"http://{url}/v1/sessions/gap", timeout=START_TIMEOUT).json()["node"]
                end_node, seconds = ways[turn % len(ways)]
                begin = time.monotonic()
                end_node(node)
                seconds.append(_until_live(stream, turn + 2, begin if seconds is lost else None))
                if seconds is lost:
                    # A session that breaks more often is given up: its source is taken for the cause.
                    _read_until(stream, begin + BREAKS_WITHIN / (MOST_BREAKS - 1))
    return {
        "losses": [_spread("kill -9 of a node to the first event", lost)],
        "drains": [
            _spread("a node is drained: longest time between two events", drained),
            _spread("SIGTERM to Ray on a node: longest time between two events", ended),
        ],
    }


def _spread(what: str, seconds: list[float]) -> dict[str, Any]:
    """Return the row of so many measurements."""
    return {
        "what": what,
        "times": len(seconds),
        "median, s": round(median(seconds), 2),
        "longest, s": round(max(seconds), 2),
    }


def _until_live(stream: Any, incarnation: int, began: float | None = None) -> float:
    """Return the seconds from `began` to the first live event of `incarnation`; else the longest gap until then."""
    last, longest = time.monotonic(), 0.0
    while True:
        event = json.loads(stream.recv(timeout=START_TIMEOUT))
        now = time.monotonic()
        if event["timing_ms"] is None:  # a change of state is no reading
            continue
        longest = max(longest, now - last)
        last = now
        if event["incarnation"] == incarnation:
            return longest if began is None else now - began


def _read_until(stream: Any, end: float) -> None:
    """Read events until `end`, monotonic."""
    while time.monotonic() < end:
        stream.recv(timeout=START_TIMEOUT)


@contextlib.contextmanager
def _service(options: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run `serve` with `options` inside the block; yield its process and its HOST:PORT once it takes requests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-P", "-m", "service.cli", "serve", "--port", str(port), *options]
    process = subprocess.Popen(command, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError("the service did not start; run `affectstream serve --cluster auto` to see why")
            time.sleep(0.1)
        yield process, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU seconds of the service and of all worker programs, whoever is their parent, with their actors."""
    front = psutil.Process(process.pid)
    family = {one.pid: one for one in [front, *front.children(recursive=True)]}
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(one.cmdline())
            if one.username() == front.username() and line.startswith("ray::WorkerHost"):
                family |= {found.pid: found for found in [one, *one.children(recursive=True)]}
    times = []
    for one in family.values():
        with contextlib.suppress(psutil.Error):
            times.append(one.cpu_times())
    return float(sum(time_.user + time_.system for time_ in times))
