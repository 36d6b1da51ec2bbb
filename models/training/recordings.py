"""Read one person in one video of a prepared data set: pictures, masks, landmarks, sound and labels by frame.

Folders under the data set's root, by the name of the person's annotation: `cropped_aligned/<name>/00001.jpg` (112x112)
as Aff-Wild2 has them, and those that preparing adds: `masks/<name>/00001.png` (landmark masks), `landmarks/<name>.npy`
(frames, 68, 2) pixels of the crop, `mel/<name>.npy` (64, columns) mel power every 10 ms,
`spectrogram/<name>.npy` (96, columns) power every 22 ms (`models.networks.spectrogram`), `times/<name>.npy` (frames,)
seconds where the video has not 30 frames a second, `features/<name>.npy` (frames, 2048) of ferplus-resnet50,
`cropped/<name>/00001.jpg` (299x299), the faces with their surroundings, and `given/<name>/00001.jpg`, the data set's
own aligned pictures.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.training.affwild2 import Annotation, picture

SIZE = 112  # pixels of an aligned face
FPS = 30

Bytes = NDArray[np.uint8]

_SOUND = ("mel", "spectrogram")
# Of `affectstream prepare affwild2`, for a folder that is not always wanted.
_OPTIONS = {"cropped": " --context", "given": " --given", "features": " --features CHECKPOINT"}


class Recording:
    """Read a recording's files when they are needed. A frame without a face is black, and so is its mask."""

    def __init__(self, root: Path, annotation: Annotation) -> None:
        """Take the data set's root and the labels of one person in one video."""
        self.root = root
        self.annotation = annotation
        self.name = annotation.name

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.annotation)

    def require(self, folders: Sequence[str]) -> None:
        """Raise `ModelError` naming the first of `folders` that was not prepared, if there is one."""
        for folder in folders:
            if not ((self.root / folder / self.name).is_dir() or (self.root / folder / f"{self.name}.npy").is_file()):
                raise self._unprepared(folder)

    @cached_property
    def faces(self) -> NDArray[np.int64]:
        """Return the frames that have a picture, ascending. Raise `ModelError` if the recording has no folder."""
        folder = self.root / "cropped_aligned" / self.name
        if not folder.is_dir():
            raise ModelError(f"There are no pictures of {self.name}: {folder} is missing.")
        frames = np.array(sorted(int(path.stem) - 1 for path in folder.glob("*.jpg")), np.int64)
        return frames[frames < len(self)]

    def pictures(self, frames: NDArray[np.int64], folder: str = "cropped_aligned", size: int = SIZE) -> Bytes:
        """Return (frames, size, size, 3) RGB; an index below 0, before the video, is black."""
        if not (self.root / folder / self.name).is_dir():
            raise self._unprepared(folder)
        out = np.zeros((len(frames), size, size, 3), np.uint8)
        for i, frame in enumerate(frames):
            image = cv2.imread(str(picture(self.root / folder, self.name, int(frame)))) if frame >= 0 else None
            if image is not None:
                if image.shape[0] != size:
                    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
                out[i] = image[..., ::-1]
        return out

    def masks(self, frames: NDArray[np.int64]) -> Bytes:
        """Return the landmark masks (frames, 112, 112). Raise `ModelError` if they were not prepared."""
        if not (self.root / "masks" / self.name).is_dir():
            raise self._unprepared("masks")
        out = np.zeros((len(frames), SIZE, SIZE), np.uint8)
        for i, frame in enumerate(frames):
            path = picture(self.root / "masks", self.name, int(frame)).with_suffix(".png")
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if frame >= 0 else None
            if image is not None:
                out[i] = image
        return out

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """Return the time of each frame, (frames,) seconds from the first."""
        path = self.root / "times" / f"{self.name}.npy"
        return np.load(path) if path.is_file() else np.arange(len(self)) / FPS

    @cached_property
    def landmarks(self) -> NDArray[np.float32]:
        """Return (frames, 68, 2) pixels of the crop. Raise `ModelError` if they were not prepared."""
        return self._array("landmarks")

    @cached_property
    def mel(self) -> NDArray[np.float32]:
        """Return mel power (64, columns), every 10 ms from the first frame on. Raise `ModelError` without it."""
        return self._array("mel")

    @cached_property
    def spectrogram(self) -> NDArray[np.float32]:
        """Return power (96, columns), every 22 ms from the first frame on. Raise `ModelError` without it."""
        return self._array("spectrogram")

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """Return the features (frames, 2048) of ferplus-resnet50. Raise `ModelError` if they were not prepared."""
        return self._array("features")

    def _array(self, folder: str) -> NDArray[Any]:
        path = self.root / folder / f"{self.name}.npy"
        if not path.is_file():
            raise self._unprepared(folder)
        array: NDArray[Any] = np.load(path)
        return array

    def _unprepared(self, folder: str) -> ModelError:
        return ModelError(
            f"{self.root} has no {folder} of {self.name}, which this network needs; "
            f"`affectstream prepare affwild2{_OPTIONS.get(folder, '')}` makes them{' of videos' * (folder in _SOUND)}."
        )
