"""`affectstream bench live`: the cost of the whole service on this machine, measured from outside."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
from prometheus_client.parser import text_string_to_metric_families
from tqdm import tqdm
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from engines.cores import usable_cores
from engines.errors import UserError
from service.bench import machine
from service.bench.clip import DEMO_FPS, write_demo
from service.bench.cores import Cores
from service.settings import DEFAULT_SESSIONS

PACKAGES = ("openvino", "av", "numpy", "opencv-python-headless")  # their versions are part of the report
CLIP_SECONDS = 20
WARM_UP = 5.0  # s that are not measured
STREAMS_SECONDS = 20.0  # s measured for each number of streams
TRIES = 3  # for each number of streams
OWN = 0.8  # fraction of a core's best speed above which others used little of it
MOST_DROPS = 0.01  # share of frames a stream may lose and still count as carried
START_TIMEOUT = 120.0  # s; the first start on a machine fetches weights


@dataclass
class _Received:
    """Hold what one subscriber received; the lists have an element for each event."""

    at: list[float] = field(default_factory=list)  # s, monotonic
    total_ms: list[float] = field(default_factory=list)  # from the decoded frame to the event, as the event says
    arrival_ms: list[float] = field(default_factory=list)  # from the decoded frame to this subscriber
    sessions: list[str] = field(default_factory=list)


def live(clip: str | None = None, *, minutes: float = 1.0, streams: int = 12) -> dict[str, Any]:
    """Return the report on one stream for so many `minutes`, then on more and more streams up to `streams`.

    The `clip` has 30 fps; without one, the demo is encoded into a temporary file. Raise `UserError` if there is no such
    file or the service does not start.
    """
    with tempfile.TemporaryDirectory(prefix="affectstream-bench-") as folder, contextlib.closing(Cores()) as cores:
        path = Path(clip).resolve() if clip else encode_demo(Path(folder) / "demo.mp4")
        if not path.is_file():
            raise UserError(f"{path}: no such file; give a 30 fps clip with --input")
        rows = [_row("serve to first event, empty cache", _first_event(path), "s", "")]
        rows += _one_stream(path, minutes, cores) + _many_streams(path, streams, cores)
        rows.append(_row("work that measures the cores' speed, at its fastest", 1e3 * cores.best, "ms of CPU", ""))
    return {"machine": machine.facts(PACKAGES), "clip": path.name if clip else "demo, 640x360, 30 fps", "rows": rows}


def encode_demo(path: Path) -> Path:
    """Write the demo as H.264 and AAC, as a camera would send it, and return `path`."""
    for _ in write_demo(path, seconds=CLIP_SECONDS):
        pass
    return path


def _first_event(clip: Path) -> float:
    """Return the seconds from the start of `serve` to its first event; the start fills the cache for the next one."""
    with _service(clip, streams=1) as (process, url), listening(url) as received:
        return _wait_for_event(received, process) - process.create_time_monotonic


def _one_stream(clip: Path, minutes: float, cores: Cores) -> list[dict[str, Any]]:
    """Return the rows on one stream."""
    with _service(clip, streams=1) as (process, url):
        with listening(url) as received:
            first = _wait_for_event(received, process) - process.create_time_monotonic
            time.sleep(WARM_UP)
            begin, cpu, stages = time.monotonic(), _cpu_seconds(process), _stage_seconds(url)
            early: _Memory | None = None  # after the first minute, or at the end of a shorter run
            for second in tqdm(range(round(minutes * 60)), desc="one stream", unit="s", disable=None):
                time.sleep(1.0)
                if second == 59:
                    early = _memory(process)
            spent = time.monotonic() - begin
            busy = _cpu_seconds(process) - cpu
            after = _stage_seconds(url)
            late = _memory(process)
            early = early or late
        totals, arrivals = (
            np.array([ms for at, ms in zip(received.at, [*figures], strict=False) if at >= begin])
            for figures in (received.total_ms, received.arrival_ms)
        )
    shares = {stage: (after[stage] - stages.get(stage, 0.0)) / spent for stage in after}
    p50, p95, p99 = np.percentile(totals, [50, 95, 99])
    return [
        _row("serve to first event, warm caches", first, "s", "< 3"),
        _row("events", len(totals) / spent, "1/s", "30"),
        _row("CPU", 100 * busy / spent, "% of a core", "< 25"),
        _slowest_core("", cores.speeds(begin, begin + spent)),
        *(_row(f"  time in {stage}", 100 * share, "% of a core", "") for stage, share in sorted(shares.items())),
        _row("frame to event, p50", p50, "ms", ""),
        _row("frame to event, p95", p95, "ms", "< 60"),
        _row("frame to event, p99", p99, "ms", ""),
        _row("frame to subscriber, p95", float(np.percentile(arrivals, 95)), "ms", "< 60"),
        _row("memory after 1 min, pages that processes share counted once", early.own, "MB", "< 400"),
        _row(f"memory after {minutes:g} min, the same", late.own, "MB", "< 400, flat"),
        _row("resident memory, the sum of the processes", late.resident, "MB", ""),
    ]


def _many_streams(clip: Path, most: int, cores: Cores) -> list[dict[str, Any]]:
    """Return the rows on more and more streams, until a number of them is not carried in any of `TRIES`.

    The best try counts, because other work on the machine, and others on its processor, can only slow it down.
    """
    rows: list[dict[str, Any]] = []
    carried = 0
    for count in [n for n in (2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32) if n <= most]:
        tries: list[_Try] = []
        while len(tries) < TRIES and not any(one.carried for one in tries):
            tries.append(_try(clip, count, cores))
        best = max(tries, key=lambda one: one.slowest)
        of = f"{count} streams (try {tries.index(best) + 1} of {len(tries)})"
        rows.append(_row(f"{of}: slowest", best.slowest, "events/s", "> 29.7"))
        rows.append(_row(f"{of}: frame to subscriber, p95", best.p95, "ms", "< 80"))
        rows.append(_row(f"{of}: CPU", best.cpu, "% of a core", ""))
        rows.append(_row(f"{of}: CPU of an event", best.event_ms, "ms", ""))
        rows.append(_slowest_core(f"{of}: ", best.speeds))
        if best.own_seconds:
            what = f"{of}: slowest, in the {best.own_seconds} s in which all cores ran at {OWN:.0%} or more"
            rows.append(_row(what, best.own_slowest, "events/s", ""))
        if not best.carried:
            break
        carried = count
    return [*rows, _row(f"streams carried on {len(usable_cores())} cores", carried, "", ">= 8")]


@dataclass(frozen=True)
class _Try:
    """Hold the figures of one run of so many streams."""

    slowest: float  # events/s
    p95: float  # ms, from the decoded frame to the subscriber
    cpu: float  # % of a core
    event_ms: float  # CPU time of an event
    speeds: list[float]  # of the cores, see `Cores.speeds`
    own_seconds: int  # seconds in which the speed of each core was `OWN` or more
    own_slowest: float  # events/s in those seconds

    @property
    def carried(self) -> bool:
        """Return whether the slowest stream lost no more than `MOST_DROPS` of its frames."""
        return self.slowest >= DEMO_FPS * (1 - MOST_DROPS)


def _try(clip: Path, count: int, cores: Cores) -> _Try:
    """Return the figures of one run of `count` streams."""
    with _service(clip, streams=count) as (process, url), listening(url) as received:
        _wait_for_event(received, process)
        time.sleep(WARM_UP)
        begin, cpu = time.monotonic(), _cpu_seconds(process)
        time.sleep(STREAMS_SECONDS)
        spent = time.monotonic() - begin
        busy = _cpu_seconds(process) - cpu
        came = zip(received.at, received.sessions, received.arrival_ms, strict=False)
        kept = [(at - begin, s, ms) for at, s, ms in came if begin <= at < begin + spent]
    by_second = [cores.speeds(begin + n, begin + n + 1) for n in range(int(spent))]
    own = [n for n, speeds in enumerate(by_second) if speeds and all(speed >= OWN for speed in speeds)]
    names = [f"b{n}" for n in range(count)]
    return _Try(
        slowest=min(sum(1 for _, s, _ in kept if s == name) for name in names) / spent,
        p95=float(np.percentile([ms for _, _, ms in kept], 95)),
        cpu=100 * busy / spent,
        event_ms=1e3 * busy / len(kept),
        speeds=cores.speeds(begin, begin + spent),
        own_seconds=len(own),
        own_slowest=min(sum(1 for at, s, _ in kept if s == name and int(at) in own) for name in names)
        / max(len(own), 1),
    )


def _row(what: str, value: float, unit: str, goal: str) -> dict[str, Any]:
    """Return a row of the report."""
    return {"what": what, "value": round(float(value), 2), "unit": unit, "goal": goal}


def _slowest_core(of: str, speeds: list[float]) -> dict[str, Any]:
    """Return the row on the slowest core's speed, labelled with the run `of` which it was measured in."""
    return _row(f"{of}speed of the slowest core", 100 * min(speeds, default=np.nan), "% of the fastest seen", "")


class _Process(subprocess.Popen[bytes]):
    """Hold the service's process and the time of its start (s, monotonic)."""

    create_time_monotonic: float


@contextlib.contextmanager
def _service(clip: Path, *, streams: int) -> Iterator[tuple[_Process, str]]:
    """Run `serve` on the clip as so many streams inside the block; yield its process and its HOST:PORT."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-P", "-m", "service.cli", "serve", "--port", str(port), "--purpose", "research"]
    for n in range(streams):
        command += ["--source", f"b{n}=file:{clip}?loop=1"]
    environment = {**os.environ, "AFFECTSTREAM_MAX_SESSIONS": str(max(streams, DEFAULT_SESSIONS))}
    begin = time.monotonic()
    process = _Process(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.create_time_monotonic = begin
    try:
        yield process, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def listening(url: str) -> Iterator[_Received]:
    """Subscribe to all events inside the block, connecting again until the service is there."""
    received, stop = _Received(), threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                with connect(f"ws://{url}/v1/stream", max_queue=None, compression=None) as socket_:
                    while not stop.is_set():
                        with contextlib.suppress(TimeoutError):
                            _note(received, socket_.recv(timeout=0.5))
            except (OSError, ConnectionClosed):
                time.sleep(0.02)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        stop.set()
        thread.join(5)


def _note(received: _Received, text: str | bytes) -> None:
    """Add the figures of an event that was made of a frame."""
    event = orjson.loads(text)
    if event["timing_ms"] is not None:
        received.sessions.append(event["session"])
        entered = datetime.fromisoformat(event["captured_at"]).timestamp()
        received.total_ms.append(event["timing_ms"]["total"])
        received.arrival_ms.append((time.time() - entered) * 1e3)
        received.at.append(time.monotonic())


def _wait_for_event(received: _Received, process: _Process) -> float:
    """Return the time (s, monotonic) of the first event. Raise `UserError` if the service ends or none comes."""
    deadline = time.monotonic() + START_TIMEOUT
    while not received.at:
        if process.poll() is not None or time.monotonic() > deadline:
            raise UserError("the service did not start; run `affectstream serve --source demo:` to see why")
        time.sleep(0.005)
    return received.at[0]


def _family(process: _Process) -> list[psutil.Process]:
    """Return the service's process and those of its workers."""
    front = psutil.Process(process.pid)
    return [front, *front.children()]


@dataclass(frozen=True)
class _Memory:
    """Hold the memory of the service and its workers in MB."""

    own: float  # proportional set size: a page that n processes share counts one nth for each
    resident: float  # the sum of the resident sizes, in which shared pages count again for each process


def _memory(process: _Process) -> _Memory:
    """Return the memory that the service and its workers use now."""
    parts = [one.memory_full_info() for one in _family(process)]
    own = sum(getattr(part, "pss", part.rss) for part in parts)  # other systems than Linux do not tell it
    return _Memory(own / 1e6, sum(part.rss for part in parts) / 1e6)


def _cpu_seconds(process: _Process) -> float:
    """Return the CPU seconds that the service and its workers have used."""
    times = [one.cpu_times() for one in _family(process)]
    return float(sum(time.user + time.system for time in times))


def _stage_seconds(url: str) -> dict[str, float]:
    """Return the seconds that each stage of the service has taken, from its metrics."""
    text = urllib.request.urlopen(f"http://{url}/metrics", timeout=5).read().decode()
    return {
        sample.labels["stage"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "affect_stage_seconds_sum"
    }
