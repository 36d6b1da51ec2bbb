"""The networks behind the features of multi-term boosting, as one engine for the scheduler: faces, irises, bodies."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.embedding import with_embedding
from engines.engine import Arrays
from engines.openvino import OpenVinoEngine
from service.perception.networks import IRIS, POSE_DETECTION, POSE_LANDMARK, Network

FACE = "face-mt"  # gives action units and deep features
FILES = (IRIS, POSE_DETECTION, POSE_LANDMARK)  # the other networks that are run


class FeatureEngine:
    """Run the feature networks together.

    Inputs are `face` (N, 112, 112, 3) and `points` (N, 468, 2) float32, as `face_mt.inputs_of` gives them, and, where
    they are to be read, `eyes` (N, 2, 64, 64, 3), `person` (N, 256, 256, 3) or `scene` (N, 224, 224, 3). Pictures are
    uint8 RGB; a row of `person` or `scene` that is black is left out.

    Outputs, in float32, are `aus` (N, units) logits and `embedding` (N, width); `irises` (N, 2, 15); `landmarks`
    (N, 195) and `presence` (N,); `boxes` (N, 2254, 12) and `logits` (N, 2254), as MediaPipe's networks give them.
    """

    name, precision = "openvino", "fp32"

    def __init__(self, path: Callable[[str], Path]) -> None:
        """Compile the networks; `path` gives a manifest name's file. Raise `WeightsError` or `EngineError`."""
        self._face = OpenVinoEngine(with_embedding(path(FACE)), threads=1)
        self._iris, self._detection, self._landmark = (Network(path(file.name), file) for file in FILES)
        self.inputs: Mapping[str, tuple[int, ...]] = self._face.inputs
        self.width = self._face.outputs["embedding"][1]  # of the deep features

    def __call__(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Return the outputs by name of those inputs that are given."""
        face = self._face({name: inputs[name] for name in self._face.inputs})
        out: Arrays = {name: face[name] for name in ("aus", "embedding")}
        if "eyes" in inputs:
            eyes = inputs["eyes"]
            (irises,) = _each(self._iris, eyes.reshape(-1, *eyes.shape[2:]), (1,))
            out["irises"] = irises.reshape(len(eyes), 2, -1)
        if "person" in inputs:
            out["landmarks"], presence = _each(self._landmark, inputs["person"], (0, 1))
            out["presence"] = presence[:, 0]
        if "scene" in inputs:
            boxes, logits = _each(self._detection, inputs["scene"], (0, 1))
            out["boxes"], out["logits"] = boxes.reshape(len(boxes), -1, 12), logits
        return out


def _each(network: Network, pictures: NDArray[np.generic], wanted: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return the outputs numbered `wanted`, each (N, values), picture by picture; zeros for black ones."""
    found: list[NDArray[np.float32]] = []
    for i, picture in enumerate(pictures):
        if not picture.any() and (found or i + 1 < len(pictures)):
            continue
        network.input()[:] = picture
        outputs = network.run()
        if not found:
            found = [np.zeros((len(pictures), outputs[index].size), np.float32) for index in wanted]
        for kept, index in zip(found, wanted, strict=True):
            kept[i] = outputs[index].ravel()
    return found
