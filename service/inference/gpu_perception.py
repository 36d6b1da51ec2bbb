"""Perception's networks on a GPU engine, batched over all sessions, so that many cameras do not need many cores.

They run there if the model's engine runs on a GPU; otherwise each session's thread runs them on the CPU. The CPU's
networks are kept: an engine is compared with them on a real picture before it is used, and where it fails later they
take over for good. Confirmed with torch on one GPU (docs/gpu.md).
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines import weights
from engines.batches import SIZES
from engines.engine import Engine
from engines.errors import EngineError
from engines.gpu.mediapipe_onnx import INPUT, onnx_file
from service.inference.scheduler import Scheduler
from service.perception.networks import FULL_RANGE, MESH, SHORT_RANGE, Networks, Runs, TFLite

log = logging.getLogger(__name__)

MAX_BATCH = SIZES[-1]  # pictures of an engine call; as many sessions come together while the engine is busy
MAX_DIFFERENCE = 0.05  # from the CPU's outputs: pixels of boxes and points, logits


class BatchedNetwork:
    """Run one network for the threads of all sessions together. It is used like the CPU's `Network`."""

    def __init__(self, name: str, cpu: Runs, engine: Engine, scheduler: Scheduler) -> None:
        """Register `engine` with the `scheduler` as `name`; `cpu` takes over where it fails."""
        self.size = cpu.size
        self._name, self._cpu, self._scheduler = name, cpu, scheduler
        self._given_up = False
        self._own = threading.local()
        scheduler.register(name, engine, failed=self._give_up)

    def input(self) -> NDArray[np.uint8]:
        """Return the calling thread's own (size, size, 3) RGB input buffer: fill it, then call `run`."""
        if not hasattr(self._own, "buffer"):
            self._own.buffer = np.zeros((1, self.size, self.size, 3), np.uint8)
        picture: NDArray[np.uint8] = self._own.buffer[0]
        return picture

    def run(self) -> list[NDArray[np.float32]]:
        """Return the outputs for the calling thread's input buffer, in the order of the CPU's network.

        Where the engine fails, the CPU's network runs.
        """
        if not self._given_up:
            # Patient, because a picture that was begun must be finished; each thread has one request at a time.
            thread = str(threading.get_ident())
            try:
                answer = self._scheduler.submit(self._name, {INPUT: self._own.buffer}, session=thread, patient=True)
                return [np.asarray(values, np.float32) for values in answer.result().values()]
            except EngineError as error:
                log.warning("%s was run on the CPU: %s", self._name, error)
        self._cpu.input()[:] = self._own.buffer[0]
        return self._cpu.run()

    def _give_up(self, why: str) -> None:
        self._given_up = True
        log.error("%s runs on the CPU from now on: %s", self._name, why)


def move_to(
    networks: Networks, backend: str, open_: Callable[[Path], Engine] | None = None, max_batch: int = MAX_BATCH
) -> Scheduler | None:
    """Run `networks` on a GPU from now on, and return the scheduler, which the caller closes.

    None is returned, with a warning in the log, where an engine cannot be opened or differs from the CPU; then all
    networks stay on the CPU.

    Args:
        networks: Perception's networks; changed in place.
        backend: "tensorrt" or "torch".
        open_: Opens an ONNX file; None opens it on `backend`.
        max_batch: Pictures of an engine call at most.
    """
    open_ = open_ or (lambda path: _open(backend, path))
    opened: list[tuple[str, TFLite, Engine]] = []
    try:
        for place, file in (("full_range", FULL_RANGE), ("short_range", SHORT_RANGE), ("mesh", MESH)):
            engine = open_(onnx_file(weights.path(file.name), file.mean, file.scale))
            _require_same(file, getattr(networks, place), engine)
            opened.append((place, file, engine))
    except EngineError as error:
        log.warning("perception stays on the CPU: %s", error)
        return None
    scheduler = Scheduler(max_batch)
    for place, file, engine in opened:
        setattr(networks, place, BatchedNetwork(file.name, getattr(networks, place), engine, scheduler))
    scheduler.start()
    return scheduler


def _open(backend: str, path: Path) -> Engine:
    """Return the engine of an ONNX file in float32, which perception needs."""
    if backend == "tensorrt":
        from engines.gpu.tensorrt import TensorRtEngine

        return TensorRtEngine(path, precision="fp32")
    from engines.gpu.torch_cuda import TorchEngine

    return TorchEngine(path, precision="fp32")


def _require_same(file: TFLite, cpu: Runs, engine: Engine) -> None:
    """Raise `EngineError` if the engine's outputs for a face differ from the CPU's."""
    portrait = cv2.imread(str(weights.path("portrait")), cv2.IMREAD_COLOR_RGB)
    assert portrait is not None
    pictures = np.stack([cv2.resize(portrait[top:, 80:400], (cpu.size, cpu.size)) for top in (0, 40, 150)])
    found = engine({INPUT: pictures})
    for index, picture in enumerate(pictures):
        cpu.input()[:] = picture
        for expected, values in zip(cpu.run(), found.values(), strict=True):
            difference = float(np.abs(values[index] - expected[0]).max())
            if not difference <= MAX_DIFFERENCE:
                raise EngineError(
                    f"{file.name} on {engine.name} differs from the CPU by {difference:.2g} pixels or logits, and "
                    f"{MAX_DIFFERENCE:g} is allowed."
                )
