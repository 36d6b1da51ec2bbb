"""What is watched during a soak: events as they arrive, events as Redis keeps them, answers, counts, and resources."""

import contextlib
import threading
import time
from collections import defaultdict
from typing import Any

import httpx
import numpy as np
import orjson
import psutil
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from service.bench.soak.parts import RedisProcess, Service

ASK_EVERY = 0.25  # s between the questions that must always be answered
READ_REDIS_EVERY = 0.25  # s
COUNTS_EVERY = 10.0  # s between looks at the metrics
SAMPLE_EVERY = 2.0  # s between samples of memory
_TIMEOUT = 10.0  # s that an answer may take
_RUNS = tuple[str, int]  # session and incarnation


class Sequences:
    """Find gaps and repetitions in the `seq` of events, for each session and incarnation."""

    def __init__(self) -> None:
        """Begin with none."""
        self.events = self.lost = self.repeated = 0
        self._next: dict[_RUNS, int] = {}

    def note(self, event: dict[str, Any]) -> None:
        """Count `event`, and what is missing before it."""
        run = event["session"], event["incarnation"]
        expected = self._next.get(run, event["seq"])
        self.events += 1
        if event["seq"] < expected:
            self.repeated += 1
            return
        self.lost += event["seq"] - expected
        self._next[run] = event["seq"] + 1


class Watcher(threading.Thread):
    """Look again and again, in a thread, until it is ended."""

    def __init__(self, every: float) -> None:
        """Look every so many seconds, once started."""
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self._every = every

    def run(self) -> None:
        """Look until ended."""
        while not self.ended.wait(self._every):
            self.look()

    def look(self) -> None:
        """Look once."""
        raise NotImplementedError

    def end(self) -> None:
        """Look no more, and return once the thread has ended."""
        self.ended.set()
        self.join(2 * _TIMEOUT)


class Listener(Watcher):
    """Subscribe and read at once: no event may be missing then, and the subscription may not end."""

    def __init__(self, host: str) -> None:
        """Subscribe to all sessions at HOST:PORT."""
        super().__init__(0.1)
        self.sequences = Sequences()
        self.connections = 0
        self.longest_silence = 0.0  # s between two events of any session
        self._live: dict[str, float] = {}  # session -> when its newest event with a picture came, s, monotonic
        self._came = time.monotonic()
        self._url = f"ws://{host}/v1/stream"

    def live_since(self, session: str, moment: float) -> bool:
        """Return whether `session` had an event of a picture after `moment` (s, monotonic)."""
        return self._live.get(session, 0.0) > moment

    def look(self) -> None:
        """Read until the connection ends."""
        with contextlib.suppress(OSError, ConnectionClosed), connect(self._url, max_queue=None) as stream:
            self.connections += 1
            while not self.ended.is_set():
                with contextlib.suppress(TimeoutError):
                    self._note(orjson.loads(stream.recv(timeout=0.5)))

    def _note(self, event: dict[str, Any]) -> None:
        now = time.monotonic()
        self.longest_silence = max(self.longest_silence, now - self._came)
        self._came = now
        self.sequences.note(event)
        if event["state"] == "live" and event["timing_ms"] is not None:
            self._live[event["session"]] = now


class RedisReader(Watcher):
    """Read every stream to its end and find what is missing."""

    def __init__(self, redis: RedisProcess) -> None:
        """Read from `redis`."""
        super().__init__(READ_REDIS_EVERY)
        self.sequences = Sequences()
        self.lock = threading.Lock()  # held while the keys are read, and by faults that change them
        self._client: Any = redis.client  # redis-py's types differ between its releases
        self._read: dict[str, str] = defaultdict(lambda: "-")  # stream -> after which entry to go on

    def look(self) -> None:
        """Read what is new; nothing while Redis is away."""
        with self.lock, contextlib.suppress(RedisError):
            for stream in self._client.scan_iter("affect:*", _type="stream"):
                self.read(stream, stream)

    def read(self, stream: str, key: str) -> None:
        """Read what is new of `stream`, whose entries are now under `key`; with the lock held."""
        while entries := self._client.xrange(key, min=self._read[stream], count=1000):
            for entry, fields in entries:
                self.sequences.note(orjson.loads(fields["event"]))
                self._read[stream] = f"({entry}"


class Asker(Watcher):
    """Ask for what must be answered at all times, and keep the slowest and the wrong answers."""

    PATHS = ("/v1/sessions", "/healthz", "/readyz")

    def __init__(self, host: str) -> None:
        """Ask the service at HOST:PORT."""
        super().__init__(ASK_EVERY)
        self.asked = 0
        self.slowest = dict.fromkeys(self.PATHS, 0.0)  # s
        self.wrong = 0  # requests without an answer, and answers of /v1/sessions other than 200
        self._client = httpx.Client(base_url=f"http://{host}", timeout=_TIMEOUT)

    def look(self) -> None:
        """Ask for every path once."""
        for path in self.PATHS:
            began = time.monotonic()
            try:
                status = self._client.get(path).status_code
            except httpx.HTTPError:
                status = 0
            self.asked += 1
            self.slowest[path] = max(self.slowest[path], time.monotonic() - began)
            self.wrong += status not in ((200,) if path == "/v1/sessions" else (200, 503))

    def end(self) -> None:
        """Ask no more."""
        super().end()
        self._client.close()


class Counts(Watcher):
    """Look at the metrics, in which no counter may go back."""

    def __init__(self, host: str) -> None:
        """Ask the service at HOST:PORT."""
        super().__init__(COUNTS_EVERY)
        self.went_back = 0
        self._values: dict[tuple[Any, ...], float] = {}
        self._client = httpx.Client(base_url=f"http://{host}", timeout=_TIMEOUT)

    def look(self) -> None:
        """Compare every counter with its last value."""
        with contextlib.suppress(httpx.HTTPError):
            text = self._client.get("/metrics").text
            for family in text_string_to_metric_families(text):
                if family.type in ("counter", "histogram"):
                    for sample in family.samples:
                        name = (sample.name, *sorted(sample.labels.items()))
                        self.went_back += sample.value < self._values.get(name, 0.0)
                        self._values[name] = sample.value

    def end(self) -> None:
        """Ask no more."""
        super().end()
        self._client.close()

    def dropped(self, sink: str) -> float:
        """Return how many events the service counted as lost by `sink`."""
        return self._values.get(("affect_events_dropped_total", ("sink", sink)), 0.0)


class Resources(Watcher):
    """Sample the memory of the front process and of the oldest worker, which no fault but the last one touches."""

    def __init__(self, service: Service) -> None:
        """Sample the processes of `service`, which runs."""
        super().__init__(SAMPLE_EVERY)
        self.processes = {"front": service.front, "oldest worker": service.workers()[0]}
        self.rss: dict[str, list[tuple[float, float]]] = {name: [] for name in self.processes}  # s, monotonic; MB
        self.gone: set[str] = set()  # processes that ended although no fault touched them

    def look(self) -> None:
        """Take one sample."""
        for name, process in self.processes.items():
            try:
                self.rss[name].append((time.monotonic(), process.memory_info().rss / 1e6))
            except psutil.NoSuchProcess:
                self.gone.add(name)

    def held(self) -> dict[str, tuple[int, int]]:
        """Return the descriptors and threads that each process holds now; without those that ended."""
        found = {}
        for name, process in self.processes.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                found[name] = process.num_fds(), process.num_threads()
        return found

    def by_minute(self, name: str) -> list[tuple[int, float]]:
        """Return the minutes since the first sample of a process, from 0, each with its median memory in MB."""
        minutes: dict[int, list[float]] = defaultdict(list)
        for at, size in self.rss[name]:
            minutes[int((at - self.rss[name][0][0]) // 60)].append(size)
        return [(minute, float(np.median(sizes))) for minute, sizes in sorted(minutes.items())]

    def slope(self, name: str, warm_up: float) -> float | None:
        """Return the growth of a process in MB/h after `warm_up` seconds: the median of the slopes between minutes.

        None if fewer than ten minutes are left, because memory steps by some MB with every fault.
        """
        medians = [(minute, size) for minute, size in self.by_minute(name) if 60 * minute >= warm_up]
        if len(medians) < 10:
            return None
        slopes = [(b - a) / (n - m) for i, (m, a) in enumerate(medians) for n, b in medians[i + 1 :]]
        return 60 * float(np.median(slopes))
