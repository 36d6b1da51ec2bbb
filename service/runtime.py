"""What all sessions of a process share: networks, engine, scheduler, and the facts about the model that runs."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from engines import weights
from engines.cores import usable_cores
from engines.engine import Arrays, Prepares
from engines.errors import EngineError
from engines.load import ON_GPU, LoadedEngine, load, weights_of
from engines.openvino import threads_for
from models.errors import UserError
from service import metrics
from service.adapters import feature_engine, multiterm
from service.adapters.options import ModelOptions, read_options
from service.adapters.registry import make_adapter, rate_of, served_row
from service.adapters.voice import MODEL as VOICE
from service.adapters.voice import PERIOD
from service.aggregation.fusion import Fusion, SoundBranch, load_sound_branch
from service.calibrate import START_SAMPLES, probe_of
from service.capture.media import Frame
from service.fair_semaphore import FairSemaphore
from service.inference import gpu_perception
from service.inference.cpu_share import CpuShare
from service.inference.queue import Pending, Superseded
from service.inference.scheduler import HUNG_AFTER, MAX_BATCH, Scheduler
from service.inference.standby import Reload, Standby
from service.perception import silero
from service.perception.face import Face
from service.perception.gaze_reader import GazeReader
from service.perception.networks import FULL_RANGE, IRIS, MESH, SHORT_RANGE, Networks
from service.perception.perceive import Perception, perceive_still
from service.pipeline import Pipeline
from service.pool.options import PoolOptions, read_pool, spec_of
from service.session_options import SessionOptions
from service.settings import DEFAULT_ENGINE, DEFAULT_MODEL, Settings, Smoothing

if TYPE_CHECKING:
    from service.pool.client import Pool

log = logging.getLogger(__name__)

ANSWER_WITHIN = 1.0  # s that a live event waits for the engine; after that it repeats the last value
MAX_WAIT = 0.02  # s that a batch waits for other sessions on a busy CPU; half of a frame's 33 ms is left to read it
CLOSE_TIMEOUT = 0.5  # s; requests that still wait after it belong to an engine that hangs
PERCEPTION_FILES = (FULL_RANGE, SHORT_RANGE, MESH)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """Say which model runs, on what, and how; `service.settings` and the command line make one.

    Attributes:
        model: Name of the model.
        engine: BACKEND[:PRECISION].
        model_options: Options of the model, from `--model-option`.
        untrained: Whether a model without weights may run on random ones.
        voice: Whether the default model reads the voice too.
        voice_share: Factor on the measured weight of the voice, 0 to 1.
        smoothing: How strongly values are smoothed where a session does not ask for anything else.
        gaze: Whether gaze is read.
        max_faces: Faces read per frame.
        max_batch: Faces per engine call, over all sessions; 0 takes what suits the engine.
        max_wait: Seconds that a batch may wait for other sessions; None takes what suits the engine.
        sessions: How many sessions there may be at once.
        pool: Where the model runs, if not in this process.
    """

    model: str = DEFAULT_MODEL
    engine: str = DEFAULT_ENGINE
    model_options: ModelOptions = field(default_factory=ModelOptions)
    untrained: bool = False
    voice: bool = True
    voice_share: float = 1.0
    smoothing: Smoothing = "normal"
    gaze: bool = False
    max_faces: int = 20
    max_batch: int = 0
    max_wait: float | None = None
    sessions: int = 1
    pool: PoolOptions | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the options that `settings` hold. Raise `UserError` for a model option that there is not."""
        return cls(
            model=settings.model,
            engine=settings.engine,
            model_options=read_options(settings.model_option),
            untrained=settings.untrained,
            voice=settings.voice,
            voice_share=settings.voice_share,
            smoothing=settings.smoothing,
            gaze=settings.gaze,
            max_faces=settings.max_faces,
            max_batch=settings.max_batch,
            max_wait=None if settings.max_wait_ms is None else settings.max_wait_ms / 1e3,
            sessions=settings.max_sessions,
            pool=read_pool(settings.pool) if settings.pool else None,
        )


class Runtime:
    """Hold what the sessions of a process share, and make a pipeline for each session."""

    def __init__(
        self,
        loaded: LoadedEngine,
        networks: Networks,
        options: RuntimeOptions | None = None,
        *,
        hung_after: float = HUNG_AFTER,
        reload: Reload | None = None,
        sound: SoundBranch | None = None,
        perception: Scheduler | None = None,
        pool: "Pool | None" = None,
        semaphore: FairSemaphore | None = None,
    ) -> None:
        """Start the scheduler with the model's engine, and with the voice's if there is one.

        Args:
            loaded: The model's engine and weights.
            networks: Perception's networks.
            options: What the user chose; the defaults if None.
            hung_after: Seconds after which an engine call counts as hung.
            reload: Compiles another engine of the model by its name; None uses `loaded` again.
            sound: The voice network and its weight against the face; None reads faces alone.
            perception: The scheduler that runs `networks` on a GPU; closed with this runtime.
            pool: What runs the model elsewhere, instead of the engine of `loaded`; closed with this runtime.
            semaphore: That of another runtime in this process, whose sessions share the cores; None makes one.
        """
        options = self.options = options or RuntimeOptions()
        self.model = options.model
        voice = sound is not None if self.model == DEFAULT_MODEL else None
        self.given = SessionOptions(self.model, voice, options.smoothing)  # for a session that asks for nothing else
        self.networks = networks
        self._perception = perception
        self._sound = sound
        self._gaze = GazeReader() if options.gaze else None
        max_wait = MAX_WAIT if options.max_wait is None else options.max_wait
        self._scheduler = Scheduler(
            options.max_batch or MAX_BATCH, max_wait, hung_after=hung_after, busy=CpuShare().busy
        )
        self._waits = served_row(self.model).waits
        self._pool = pool
        self._standby: Standby | Pool = pool or self._run(
            self.model, loaded, reload or (lambda _: loaded), rate_of(self.model, options.model_options)
        )
        self._voice = self._run(VOICE, sound.loaded, sound.reload, 1 / PERIOD) if sound is not None else None
        # More sessions at work than there are cores only pass the interpreter's lock around: eight streams on two cores
        # had a p95 of 125-160 ms with a quarter of the machine idle, and 44-48 ms with this. With a GPU there is no
        # limit, because all sessions have to reach its batch.
        self.semaphore = semaphore or (FairSemaphore(len(usable_cores())) if perception is None else None)
        self._preparing = ThreadPoolExecutor(1, "prepare")
        self._scheduler.start()

    @property
    def loaded(self) -> LoadedEngine:
        """Return the engine that runs, or that ran last, and its weights."""
        return self._standby.loaded

    @property
    def info(self) -> dict[str, Any]:
        """Return what events of sessions with voice say of the model (`service.events.ModelInfo`)."""
        return self._info(True)

    def _info(self, voice: bool) -> dict[str, Any]:
        loaded = self.loaded
        facts = {
            "name": self.model,
            "weights": loaded.weights.version,
            "engine": loaded.engine.name,
            "precision": loaded.engine.precision,
            "trained": loaded.weights.trained,
        }
        if voice and self._voice is not None and self._voice.problem is None:
            facts["voice"] = self._voice.loaded.weights.version
        elif self.model == DEFAULT_MODEL:
            facts["missing"] = ["sound"]
        return facts

    def weights_sha256(self) -> dict[str, str]:
        """Return the SHA-256 of each file of weights in use by its name: the model's, the voice's and perception's."""
        files = [self.loaded.weights]
        if self._sound is not None:
            files.append(self._sound.loaded.weights)
        files += [weights.entry(name) for name in self._files_of_perception()]
        return {file.version or file.name: file.sha256 for file in files}

    @property
    def alive(self) -> bool:
        """Return whether faces can be read now."""
        return self._standby.problem is None

    def problems(self) -> list[str]:
        """Return sentences that say why no face is read; none while the model's engine runs.

        A voice engine that failed is not among them, because faces are read without it: events name it in `missing`,
        and metrics show that the engine was given up.
        """
        return [self._standby.problem] if self._standby.problem is not None else []

    def pipeline(
        self, name: str, *, live: bool = False, incarnation: int = 1, options: SessionOptions | None = None
    ) -> Pipeline:
        """Return a pipeline with fresh tracks, sound and model state.

        Args:
            name: Name of the session.
            live: Whether events are made without waiting for the answer of a slow model.
            incarnation: The session's incarnation, counted from 1, which the events carry.
            options: What the session got; `given` if None. Its model is that of this runtime.
        """
        submit = self._submit(name) if live and not self._waits else None
        perception = Perception(self.networks, max_faces=self.options.max_faces)
        return self._pipeline(name, perception, submit, patient=not live, incarnation=incarnation, options=options)

    def expect(self, sessions: int) -> None:
        """Compile, in a thread, what a batch with one face or voice of each of so many sessions needs.

        Otherwise all sessions wait for that when their faces (0.1 to 0.7 s) or voices (0.1 s) first coincide, which may
        be an hour later.
        """
        rows = min(sessions, self.options.max_batch or MAX_BATCH)
        for runs in (self._standby, self._voice):
            if runs is not None and isinstance(engine := runs.loaded.engine, Prepares):
                with suppress(RuntimeError):  # this runtime was closed meanwhile
                    self._preparing.submit(_prepare, engine, rows)

    def still_pipeline(self, name: str) -> Pipeline:
        """Return a pipeline for one picture that stands alone, in which faces are searched for more thoroughly."""
        most = self.options.max_faces
        return self._pipeline(name, lambda frame: perceive_still(self.networks, frame.image, max_faces=most))

    def licences(self) -> list[str]:
        """Return a line for each of the weights in use."""
        perception = weights.licence_lines(self._files_of_perception())
        voice = [self._sound.loaded.weights.licence_line] if self._sound is not None else []
        return [self.loaded.weights.licence_line, *voice, *perception]

    def _files_of_perception(self) -> list[str]:
        """Return the names of the weights that find faces, gaze and speech, and of the features that a model reads."""
        files = (*PERCEPTION_FILES, *(feature_engine.FILES if self.model == multiterm.MODEL else ()))
        iris = (IRIS.name,) if self._gaze is not None and IRIS not in files else ()
        return [*(file.name for file in files), silero.NAME, *iris]

    @property
    def lingers(self) -> bool:
        """Return whether, after `close`, a thread is still in native code, so that an ordinary exit would crash."""
        searching = self._standby.searching or (self._voice is not None and self._voice.searching)
        return self._scheduler.lingers or searching

    def close(self) -> None:
        """Let the engine finish the requests that it has within `CLOSE_TIMEOUT`, and fail the rest."""
        self._preparing.shutdown(wait=False, cancel_futures=True)
        self._standby.close()
        if self._voice is not None:
            self._voice.close()
        self._scheduler.close(CLOSE_TIMEOUT)
        if self._perception is not None:
            self._perception.close(CLOSE_TIMEOUT)

    def _run(self, model: str, loaded: LoadedEngine, reload: Reload, rate: float) -> Standby:
        """Run the requests for `model` on this engine, and on the next one where it fails; metrics say which.

        `rate` is the number of answers a second that a session wants.
        """

        def use(loaded: LoadedEngine) -> None:
            # The small network waits for other sessions' faces, because a batch of four costs half as much per face. A
            # large one is busy for so long that batches grow by themselves, and readings of voices seldom coincide.
            self._scheduler.register(model, loaded.engine, rate=rate, alone=model != DEFAULT_MODEL, failed=failed)
            report(loaded, 1)

        def failed(why: str) -> None:
            report(standby.loaded, 0)
            standby.failed(why)

        def report(loaded: LoadedEngine, runs: int) -> None:
            engine = loaded.engine
            metrics.ENGINE_INFO.labels(model, loaded.weights.version, engine.name, engine.precision).set(runs)

        standby = Standby(loaded, reload, use, lambda: self._scheduler.stuck)
        use(loaded)
        return standby

    def _pipeline(
        self,
        name: str,
        perception: Callable[[Frame], list[Face]],
        submit: Callable[[Arrays], Pending] | None = None,
        *,
        patient: bool = True,
        incarnation: int = 1,
        options: SessionOptions | None = None,
    ) -> Pipeline:
        options = options or self.given
        voice = options.voice is not False
        semaphore = None if patient else self.semaphore
        return Pipeline(
            name,
            perception,
            make_adapter(self.model, self.loaded, self.options.model_options),
            self._infer(self.model, name, patient, semaphore),
            partial(self._info, voice),
            submit=submit,
            fusion=self._fusion(name, patient) if voice else None,
            gaze=self._gaze,
            semaphore=semaphore,
            incarnation=incarnation,
            smoothing=options.smoothing,
            rate=options.rate,
        )

    def _fusion(self, name: str, patient: bool) -> Fusion | None:
        """Return what reads and fuses the voice of a session; None where the voice is not read."""
        if self._sound is None:
            return None
        return self._sound.fusion(self._infer(VOICE, name, patient), self.options.voice_share)

    def _submit(self, session: str) -> Callable[[Arrays], Pending]:
        runs = self._pool or self._scheduler
        return lambda inputs: runs.submit(self.model, inputs, session=session)

    def _infer(
        self, model: str, session: str, patient: bool, semaphore: FairSemaphore | None = None
    ) -> Callable[[Arrays], tuple[Arrays, float]]:
        """Return a function that runs `model` on inputs and waits; it releases `semaphore` while the engine works."""
        runs = self._pool if self._pool is not None and model == self.model else self._scheduler

        def infer(inputs: Arrays) -> tuple[Arrays, float]:
            pending = runs.submit(model, inputs, session=session, patient=patient)
            try:
                # A recording waits for every answer; the scheduler's watchdog ensures that there is one.
                with semaphore.released() if semaphore is not None else nullcontext():
                    return pending.result(None if patient else ANSWER_WITHIN), pending.waited
            except FutureTimeout:
                pending.cancel()
                raise Superseded(f"There was no answer within {ANSWER_WITHIN:g} s, while its value is held.") from None

        return infer


def _prepare(engine: Prepares, rows: int) -> None:
    with suppress(EngineError):  # a batch of so many rows fails with it too, and the scheduler acts on that
        engine.prepare(rows)


def load_runtime(options: RuntimeOptions | None = None) -> Runtime:
    """Compile, verify and warm up everything that `options` name, and return it running.

    Raise `UserError` for an unknown model or engine, or for weights that cannot be had.
    """
    options = options or RuntimeOptions()
    if options.pool is not None:
        return _pooled_runtime(options, options.pool)
    compiled = _compiler(options)
    loaded, networks = compiled(options.engine), Networks()
    silero.speech_network()  # fails here, and not in the first session, where its file is missing
    perception = None
    if loaded.engine.name in ON_GPU:  # where such an engine could not be had, OpenVINO's was loaded
        perception = gpu_perception.move_to(networks, loaded.engine.name)
        options = replace(
            options,
            max_batch=options.max_batch or gpu_perception.MAX_BATCH,
            max_wait=options.max_wait or 0.0,  # a GPU is so busy that batches grow by themselves
        )
    runtime = Runtime(
        loaded,
        networks,
        options,
        reload=compiled,
        perception=perception,
        sound=_sound(options, loaded),
    )
    return _announced(runtime)


def load_beside(first: Runtime, model: str) -> Runtime:
    """Return a runtime of another model that shares perception and cores with `first`, compiled and running.

    It has a scheduler of its own, so that a slow model's calls hold up no session of another one. Raise `UserError` for
    an unknown model, or for weights that cannot be had.
    """
    engine = served_row(model).engine or first.options.engine
    options = replace(first.options, model=model, engine=engine, model_options=ModelOptions())
    compiled = _compiler(options)
    loaded = compiled(engine)
    sound = _sound(options, loaded)
    return _announced(Runtime(loaded, first.networks, options, reload=compiled, sound=sound, semaphore=first.semaphore))


def _compiler(options: RuntimeOptions) -> Reload:
    """Return what compiles and compares an engine of the model by the engine's name."""
    model, untrained = options.model, options.untrained
    threads = threads_for(len(usable_cores()), options.sessions, heavy=not served_row(model).waits)
    probe = probe_of(model, samples=START_SAMPLES)

    def compiled(name: str) -> LoadedEngine:
        if model == multiterm.MODEL:  # several networks and sixty boosters, not one file that engines compile
            return multiterm.load(name, untrained=untrained)
        return load(model, name, probe=probe, threads=threads, untrained=untrained)

    return compiled


def _sound(options: RuntimeOptions, loaded: LoadedEngine) -> SoundBranch | None:
    return load_sound_branch(loaded) if options.voice and options.model == DEFAULT_MODEL else None


def _pooled_runtime(options: RuntimeOptions, where: PoolOptions) -> Runtime:
    """Return a runtime that finds faces here and sends their inputs to a pool. Raise `UserError` if it cannot."""
    from service.pool.client import Pool

    model = options.model
    if served_row(model).waits or model == multiterm.MODEL:
        raise UserError(
            f"{model} is read beside the camera, which costs less than sending its faces to a pool; "
            "leave --pool out, or choose another --model."
        )
    pool = Pool(
        where,
        spec_of(
            where,
            model=model,
            engine=options.engine,
            weights=weights_of(model, untrained=options.untrained),
            rate=rate_of(model, options.model_options),
            max_batch=options.max_batch,
        ),
    )
    networks = Networks()
    silero.speech_network()
    pool.open()
    return _announced(Runtime(pool.loaded, networks, options, pool=pool))


def _announced(runtime: Runtime) -> Runtime:
    """Log the licences of the weights that the runtime uses, and return the runtime."""
    if not runtime.loaded.weights.trained:
        log.warning("%s is untrained: its weights are random, and its numbers mean nothing", runtime.model)
    for line in runtime.licences():
        log.info("%s", line)
    return runtime
