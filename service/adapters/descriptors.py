"""The emotional descriptors, live: a 299-pixel face and running means of its embeddings (Haider et al. 2022)."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.load import LoadedEngine
from service.adapters.adapter import Estimate
from service.adapters.options import ModelOptions
from service.adapters.outputs import estimates_of
from service.adapters.pacing import Carried, Pacer
from service.adapters.vgg import resized
from service.perception.face import Face
from service.perception.mel import MelStream

RATE = 10.0  # predictions per second
SIZE = 299  # pixels
# The published means are y = (alpha y + x) / (1 + alpha) at 30 frames a second: alpha / (1 + alpha) of the old stays.
ALPHA = (7.0, 9.0)  # of the action units' embeddings; of the one that expressions, valence and arousal are read from
FPS = 30.0
CONTEXT = 1.5  # sides of the face's box that the crop with its surroundings has


class Descriptors:
    """Run one network on the aligned face, or the ensemble, whose other network sees the face with its surroundings."""

    def __init__(self, loaded: LoadedEngine, options: ModelOptions) -> None:
        """Begin a session; `rate` and `smoothing` are read from the `options`."""
        takes = loaded.engine.inputs
        self._context = "context" in takes
        self._pacer = Pacer(options.rate or RATE)
        self._smooth = options.smoothing != "off"
        self._state = Carried(takes["state"][1:])

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """Return the inputs at `t` seconds, or None if no prediction is due.

        They are `face` and, for the ensemble, `context`, (N, 299, 299, 3) uint8; `keep`, (N, 2) float32; `state`,
        (N, ...) float32.
        """
        self._state.see(t, faces)
        if not faces or not self._pacer.due(t):
            return None
        given: Arrays = {
            "face": np.stack([resized(face.crop, SIZE) for face in faces]),
            "keep": np.stack([self._kept(t, face) for face in faces]),
            "state": self._state.stack(faces),
        }
        if self._context:
            given["context"] = np.stack([surroundings(face) for face in faces])
        return given

    def _kept(self, t: float, face: Face) -> NDArray[np.float32]:
        return keep(t, self._state.read(face.track) if self._smooth else None)

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """Return an estimate for each face, from the running means up to `t` seconds."""
        self._pacer.answered()
        self._state.keep(t, faces, outputs["next_state"])
        return estimates_of(t, faces, outputs)

    def unanswered(self) -> None:
        """Allow the next request when it is due."""
        self._pacer.answered()


def keep(t: float, last: float | None) -> NDArray[np.float32]:
    """Return (2,) shares of the two running means that stay at `t` seconds, last renewed at `last` (None: never).

    The published alpha belongs to a thirtieth of a second. A step of dt s is 30 dt such steps at once, so that the same
    is left after the same time at any rate; alpha' / (1 + alpha') with alpha' = alpha / (30 dt) is close to it.
    """
    if last is None:
        return np.zeros(2, np.float32)
    alpha = np.array(ALPHA)
    share: NDArray[np.float32] = ((alpha / (1 + alpha)) ** (FPS * (t - last))).astype(np.float32)
    return share


def surroundings(face: Face) -> NDArray[np.uint8]:
    """Return (299, 299, 3): an upright square around the face's box, black beyond the frame's edges."""
    assert face.image is not None
    x, y, width, height = face.box
    side = CONTEXT * max(width, height)
    scale = SIZE / side
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    picture = cv2.warpAffine(face.image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderValue=0)
    return np.asarray(picture, np.uint8)
