"""Pools: what a call costs, requests a second against replicas, and 300 cameras on eight replicas.

The engine only waits, so that two cores can stand for many. All else is what serves: client, supervisor, replicas.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines.engine import Arrays
from engines.weights import Source, Weights
from models.errors import UserError
from models.files import sha256
from service.cluster import connect
from service.inference.queue import Superseded
from service.pool.client import Pool
from service.pool.messages import Facts, PoolStatus, Spec
from service.pool.options import PoolOptions
from service.pool.replica import Replica
from service.pool.supervisor import Supervisor

REPLICAS = (1, 2, 4, 8, 16)
SESSIONS = 20  # for each replica, each of which asks again when it is answered
CAMERAS, RATE = 300, 10.0  # crops a second of each
CROP = (112, 112, 3)  # 37 kB
SECONDS, WARM_UP = 8.0, 3.0
START_WITHIN = 180.0  # s for all replicas
LONE, CALLERS, CALL_SECONDS = 60, 16, 3.0  # calls one by one; threads at once, and for how long
# Milliseconds of a call, and of each crop in it: the slow engine takes 16 crops in 200 ms, the fast one 64 in 101 ms.
SLOW, FAST = (0.0, 12.5), (5.0, 1.5)
MODEL = "waits"


class Waiting:
    """Stand in for an engine: compute nothing, and wait for as long as each request says."""

    name, precision = "waiting", "none"
    inputs: Mapping[str, tuple[int, ...]] = {"crop": (-1, *CROP), "ms": (-1, 2)}

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return two numbers for each crop."""
        rows = len(inputs["crop"])
        call, row = np.asarray(inputs["ms"], np.float64)[0].tolist()
        time.sleep((call + row * rows) / 1e3)
        return {"valence_arousal": np.zeros((rows, 2), np.float32)}


class WaitingReplica(Replica):
    """Run a replica whose engine is `Waiting`."""

    async def load(self, spec: Spec, content: bytes) -> Facts | str:
        """Return the facts about the engine; see `Replica.load`."""
        return self.serve(spec, _LoadedEngine(Waiting(), spec.weights))  # type: ignore[arg-type]


@dataclass(frozen=True)
class _LoadedEngine:
    """Stand for `engines.load.LoadedEngine`, which would import the libraries of all engines into every replica."""

    engine: Waiting
    weights: Weights
    figures: None = None


class WaitingSupervisor(Supervisor):
    """Start replicas of the class `WaitingReplica`."""

    @staticmethod
    def replica_class() -> type:
        """Return `WaitingReplica`."""
        return WaitingReplica


class SomeReplicas(Pool):
    """Use only so many of the replicas of a pool, so that all sizes are measured on the same ones."""

    use = max(REPLICAS)

    def _note(self, status: PoolStatus) -> None:
        names = sorted(status.members)[: self.use]
        super()._note(replace(status, members={name: status.members[name] for name in names}))


def measure() -> dict[str, Any]:
    """Return the rows of the three parts. Raise `UserError` without Ray."""
    most = max(REPLICAS)
    with _cluster(most + 2) as address, TemporaryDirectory(prefix="affectstream-") as folder:
        spec = replace(_spec(Path(folder)), fewest=most, most=most, cpus=0.5)
        pool = SomeReplicas(PoolOptions(address), spec, WaitingSupervisor)
        pool.open()
        try:
            rows = []
            for count in tqdm(REPLICAS, desc="pools", unit="size", disable=None):
                _use(pool, count)
                rows.append(_saturated(pool, count))
            _use(pool, 8)
            found = {"replicas": _ratios(rows), "cameras": [_cameras(pool, 8)]}
        finally:
            pool.close()
            pool.end()
        return {"calls": _calls(), **found}


def _use(pool: SomeReplicas, count: int) -> None:
    """Return when `count` replicas take requests, and no others. Raise `UserError` if they never do."""
    pool.use = count
    deadline = time.monotonic() + START_WITHIN
    while pool.replicas != count:
        if time.monotonic() > deadline:
            raise UserError(f"{pool.replicas} of {count} replicas were ready within {START_WITHIN:g} s")
        time.sleep(0.1)


@contextmanager
def _cluster(cpus: int) -> Iterator[str]:
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        raise UserError("bench cluster needs Ray: pip install 'affectstream[cluster]'.") from None
    nodes = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": cpus, "include_dashboard": False, "object_store_memory": 512 << 20},
    )
    ray = connect(nodes.address)
    try:
        yield nodes.address
    finally:
        ray.shutdown()
        nodes.shutdown()


def _spec(folder: Path) -> Spec:
    file = folder / "none.onnx"
    file.write_bytes(b"an engine that waits has no weights")
    weights = Weights(
        name=MODEL, file=file.name, computes="", licence="none", commercial=True, trained_on="nothing",
        sha256=sha256(file), size=file.stat().st_size, sources=(Source(path=str(file)),), model=MODEL, version=MODEL,
    )  # fmt: skip
    return Spec(MODEL, "", weights, rate=RATE, max_batch=64)


def _saturated(pool: Pool, replicas: int) -> dict[str, Any]:
    """Return the requests a second that so many replicas answer, where each session asks again once it is answered."""
    ready: SimpleQueue[str] = SimpleQueue()
    inputs = _request(SLOW)
    answered: list[float] = []
    waits: list[float] = []
    dropped = 0
    for n in range(SESSIONS * replicas):
        ready.put(f"camera {n}")
    asked: dict[str, float] = {}

    def done(session: str, future: "Future[Arrays]") -> None:
        nonlocal dropped
        now = time.perf_counter()
        if future.exception() is None:
            answered.append(now)
            waits.append(now - asked[session])
        else:
            dropped += 1
        ready.put(session)

    begin = time.perf_counter()
    while (now := time.perf_counter()) - begin < WARM_UP + SECONDS:
        session = ready.get()
        asked[session] = now
        _submit(pool, session, inputs, done)
    counted = sum(WARM_UP <= at - begin < WARM_UP + SECONDS for at in answered)
    return {
        "replicas": replicas,
        "requests_per_s": round(counted / SECONDS, 1),
        "p50_ms": round(1e3 * float(np.percentile(waits, 50))),
        "dropped": dropped,
    }


def _request(ms: tuple[float, float]) -> Arrays:
    return {"crop": np.zeros((1, *CROP), np.uint8), "ms": np.array([ms], np.float32)}


def _submit(pool: Pool, session: str, inputs: Arrays, done: Callable[[str, "Future[Arrays]"], None]) -> None:
    pool.submit(MODEL, inputs, session=session).add_done_callback(lambda future: done(session, future))


def _ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the part of what as many single replicas would answer."""
    first = rows[0]["requests_per_s"] / rows[0]["replicas"]
    ideal = 1e3 / SLOW[1]
    return [
        row
        | {
            "of_linear_%": round(100 * row["requests_per_s"] / (first * row["replicas"])),
            "of_the_engines_%": round(100 * row["requests_per_s"] / (ideal * row["replicas"])),
        }
        for row in rows
    ]


def _cameras(pool: Pool, replicas: int) -> dict[str, Any]:
    """Return how long the answers to 300 cameras take, and how many requests were dropped."""
    latencies: list[float] = []
    failed: list[BaseException] = []
    inputs = _request(FAST)
    begin, behind = time.perf_counter(), 0.0
    warm, total = (round(seconds * RATE * CAMERAS) for seconds in (WARM_UP, WARM_UP + SECONDS))
    for n in range(total):
        due = begin + n / (RATE * CAMERAS)
        if (early := due - time.perf_counter()) > 0.001:
            time.sleep(early)
        behind = max(behind, -early) if n >= warm else 0.0

        def done(_: str, future: "Future[Arrays]", due: float = due, counts: bool = n >= warm) -> None:
            if counts and (error := future.exception()) is not None:
                failed.append(error)
            elif counts:
                latencies.append(time.perf_counter() - due)

        _submit(pool, f"camera {n % CAMERAS}", inputs, done)
    took = time.perf_counter() - begin - WARM_UP
    time.sleep(1.0)
    sent = total - warm
    reasons = [error.reason if isinstance(error, Superseded) else "failed" for error in failed]
    return {
        "cameras": CAMERAS,
        "replicas": replicas,
        "sent_per_s": round(sent / took),
        "answered_%": round(100 * len(latencies) / sent, 2),
        "p50_ms": round(1e3 * float(np.percentile(latencies, 50))),
        "p95_ms": round(1e3 * float(np.percentile(latencies, 95))),
        "late": reasons.count("late"),
        "newer": reasons.count("newer"),
        "failed": reasons.count("failed"),
        "sender_behind_ms": round(1e3 * behind),
    }


def _calls() -> list[dict[str, Any]]:
    """Return what a call costs: to an actor, through a handle of Ray Serve, and with its own batching."""
    import ray
    from ray import serve

    actor: Any = ray.remote(_Answering)
    actors = [actor.options(num_cpus=0.5).remote() for _ in range(2)]
    handles = {
        kind: serve.run(
            serve.deployment(
                num_replicas=2, max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0.5}, name=kind
            )(_Answering).bind(),
            name=kind, route_prefix=None,
        )
        for kind in ("serve", "serve_batch")
    }  # fmt: skip
    turn = iter(range(1 << 62))
    ways: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
        "actor": lambda crops: ray.get(actors[next(turn) % 2].run.remote(crops)),
        "serve handle": lambda crops: handles["serve"].run.remote(crops).result(),
        "serve handle, @serve.batch": lambda crops: handles["serve_batch"].batched.remote(crops).result(),
    }
    found: dict[tuple[str, int], tuple[list[float], list[float]]] = {}
    for _ in range(2):  # in turns, so that other work on the machine disturbs all alike
        for crops in (1, 16):
            given = np.zeros((crops, *CROP), np.uint8)
            for way, call in ways.items():
                lone, together = found.setdefault((way, crops), ([], []))
                for _ in range(10):
                    call(given)
                lone += [_timed(call, given) for _ in range(LONE)]
                together.append(_calls_per_second(call, given))
    serve.shutdown()
    for one in actors:
        ray.kill(one)
    return [
        {
            "way": way,
            "crops": crops,
            "p50_ms": round(float(np.percentile(lone, 50)), 1),
            "p95_ms": round(float(np.percentile(lone, 95)), 1),
            f"calls_per_s_of_{CALLERS}": round(float(np.mean(together))),
        }
        for (way, crops), (lone, together) in found.items()
    ]


class _Answering:
    """Answer at once with a number for each crop."""

    async def run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.zeros((len(crops), 2), np.float32)

    def __init__(self) -> None:
        from ray import serve

        @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
        async def together(several: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
            return [np.zeros((len(crops), 2), np.float32) for crops in several]

        self._together = together

    async def batched(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = await self._together(crops)
        return found


def _timed(call: Callable[[NDArray[np.uint8]], Any], given: NDArray[np.uint8]) -> float:
    """Return the milliseconds of one call."""
    begin = time.perf_counter()
    call(given)
    return (time.perf_counter() - begin) * 1e3


def _calls_per_second(call: Callable[[NDArray[np.uint8]], Any], given: NDArray[np.uint8]) -> float:
    """Return how many calls a second `CALLERS` threads make together."""
    over = threading.Event()
    begin = time.perf_counter()

    def again() -> int:
        count = 0
        while not over.is_set():
            call(given)
            count += 1
        return count

    with ThreadPoolExecutor(CALLERS) as threads:
        running = [threads.submit(again) for _ in range(CALLERS)]
        time.sleep(CALL_SECONDS)
        over.set()
        return sum(one.result() for one in running) / (time.perf_counter() - begin)
