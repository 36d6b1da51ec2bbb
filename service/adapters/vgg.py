"""The VGG-FACE family, live: a 96-pixel face per frame and the recurrent state of its track.

Kollias and Zafeiriou (2021).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.load import Loaded
from service.adapters.adapter import Estimate
from service.adapters.medians import TrackMedians
from service.adapters.options import ModelOptions
from service.adapters.outputs import estimates_of
from service.adapters.pacing import Carried, Pacer
from service.perception.align import CROP_SIZE
from service.perception.face import Face
from service.perception.mel import COLUMN_SECONDS, MELS, RANGE_DB, SILENCE_DB, MelStream

RATE = 30.0  # steps per second: the networks were trained on the frames of 30 fps videos
SIZE = 96  # pixels
HORIZON = {"mt-vgg-gru": 90, "av-mt-vgg-gru": 90}  # frames of a training sequence
_HORIZON = 80  # of the others
MEDIANS = ("cnn-", "fusion-")  # models whose paper takes medians over time
PICTURE_HOP = 0.022  # s between columns of a sound picture (Kollias and Zafeiriou 2021, IV)
_EPSILON = 1e-6


class VGG:
    """Run any network of the family; which inputs it has beside the face is read from its engine."""

    def __init__(self, loaded: Loaded, options: ModelOptions) -> None:
        """Begin a session; `rate`, `state` and `smoothing` are read from the `options`."""
        takes = loaded.engine.inputs
        self._landmarks = "landmarks" in takes
        self._sound = "sound" in takes
        self._pacer = Pacer(options.rate or RATE)
        horizon = HORIZON.get(loaded.weights.model, _HORIZON) if options.state == "chunk" else None
        self._state = Carried(takes["state"][1:], horizon) if "state" in takes else None
        wanted = options.smoothing == "median" and loaded.weights.model.startswith(MEDIANS)
        self._medians = TrackMedians() if wanted else None

    def inputs(self, t: float, faces: Sequence[Face], mel: MelStream) -> Arrays | None:
        """Return the inputs at `t` seconds, or None if no prediction is due.

        They are `face`, (N, 96, 96, 3) uint8, and as float32, each where the network has it, `landmarks`, (N, 136),
        `sound`, (N, 3, 96, 96), and `state`, (N, ...).
        """
        if self._state is not None:
            self._state.see(t, faces)
        if not faces or not self._pacer.due(t):
            return None
        given: Arrays = {"face": np.stack([resized(face.crop, SIZE) for face in faces])}
        if self._landmarks:
            given["landmarks"] = np.stack([landmarks_of(face) for face in faces])
        if self._sound:
            picture = sound_picture(mel, t) if len(faces) == 1 else _silent()
            given["sound"] = np.repeat(picture[None], len(faces), axis=0)
        if self._state is not None:
            given["state"] = self._state.stack(faces)
        return given

    def estimates(self, t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
        """Return an estimate for each face."""
        self._pacer.answered()
        if self._state is not None:
            self._state.keep(t, faces, outputs["next_state"])
        found = estimates_of(t, faces, outputs)
        return found if self._medians is None else self._medians.smoothed(t, faces, found)

    def unanswered(self) -> None:
        """Allow the next request when it is due."""
        self._pacer.answered()


def resized(crop: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return an aligned crop as (size, size, 3) uint8, resized as in training."""
    picture = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(picture, np.uint8)


def landmarks_of(face: Face) -> NDArray[np.float32]:
    """Return (136,) x and y of the 68 points in turn, with the crop's edges at -1 and 1."""
    points = face.landmarks @ face.matrix[:, :2].T + face.matrix[:, 2]
    return (points / ((CROP_SIZE - 1) / 2) - 1).reshape(-1).astype(np.float32)


def sound_picture(mel: MelStream, t: float) -> NDArray[np.float32]:
    """Return (3, 96, 96) in [-1, 1]: a picture of the last 2.1 s of sound before `t` seconds.

    The newest column is at the right, low frequencies are at the bottom. A column counts once all of its samples lie
    before `t`.
    """
    newest = int(t / COLUMN_SECONDS + _EPSILON) - 1
    back = np.round(PICTURE_HOP / COLUMN_SECONDS * np.arange(SIZE - 1, -1, -1)).astype(int)
    columns = newest - back
    db = np.full((MELS, SIZE), SILENCE_DB, np.float32)
    there = (columns >= max(mel.first, mel.oldest, 0)) & (columns < mel.columns)
    if mel.started and there.any():
        first, last = columns[there].min(), columns[there].max() + 1
        db[:, there] = mel.decibels(first, last)[:, columns[there] - first]
    return _picture(db)


def _picture(db: NDArray[np.float32]) -> NDArray[np.float32]:
    stretched = 1 + 2 * np.maximum(db - db.max(), -np.float32(RANGE_DB)) / np.float32(RANGE_DB)
    picture = cv2.resize(np.ascontiguousarray(stretched[::-1]), (SIZE, SIZE))
    return np.repeat(np.asarray(picture, np.float32)[None], 3, axis=0)


def _silent() -> NDArray[np.float32]:
    return _picture(np.full((MELS, SIZE), SILENCE_DB, np.float32))
