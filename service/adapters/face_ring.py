"""The faces of one track over the last seconds, in ring buffers that are allocated once.

Owned by an adapter, for models that read several frames of a face. Times are seconds of the session clock.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from service.perception.face import Face
from service.perception.mask import MASK_SIZE, mask_of

RATE = 30  # frames a second that the arrays are allocated for
_CHANNELS = 4  # red, green, blue, mask


class FaceRing:
    """Keep the crops and masks of one track for `seconds`; grow only where frames come faster than 30 a second.

    Crop and mask are put together when a clip first takes their frame, because five of six frames are in no clip.
    """

    def __init__(self, seconds: float) -> None:
        """Begin without faces."""
        self._seconds = seconds
        self._oldest = 0  # place of the oldest face
        self._count = 0
        self._allocate(int(seconds * RATE) + 2)

    def __len__(self) -> int:
        """Return the number of faces that are kept."""
        return self._count

    @property
    def newest(self) -> float:
        """Return the seconds of the newest face. Raise `IndexError` if there is none."""
        if not self._count:
            raise IndexError("no face was seen")
        return float(self._times[(self._oldest + self._count - 1) % len(self._times)])

    def push(self, t: float, face: Face) -> None:
        """Add the `face` at `t` seconds, which is later than all before."""
        self.drop(t)
        if self._count == len(self._times):
            self._grow()
        place = (self._oldest + self._count) % len(self._times)
        self._times[place] = t
        self._crops[place] = face.crop
        self._landmarks[place], self._matrices[place] = face.landmarks, face.matrix
        self._count += 1

    def drop(self, t: float) -> None:
        """Forget the faces that lie more than the ring's seconds before `t`."""
        while self._count and t - self._times[self._oldest] > self._seconds:
            self._crops[self._oldest] = None
            self._oldest = (self._oldest + 1) % len(self._times)
            self._count -= 1

    def clip(self, wanted: Sequence[float], nearest: float, hold: float, out: NDArray[np.uint8]) -> None:
        """Write into `out` (n, 112, 112, 4) the face of each of the n `wanted` seconds; black where there is none.

        It is the newest face at most `nearest` seconds after that time and at most `hold` seconds before it.
        """
        places = (self._oldest + np.arange(self._count)) % len(self._times)
        times, at = self._times[places], np.asarray(wanted)
        before = np.searchsorted(times, at + nearest, side="right") - 1
        found = before >= 0
        found[found] = at[found] - times[before[found]] <= hold
        chosen = np.full(len(at), len(self._times))  # the black picture behind the ring's places
        chosen[found] = places[before[found]]
        for place in chosen[found]:
            self._draw(place)
        np.take(self._pictures, chosen, axis=0, out=out, mode="clip")  # the other modes copy twice

    def _draw(self, place: int) -> None:
        """Put together the crop and the mask at index `place`, unless an earlier clip did."""
        crop = self._crops[place]
        if crop is not None:
            cv2.cvtColor(crop, cv2.COLOR_RGB2RGBA, dst=self._pictures[place])
            self._pictures[place, ..., 3] = mask_of(self._landmarks[place], self._matrices[place])
            self._crops[place] = None

    def _allocate(self, places: int) -> None:
        self._times = np.empty(places)
        self._pictures = np.zeros((places + 1, MASK_SIZE, MASK_SIZE, _CHANNELS), np.uint8)
        self._landmarks = np.empty((places, 68, 2), np.float32)
        self._matrices = np.empty((places, 2, 3))
        self._crops: list[NDArray[np.uint8] | None] = [None] * places  # of the frames that no clip has taken yet

    def _grow(self) -> None:
        """Double the arrays, with the oldest face in the first place."""
        n, order = self._count, (self._oldest + np.arange(self._count)) % len(self._times)
        times, pictures, landmarks, matrices = self._times, self._pictures, self._landmarks, self._matrices
        crops = [self._crops[place] for place in order]
        self._allocate(2 * n)
        self._times[:n], self._pictures[:n] = times[order], pictures[order]
        self._landmarks[:n], self._matrices[:n] = landmarks[order], matrices[order]
        self._crops[:n] = crops
        self._oldest = 0
