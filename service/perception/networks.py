"""The three networks of perception, compiled once and shared by every session's thread.

They are MediaPipe's TFLite files (Bazarevsky et al. 2019, BlazeFace; Kartynnik et al. 2019, face mesh), run in
float32: bf16 moves the detector's logits by up to 7 and the landmarks by up to 0.7 px.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor


@dataclass(frozen=True, slots=True)
class TFLite:
    """A weight file: its name in the weights manifest, and how its 8-bit RGB input is normalised."""

    name: str
    mean: float
    scale: float


FULL_RANGE = TFLite("blazeface-full-range", 127.5, 127.5)  # [-1, 1]
SHORT_RANGE = TFLite("blazeface-short-range", 127.5, 127.5)  # [-1, 1]
MESH = TFLite("face-mesh-468", 0.0, 255.0)  # [0, 1]
# What multi-term boosting reads besides; loaded where it is asked for.
IRIS = TFLite("iris-landmark", 0.0, 255.0)  # [0, 1]
POSE_DETECTION = TFLite("pose-detection", 127.5, 127.5)  # [-1, 1]
POSE_LANDMARK = TFLite("pose-landmark-full", 0.0, 255.0)  # [0, 1]


class Runs(Protocol):
    """What perception needs of a network. `input`, then `run`, in one thread; see `Network`."""

    size: int

    def input(self) -> NDArray[np.uint8]:
        """(size, size, 3) RGB to fill."""

    def run(self) -> list[NDArray[np.float32]]:
        """Outputs for it, batch of 1 first."""


class Network:
    """One compiled TFLite file. Calls are thread-safe; the GIL is released while native code runs."""

    def __init__(self, core: ov.Core, path: Path, file: TFLite) -> None:
        model = core.read_model(path)
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8)
        steps.input().preprocess().convert_element_type(ov.Type.f32).mean(file.mean).scale(file.scale)
        streams = os.cpu_count() or 1
        # One thread a request and one stream a core, so that as many sessions as there are cores run side by side.
        self._compiled = core.compile_model(
            steps.build(),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams,
                "ENABLE_CPU_PINNING": False,
            },
        )
        self.size = int(self._compiled.inputs[0].shape[1])  # pixels, side of the square input
        self._outputs = len(self._compiled.outputs)
        self._own = threading.local()

    def input(self) -> NDArray[np.uint8]:
        """(size, size, 3) RGB, the calling thread's own input buffer: fill it, then call `run`."""
        if not hasattr(self._own, "request"):
            self._own.buffer = np.zeros((1, self.size, self.size, 3), np.uint8)
            self._own.request = self._compiled.create_infer_request()
            self._own.request.set_input_tensor(ov.Tensor(self._own.buffer, shared_memory=True))
        buffer: NDArray[np.uint8] = self._own.buffer
        picture: NDArray[np.uint8] = buffer[0]
        return picture

    def run(self) -> list[NDArray[np.float32]]:
        """Outputs for the calling thread's input buffer. They are overwritten by that thread's next `run`."""
        results = self._own.request.infer(share_inputs=True, share_outputs=True)
        return [results[index] for index in range(self._outputs)]


def _stored(name: str) -> Path:
    from engines import weights

    return weights.path(name)


class Networks:
    """Detectors and mesh. `path` gives the file of a name in the weights manifest; the weights store is the default.

    Raises `WeightsError` if a file is missing and cannot be fetched.
    """

    def __init__(self, path: Callable[[str], Path] = _stored) -> None:
        cv2.setNumThreads(1)  # sessions are the threads; OpenCV's own would fight with them for the cores
        core = ov.Core()
        self.weights = (FULL_RANGE.name, SHORT_RANGE.name, MESH.name)  # in the manifest
        self.full_range: Runs = Network(core, path(FULL_RANGE.name), FULL_RANGE)
        self.short_range: Runs = Network(core, path(SHORT_RANGE.name), SHORT_RANGE)
        self.mesh: Runs = Network(core, path(MESH.name), MESH)
