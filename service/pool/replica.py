"""A replica of a pool: an actor that runs our scheduler on one engine, for the sessions of any number of services.

Requests come in as they are ready. The scheduler puts those of all sessions into batches, lets a newer request take the
place of one that waits, and drops what is past its use before it is computed (`service.inference.queue`). A replica
keeps nothing of a session: what a recurrent network carries from answer to answer travels with the request.
"""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from affectstream import __version__
from engines.cache import cache_dir
from engines.engine import Arrays, Engine, KeepsSound
from engines.errors import EngineError
from engines.weights import Source
from models.errors import UserError
from models.files import sha256, written_whole
from service import logs
from service.inference.queue import Pending, Superseded
from service.inference.scheduler import Scheduler
from service.long_lived import give_back_regularly
from service.pool.messages import Answer, Counts, Facts, PoolRequest, Spec
from service.pool.pictures import Kept

if TYPE_CHECKING:
    from engines.load import LoadedEngine

log = logging.getLogger(__name__)


class Replica:
    """Run requests on one engine. Ray calls its methods in one event loop, so that none waits for another."""

    def __init__(self) -> None:
        """Begin without an engine, so that an actor that was placed answers at once."""
        self._scheduler: Scheduler | None = None
        self._engine: _Counting | None = None
        self._model = ""
        self._facts: Facts | None = None
        self._pictures = Kept()
        self._answered = self._late = self._failed = 0
        self._waited = 0.0  # s
        give_back_regularly()

    async def ping(self) -> None:
        """Return, which shows that the cluster has placed this actor."""

    async def load(self, spec: Spec, content: bytes) -> Facts | str:
        """Return the facts about the engine that runs from now on, or a sentence why there is none.

        `content` is the file of the weights, so that a node of the cluster needs none of its own. An engine that runs
        already is kept.
        """
        if self._facts is not None:
            return self._facts
        logs.set_up(logging.INFO, form=spec.log_form)  # Ray keeps what is written in its session's folder
        try:
            loaded = await asyncio.to_thread(compiled, spec, content)
        except UserError as error:
            return str(error)
        except Exception as error:
            # The outermost frame of a replica's start: the supervisor shows the sentence and tries again.
            log.exception("the engine of %s cannot be compiled", spec.model)
            return f"The engine of {spec.model} cannot be compiled: {error}"
        return self.serve(spec, loaded)

    def serve(self, spec: Spec, loaded: "LoadedEngine") -> Facts:
        """Run requests on the engine of `loaded` from now on, and return the facts about it."""
        self._model, self._engine = spec.model, _Counting(loaded.engine)
        self._scheduler = Scheduler(spec.max_batch)
        # An engine that hangs or fails again and again is not mended by waiting: the supervisor starts a new replica.
        self._scheduler.register(spec.model, self._engine, rate=spec.rate, alone=True, failed=_end)
        self._scheduler.start()
        engine = loaded.engine
        kept = engine.kept if isinstance(engine, KeepsSound) else None
        self._facts = Facts(engine.name, engine.precision, dict(engine.inputs), kept, spec.weights, loaded.figures)
        return self._facts

    async def run(self, requests: Sequence[PoolRequest]) -> list[Answer]:
        """Return what became of each request of one call, in order, when all have been run or dropped."""
        scheduler = self._scheduler
        if scheduler is None:
            return [Answer(None, error="The replica has no engine yet.")] * len(requests)
        now = time.monotonic()
        begun: list[Pending | Answer] = []
        for one in requests:  # all, before anything is waited for: what follows names the pictures of what came before
            inputs = self._pictures.unpacked(one.session, one.inputs, now)
            if inputs is None:
                begun.append(Answer(None, incomplete=True))
                continue
            try:
                begun.append(
                    scheduler.submit(self._model, inputs, session=one.session, patient=one.patient, age=one.age)
                )
            except EngineError as error:
                begun.append(Answer(None, error=str(error)))
        answers = []
        for pending in begun:
            if isinstance(pending, Answer):
                answers.append(pending)
                continue
            try:
                outputs = await asyncio.wrap_future(pending)
                answers.append(Answer(outputs, pending.waited))
                self._answered += 1
                self._waited += pending.waited
            except Superseded as error:
                answers.append(Answer(None, skipped=error.reason, error=str(error)))
                self._late += error.reason == "late"
            except EngineError as error:
                answers.append(Answer(None, error=str(error)))
                self._failed += 1
        return answers

    async def counts(self) -> Counts:
        """Return what this replica has done so far."""
        if self._scheduler is None or self._engine is None:
            return Counts()
        engine = self._engine
        return Counts(
            self._scheduler.waiting, engine.calls, engine.rows,
            self._answered, self._waited, self._late, self._failed, engine.busy,
        )  # fmt: skip


class _Counting:
    """Run an engine, and count its calls, their rows and the seconds that they took."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.precision, self.inputs = engine.name, engine.precision, engine.inputs
        self.calls = self.rows = 0
        self.busy = 0.0  # s

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return the outputs by name; see `engines.engine.Engine`."""
        started = time.monotonic()
        outputs = self._engine(inputs)
        self.calls += 1
        self.rows += len(next(iter(outputs.values())))
        self.busy += time.monotonic() - started
        return outputs


def compiled(spec: Spec, content: bytes) -> "LoadedEngine":
    """Return the engine of `spec` on this node, made of the file's `content`.

    Raise `UserError` for another version of Affectstream here, and for an engine that cannot be had.
    """
    if spec.version != __version__:
        raise UserError(
            f"A node of the cluster has Affectstream {__version__} and the service {spec.version}; install the same."
        )
    # Here, so that an actor answers before the libraries of engines are imported.
    from engines.load import load
    from service.calibrate import START_SAMPLES, probe_of

    file = _written(spec, content)
    reference = replace(spec.weights, sources=(Source(path=str(file)),))
    probe = probe_of(spec.model, samples=START_SAMPLES)
    return load(spec.model, spec.engine, probe=probe, threads=max(1, int(spec.cpus)), reference=reference)


def _written(spec: Spec, content: bytes) -> Path:
    """Return the file of the weights in this node's cache, written there if it is not."""
    path = cache_dir() / "pool" / spec.weights.sha256[:24] / spec.weights.file
    if not path.is_file() or sha256(path) != spec.weights.sha256:
        if hashlib.sha256(content).hexdigest() != spec.weights.sha256:
            raise UserError(f"The weights of {spec.model} that were sent to a replica are not those of the service.")
        with written_whole(path) as aside:
            aside.write_bytes(content)
    return path


def _end(why: str) -> None:
    """End this process; its supervisor starts another one."""
    log.error("this replica ends: %s", why)
    logging.shutdown()
    os._exit(1)
