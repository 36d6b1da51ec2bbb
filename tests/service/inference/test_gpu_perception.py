"""Perception through an engine that batches over all sessions: the faces of the CPU's, and the CPU's where it fails.

The engine here is OpenVINO on the same ONNX files that a GPU's engine gets."""

import threading
import time
from collections.abc import Iterator, Mapping
from copy import copy
from pathlib import Path

import numpy as np
import pytest
from helpers.faces import networks as compiled
from numpy.typing import NDArray

from engines.engine import Arrays, Engine
from engines.errors import EngineError
from engines.openvino import OpenVinoEngine
from service.capture.media import Frame
from service.inference.gpu_perception import MAX_DIFFERENCE, BatchedNetwork, move_to
from service.perception.networks import Networks
from service.perception.perceive import Perception, perceive_still


class Seen:
    """An engine that notes its batch sizes, may be held up, spoil its outputs, or fail."""

    name, precision = "tensorrt", "fp32"

    def __init__(self, path: Path) -> None:
        self._engine = OpenVinoEngine(path, caching=False, threads=1)
        self.inputs = self._engine.inputs
        self.batches: list[int] = []
        self.broken = False
        self.offset = 0.0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        self.batches.append(len(inputs["picture"]))
        self.gate.wait(110)
        if self.broken:
            raise EngineError("The GPU fell off the bus.")
        return {name: values + np.float32(self.offset) for name, values in self._engine(inputs).items()}


@pytest.fixture(scope="module")
def opened() -> list[Seen]:
    return []


@pytest.fixture(scope="module")
def moved(opened: list[Seen]) -> Iterator[Networks]:
    def open_(path: Path) -> Engine:
        opened.append(Seen(path))
        return opened[-1]

    networks = copy(compiled())  # the CPU's stay where they are
    scheduler = move_to(networks, "tensorrt", open_)
    assert scheduler is not None
    scheduler._hung_after = 60.0  # s: a call that a test holds up is not given up
    yield networks
    scheduler.close()


@pytest.fixture(scope="module")
def on_cpu() -> Networks:
    return compiled()


def test_the_faces_are_those_of_the_cpu(moved: Networks, on_cpu: Networks, portrait: NDArray[np.uint8]) -> None:
    perceptions = Perception(moved), Perception(on_cpu)
    for index in range(3):
        image = np.roll(portrait, 3 * index, axis=1)
        [found], [expected] = (perception(Frame(image, index / 30)) for perception in perceptions)
        np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=MAX_DIFFERENCE)
        assert found.box == pytest.approx(expected.box, abs=MAX_DIFFERENCE)


def scheduled(networks: Networks) -> int:
    """Requests that wait while the mesh is held up: one thread runs all three networks."""
    assert isinstance(networks.mesh, BatchedNetwork)
    return len(networks.mesh._scheduler._queue)


def test_sessions_that_come_together_share_a_call(
    moved: Networks, on_cpu: Networks, opened: list[Seen], portrait: NDArray[np.uint8]
) -> None:
    mesh = opened[2]
    mesh.batches.clear()
    mesh.gate.clear()  # the first call is held up, and the others gather behind it
    faces: list[int] = []
    threads = [
        threading.Thread(target=lambda: faces.append(len(perceive_still(moved, portrait)))) for _ in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    while sum(mesh.batches) + scheduled(moved) < len(threads):
        time.sleep(0.02)
    mesh.gate.set()
    for thread in threads:
        thread.join()
    assert faces == [1] * 4
    assert max(mesh.batches) > 1


@pytest.mark.parametrize("how", ["differs", "fails"])
def test_an_engine_that_is_not_fit_is_refused_with_the_reason(
    how: str, on_cpu: Networks, caplog: pytest.LogCaptureFixture
) -> None:
    def open_(path: Path) -> Engine:
        if how == "fails":
            raise EngineError("There is no GPU.")
        engine = Seen(path)
        engine.offset = 0.2
        return engine

    before = on_cpu.mesh
    assert move_to(on_cpu, "tensorrt", open_) is None
    assert on_cpu.mesh is before
    reason = "There is no GPU." if how == "fails" else "blazeface-full-range on tensorrt differs from the CPU by 0.2 "
    assert f"perception stays on the CPU: {reason}" in caplog.text


def test_each_thread_has_its_own_picture(moved: Networks) -> None:
    assert isinstance(moved.mesh, BatchedNetwork)
    ours = moved.mesh.input()
    theirs: list[NDArray[np.uint8]] = []
    thread = threading.Thread(target=lambda: theirs.append(moved.mesh.input()))
    thread.start()
    thread.join()
    assert not np.shares_memory(ours, theirs[0])
    assert moved.mesh.input() is not theirs[0]
    assert np.shares_memory(moved.mesh.input(), ours)


def test_last_an_engine_that_fails_leaves_the_faces_to_the_cpu(
    moved: Networks, on_cpu: Networks, opened: list[Seen], portrait: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
) -> None:
    for engine in opened:
        engine.broken = True
    for _ in range(3):
        [found], [expected] = (perceive_still(networks, portrait) for networks in (moved, on_cpu))
        np.testing.assert_array_equal(found.landmarks, expected.landmarks)
    assert "was run on the CPU: The GPU fell off the bus." in caplog.text
    assert "runs on the CPU from now on" in caplog.text
    assert opened[2].batches[-1] == 1
    calls = len(opened[2].batches)
    perceive_still(moved, portrait)
    assert len(opened[2].batches) == calls  # it is asked no more
