"""What all sessions share: compiled networks, the engine, the scheduler, and the facts about the model that runs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import nullcontext
from typing import Any

from engines import weights
from engines.engine import Arrays
from engines.errors import EngineError
from engines.load import ON_GPU, Loaded, load
from engines.openvino import cores, threads_for
from engines.papers.imported import SYSTEMS
from service import metrics
from service.adapters import descriptors, feature_engine, mimamo, multiterm, tsav, vgg
from service.adapters.adapter import Adapter
from service.adapters.descriptors import Descriptors
from service.adapters.face_mt import FaceMT
from service.adapters.mimamo import MIMAMO
from service.adapters.multiterm import Multiterm
from service.adapters.options import Options, read_options
from service.adapters.tsav import TSAV
from service.adapters.vgg import VGG
from service.adapters.voice import MODEL as VOICE
from service.adapters.voice import PERIOD
from service.calibrate import probe_of
from service.capture.media import Frame
from service.fair_turn import FairTurn
from service.inference import gpu_perception
from service.inference.cpu_share import CpuShare
from service.inference.queue import Pending, Superseded
from service.inference.scheduler import HUNG_AFTER, MAX_BATCH, Scheduler
from service.inference.standby import Reload, Standby
from service.perception.face import Face
from service.perception.networks import FULL_RANGE, MESH, SHORT_RANGE, Networks
from service.perception.perceive import Perception, perceive_still
from service.pipeline import Pipeline
from service.settings import DEFAULT_ENGINE, DEFAULT_MODEL
from service.sound_branch import SoundBranch, load_sound_branch

log = logging.getLogger(__name__)

ANSWER_WITHIN = 1.0  # s that a live event waits for the engine; it goes on without, whether that hangs or is slow
MAX_WAIT = 0.02  # s that a batch waits for other sessions on a busy CPU; half of a frame's 33 ms is left to read it
CLOSE_TIMEOUT = 0.5  # s; requests still waiting then are of an engine that hangs
PERCEPTION_FILES = (FULL_RANGE, SHORT_RANGE, MESH)
PROBE_SAMPLES = 16  # that a reduced precision is compared on at its first start here; `engines build` takes more

# The papers' systems; those that are not named are of the VGG family. None of them keeps up with every camera.
PAPERS: dict[str, Callable[[Loaded, Options], Adapter]] = {
    **dict.fromkeys(SYSTEMS, VGG),
    "tsav": TSAV,
    "mimamo": MIMAMO,
    "descriptors": Descriptors,
    "descriptors-ensemble": Descriptors,
    multiterm.MODEL: Multiterm,
}
ADAPTERS: dict[str, Callable[[Loaded, Options], Adapter]] = {
    "face-mt": lambda loaded, options: FaceMT(loaded),
    **PAPERS,
}
RATES = {  # answers a second that a session wants, where no option says otherwise
    **dict.fromkeys(SYSTEMS, vgg.RATE),
    "face-mt": 30.0,  # a camera's
    "tsav": tsav.RATE,
    "mimamo": mimamo.RATE,
    "descriptors": descriptors.RATE,
    "descriptors-ensemble": descriptors.RATE,
    multiterm.MODEL: multiterm.RATE,
}


def commercial(info: Mapping[str, Any]) -> bool:
    """Whether the licences of the weights that `info` (see `Runtime.info`) names allow commercial use; of those that a
    user brought along nobody here can say, so no.
    """
    allowed = {entry.version: entry.commercial for entry in weights.entries() if entry.version}
    return all(allowed.get(info[part], False) for part in ("weights", "voice") if part in info)


class Runtime:
    """Made once per process; gives every session its pipeline."""

    def __init__(
        self,
        model: str,
        loaded: Loaded,
        networks: Networks,
        *,
        max_faces: int,
        options: Options | None = None,
        max_batch: int = MAX_BATCH,
        max_wait: float = MAX_WAIT,
        hung_after: float = HUNG_AFTER,
        reload: Reload | None = None,
        sound: SoundBranch | None = None,
        perception: Scheduler | None = None,
    ) -> None:
        """`max_batch`, `max_wait` (s), `hung_after` (s): of the scheduler. `reload`: compiles another engine of the
        model by its name; without, the one there is is used again. `perception`: runs `networks` on a GPU, if any;
        closed with the rest. `sound`: the branch that hears the voice.
        """
        self.model = model
        self.networks = networks
        self._perception = perception
        self._options = options or Options()
        self._max_faces = max_faces
        self._sound = sound
        self._scheduler = Scheduler(max_batch, max_wait, hung_after=hung_after, busy=CpuShare().busy)
        self._standby = self._run(model, loaded, reload or (lambda _: loaded), self._options.rate or RATES[model])
        self._voice = self._run(VOICE, sound.loaded, sound.reload, 1 / PERIOD) if sound is not None else None
        # More sessions at work than there are cores only hand the interpreter's lock round: eight streams on two cores
        # had a p95 of 125-160 ms with a quarter of the machine idle, and 44-48 ms in turns. A GPU wants all it can get.
        self._turn = FairTurn(cores()) if perception is None else None
        self._scheduler.start()

    @property
    def loaded(self) -> Loaded:
        """The engine that runs, or that ran last, and its weights."""
        return self._standby.loaded

    @property
    def info(self) -> dict[str, Any]:
        """What events say of the model."""
        loaded = self.loaded
        facts = {
            "name": self.model,
            "weights": loaded.weights.version,
            "engine": loaded.engine.name,
            "precision": loaded.engine.precision,
            "trained": loaded.weights.trained,
        }
        if self._voice is not None and self._voice.problem is None:
            facts["voice"] = self._voice.loaded.weights.version
        elif self.model == DEFAULT_MODEL:
            facts["missing"] = ["sound"]
        return facts

    @property
    def alive(self) -> bool:
        """Return whether faces can be read now."""
        return self._standby.problem is None

    def problems(self) -> list[str]:
        """Why no face is read, in sentences; none while an engine runs. Without the voice's engine faces still are, so
        that nobody should turn away from this service: events say `missing`, metrics that the engine was given up.
        """
        return [self._standby.problem] if self._standby.problem is not None else []

    def pipeline(self, name: str, *, live: bool = False) -> Pipeline:
        """A pipeline with fresh tracks, sound and model state. `live`: events wait for no model that is slow."""
        ask = self._ask(name) if live and self.model in PAPERS else None
        perception = Perception(self.networks, max_faces=self._max_faces)
        return self._pipeline(name, perception, ask, patient=not live)

    def still_pipeline(self, name: str) -> Pipeline:
        """A pipeline for one picture that stands alone; it looks harder."""
        return self._pipeline(name, lambda frame: perceive_still(self.networks, frame.image, max_faces=self._max_faces))

    def licences(self) -> list[str]:
        """A line for each of the weights in use."""
        files = (*PERCEPTION_FILES, *(feature_engine.FILES if self.model == multiterm.MODEL else ()))
        perception = weights.licence_lines(file.name for file in files)
        heard = [self._sound.loaded.weights.licence_line] if self._sound is not None else []
        return [self.loaded.weights.licence_line, *heard, *perception]

    @property
    def lingers(self) -> bool:
        """Whether, after `close`, a thread is still in native code: an ordinary end of the process would crash."""
        searching = self._standby.searching or (self._voice is not None and self._voice.searching)
        return self._scheduler.lingers or searching

    def close(self) -> None:
        """Lets the engine finish what it has, within `CLOSE_TIMEOUT`."""
        self._standby.close()
        if self._voice is not None:
            self._voice.close()
        self._scheduler.close(CLOSE_TIMEOUT)
        if self._perception is not None:
            self._perception.close(CLOSE_TIMEOUT)

    def _run(self, model: str, loaded: Loaded, reload: Reload, rate: float) -> Standby:
        """Runs the requests for `model` on this engine from now on, and on the next one where it fails; metrics say
        which. `rate`: answers a second that a session wants.
        """

        def use(loaded: Loaded) -> None:
            # Others' faces are worth a wait to the small network, which is half as dear in a batch of four. A large one
            # is busy for so long that batches grow by themselves, and nobody else asks of a voice at the same time.
            self._scheduler.register(model, loaded.engine, rate=rate, alone=model != DEFAULT_MODEL, failed=failed)
            report(loaded, 1)

        def failed(why: str) -> None:
            report(standby.loaded, 0)
            standby.failed(why)

        def report(loaded: Loaded, runs: int) -> None:
            engine = loaded.engine
            metrics.ENGINE_INFO.labels(model, loaded.weights.version, engine.name, engine.precision).set(runs)

        standby = Standby(loaded, reload, use, lambda: self._scheduler.stuck)
        use(loaded)
        return standby

    def _pipeline(
        self,
        name: str,
        perception: Callable[[Frame], list[Face]],
        ask: Callable[[Arrays], Pending] | None = None,
        *,
        patient: bool = True,
    ) -> Pipeline:
        adapter = ADAPTERS[self.model](self.loaded, self._options)
        turn = None if patient else self._turn
        infer = self._infer(self.model, name, patient, turn)
        fusion = self._sound.fusion(self._infer(VOICE, name, patient)) if self._sound is not None else None
        return Pipeline(name, perception, adapter, infer, lambda: self.info, ask=ask, fusion=fusion, turn=turn)

    def _ask(self, session: str) -> Callable[[Arrays], Pending]:
        return lambda inputs: self._scheduler.submit(self.model, inputs, session=session)

    def _infer(
        self, model: str, session: str, patient: bool, turn: FairTurn | None = None
    ) -> Callable[[Arrays], tuple[Arrays, float]]:
        """`turn`: handed on while the engine works."""

        def infer(inputs: Arrays) -> tuple[Arrays, float]:
            pending = self._scheduler.submit(model, inputs, session=session, patient=patient)
            try:
                # A recording waits for every answer, and the watchdog sees to it that there is one.
                with turn.away() if turn is not None else nullcontext():
                    return pending.result(None if patient else ANSWER_WITHIN), pending.waited
            except FutureTimeout:
                pending.cancel()
                raise Superseded(f"There was no answer within {ANSWER_WITHIN:g} s, while its value is held.") from None

        return infer


def load_runtime(
    model: str | None = None,
    engine: str | None = None,
    *,
    max_faces: int = 20,
    untrained: bool = False,
    model_options: Sequence[str] = (),
    max_batch: int = 0,
    max_wait: float | None = None,
    voice: bool = True,
    sessions: int = 1,
) -> Runtime:
    """Compiles, verifies and warms everything up. `untrained`: a system without weights may run on random ones.
    `model_options`: NAME=VALUE texts, see `service.adapters.options`. `max_batch` (0: what suits the engine),
    `max_wait` (s; None: what suits the engine): see `service.inference.scheduler`. `voice`: the default model hears
    too. `sessions`: how many there may be at once. Raises `UserError` for an unknown model, engine or option, or
    weights that cannot be had.
    """
    model = model or DEFAULT_MODEL
    if model not in ADAPTERS:
        raise EngineError(f"there is no model {model!r}; known are: {', '.join(ADAPTERS)}")
    options = read_options(model_options)
    threads = threads_for(cores(), sessions, heavy=model in PAPERS)
    probe = probe_of(model, samples=PROBE_SAMPLES)

    def compiled(name: str) -> Loaded:
        if model == multiterm.MODEL:  # several networks and sixty boosters: not one file that engines compile
            return multiterm.load(name, untrained=untrained)
        return load(model, name, probe=probe, threads=threads, untrained=untrained)

    loaded, networks = compiled(engine or DEFAULT_ENGINE), Networks()
    perception = None
    if loaded.engine.name in ON_GPU:  # where such a one could not be had, OpenVINO's was loaded
        perception = gpu_perception.move_to(networks, loaded.engine.name)
        max_batch = max_batch or gpu_perception.MAX_BATCH
        max_wait = max_wait or 0.0  # it is so busy that batches grow by themselves
    runtime = Runtime(
        model,
        loaded,
        networks,
        max_faces=max_faces,
        options=options,
        max_batch=max_batch or MAX_BATCH,
        max_wait=MAX_WAIT if max_wait is None else max_wait,
        reload=compiled,
        perception=perception,
        sound=load_sound_branch(loaded) if voice and model == DEFAULT_MODEL else None,
    )
    if not runtime.loaded.weights.trained:
        log.warning("%s is untrained: its weights are random, and its numbers mean nothing", model)
    for line in runtime.licences():
        log.info("%s", line)
    return runtime
