"""What all sessions share: compiled networks, the engine, the scheduler, and the facts about the model that runs."""

import logging
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from engines import weights
from engines.engine import Arrays
from engines.errors import EngineError
from engines.load import Loaded, load
from service import metrics
from service.capture.media import Frame
from service.inference.adapter import Adapter
from service.inference.face_mt import FaceMT
from service.inference.scheduler import Scheduler
from service.perception.face import Face
from service.perception.networks import FULL_RANGE, MESH, SHORT_RANGE, Networks
from service.perception.perceive import Perception, perceive_still
from service.pipeline import Pipeline

log = logging.getLogger(__name__)

INFERENCE_TIMEOUT = 5.0  # s after which a request's engine counts as hung
PERCEPTION_FILES = (FULL_RANGE, SHORT_RANGE, MESH)
ENGINE_THREADS = 1  # a second one was measured to double a small network's CPU time and save none of its latency
DEFAULT_MODEL = "face-mt"
DEFAULT_ENGINE = "openvino"

ADAPTERS: dict[str, Callable[[Loaded], Adapter]] = {"face-mt": FaceMT}


class Runtime:
    """Made once per process; gives every session its pipeline."""

    def __init__(self, model: str, loaded: Loaded, networks: Networks, *, max_faces: int) -> None:
        self.model = model
        self.loaded = loaded
        self.info: dict[str, Any] = {
            "name": model,
            "weights": loaded.weights.version,
            "engine": loaded.engine.name,
            "precision": loaded.engine.precision,
            "trained": loaded.weights.trained,
        }
        self.networks = networks
        self._max_faces = max_faces
        self._scheduler = Scheduler()
        self._scheduler.register(model, loaded.engine)
        metrics.ENGINE_INFO.labels(model, *(self.info[key] for key in ("weights", "engine", "precision"))).set(1)

    def pipeline(self, name: str) -> Pipeline:
        """A pipeline with fresh tracks, sound and model state."""
        return self._pipeline(name, Perception(self.networks, max_faces=self._max_faces))

    def still_pipeline(self, name: str) -> Pipeline:
        """A pipeline for one picture that stands alone; it looks harder."""
        return self._pipeline(name, lambda frame: perceive_still(self.networks, frame.image, max_faces=self._max_faces))

    def licences(self) -> list[str]:
        """A line for each of the weights in use."""
        return weights.licence_lines([self.loaded.weights.name, *(file.name for file in PERCEPTION_FILES)])

    def close(self) -> None:
        """Lets the engine finish what it has."""
        self._scheduler.close()

    def _pipeline(self, name: str, perception: Callable[[Frame], list[Face]]) -> Pipeline:
        return Pipeline(name, perception, ADAPTERS[self.model](self.loaded), self._infer(name), self.info)

    def _infer(self, session: str) -> Callable[[Arrays], tuple[Arrays, float]]:
        def infer(inputs: Arrays) -> tuple[Arrays, float]:
            pending = self._scheduler.submit(self.model, inputs, session=session)
            try:
                return pending.result(INFERENCE_TIMEOUT), pending.waited
            except FutureTimeout:
                metrics.ABSTENTIONS.labels("engine_hung").inc()
                log.error("the engine of %s gave nothing for %g s", self.model, INFERENCE_TIMEOUT)
                raise EngineError(f"the engine of {self.model} gave nothing for {INFERENCE_TIMEOUT:g} s") from None

        return infer


def load_runtime(model: str | None = None, engine: str | None = None, *, max_faces: int = 20) -> Runtime:
    """Compiles, verifies and warms everything up. Raises `UserError` for an unknown model or engine, or weights that
    cannot be had."""
    model = model or DEFAULT_MODEL
    if model not in ADAPTERS:
        raise EngineError(f"there is no model {model!r}; known are: {', '.join(ADAPTERS)}")
    runtime = Runtime(
        model, load(model, engine or DEFAULT_ENGINE, threads=ENGINE_THREADS), Networks(), max_faces=max_faces
    )
    for line in runtime.licences():
        log.info("%s", line)
    return runtime
