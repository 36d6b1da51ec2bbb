"""What all sessions of a process share: networks, engine, scheduler, and the facts about the model that runs."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Self

from engines import weights
from engines.cores import usable_cores
from engines.engine import Arrays
from engines.load import ON_GPU, Loaded, load
from engines.openvino import threads_for
from service import metrics
from service.adapters import feature_engine, multiterm
from service.adapters.options import ModelOptions, read_options
from service.adapters.registry import make_adapter, rate_of, served_row
from service.adapters.voice import MODEL as VOICE
from service.adapters.voice import PERIOD
from service.aggregation.fusion import Fusion, SoundBranch, load_sound_branch
from service.calibrate import probe_of
from service.capture.media import Frame
from service.fair_turn import FairTurn
from service.inference import gpu_perception
from service.inference.cpu_share import CpuShare
from service.inference.queue import Pending, Superseded
from service.inference.scheduler import HUNG_AFTER, MAX_BATCH, Scheduler
from service.inference.standby import Reload, Standby
from service.perception import silero
from service.perception.face import Face
from service.perception.networks import FULL_RANGE, MESH, SHORT_RANGE, Networks
from service.perception.perceive import Perception, perceive_still
from service.pipeline import Pipeline
from service.settings import DEFAULT_ENGINE, DEFAULT_MODEL, Settings

log = logging.getLogger(__name__)

ANSWER_WITHIN = 1.0  # s that a live event waits for the engine; after that it repeats the last value
MAX_WAIT = 0.02  # s that a batch waits for other sessions on a busy CPU; half of a frame's 33 ms is left to read it
CLOSE_TIMEOUT = 0.5  # s; requests that still wait after it belong to an engine that hangs
PERCEPTION_FILES = (FULL_RANGE, SHORT_RANGE, MESH)
PROBE_SAMPLES = 16  # rows that a reduced precision is compared on at its first start; `engines build` takes more


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """Say which model runs, on what, and how; `service.settings` and the command line make one.

    Attributes:
        model: Name of the model.
        engine: BACKEND[:PRECISION].
        model_options: What `--model-option` says.
        untrained: Whether a model without weights may run on random ones.
        voice: Whether the default model reads the voice too.
        voice_share: Part of its measured weight with which the voice counts, 0 to 1.
        max_faces: Faces read per frame.
        max_batch: Faces per engine call, over all sessions; 0 takes what suits the engine.
        max_wait: Seconds that a batch may wait for other sessions; None takes what suits the engine.
        sessions: How many sessions there may be at once.
    """

    model: str = DEFAULT_MODEL
    engine: str = DEFAULT_ENGINE
    model_options: ModelOptions = field(default_factory=ModelOptions)
    untrained: bool = False
    voice: bool = True
    voice_share: float = 1.0
    max_faces: int = 20
    max_batch: int = 0
    max_wait: float | None = None
    sessions: int = 1

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
            max_faces=settings.max_faces,
            max_batch=settings.max_batch,
            max_wait=None if settings.max_wait_ms is None else settings.max_wait_ms / 1e3,
            sessions=settings.max_sessions,
        )


def commercial(info: Mapping[str, Any]) -> bool:
    """Return whether the weights that `info` (see `Runtime.info`) names may be used commercially.

    The licence of weights that a user imported is not known here, so the answer for them is no.
    """
    allowed = {entry.version: entry.commercial for entry in weights.entries() if entry.version}
    return all(allowed.get(info[part], False) for part in ("weights", "voice") if part in info)


class Runtime:
    """Hold what the sessions of a process share, and make each of them a pipeline."""

    def __init__(
        self,
        loaded: Loaded,
        networks: Networks,
        options: RuntimeOptions | None = None,
        *,
        hung_after: float = HUNG_AFTER,
        reload: Reload | None = None,
        sound: SoundBranch | None = None,
        perception: Scheduler | None = None,
    ) -> None:
        """Start the scheduler with the model's engine, and with the voice's if there is one.

        Args:
            loaded: The model's engine and weights.
            networks: Those of perception.
            options: What the user chose; the defaults if None.
            hung_after: Seconds after which an engine call counts as hung.
            reload: Compiles another engine of the model by its name; None uses `loaded` again.
            sound: The voice network and its weight against the face; None reads faces alone.
            perception: The scheduler that runs `networks` on a GPU; closed with this runtime.
        """
        options = self._options = options or RuntimeOptions()
        self.model = options.model
        self.networks = networks
        self._perception = perception
        self._sound = sound
        max_wait = MAX_WAIT if options.max_wait is None else options.max_wait
        self._scheduler = Scheduler(
            options.max_batch or MAX_BATCH, max_wait, hung_after=hung_after, busy=CpuShare().busy
        )
        self._waits = served_row(self.model).waits
        self._standby = self._run(
            self.model, loaded, reload or (lambda _: loaded), rate_of(self.model, options.model_options)
        )
        self._voice = self._run(VOICE, sound.loaded, sound.reload, 1 / PERIOD) if sound is not None else None
        # More sessions at work than there are cores only pass the interpreter's lock around: eight streams on two cores
        # had a p95 of 125-160 ms with a quarter of the machine idle, and 44-48 ms with turns. A GPU needs all of them.
        self._turn = FairTurn(len(usable_cores())) if perception is None else None
        self._scheduler.start()

    @property
    def loaded(self) -> Loaded:
        """The engine that runs, or that ran last, and its weights."""
        return self._standby.loaded

    @property
    def info(self) -> dict[str, Any]:
        """What events say of the model (`service.events.ModelInfo`)."""
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
        """Return sentences that say why no face is read; none while the model's engine runs.

        A voice engine that failed is not among them, because faces are read without it: events name it in `missing`,
        and metrics show that the engine was given up.
        """
        return [self._standby.problem] if self._standby.problem is not None else []

    def pipeline(self, name: str, *, live: bool = False, incarnation: int = 1) -> Pipeline:
        """Return a pipeline with fresh tracks, sound and model state.

        Args:
            name: Name of the session.
            live: Whether events are not to wait for a slow model.
            incarnation: What the events say of how often the session began anew, from 1.
        """
        submit = self._submit(name) if live and not self._waits else None
        perception = Perception(self.networks, max_faces=self._options.max_faces)
        return self._pipeline(name, perception, submit, patient=not live, incarnation=incarnation)

    def still_pipeline(self, name: str) -> Pipeline:
        """Return a pipeline for one picture that stands alone, in which faces are searched for more thoroughly."""
        most = self._options.max_faces
        return self._pipeline(name, lambda frame: perceive_still(self.networks, frame.image, max_faces=most))

    def licences(self) -> list[str]:
        """Return a line for each of the weights in use."""
        files = (*PERCEPTION_FILES, *(feature_engine.FILES if self.model == multiterm.MODEL else ()))
        perception = weights.licence_lines((*(file.name for file in files), silero.NAME))
        voice = [self._sound.loaded.weights.licence_line] if self._sound is not None else []
        return [self.loaded.weights.licence_line, *voice, *perception]

    @property
    def lingers(self) -> bool:
        """Whether, after `close`, a thread is still in native code, so that an ordinary exit would crash."""
        searching = self._standby.searching or (self._voice is not None and self._voice.searching)
        return self._scheduler.lingers or searching

    def close(self) -> None:
        """Let the engine finish the requests that it has within `CLOSE_TIMEOUT`, and fail the rest."""
        self._standby.close()
        if self._voice is not None:
            self._voice.close()
        self._scheduler.close(CLOSE_TIMEOUT)
        if self._perception is not None:
            self._perception.close(CLOSE_TIMEOUT)

    def _run(self, model: str, loaded: Loaded, reload: Reload, rate: float) -> Standby:
        """Run the requests for `model` on this engine, and on the next one where it fails; metrics say which.

        `rate` is the number of answers a second that a session wants.
        """

        def use(loaded: Loaded) -> None:
            # The small network waits for other sessions' faces, because a batch of four costs half as much a face. A
            # large one is busy for so long that batches grow by themselves, and readings of voices seldom coincide.
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
        submit: Callable[[Arrays], Pending] | None = None,
        *,
        patient: bool = True,
        incarnation: int = 1,
    ) -> Pipeline:
        turn = None if patient else self._turn
        return Pipeline(
            name,
            perception,
            make_adapter(self.model, self.loaded, self._options.model_options),
            self._infer(self.model, name, patient, turn),
            lambda: self.info,
            submit=submit,
            fusion=self._fusion(name, patient),
            turn=turn,
            incarnation=incarnation,
        )

    def _fusion(self, name: str, patient: bool) -> Fusion | None:
        """Return what reads and fuses the voice of a session; None where the voice is not read."""
        if self._sound is None:
            return None
        return self._sound.fusion(self._infer(VOICE, name, patient), self._options.voice_share)

    def _submit(self, session: str) -> Callable[[Arrays], Pending]:
        return lambda inputs: self._scheduler.submit(self.model, inputs, session=session)

    def _infer(
        self, model: str, session: str, patient: bool, turn: FairTurn | None = None
    ) -> Callable[[Arrays], tuple[Arrays, float]]:
        """Return a function that runs `model` on inputs and waits; it passes `turn` on while the engine works."""

        def infer(inputs: Arrays) -> tuple[Arrays, float]:
            pending = self._scheduler.submit(model, inputs, session=session, patient=patient)
            try:
                # A recording waits for every answer; the scheduler's watchdog ensures that there is one.
                with turn.away() if turn is not None else nullcontext():
                    return pending.result(None if patient else ANSWER_WITHIN), pending.waited
            except FutureTimeout:
                pending.cancel()
                raise Superseded(f"There was no answer within {ANSWER_WITHIN:g} s, while its value is held.") from None

        return infer


def load_runtime(options: RuntimeOptions | None = None) -> Runtime:
    """Compile, verify and warm up everything that `options` name, and return it running.

    Raise `UserError` for an unknown model or engine, or for weights that cannot be had.
    """
    options = options or RuntimeOptions()
    model, untrained = options.model, options.untrained
    threads = threads_for(len(usable_cores()), options.sessions, heavy=not served_row(model).waits)
    probe = probe_of(model, samples=PROBE_SAMPLES)

    def compiled(name: str) -> Loaded:
        if model == multiterm.MODEL:  # several networks and sixty boosters, not one file that engines compile
            return multiterm.load(name, untrained=untrained)
        return load(model, name, probe=probe, threads=threads, untrained=untrained)

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
        sound=load_sound_branch(loaded) if options.voice and model == DEFAULT_MODEL else None,
    )
    if not runtime.loaded.weights.trained:
        log.warning("%s is untrained: its weights are random, and its numbers mean nothing", model)
    for line in runtime.licences():
        log.info("%s", line)
    return runtime
