"""The ONNX file as it is served: run in OpenVINO on one core, with what its metadata says."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from models.face_mt.export import INPUTS, OUTPUTS
from models.face_mt.points import POINTS
from models.face_mt.scores import Floats

_BATCH = 64


@dataclass(frozen=True)
class Outputs:
    """Hold what the file gives for n crops."""

    balanced: Floats  # (n, 8) probabilities as served
    trained: Floats  # (n, 8) probabilities as FER+'s raters would name the face, under FER+'s prior
    va: Floats  # (n, 2)
    std: Floats  # (n, 2)
    present: Floats  # (n, k) probabilities that a unit is present
    intensities: Floats  # (n, k) 0..5
    intensity_std: Floats  # (n, k)
    occluded: Floats  # (n,)


class Served:
    """Run a weight file as the service does."""

    def __init__(self, path: Path, precision: str = "f32", threads: int = 1) -> None:
        core = ov.Core()
        model = core.read_model(path)
        info: dict[str, Any] = model.get_rt_info(["framework"]).value
        wanted = ("aus", "training_prior", "expressions", "present_above", "held_out_calibration")
        self.facts: dict[str, Any] = {k: json.loads(str(info[k])) for k in wanted if k in info}
        self.version = str(info["version"])
        self.prior = np.array(self.facts["training_prior"])
        config = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
        self._compiled = core.compile_model(model, "CPU", config)

    def run(self, crops: NDArray[np.uint8], points: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the raw outputs for (n, 112, 112, 3) crops and (n, 468, 2) points, in the order of `OUTPUTS`."""
        results = self._compiled(dict(zip(INPUTS, (crops, points), strict=True)))
        return [results[name] for name in OUTPUTS]

    def __call__(self, crops: NDArray[np.uint8], points: NDArray[np.float32] | None = None) -> Outputs:
        """Return the answers for (n, 112, 112) luminance or (n, 112, 112, 3) colour.

        `points`: (n, 468, 2); without them the units are those of faces whose mesh is unknown.
        """
        if points is None:
            points = np.zeros((len(crops), POINTS, 2), np.float32)
        parts: list[list[NDArray[np.float32]]] = []
        for start in range(0, len(crops), _BATCH):
            part = crops[start : start + _BATCH]
            if part.ndim == 3:
                part = np.repeat(part[..., None], 3, axis=3)
            parts.append([np.array(v) for v in self.run(np.ascontiguousarray(part), points[start : start + _BATCH])])
        balanced, va, std, aus, intensities, intensity_std, occluded, voted = (
            np.concatenate(v).astype(np.float64) for v in zip(*parts, strict=True)
        )
        return Outputs(
            balanced,
            voted,
            va,
            std,
            1 / (1 + np.exp(-aus)),
            intensities,
            intensity_std,
            occluded[:, 0],
        )
