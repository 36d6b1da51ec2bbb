"""The three networks of perception, compiled once and shared by every session's thread.

They are MediaPipe's TFLite files (Bazarevsky et al. 2019, BlazeFace; Kartynnik et al. 2019, face mesh), run in
float32: bf16 moves the detector's logits by up to 7 and the landmarks by up to 0.7 px.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.openvino import compile_file


@dataclass(frozen=True, slots=True)
class TFLite:
    """Name a weight file of the manifest, and say how its 8-bit RGB input is normalised: (x - mean) / scale."""

    name: str
    mean: float
    scale: float


FULL_RANGE = TFLite("blazeface-full-range", 127.5, 127.5)  # [-1, 1]
SHORT_RANGE = TFLite("blazeface-short-range", 127.5, 127.5)  # [-1, 1]
MESH = TFLite("face-mesh-468", 0.0, 255.0)  # [0, 1]
# What multi-term boosting reads besides; loaded only for it.
IRIS = TFLite("iris-landmark", 0.0, 255.0)  # [0, 1]
POSE_DETECTION = TFLite("pose-detection", 127.5, 127.5)  # [-1, 1]
POSE_LANDMARK = TFLite("pose-landmark-full", 0.0, 255.0)  # [0, 1]


class Runs(Protocol):
    """Describe a network of perception: fill `input`, then call `run`, in one thread; `size` is the input's side."""

    size: int

    def input(self) -> NDArray[np.uint8]:
        """Return the (size, size, 3) RGB buffer to fill."""

    def run(self) -> list[NDArray[np.float32]]:
        """Return the outputs for the buffer, each with a first axis of 1."""


class _Compiled:
    """Hold a compiled network with its input and outputs, for one call at a time."""

    def __init__(self, path: Path) -> None:
        compiled = compile_file(path)
        self._request = compiled.create_infer_request()
        self.input: NDArray[np.float32] = self._request.get_input_tensor().data  # (1, size, size, 3)
        self._outputs = [self._request.get_output_tensor(index).data for index in range(len(compiled.outputs))]

    def run(self) -> list[NDArray[np.float32]]:
        """Return the outputs for `input`, as arrays of the caller's own."""
        self._request.infer(share_outputs=True)  # they are copied once, below
        return [values.copy() for values in self._outputs]


class Network:
    """Run one TFLite file. Calls are thread-safe, run side by side, and release the GIL while native code runs."""

    def __init__(self, path: Path, file: TFLite) -> None:
        self._path = path
        self._gain, self._offset = np.float32(1 / file.scale), np.float32(-file.mean / file.scale)
        # As many as ever ran at once; the last one used comes first, because its memory is still in the cache.
        self._idle = [_Compiled(path)]
        self.size = int(self._idle[0].input.shape[1])  # pixels, side of the square input
        self._own = threading.local()

    def input(self) -> NDArray[np.uint8]:
        """Return the calling thread's own (size, size, 3) RGB input buffer: fill it, then call `run`."""
        if not hasattr(self._own, "picture"):
            self._own.picture = np.zeros((self.size, self.size, 3), np.uint8)
        picture: NDArray[np.uint8] = self._own.picture
        return picture

    def run(self) -> list[NDArray[np.float32]]:
        """Return the outputs for the calling thread's input buffer, each with a first axis of 1."""
        try:
            compiled = self._idle.pop()
        except IndexError:
            compiled = _Compiled(self._path)
        # Made float32 and normalised here: a graph that takes bytes reorders their channels twice, and a graph that
        # normalises is a changed one, which is read from its file at every start before the cache is looked into.
        picture = compiled.input[0]
        picture[:] = self._own.picture
        picture *= self._gain
        if self._offset:
            picture += self._offset
        outputs = compiled.run()
        self._idle.append(compiled)
        return outputs


def _stored(name: str) -> Path:
    from engines import weights

    return weights.path(name)


class Networks:
    """Hold the compiled detectors and the mesh of perception."""

    def __init__(self, path: Callable[[str], Path] = _stored) -> None:
        """Compile the three networks.

        `path` gives the file of a name in the weights manifest; the weights store is the default. Raise `WeightsError`
        if a file is missing and cannot be fetched.
        """
        cv2.setNumThreads(1)  # sessions run in threads of their own; OpenCV's would compete with them for the cores
        self.weights = (FULL_RANGE.name, SHORT_RANGE.name, MESH.name)  # in the manifest
        self.full_range: Runs = Network(path(FULL_RANGE.name), FULL_RANGE)
        self.short_range: Runs = Network(path(SHORT_RANGE.name), SHORT_RANGE)
        self.mesh: Runs = Network(path(MESH.name), MESH)
