"""Run the teacher of the action units, MediaPipe Face Landmarker, for data preparation: 478 points, 52 blendshapes.

Apache-2.0 (Google). The task file is a zip of TFLite files; landmark subset and names as in MediaPipe's
face_blendshapes_graph. Runs in float32: bf16 moves the blendshapes by up to 0.1.
"""

import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from engines.openvino import core
from service.perception.mesh import Roi, roi_from_mesh

NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
_SIDES = {"Left": "Right", "Right": "Left"}
# Where each value of a face stands among those of its mirror image.
_MIRRORED = [
    NAMES.index(next((name.removesuffix(a) + b for a, b in _SIDES.items() if name.endswith(a)), name)) for name in NAMES
]
_SUBSET = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
])  # fmt: skip
_SIZE = 256  # pixels
_MIN_PRESENCE = 0.5


class Blendshapes:
    """Run the task's two networks; use one object from one thread at a time."""

    def __init__(self, task: Path) -> None:
        """Take the path of face_landmarker.task. Raise `OSError` or `KeyError` if it is not that file."""
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(task) as archive:
            models = [
                core().read_model(archive.extract(name, folder))
                for name in ("face_landmarks_detector.tflite", "face_blendshapes.tflite")
            ]
            self._points, self._shapes = (core().compile_model(model, "CPU", config) for model in models)

    def __call__(self, image: NDArray[np.uint8], mesh: NDArray[np.floating]) -> NDArray[np.float32] | None:
        """Return (52,) in 0..1 in the order of `NAMES`, or None where the teacher sees no face.

        image: (height, width, 3) RGB; mesh: (468, 3) pixels, where the face is. The values are the mean of the
        picture's and of its mirror image's, which differ though the face is the same (r = 0.83 to 0.95 by unit).
        """
        roi = roi_from_mesh(mesh)
        here = self._one(image, roi)
        mirrored = Roi(image.shape[1] - roi.x, roi.y, roi.side, -roi.angle)
        there = self._one(np.ascontiguousarray(image[:, ::-1]), mirrored)
        return None if here is None or there is None else (here + there[_MIRRORED]) * np.float32(0.5)

    def _one(self, image: NDArray[np.uint8], roi: Roi) -> NDArray[np.float32] | None:
        matrix = _to_input(roi)
        crop = cv2.warpAffine(
            image, matrix, (_SIZE, _SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).astype(np.float32)
        outputs: ov.utils.data_helpers.OVDict = self._points((crop / 255.0)[None])
        presence = 1 / (1 + np.exp(-float(outputs[1].reshape(-1)[0])))
        if presence < _MIN_PRESENCE:
            return None
        points = outputs[0].reshape(-1, 3)[:, :2].astype(np.float64)
        picture = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        values: NDArray[np.float32] = self._shapes(picture[_SUBSET][None].astype(np.float32))[0].reshape(-1)
        return values


def _to_input(roi: Roi) -> NDArray[np.float64]:
    """Return the (2, 3) transform from the picture to the network's input."""
    scale = _SIZE / roi.side
    c, s = np.cos(roi.angle) * scale, np.sin(roi.angle) * scale
    linear = np.array([[c, s], [-s, c]])
    return np.hstack([linear, (_SIZE / 2 - linear @ [roi.x, roi.y])[:, None]])
