"""A replica without Ray: batches over services, and nothing is computed that comes too late."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.load import LoadedEngine
from engines.weights import Weights
from models.errors import UserError
from service.pool.messages import PoolRequest, Spec
from service.pool.replica import Replica, compiled

WEIGHTS = Weights("w", "w.onnx", "", "", False, "", "ab" * 32, 1, (), model="double")
SPEC = Spec("double", "openvino", WEIGHTS, rate=0.1, max_batch=16)  # so that only what is old when it comes is late


class Doubling:
    """An engine that doubles once it may; it keeps the sizes of its batches."""

    name, precision = "openvino", "fp32"
    inputs: Mapping[str, tuple[int, ...]] = {"x": (-1, 1)}

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.entered = threading.Event()

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        self.entered.set()
        self.go.wait(60)
        self.batches.append(len(inputs["x"]))
        return {"y": np.asarray(inputs["x"]) * 2}


def asked(session: str, *values: float, age: float = 0.0, patient: bool = False) -> PoolRequest:
    return PoolRequest(session, {"x": np.array([[v] for v in values], np.float32)}, age, patient)


def served() -> tuple[Replica, Doubling]:
    engine, replica = Doubling(), Replica()
    replica.serve(SPEC, LoadedEngine(engine, WEIGHTS, None))
    return replica, engine


def test_the_requests_of_a_call_share_batches_and_are_answered_in_order() -> None:
    replica, engine = served()
    engine.go.set()
    calls = [asked("a", 1, 2), asked("b", 3), asked("c", 4)]
    answers = asyncio.run(replica.run(calls))
    assert [a.outputs["y"].ravel().tolist() for a in answers if a.outputs is not None] == [[2, 4], [6], [8]]
    assert sum(engine.batches) == 4
    counts = asyncio.run(replica.counts())
    assert (counts.answered, counts.rows, counts.late) == (3, 4, 0)


def test_what_comes_too_late_is_dropped_before_it_is_computed_and_counted() -> None:
    replica, engine = served()
    engine.go.set()
    late, patient, fresh = asyncio.run(
        replica.run([asked("a", 1, age=60.0), asked("b", 2, age=60.0, patient=True), asked("c", 3)])
    )
    assert late.outputs is None
    assert late.skipped == "late"
    assert patient.outputs is not None
    assert fresh.outputs is not None
    assert sum(engine.batches) == 2
    assert asyncio.run(replica.counts()).late == 1


def test_a_newer_request_of_a_session_takes_the_place_of_the_one_that_waits() -> None:
    replica, engine = served()

    async def two() -> list[str]:
        first = asyncio.ensure_future(replica.run([asked("held", 0)]))
        await asyncio.to_thread(engine.entered.wait, 60)
        older = asyncio.ensure_future(replica.run([asked("a", 1)]))
        await asyncio.sleep(0)
        newer = asyncio.ensure_future(replica.run([asked("a", 2)]))
        await asyncio.sleep(0)
        engine.go.set()
        return [one.skipped for one in (await first + await older + await newer)]

    assert asyncio.run(two()) == ["", "newer", ""]


def test_a_replica_without_an_engine_says_so() -> None:
    (answer,) = asyncio.run(Replica().run([asked("a", 1)]))
    assert answer.error == "The replica has no engine yet."


def test_a_node_with_another_version_of_the_program_is_refused() -> None:
    try:
        compiled(replace(SPEC, version="0.0.1"), b"")
        sentence = ""
    except UserError as error:
        sentence = str(error)
    assert "and the service 0.0.1; install the same." in sentence


ACTOR = """
import asyncio, logging, sys
from dataclasses import replace
from engines.weights import Weights
from service import logs
from service.pool import replica
from service.pool.messages import Spec

logs.set_up(logging.INFO, form=sys.argv[1])  # the service that makes the description
weights = Weights("w", "w.onnx", "", "", False, "", "ab" * 32, 1, (), model="double")
spec = Spec("double", "openvino", weights, rate=5.0, max_batch=16)
logging.getLogger().handlers.clear()  # the actor is another process
replica.compiled = lambda spec, content: 1 / 0
print(asyncio.run(replica.Replica().load(spec, b"")))
replica._end("its engine hangs")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_replica_logs_in_the_form_of_the_service_that_started_it(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", ACTOR, form], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "The engine of double cannot be compiled: division by zero\n")
    if form == "text":
        assert "ERROR service.pool.replica: this replica ends: its engine hangs" in done.stderr
        return
    failed, ended = [json.loads(line) for line in done.stderr.splitlines()]  # each line is an object
    assert (failed["level"], failed["message"]) == ("ERROR", "the engine of double cannot be compiled")
    assert failed["exception"].endswith("ZeroDivisionError: division by zero")
    assert ended["message"] == "this replica ends: its engine hangs"
