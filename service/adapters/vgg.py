"""The VGG-FACE family, live: a 96-pixel face per frame and the recurrent state of its track.

Kollias and Zafeiriou (2021).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.load import LoadedEngine
from models.networks import spectrogram
from service.adapters.adapter import Estimate
from service.adapters.medians import TrackMedians
from service.adapters.options import ModelOptions
from service.adapters.outputs import estimates_of
from service.adapters.pacing import Carried, Pacer
from service.perception.align import CROP_SIZE, in_crop
from service.perception.face import Face
from service.perception.mel import MelStream

RATE = 30.0  # steps per second: the networks were trained on the frames of 30 fps videos
SIZE = 96  # pixels
HORIZON = {"mt-vgg-gru": 90, "av-mt-vgg-gru": 90}  # frames of a training sequence
_HORIZON = 80  # of the others
MEDIANS = ("cnn-", "fusion-")  # models whose paper takes medians over time


class VGG:
    """Run any network of the family; which inputs it has beside the face is read from its engine."""

    def __init__(self, loaded: LoadedEngine, options: ModelOptions) -> None:
        """Begin a session; `rate`, `state` and `smoothing` are read from the `options`."""
        takes = loaded.engine.inputs
        self._landmarks = "landmarks" in takes
        self._sound = "sound" in takes
        self._pictures = SoundPictures()
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
            picture = self._pictures.before(mel, t) if len(faces) == 1 else SILENT
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
    points = in_crop(face.landmarks, face.matrix)
    return (points / ((CROP_SIZE - 1) / 2) - 1).reshape(-1).astype(np.float32)


class SoundPictures:
    """Make the pictures of a session's sound (`models.networks.spectrogram`), computing each column once."""

    def __init__(self) -> None:
        """Begin without columns."""
        self._columns = np.zeros((spectrogram.SIZE, spectrogram.SIZE), np.float32)  # power, the oldest first
        self._known = 0  # columns of the session that are computed

    def before(self, mel: MelStream, t: float) -> NDArray[np.float32]:
        """Return (3, 96, 96) in [-1, 1] of the last 2.1 s before `t` seconds; silence where there is no sound yet."""
        wanted = spectrogram.columns_before(t)
        have = min(wanted, spectrogram.complete(mel.samples_end))
        new = min(have - self._known, spectrogram.SIZE)
        if new > 0:
            first, end = (have - new) * spectrogram.HOP, (have - 1) * spectrogram.HOP + spectrogram.WINDOW
            power = spectrogram.power(mel.samples(first, end))
            self._columns = np.concatenate([self._columns[:, new:], power], axis=1)
        self._known = max(self._known, have)
        missing = min(max(wanted - self._known, 0), spectrogram.SIZE)
        return spectrogram.picture(np.pad(self._columns[:, missing:], ((0, 0), (0, missing))))


SILENT = spectrogram.picture(np.zeros((spectrogram.SIZE, spectrogram.SIZE), np.float32))
