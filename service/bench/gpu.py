"""Second half of `affectstream bench gpu`: the number of sessions that a GPU serves with predictions.

A session here is the part of a real one after perception: the model's adapter, which makes inputs of a moving face, and
the scheduler, which batches the sessions of its process. Nothing is decoded or detected, which is work of the CPU that
other benchmarks measure. Processes share the GPU as those of `serve --workers N` do.
"""

import threading
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np

from engines.batches import SIZES
from engines.errors import EngineError
from engines.load import ON_GPU, LoadedEngine, load
from engines.probe import faces
from service.adapters.options import ModelOptions
from service.adapters.registry import make_adapter
from service.bench import gpu_batches as bench_gpu
from service.capture.demo import demo_voice
from service.capture.media import Sound
from service.inference.scheduler import Scheduler
from service.perception.face import Face, HeadPose, Quality
from service.perception.mel import MelStream

SESSIONS = 200
PROCESSES = 8
RATE = 30.0  # predictions/s that each session asks for
SECONDS = 5.0  # measured
WARM_UP = 3.0  # s before
PATIENCE = 2.0  # s that a session waits for an answer
_PICTURES = 16


@dataclass
class Found:
    """Hold what the sessions of a process received.

    `late` counts predictions that were due while an earlier one was awaited, and those without an answer.
    """

    rates: list[float] = field(default_factory=list)  # predictions/s of each
    latencies: list[float] = field(default_factory=list)  # ms
    late: int = 0


def gpu(model: str | None = None, sessions: int | None = None, processes: int | None = None) -> dict[str, Any]:
    """Return the report of `affectstream bench gpu`: engines by batch size, then sessions.

    Raise `EngineError` without a GPU.
    """
    model = model or bench_gpu.MODEL
    report = bench_gpu.engines(model)
    fastest = max((row for row in report["rows"] if row["backend"] in ON_GPU), key=lambda r: r["per_second"])
    engine = f"{fastest['backend']}:{fastest['precision']}"
    return report | {"streams": [streams(model, engine, sessions or SESSIONS, processes or PROCESSES)]}


def streams(model: str, engine: str, sessions: int, processes: int, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the row on so many sessions, shared by so many processes. Raise `EngineError` as `load` does."""
    shares = [sessions // processes + (n < sessions % processes) for n in range(processes)]
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in range(processes)]
        pools[0].submit(_open, model, engine).result()  # builds the engine that the other processes find in the cache
        (name,) = {opened.result() for opened in [pool.submit(_open, model, engine) for pool in pools]}
        begin = time.time() + 0.2
        running = [pool.submit(_run, share, begin, seconds) for pool, share in zip(pools, shares, strict=True)]
        found = [one.result() for one in running]
    rates = [rate for one in found for rate in one.rates]
    latencies = [latency for one in found for latency in one.latencies]
    p50, p95 = np.percentile(latencies or [np.nan], [50, 95]).tolist()
    return {
        "model": model, "engine": name, "sessions": sessions, "processes": processes,
        "per_second": round(sum(rates), 1), "slowest": round(min(rates), 2), "mean": round(float(np.mean(rates)), 2),
        "p50_ms": round(p50, 1), "p95_ms": round(p95, 1), "late": sum(one.late for one in found),
    }  # fmt: skip


_loaded: LoadedEngine  # of this process
_model: str


def _open(model: str, engine: str) -> str:
    """Load the engine in this process, once, and return its name."""
    global _loaded, _model
    if "_loaded" not in globals():
        _loaded, _model = load(model, engine, untrained=True), model
    return f"{_loaded.engine.name}:{_loaded.engine.precision}"


def _run(sessions: int, begin: float, seconds: float) -> Found:
    """Run so many sessions in this process from `begin` (s, of the wall clock) on, and return what they received."""
    scheduler = Scheduler(SIZES[-1])
    scheduler.register(_model, _loaded.engine, rate=RATE)
    scheduler.start()
    found, pictures, sound = Found(), _faces(), _sound()
    running = [
        _Session(n, pictures, sound, begin + n / sessions / RATE, scheduler, seconds, found) for n in range(sessions)
    ]
    for one in running:
        one.start()
    for one in running:
        one.join()
    scheduler.close()
    return found


class _Session(threading.Thread):
    """Ask for predictions at a camera's rate from `begin` (s, of the wall clock) on, as a session does."""

    def __init__(
        self,
        number: int,
        faces: list[Face],
        sound: MelStream,
        begin: float,
        scheduler: Scheduler,
        seconds: float,
        found: Found,
    ) -> None:
        super().__init__(name=f"session-{number}", daemon=True)
        self._begin = begin - time.time() + time.monotonic()
        self._faces, self._sound, self._scheduler = faces, sound, scheduler
        self._seconds, self._found = seconds, found
        self._adapter = make_adapter(_model, _loaded, ModelOptions(rate=RATE))

    def run(self) -> None:
        """Ask until the measured time is over, and add the figures to `found`."""
        measured, over = self._begin + WARM_UP, self._begin + WARM_UP + self._seconds
        number = got = late = 0
        latencies = []
        while (now := self._wait(number)) < over:
            answered = self._ask(number)
            done = time.monotonic()
            # Frames that came in the meantime are dropped, because a camera does not wait.
            following = max(number + 1, int((done - self._begin) * RATE))
            if now >= measured:
                got += answered
                late += following - number - 1 + (not answered)
                latencies.append(1e3 * (done - now))
            number = following
        self._found.rates.append(got / self._seconds)
        self._found.latencies += latencies
        self._found.late += late

    def _wait(self, number: int) -> float:
        """Wait until frame `number` is due and return the time (s, monotonic)."""
        time.sleep(max(0.0, self._begin + number / RATE - time.monotonic()))
        return time.monotonic()

    def _ask(self, number: int) -> bool:
        """Ask for the prediction of frame `number` and return whether there was an answer."""
        t, faces = number / RATE, [self._faces[number % len(self._faces)]]
        inputs = self._adapter.inputs(t, faces, self._sound)
        if inputs is None:
            return False
        try:
            outputs = self._scheduler.submit(_model, inputs, session=self.name).result(PATIENCE)
        except (EngineError, TimeoutError):
            self._adapter.unanswered()
            return False
        self._adapter.estimates(t, faces, outputs)
        return True


def _faces() -> list[Face]:
    """Return pictures of one face in different poses, with their landmark masks drawn."""
    rng = np.random.default_rng(0)
    mesh = rng.uniform(0, 112, (468, 3)).astype(np.float32)
    made = []
    for crop in faces(_PICTURES):
        face = Face(
            0, 0.0, (0.0, 0.0, 112.0, 112.0), 1.0, mesh, mesh[:68, :2], np.eye(2, 3), crop,
            HeadPose(0.0, 0.0, 0.0), Quality(112.0, 100.0, 128.0),
        )  # fmt: skip
        assert face.mask is not None  # reading it draws it; in a session perception draws it before
        made.append(face)
    return made


def _sound() -> MelStream:
    """Return mel columns of the demo's voice."""
    sound = MelStream()
    sound.push(Sound(demo_voice(), 0.0))
    return sound
