"""Choose which of a frame's faces an annotation of Aff-Wild2 is about.

Where the data set has its own crop of the frame, the face most like that crop is chosen. Otherwise it is the person who
was large for longest; in a video with two annotated people (`_left`, `_right`) their places tell the two largest apart.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.affwild2 import picture
from service.perception.face import Face

MIN_LIKENESS = 0.3  # correlation of coarse crops; the data set's alignment is not quite ours
_SMALL = 16  # pixels, side of the pictures that are compared

SIDES = ("_left", "_right")


class AnnotatedPerson:
    """Follow the person of one annotation; give it every frame of the video, in order."""

    def __init__(self, name: str, crops: Path | None) -> None:
        """Take the annotation's name, and the data set's `cropped_aligned/<name>` or None."""
        self._side = next((side for side in SIDES if name.endswith(side)), None)
        self._crops = crops
        self._area: Counter[int] = Counter()  # track -> pixels, over all frames
        self._sides: dict[int, str] = {}  # track -> where it was when two were seen
        self._track: int | None = None

    def among(self, faces: Sequence[Face], frame: int, width: int) -> Face | None:
        """Return the person's face in frame `frame` (from 0), `width` pixels wide, or None if it is not in `faces`."""
        for face in faces:
            self._area[face.track] += round(face.box[2] * face.box[3])
        chosen = self._by_crop(faces, frame) if self._crops is not None else self._by_place(faces, width)
        if chosen is not None:
            self._track = chosen.track
        return chosen

    def _by_crop(self, faces: Sequence[Face], frame: int) -> Face | None:
        assert self._crops is not None
        crop = cv2.imread(str(picture(self._crops.parent, self._crops.name, frame)))
        if crop is None:  # the data set has no face here; perception may still track one
            return next((face for face in faces if face.track == self._track), None)
        wanted = _small(np.ascontiguousarray(crop[..., ::-1], np.uint8))
        likeness = [float((_small(face.crop) * wanted).sum()) for face in faces]
        return faces[int(np.argmax(likeness))] if likeness and max(likeness) >= MIN_LIKENESS else None

    def _by_place(self, faces: Sequence[Face], width: int) -> Face | None:
        known = sorted(faces, key=lambda face: -self._area[face.track])
        if self._side is None or not known:
            return next(iter(known), None)
        pair = sorted(known[:2], key=_middle)
        if len(pair) == 2:
            self._sides |= {face.track: side for face, side in zip(pair, SIDES, strict=True)}
        for face in pair:
            if self._sides.get(face.track, SIDES[_middle(face) > width / 2]) == self._side:
                return face
        return None


def _middle(face: Face) -> float:
    return face.box[0] + face.box[2] / 2


def _small(crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a crop of any size as (16, 16, 3) coarse colours of mean 0 and length 1."""
    coarse = cv2.resize(crop, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
    centred = coarse - coarse.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float64)
