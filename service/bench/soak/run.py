"""The run of a soak: faults one after the other, what was seen of each, and the report against its goals."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from redis.exceptions import RedisError
from tqdm import tqdm

from service.bench import machine
from service.bench.soak import faults
from service.bench.soak.faults import CAMERA, CLIP, MOST_BEHIND, PEER, Surroundings, WentWrong, workers_all_killed
from service.bench.soak.parts import Camera, PeerProcess, RedisProcess, Service, SilentHost, encode_clip
from service.bench.soak.watch import Asker, Counts, Listener, RedisReader, Resources

PACKAGES = ("openvino", "av", "aiortc", "redis", "uvicorn", "websockets")  # their versions are part of the report
SESSIONS = frozenset({CAMERA, CLIP, PEER})
RECOVER_WITHIN = 60.0  # s; what is not well again by then counts as lost
LOG_LINES = 10  # lines that the service may log for one fault
WORKERS_BACK = 5.0  # s within which the service must recover from the end of workers
SLOPE = 5.0  # MB/h by which memory may grow
DESCRIPTORS = 10  # file descriptors, or threads, that a process may have more at the end than after warm-up
LONGEST_WARM_UP = 600.0  # s
_LOOK = 0.05  # s


@dataclass
class Outcome:
    """Hold what was seen of all times that one fault was done."""

    recovered: list[float] = field(default_factory=list)  # s until all was well again, after it was undone
    last: list[str] = field(default_factory=list)  # what was well last, each time
    lines: list[int] = field(default_factory=list)  # logged


@dataclass
class Seen:
    """Hold everything that the report is made of."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)  # sessions that did not come back
    wrong: list[str] = field(default_factory=list)  # sentences


@dataclass(frozen=True)
class Watch:
    """Hold the watchers of a soak at its end, and what was measured beside them.

    Attributes:
        listener: The subscriber to events.
        asker: Asks the routes.
        counts: Reads the metrics.
        resources: Reads memory, descriptors and threads of the processes.
        warm_up: Seconds after which the resources are compared.
        spent: Seconds that the faults took, without the last.
        quiet: Longest time without an event of any session (s).
        grown: Growth in descriptors and threads since warm-up, by process.
    """

    listener: Listener
    asker: Asker
    counts: Counts
    resources: Resources
    warm_up: float
    spent: float
    quiet: float
    grown: dict[str, list[int]]


def soak(minutes: float = 60.0, fault_every: float = 30.0) -> dict[str, Any]:
    """Return the report on a service that runs for so many `minutes` with a fault every `fault_every` seconds.

    Sources, peers, subscribers, Redis and the service itself are started for it on free ports of loopback. Raise
    `UserError` without the program `redis-server`, and if the service does not start.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    with tempfile.TemporaryDirectory(prefix="affectstream-soak-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        for part in ("redis", "service"):
            (folder / part).mkdir()
        redis = RedisProcess(folder / "redis")
        clip = folder / "clip.mp4"
        pictures = encode_clip(clip)
        camera = Camera(pictures)
        stack.callback(camera.close)
        silent = SilentHost()
        stack.callback(silent.close)
        stack.callback(redis.kill)
        redis.start()
        service = Service(redis, {CLIP: f"file:{clip}?loop=1", CAMERA: camera.url}, folder / "service")
        stack.callback(service.stop)
        service.wait()
        peer = PeerProcess(service.host, PEER, clip)
        stack.callback(peer.kill)
        around = Surroundings(service, redis, RedisReader(redis), camera, peer, silent)
        report = _watched(around, 60 * minutes, fault_every)
        code = service.stop()
        left = [path.name for path in (folder / "service").iterdir()]
    rows = report["rows"]
    rows.append(_row("exit code of the service", -1 if code is None else code, "", "0"))
    rows.append(_row("files and folders that the service left", len(left), "", "0"))
    report["missed"] += [f"missed: {row['what']} is {row['value']:g} {row['unit']}, goal {row['goal']}" for row in rows
                         if not _met(row)]  # fmt: skip
    return report


def _watched(around: Surroundings, seconds: float, every: float) -> dict[str, Any]:
    """Do the faults for so many seconds, and return the report."""
    seen = Seen()
    watch = _run(around, seen, seconds, every)
    return {
        "machine": machine.facts(PACKAGES),
        "every": every,
        "rows": [*_rows_of_service(around, seen, watch), *_rows_of_processes(watch)],
        "faults": _fault_rows(seen.outcomes),
        "missed": seen.wrong,
        "memory": {name: watch.resources.by_minute(name) for name in watch.grown},
        "log": around.service.log[-200:],
    }


def _run(around: Surroundings, seen: Seen, seconds: float, every: float) -> Watch:
    """Do a fault every `every` seconds, at last the death of all workers, and return what was watched meanwhile."""
    host = around.service.host
    listener, asker, counts = Listener(host), Asker(host), Counts(host)
    with contextlib.ExitStack() as stack:
        for watcher in (listener, around.reader):
            watcher.start()
            stack.callback(watcher.end)
        _until_well(around, listener, seen, time.monotonic())
        faults.youngest(around.service)  # once there are two
        resources = Resources(around.service)
        for other in (asker, counts, resources):
            other.start()
            stack.callback(other.end)
        warm_up = min(LONGEST_WARM_UP, seconds / 5)
        began = time.monotonic()
        held = _do_in_turn(around, listener, seen, resources, seconds, every, warm_up)
        resources.end()
        grown = {
            name: [b - a for a, b in zip(held[name], after, strict=True)]
            for name, after in resources.held().items()
            if name in held
        }
        spent = time.monotonic() - began
        around.reader.look()
        quiet = listener.longest_silence  # before all workers are killed, when there can be no event
        _do(workers_all_killed, around, listener, seen)
        counts.look()
        around.reader.look()
    return Watch(listener, asker, counts, resources, warm_up, spent, quiet, grown)


def _do_in_turn(
    around: Surroundings,
    listener: Listener,
    seen: Seen,
    resources: Resources,
    seconds: float,
    every: float,
    warm_up: float,
) -> dict[str, tuple[int, int]]:
    """Do the faults one after the other for so many seconds; return what each process held after `warm_up` seconds."""
    began, held = time.monotonic(), resources.held()
    number = 0
    with tqdm(total=round(seconds), desc="soak", unit="s", disable=None) as bar:
        while (now := time.monotonic() - began) < seconds - every / 2:
            bar.update(round(now) - bar.n)
            if now <= warm_up:
                held = resources.held()
            _do(faults.FAULTS[number % len(faults.FAULTS)], around, listener, seen)
            number += 1
            time.sleep(max(0.0, min(number * every, seconds) - (time.monotonic() - began)))
    return held


def _rows_of_service(around: Surroundings, seen: Seen, watch: Watch) -> list[dict[str, Any]]:
    """Return the rows on what subscribers, Redis and those who ask got, and on how fast the service recovered."""
    listener, asker, counts = watch.listener, watch.asker, watch.counts
    worst = {name: max(one.recovered) for name, one in seen.outcomes.items() if one.recovered}
    lines = [count for one in seen.outcomes.values() for count in one.lines]
    uncounted = around.reader.sequences.lost - counts.dropped("redis")
    return [
        _row("length", watch.spent / 60, "min", ""),
        _row("faults", sum(len(one.lines) for one in seen.outcomes.values()), "", ""),
        _row("sessions that did not come back", len(seen.lost), "", "0"),
        _row("events that a subscriber received", listener.sequences.events, "", ""),
        _row("events that it missed", listener.sequences.lost, "", ""),
        _row("events that it missed beyond those counted as lost",
             max(0.0, listener.sequences.lost - counts.dropped("websocket")), "", "0"),
        _row("times that its subscription ended", listener.connections - 1, "", "0"),
        _row("longest time without an event of any session", watch.quiet, "s", ""),
        _row("events read from Redis", around.reader.sequences.events, "", ""),
        _row("events missing in Redis beyond those counted as lost", max(0.0, uncounted), "", "0"),
        _row("events counted as lost by Redis", counts.dropped("redis"), "", ""),
        _row("events stored twice in Redis", around.reader.sequences.repeated, "", "0"),
        _row("a slow reader was behind by at most", around.furthest_behind, "s", f"<= {MOST_BEHIND:g}"),
        _row("questions asked", asker.asked, "", ""),
        _row("answers that were wrong or did not come", asker.wrong, "", "0"),
        *(_row(f"slowest answer of {path}", slowest, "s", "<= 1") for path, slowest in asker.slowest.items()),
        _row("counters that went back", counts.went_back, "", "0"),
        _row("one worker's death or halt: recovered within", _worst_of_workers(worst), "s", f"<= {WORKERS_BACK:g}"),
        _row("death of all workers: recovered within", worst.get("workers_all_killed"), "s",
             f"<= {WORKERS_BACK:g}"),
        _row("processes that ended without a fault", len(watch.resources.gone), "", "0"),
        _row("log lines of a fault without INFO, most", max(lines, default=0), "", f"<= {LOG_LINES}"),
        _row("tracebacks in the log", around.service.tracebacks, "", "0"),
    ]  # fmt: skip


def _rows_of_processes(watch: Watch) -> list[dict[str, Any]]:
    """Return the rows on memory, descriptors and threads of each process that ran from warm-up to the end."""
    rows = []
    for name, (descriptors, threads) in watch.grown.items():
        slope = watch.resources.slope(name, watch.warm_up)
        rows += [
            _row(f"memory of the {name} at the end", watch.resources.rss[name][-1][1], "MB", ""),
            _row(f"memory of the {name}: slope after {watch.warm_up / 60:.0f} min", slope, "MB/h", f"<= {SLOPE:g}"),
            _row(f"descriptors of the {name}: growth", descriptors, "", f"<= {DESCRIPTORS}"),
            _row(f"threads of the {name}: growth", threads, "", f"<= {DESCRIPTORS}"),
        ]
    return rows


def _do(fault: Callable[[Surroundings], None], around: Surroundings, listener: Listener, seen: Seen) -> None:
    """Do one fault, wait until all is well again, and note what was seen."""
    name = fault.__name__
    outcome = seen.outcomes.setdefault(name, Outcome())
    lines = around.service.lines
    try:
        fault(around)
    except WentWrong as error:
        seen.wrong.append(f"{name}: {error}")
    except (psutil.Error, RedisError, httpx.HTTPError, OSError) as error:  # the report is worth more than one fault
        seen.wrong.append(f"{name}: could not be done ({type(error).__name__}: {error})")
    took, last = _until_well(around, listener, seen, time.monotonic())
    if took is None:
        seen.wrong.append(f"{name}: not all was well again after {RECOVER_WITHIN:g} s")
    else:
        outcome.recovered.append(took)
        outcome.last.append(last)
    outcome.lines.append(around.service.lines - lines)


def _until_well(
    around: Surroundings, listener: Listener, seen: Seen, since: float
) -> tuple[float, str] | tuple[None, str]:
    """Return the seconds from `since` (s, monotonic) until all is well, and what came last; None if not in time."""
    stored = around.reader.sequences.events
    last = ""
    while time.monotonic() - since < RECOVER_WITHIN:
        time.sleep(_LOOK)
        unwell = [session for session in sorted(SESSIONS) if not listener.live_since(session, since)]
        unwell += [] if around.reader.sequences.events > stored else ["Redis"]
        unwell += [] if unwell or _ready(around.service) else ["/readyz"]
        if not unwell:
            return time.monotonic() - since, last
        last = unwell[-1]
    seen.lost |= {session for session in SESSIONS if not listener.live_since(session, since)}
    with contextlib.suppress(httpx.HTTPError):
        states = around.service.client.get("/v1/sessions").json()["sessions"]
        seen.wrong += [f"{one['id']} is {one['state']} ({one['detail']})" for one in states if one["id"] in seen.lost]
    return None, last


def _ready(service: Service) -> bool:
    """Return whether the service says that it is ready."""
    try:
        return service.client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _fault_rows(outcomes: dict[str, Outcome]) -> list[dict[str, Any]]:
    """Return a row for each fault."""
    return [
        {
            "fault": name.replace("_", " "),
            "times": len(one.lines),
            "well again, median s": _rounded(float(np.median(one.recovered)) if one.recovered else None),
            "well again, worst s": _rounded(max(one.recovered, default=None)),
            "what came last then": one.last[int(np.argmax(one.recovered))] if one.recovered else "",
            "log lines, most": max(one.lines),
        }
        for name, one in outcomes.items()
    ]


def _worst_of_workers(worst: dict[str, float]) -> float | None:
    """Return the longest recovery from the death or halt of one worker; None if there was none."""
    return max((worst[name] for name in ("worker_killed", "worker_stopped") if name in worst), default=None)


def _row(what: str, value: float | None, unit: str, goal: str) -> dict[str, Any]:
    """Return a row of the report; a `value` of None was not measured."""
    return {"what": what, "value": _rounded(value), "unit": unit, "goal": goal}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 2)


def _met(row: dict[str, Any]) -> bool:
    """Return whether a row's value reaches its goal, or was not measured."""
    if row["value"] is None or not row["goal"]:
        return True
    if row["goal"].startswith("<="):
        return bool(row["value"] <= float(row["goal"].removeprefix("<=")))
    return bool(row["value"] == float(row["goal"]))
