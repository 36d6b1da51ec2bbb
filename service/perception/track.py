"""One person's way through the frames: where the face was, how it moved, how large it is and how it looks.

Nothing here leaves the process: the look is a small picture in memory, dropped with the track.
"""

from math import exp, hypot

import cv2
import numpy as np
from numpy.typing import NDArray

from service.one_euro import OneEuro
from service.perception.align import CROP_SIZE, five_points, similarity
from service.perception.landmarks68 import landmarks_of
from service.perception.mesh import MARGIN, Roi, eye_distance

MEMORY = 1.5  # s that a lost face is remembered; it may stay away for 1 s and needs time to be found again
MAX_GROWTH = 1.8  # of a face's size while it was away
_VELOCITY_TIME = 0.15  # s, time constant of the velocity
_COAST_TIME = 1.0  # s, time constant with which a lost face's motion is thought to die away
_LEAD = 0.7  # of the predicted motion between two frames: a turn is overshot less
_LEAD_TIME = 0.1  # s that this reaches at most: rare frames say little about motion
_REACH = 0.7  # face sizes that a face may be off its predicted place at once
_REACH_PER_SECOND = 1.0  # and each second more
_PLACE_FADES = 2.0  # 1/s: how fast the place says less about who it is
_JUMP = 0.35  # face sizes off the expected place, from which a followed face must also look familiar
_JUMP_LOOK = 0.35  # correlation of looks that is enough then
_MIN_LOOK = 0.2  # below, it is somebody else in any place; half of the pairs of different people lie there
# The look takes in hair and collar: on walkers of 50-120 px, two sights of one person 0.5-1.4 s apart were told from
# two persons with an area under the curve of 0.95; the face alone gave 0.91, a wider view no more.
_LOOK_VIEW = 1.8  # of the aligned crop
_LOOK_SIDE = 16  # pixels
_LOOK_TIME = 1.0  # s, time constant of the remembered look
_LOOK_PERIOD = 0.1  # s between refreshments of it
# One-Euro for the mesh; speed in distances between the outer eye corners a second. Chosen so that the trembling equals
# that of MediaPipe's own smoothing while the error against it is smallest.
_MIN_CUTOFF, _BETA, _D_CUTOFF = 3.0, 10.0, 1.0

Look = NDArray[np.float32]


def look_of(image: NDArray[np.uint8], mesh: NDArray[np.float32]) -> Look:
    """(768,) head and collar in 16x16 coarse colours, upright, without mean and contrast: light changes them most."""
    side = 4 * _LOOK_SIDE
    matrix = similarity(five_points(landmarks_of(mesh)))
    scale = side / (CROP_SIZE * _LOOK_VIEW)
    matrix *= scale
    matrix[:, 2] += (side - CROP_SIZE * scale) / 2
    view = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(view, (_LOOK_SIDE, _LOOK_SIDE), interpolation=cv2.INTER_AREA).reshape(-1).astype(np.float32)
    return _unit(small - small.mean())


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.float32(max(float(np.linalg.norm(vector)), 1e-6))
    return np.divide(vector, length, dtype=np.float32)


class Sighting:
    """A mesh that was found in the present frame. Its look is taken when somebody asks for it."""

    def __init__(self, image: NDArray[np.uint8], mesh: NDArray[np.float32], presence: float, roi: Roi) -> None:
        self.mesh = mesh  # (468, 3) pixels
        self.presence = presence  # 0..1
        self.roi = roi  # of the mesh
        self._image = image
        self._look: Look | None = None

    @property
    def look(self) -> Look:
        """(768,) of unit length."""
        if self._look is None:
            self._look = look_of(self._image, self.mesh)
        return self._look


class Track:
    """A face with an identity. `lost` while it is not seen."""

    def __init__(self, number: int, sighting: Sighting, t: float) -> None:
        self.number = number
        self.lost = False
        self.seen = t  # s, when it was last seen
        self.searched = t  # s, when it was last searched for
        self.roi = sighting.roi
        self.presence = sighting.presence
        self.look = sighting.look
        self._looked = t
        self._velocity: tuple[float, float] | None = None  # pixels a second
        self._smooth = OneEuro(_MIN_CUTOFF, _BETA, _D_CUTOFF)
        self.mesh = self._smoothed(sighting, t)  # (468, 3) pixels, smoothed

    def predicted(self, t: float) -> Roi:
        """Where the face should be at `t`."""
        away = t - self.seen
        dt = _COAST_TIME * (1 - exp(-away / _COAST_TIME)) if self.lost else _LEAD * min(away, _LEAD_TIME)
        vx, vy = self._velocity or (0.0, 0.0)
        return self.roi.moved(vx * dt, vy * dt)

    def update(self, sighting: Sighting, t: float) -> None:
        """Takes over what was seen at `t`."""
        dt = t - self.seen
        if self.lost:
            self._smooth.reset()
        if dt > 0:
            now = (sighting.roi.x - self.roi.x) / dt, (sighting.roi.y - self.roi.y) / dt
            before = self._velocity or now
            keep = exp(-dt / _VELOCITY_TIME)
            self._velocity = (keep * before[0] + (1 - keep) * now[0], keep * before[1] + (1 - keep) * now[1])
        if self.due_for_look(t):
            fresh = np.float32(1 - exp(-(t - self._looked) / _LOOK_TIME))
            self.look = _unit(self.look + fresh * (sighting.look - self.look))
            self._looked = t
        self.lost = False
        self.seen, self.roi, self.presence = t, sighting.roi, sighting.presence
        self.mesh = self._smoothed(sighting, t)

    def _smoothed(self, sighting: Sighting, t: float) -> NDArray[np.float32]:
        unit = max(eye_distance(sighting.mesh), sighting.roi.side / 6)  # in profile the eyes fall into one line
        return self._smooth(sighting.mesh, t, unit).astype(np.float32)

    def due_for_look(self, t: float) -> bool:
        """Whether it is time to compare and refresh the look."""
        return t - self._looked >= _LOOK_PERIOD

    def off(self, roi: Roi, t: float) -> float:
        """How far `roi` is from where this face should be at `t`, in sizes of the face."""
        expected = self.predicted(t)
        return MARGIN * hypot(roi.x - expected.x, roi.y - expected.y) / max(self.roi.side, roi.side)

    def slipped(self, sighting: Sighting, t: float) -> bool:
        """Whether what the mesh followed to is another face, or none: the mesh can slide onto what is behind."""
        if self.off(sighting.roi, t) > _JUMP:
            return float(self.look @ sighting.look) < _JUMP_LOOK
        return self.due_for_look(t) and float(self.look @ sighting.look) < _MIN_LOOK

    def likeness(self, sighting: Sighting, t: float) -> float:
        """How well a sighting at `t` fits this track: up to 1 for the look, plus up to 1 for the place.

        The place counts less, and in a wider circle, the longer the face was away. -1 where size or look rule it out.
        """
        if not 1 / MAX_GROWTH < sighting.roi.side / self.roi.side < MAX_GROWTH:
            return -1.0
        look = float(self.look @ sighting.look)
        if look < _MIN_LOOK:
            return -1.0
        away = t - self.seen
        distance = self.off(sighting.roi, t) / (_REACH + _REACH_PER_SECOND * away)
        place = exp(-(distance**2)) / (1 + _PLACE_FADES * away)
        return place + look
