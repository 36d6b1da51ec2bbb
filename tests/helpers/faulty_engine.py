"""Engines that fail in known ways, and a wait for a condition."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays, Engine
from engines.errors import EngineError
from engines.load import LoadedEngine

FAULTS = ("hangs", "raises", "nan")


@dataclass
class Faulty:
    """An engine that has a fault until it is mended."""

    sound: Engine
    precision: str
    fault: str | None = None
    name: str = "openvino"
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    mended: threading.Event = field(default_factory=threading.Event)

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        outputs = self.sound(inputs)
        if self.mended.is_set() or self.fault is None:
            return outputs
        if self.fault == "hangs":
            self.mended.wait(110)
        elif self.fault == "raises":
            raise RuntimeError("device lost")
        return {name: np.full_like(values, np.nan) for name, values in outputs.items()}


class Compiler:
    """Compiles engines of the three precisions, of which some have a fault, or none at all."""

    def __init__(self, sound: LoadedEngine, **faults: str) -> None:
        self.sound = sound
        self.faults = faults
        self.made: list[str] = []
        self.engines: list[Faulty] = []
        self.allowed = threading.Event()
        self.allowed.set()

    def __call__(self, name: str) -> LoadedEngine:
        self.allowed.wait(110)
        precision = name.partition(":")[2]
        self.made.append(name)
        if self.faults.get(precision) == "missing":
            raise EngineError(f"This machine has no {precision}.")
        self.engines.append(Faulty(self.sound.engine, precision, self.faults.get(precision)))
        return replace(self.sound, engine=self.engines[-1])


def until(condition: Callable[[], bool]) -> None:
    """Waits for what happens in other threads."""
    pause = threading.Event()
    while not condition():  # the test's own time limit is the only one
        pause.wait(0.01)
