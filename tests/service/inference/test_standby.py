"""An engine that hangs, breaks or gives NaN is replaced by the next; sessions, /readyz and metrics tell the truth."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from helpers.faulty_engine import FAULTS, Compiler, Faulty, until
from helpers.sources import demo_items

from engines.load import LoadedEngine
from service import metrics
from service import runtime as service_runtime
from service.capture.media import Frame
from service.inference.standby import Standby, following
from service.publish.hub import Hub
from service.runtime import Runtime, RuntimeOptions
from service.sessions import Sessions
from service.settings import Settings
from service.web.live import Live

PATIENCE = 60.0  # s, on a busy machine, in which a call that does not hang is over
HUNG_AFTER = {"hangs": 0.5, "raises": PATIENCE, "nan": PATIENCE}  # s, by fault


@contextmanager
def running(compiler: Compiler, runtime: Runtime, hung_after: float = PATIENCE) -> Iterator[Runtime]:
    made = Runtime(
        compiler("openvino:int8"), runtime.networks, RuntimeOptions(max_faces=1), hung_after=hung_after, reload=compiler
    )
    try:
        yield made
    finally:
        for engine in compiler.engines:
            engine.mended.set()
        made.close()


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [item for item in demo_items(1.0) if isinstance(item, Frame)]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_session_goes_on_with_the_next_engine(fault: str, runtime: Runtime, frames: list[Frame]) -> None:
    compiler = Compiler(runtime.loaded, int8=fault, bf16="missing")
    counter = metrics.ENGINE_FAILURES.labels(runtime.model, {"hangs": "hung", "raises": "error", "nan": "nan"}[fault])
    before = counter._value.get()
    with running(compiler, runtime, HUNG_AFTER[fault]) as made:
        compiler.allowed.clear()  # the next one is not compiled yet
        pipeline = made.pipeline("x")
        coming = iter(frames)
        failing = [pipeline.frame(next(coming)).data for _ in range(1 if fault == "hangs" else 3)]
        until(lambda: bool(made.problems()))
        made._scheduler._hung_after = PATIENCE
        failing.append(pipeline.frame(next(coming)).data)  # at once, however long compiling takes
        for data in failing:
            assert data["model"]["precision"] == "int8"
            assert data["faces"][0]["reasons"] == ["engine_failed"]
            assert data["faces"][0]["valence"] is None
        (problem,) = made.problems()
        assert problem.startswith("openvino:int8 was given up, and no other engine runs yet: ")
        assert {"hangs": "gave nothing for 1.5 s", "raises": "device lost", "nan": "not finite"}[fault] in problem
        compiler.allowed.set()
        until(lambda: not made.problems())
        data = pipeline.frame(next(coming)).data
        assert compiler.made == ["openvino:int8", "openvino:bf16", "openvino:fp32"]
        assert (data["model"]["engine"], data["model"]["precision"]) == ("openvino", "fp32")
        assert data["faces"][0]["valence"] is not None
        assert failing[0]["model"]["precision"] == "int8", "an event that went out was changed"
        runs = {s.labels["precision"]: s.value for s in metrics.ENGINE_INFO.collect()[0].samples}
        assert (runs["int8"], runs["fp32"]) == (0, 1)
    assert counter._value.get() == before + len(failing) - 1


def test_a_live_session_goes_on_while_the_engine_hangs(
    runtime: Runtime, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event waits for a second at most, and holds the last value."""
    assert service_runtime.ANSWER_WITHIN <= 1.0
    compiler = Compiler(runtime.loaded)
    with running(compiler, runtime) as made:
        pipeline = made.pipeline("x", live=True)
        monkeypatch.setattr(service_runtime, "ANSWER_WITHIN", PATIENCE)
        first = pipeline.frame(frames[0]).data["faces"][0]
        compiler.engines[0].fault = "hangs"
        monkeypatch.setattr(service_runtime, "ANSWER_WITHIN", 0.1)
        held = pipeline.frame(frames[1]).data["faces"][0]
        assert (held["status"], held["valence"]) == ("held", first["valence"])
        compiler.engines[0].mended.set()
        monkeypatch.setattr(service_runtime, "ANSWER_WITHIN", PATIENCE)
        assert pipeline.frame(frames[2]).data["faces"][0]["age_ms"] == 0


def test_another_session_works_while_the_engine_works(
    runtime: Runtime, frames: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.runtime.usable_cores", lambda: [0])
    compiler = Compiler(runtime.loaded)
    with running(compiler, runtime) as made:
        one, another = (made.pipeline(name, live=True) for name in ("one", "another"))

        def reads() -> None:
            with one.semaphore:
                one.frame(frames[0])

        compiler.engines[0].fault = "hangs"
        waiting = threading.Thread(target=reads)
        waiting.start()
        until(lambda: made._scheduler._call is not None)
        with another.semaphore:
            assert waiting.is_alive()
        compiler.engines[0].mended.set()
        waiting.join(60)
        assert not waiting.is_alive()


def test_readiness_says_when_no_engine_runs(runtime: Runtime, frames: list[Frame]) -> None:
    compiler = Compiler(runtime.loaded, int8="raises")

    async def look(made: Runtime) -> None:
        hub = Hub(asyncio.get_running_loop())
        live = Live(Settings(), hub, made, Sessions(made, hub.publish, limit=1), [], ThreadPoolExecutor(1))
        assert live.problems() == []
        compiler.allowed.clear()
        pipeline = made.pipeline("x")
        for frame in frames[:3]:
            pipeline.frame(frame)
        await asyncio.to_thread(until, lambda: bool(made.problems()))
        assert live.problems() == made.problems()
        compiler.allowed.set()
        await asyncio.to_thread(until, lambda: not made.problems())
        assert live.problems() == []
        live.encoder.shutdown()

    with running(compiler, runtime) as made:
        asyncio.run(look(made))


@pytest.mark.parametrize("fault", FAULTS)
def test_where_no_engine_is_left_the_first_is_tried_again_and_again(
    fault: str, runtime: Runtime, frames: list[Frame]
) -> None:
    compiler = Compiler(runtime.loaded, int8=fault, bf16=fault, fp32=fault)
    with running(compiler, runtime, HUNG_AFTER[fault]) as made:
        made._standby._wait = 0.01
        pipeline = made.pipeline("x")
        for number, frame in enumerate(frames):
            if len(compiler.made) == 5:
                break
            pipeline.frame(replace(frame, t=number / 30))
            until(lambda: not made.problems())
            for engine in compiler.engines[:-1]:
                engine.mended.set()  # lets go of its thread
        assert compiler.made == [f"openvino:{precision}" for precision in ("int8", "bf16", "fp32", "int8", "int8")]
        assert made._standby._wait == pytest.approx(0.04), "each time after twice as long"
        made._scheduler._hung_after = PATIENCE
        for engine in compiler.engines:
            engine.mended.set()
        last = replace(frames[-1], t=2.0)
        assert pipeline.frame(last).data["faces"][0]["valence"] is not None
        assert made.info["precision"] == "int8"


def test_many_calls_that_hang_are_not_joined_by_more(runtime: Runtime) -> None:
    """Each holds a compiled network in memory."""
    compiler, stuck = Compiler(runtime.loaded), [4]
    used: list[LoadedEngine] = []
    standby = Standby(runtime.loaded, compiler, used.append, lambda: stuck[0], first_wait=0.001)
    standby._left = []
    standby.failed("it hung")
    until(lambda: standby._wait > 0.1)
    assert compiler.made == []
    stuck[0] = 3
    until(lambda: bool(used))
    assert len(compiler.made) == 1
    standby.close()


def test_an_engine_is_followed_by_finer_ones_and_at_last_by_those_that_run_everywhere(runtime: Runtime) -> None:
    def engines_after(name: str, precision: str) -> list[str]:
        return following(Faulty(runtime.loaded.engine, precision, name=name))

    assert engines_after("openvino", "int8") == ["openvino:bf16", "openvino:fp32"]
    assert engines_after("openvino", "fp32") == []
    everywhere = ["openvino:int8", "openvino:bf16", "openvino:fp32"]
    assert engines_after("tensorrt", "fp16") == ["tensorrt:fp32", *everywhere]
    assert engines_after("torch", "bf16") == ["torch:fp16", "torch:fp32", *everywhere]
