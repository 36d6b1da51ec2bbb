"""One person's way through the frames: where the face was, how it moved, how large it is and how it looks.

Nothing here leaves the process: the look is a small picture in memory, dropped with the track.
"""

from math import exp, hypot

import cv2
import numpy as np
from numpy.typing import NDArray

from service.one_euro import OneEuro
from service.perception.mesh import MARGIN, Roi, eye_distance, roi_from_mesh

MEMORY = 1.5  # s that a lost face is remembered; it may stay away for 1 s and needs time to be found again
COAST = 0.3  # s for which a lost face is thought to go on moving
_VELOCITY_TIME = 0.15  # s, time constant of the velocity
_LEAD = 0.7  # of the predicted motion between two frames: a turn is overshot less
_LOOK_TIME = 1.0  # s, time constant of the remembered look
_LOOK_SIDE = 14  # pixels
# One-Euro for the mesh; speed in distances between the outer eye corners a second. Chosen so that the trembling equals
# that of MediaPipe's own smoothing while the error against it is smallest.
_MIN_CUTOFF, _BETA, _D_CUTOFF = 3.0, 10.0, 1.0


class Sighting:
    """A mesh that was found in the present frame."""

    def __init__(self, mesh: NDArray[np.float32], presence: float, look: NDArray[np.float32]) -> None:
        self.mesh = mesh  # (468, 3) pixels
        self.presence = presence  # 0..1
        self.look = look  # (n,) unit length
        self.roi = roi_from_mesh(mesh)

    @property
    def size(self) -> float:
        """Pixels, longer side of the face."""
        return self.roi.side / MARGIN


def look_of(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(588,) the aligned crop in 14x14 coarse colours, without mean and contrast: light differs less than people do."""
    small = cv2.resize(crop, (_LOOK_SIDE, _LOOK_SIDE), interpolation=cv2.INTER_AREA).reshape(-1).astype(np.float32)
    small -= small.mean()
    unit: NDArray[np.float32] = small / max(float(np.linalg.norm(small)), 1e-6)
    return unit


class Track:
    """A face with an identity. `lost` while it is not seen."""

    def __init__(self, number: int, sighting: Sighting, t: float) -> None:
        self.number = number
        self.lost = False
        self.seen = t  # s, when it was last seen
        self.roi = sighting.roi
        self.presence = sighting.presence
        self.mesh = sighting.mesh
        self.look = sighting.look
        self._velocity = (0.0, 0.0)  # pixels a second
        self._smooth = OneEuro(_MIN_CUTOFF, _BETA, _D_CUTOFF)
        self.smoothed = self._smoothed(sighting, t)

    def predicted(self, t: float) -> Roi:
        """Where the face should be at `t`."""
        dt = min(t - self.seen, COAST) * _LEAD
        return self.roi.moved(self._velocity[0] * dt, self._velocity[1] * dt)

    def update(self, sighting: Sighting, t: float) -> None:
        """Takes over what was seen at `t`."""
        dt = t - self.seen
        if self.lost:
            self.lost = False
            self._velocity = (0.0, 0.0)
            self._smooth.reset()
        elif dt > 0:
            keep = exp(-dt / _VELOCITY_TIME)
            vx, vy = (sighting.roi.x - self.roi.x) / dt, (sighting.roi.y - self.roi.y) / dt
            self._velocity = (
                keep * self._velocity[0] + (1 - keep) * vx,
                keep * self._velocity[1] + (1 - keep) * vy,
            )
        fresh = 1 - exp(-max(dt, 0.0) / _LOOK_TIME)
        look = self.look + np.float32(fresh) * (sighting.look - self.look)
        self.look = look / max(float(np.linalg.norm(look)), 1e-6)
        self.seen, self.roi, self.presence, self.mesh = t, sighting.roi, sighting.presence, sighting.mesh
        self.smoothed = self._smoothed(sighting, t)

    def _smoothed(self, sighting: Sighting, t: float) -> NDArray[np.float32]:
        unit = max(eye_distance(sighting.mesh), sighting.size / 4)  # a head in profile has its eyes in one line
        return self._smooth(sighting.mesh, t, unit).astype(np.float32)

    def likeness(self, sighting: Sighting, t: float) -> float:
        """How well a sighting at `t` fits this track: 0..1 for the place plus -1..1 for the look.

        The place counts less the longer the face was away; -1 where the size alone rules it out.
        """
        size = self.roi.side / MARGIN
        away = t - self.seen
        ratio = sighting.size / size
        if not 1 / MAX_GROWTH < ratio < MAX_GROWTH:
            return -1.0
        expected = self.predicted(t)
        distance = hypot(sighting.roi.x - expected.x, sighting.roi.y - expected.y) / max(size, sighting.size)
        place = exp(-((distance / (_REACH + _REACH_PER_SECOND * away)) ** 2))
        return place + float(self.look @ sighting.look)


MAX_GROWTH = 1.8  # of a face's size while it was away
_REACH = 0.7  # face sizes that a face may be off its predicted place at once
_REACH_PER_SECOND = 2.0  # and each second more
