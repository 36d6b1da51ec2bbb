"""What a pool is started from, and what travels between a service, its replicas and its supervisor.

Ray pickles these, inside the cluster alone.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from affectstream import __version__
from engines.engine import Arrays
from engines.verify import Comparison
from engines.weights import Weights
from service import logs
from service.pool.pictures import Packed

PREFIX = "pool-"  # of the names of supervisors; those of replicas have a "/" as well


@dataclass(frozen=True, slots=True)
class Spec:
    """Describe what each replica of a pool is started from.

    Attributes:
        model: Name of the model.
        engine: BACKEND[:PRECISION].
        weights: The float32 file of the model, as the service has it.
        rate: Answers a second that each session wants.
        max_batch: Faces of an engine call.
        fewest: Replicas at least.
        most: Replicas at most.
        cpus: Cores of a replica.
        gpus: GPUs of a replica.
        version: Version of Affectstream, which must be the same on all nodes.
        log_form: Form of the log of the pool's actors: that of the service that starts them.
    """

    model: str
    engine: str
    weights: Weights
    rate: float
    max_batch: int
    fewest: int = 1
    most: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    version: str = __version__
    log_form: logs.Form = field(default_factory=logs.form, compare=False)

    @property
    def name(self) -> str:
        """Return the name of the pool: services that ask for the same share it."""
        facts = (self.engine, self.weights.sha256, self.rate, self.max_batch, self.fewest, self.most, self.cpus)
        digest = hashlib.sha256(repr((*facts, self.gpus, self.version)).encode()).hexdigest()
        return f"{PREFIX}{self.model}-{digest[:8]}"

    @property
    def needs(self) -> str:
        """Return what a replica takes, in words."""
        return f"{self.cpus:g} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """Hold one request of a session as it travels from a service to a replica.

    Attributes:
        session: Name of the session, and of its service, so that two services may use the same names.
        inputs: Arrays by name, (n, ...); sequences of pictures may be named instead (`service.pool.pictures`).
        age: Seconds that it has waited. Clocks of two machines differ, so no time of day is sent.
        patient: Whether the outputs are wanted however late.
    """

    session: str
    inputs: Packed
    age: float
    patient: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold what became of a request.

    Attributes:
        outputs: Arrays by name, (n, ...); None if it was not run or failed.
        waited: Seconds from its arrival at the service to the start of the engine call.
        skipped: "late" or "newer" for a request that was dropped before it was run.
        error: Why there are no outputs, in a sentence.
        incomplete: Whether it named pictures that the replica does not have, so that all are to be sent.
    """

    outputs: Arrays | None
    waited: float = 0.0
    skipped: str = ""
    error: str = ""
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what a service has to know of the engine that the replicas run.

    Attributes:
        name: The backend.
        precision: The precision.
        inputs: Shapes of the inputs by name, as `engines.engine.Engine` gives them.
        kept: Values in an embedding of the sound; None for an engine that gives none (`engines.split`).
        weights: The file that the engine runs.
        figures: How it compares with float32; None for float32.
    """

    name: str
    precision: str
    inputs: dict[str, tuple[int, ...]]
    kept: int | None
    weights: Weights
    figures: Comparison | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Hold what a replica has done since it began, and how many requests wait now.

    Attributes:
        waiting: Requests that wait for the engine now.
        calls: Engine calls.
        rows: Faces in these calls.
        answered: Requests with outputs.
        waited: Seconds that these have waited, added up.
        late: Requests that were dropped, because their answer would have been of no use.
        failed: Requests whose call failed.
        busy: Seconds in engine calls.
    """

    waiting: int = 0
    calls: int = 0
    rows: int = 0
    answered: int = 0
    waited: float = 0.0
    late: int = 0
    failed: int = 0
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """Hold the load of a pool over the last seconds.

    Attributes:
        replicas: Replicas that answer.
        waiting: Requests that wait on all of them.
        wait: Mean seconds from a request's arrival at its service to the start of the engine call.
        batch: Mean faces of an engine call.
        late: Requests that were dropped a second.
        busy: Mean part of the time that a replica spent in engine calls.
    """

    replicas: int = 0
    waiting: int = 0
    wait: float = 0.0
    batch: float = 0.0
    late: float = 0.0
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """Hold what the supervisor says of the pool.

    Attributes:
        members: Actor handles of the replicas that take requests, by name.
        facts: Facts about the engine; None until the first replica has one.
        problem: Why there is no replica, or not as many as wanted, in a sentence; empty without a problem.
        load: Load of the pool over the last seconds.
        late: Requests that were dropped since the pool began.
        wants_file: Whether the supervisor has no weights yet, and asks a service for the file (`Supervisor.take_file`).
    """

    members: dict[str, Any] = field(default_factory=dict)
    facts: Facts | None = None
    problem: str = ""
    load: Load = Load()
    late: int = 0
    wants_file: bool = False
