"""What all sessions share: compiled networks, the engine, the scheduler, and the facts about the model that runs."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from engines import weights
from engines.engine import Arrays
from engines.errors import EngineError
from engines.imported import SYSTEMS
from engines.load import Loaded, load
from service import metrics
from service.capture.media import Frame
from service.inference.adapter import Adapter
from service.inference.descriptors import Descriptors
from service.inference.face_mt import FaceMT
from service.inference.mimamo import MIMAMO
from service.inference.options import Options, read_options
from service.inference.ready import Pending
from service.inference.scheduler import Scheduler
from service.inference.tsav import TSAV
from service.inference.vgg import VGG
from service.perception.face import Face
from service.perception.networks import FULL_RANGE, MESH, SHORT_RANGE, Networks
from service.perception.perceive import Perception, perceive_still
from service.pipeline import Pipeline

log = logging.getLogger(__name__)

INFERENCE_TIMEOUT = 5.0  # s after which a request's engine counts as hung
CLOSE_TIMEOUT = 0.5  # s; requests still waiting then are of an engine that hangs
PERCEPTION_FILES = (FULL_RANGE, SHORT_RANGE, MESH)
ENGINE_THREADS = 1  # a second one was measured to double a small network's CPU time and save none of its latency
DEFAULT_MODEL = "face-mt"
DEFAULT_ENGINE = "openvino"

# The papers' systems; those that are not named are of the VGG family. None of them keeps up with every camera.
PAPERS: dict[str, Callable[[Loaded, Options], Adapter]] = {
    **dict.fromkeys(SYSTEMS, VGG),
    "tsav": TSAV,
    "mimamo": MIMAMO,
    "descriptors": Descriptors,
    "descriptors-ensemble": Descriptors,
}
ADAPTERS: dict[str, Callable[[Loaded, Options], Adapter]] = {
    "face-mt": lambda loaded, options: FaceMT(loaded),
    **PAPERS,
}


class Runtime:
    """Made once per process; gives every session its pipeline."""

    def __init__(
        self, model: str, loaded: Loaded, networks: Networks, *, max_faces: int, options: Options | None = None
    ) -> None:
        self.model = model
        self.loaded = loaded
        self._options = options or Options()
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

    def pipeline(self, name: str, *, live: bool = False) -> Pipeline:
        """A pipeline with fresh tracks, sound and model state. `live`: events wait for no model that is slow."""
        ask = self._ask(name) if live and self.model in PAPERS else None
        return self._pipeline(name, Perception(self.networks, max_faces=self._max_faces), ask)

    def still_pipeline(self, name: str) -> Pipeline:
        """A pipeline for one picture that stands alone; it looks harder."""
        return self._pipeline(name, lambda frame: perceive_still(self.networks, frame.image, max_faces=self._max_faces))

    def licences(self) -> list[str]:
        """A line for each of the weights in use."""
        perception = weights.licence_lines(file.name for file in PERCEPTION_FILES)
        return [self.loaded.weights.licence_line, *perception]

    def close(self) -> None:
        """Lets the engine finish what it has, within `CLOSE_TIMEOUT`."""
        self._scheduler.close(CLOSE_TIMEOUT)

    def _pipeline(
        self,
        name: str,
        perception: Callable[[Frame], list[Face]],
        ask: Callable[[Arrays], Pending] | None = None,
    ) -> Pipeline:
        adapter = ADAPTERS[self.model](self.loaded, self._options)
        return Pipeline(name, perception, adapter, self._infer(name), self.info, ask=ask)

    def _ask(self, session: str) -> Callable[[Arrays], Pending]:
        return lambda inputs: self._scheduler.submit(self.model, inputs, session=session)

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


def load_runtime(
    model: str | None = None,
    engine: str | None = None,
    *,
    max_faces: int = 20,
    untrained: bool = False,
    model_options: Sequence[str] = (),
) -> Runtime:
    """Compiles, verifies and warms everything up. `untrained`: a system without weights may run on random ones.
    `model_options`: NAME=VALUE texts, see `service.inference.options`. Raises `UserError` for an unknown model, engine
    or option, or weights that cannot be had."""
    model = model or DEFAULT_MODEL
    if model not in ADAPTERS:
        raise EngineError(f"there is no model {model!r}; known are: {', '.join(ADAPTERS)}")
    options = read_options(model_options)
    threads = 0 if model in PAPERS else ENGINE_THREADS
    loaded = load(model, engine or DEFAULT_ENGINE, threads=threads, untrained=untrained)
    runtime = Runtime(model, loaded, Networks(), max_faces=max_faces, options=options)
    if not loaded.weights.trained:
        log.warning("%s is untrained: its weights are random, and its numbers mean nothing", model)
    for line in runtime.licences():
        log.info("%s", line)
    return runtime
