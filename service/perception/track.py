"""The track of one person through the frames: place, motion, size and appearance of the face.

Nothing here leaves the process: the appearance is a small picture in memory, dropped with the track.
"""

from math import exp, hypot

import cv2
import numpy as np
from numpy.typing import NDArray

from service.one_euro import OneEuro
from service.perception.align import CROP_SIZE, five_points, similarity
from service.perception.eyelids import aspect_ratios
from service.perception.landmarks68 import landmarks_of
from service.perception.mesh import MARGIN, Roi, eye_distance
from service.perception.picture_size import Scale

MEMORY = 1.5  # s that a lost face is remembered; it may stay away for 1 s and needs time to be found again
MAX_GROWTH = 1.8  # of a face's size while it was away
_VELOCITY_TIME = 0.15  # s, time constant of the velocity
_COAST_TIME = 1.0  # s, time constant with which a lost face's motion is thought to die away
_LEAD = 0.7  # of the predicted motion between two frames, so that a turn is overshot less
_LEAD_TIME = 0.1  # s of motion that are predicted at most: rare frames say little about motion
_REACH = 0.7  # face sizes that a face may be off its predicted place at once
_REACH_PER_SECOND = 1.0  # and for each second that it was away
_PLACE_FADES = 2.0  # 1/s, by which the place counts less for the identity
_JUMP = 0.35  # face sizes off the expected place, from which a followed face must also have a familiar appearance
_JUMP_LIKENESS = 0.35  # correlation of appearances that is enough then
_MIN_LIKENESS = 0.2  # below it, it is another person wherever the face is; half of the pairs of different people are
# The appearance includes hair and collar: on walkers of 50-120 px, two sights of one person 0.5-1.4 s apart were
# distinguished from two persons with an area under the curve of 0.95; the face alone gave 0.91, a wider view no more.
_APPEARANCE_VIEW = 1.8  # of the aligned crop
_APPEARANCE_SIDE = 16  # pixels
_APPEARANCE_TIME = 1.0  # s, time constant of the remembered appearance
_APPEARANCE_PERIOD = 0.1  # s between refreshments of it
# One-Euro for the mesh; speed in distances between the outer eye corners a second. Chosen so that the trembling equals
# that of MediaPipe's own smoothing while the error against it is smallest.
_MIN_CUTOFF, _BETA, _D_CUTOFF = 3.0, 10.0, 1.0

Appearance = NDArray[np.float32]


def appearance_of(image: NDArray[np.uint8], mesh: NDArray[np.float32]) -> Appearance:
    """Return (768,) head and collar of a (468, 3) mesh in 16x16 coarse colours, upright, of unit length.

    Mean and contrast are taken out, because light changes them most.
    """
    side = 4 * _APPEARANCE_SIDE
    matrix = similarity(five_points(landmarks_of(mesh)))
    scale = side / (CROP_SIZE * _APPEARANCE_VIEW)
    matrix *= scale
    matrix[:, 2] += (side - CROP_SIZE * scale) / 2
    view = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    small = cv2.resize(view, (_APPEARANCE_SIDE, _APPEARANCE_SIDE), interpolation=cv2.INTER_AREA)
    values = small.reshape(-1).astype(np.float32)
    return _unit(values - values.mean())


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.float32(max(float(np.linalg.norm(vector)), 1e-6))
    return np.divide(vector, length, dtype=np.float32)


class Sighting:
    """Hold a mesh that was found in the present frame; its appearance is computed when first asked for."""

    def __init__(self, image: NDArray[np.uint8], mesh: NDArray[np.float32], presence: float, roi: Roi) -> None:
        self.mesh = mesh  # (468, 3) pixels
        self.presence = presence  # 0..1
        self.roi = roi  # of the mesh
        self._image = image
        self._appearance: Appearance | None = None

    @property
    def appearance(self) -> Appearance:
        """Return the appearance, (768,) of unit length."""
        if self._appearance is None:
            self._appearance = appearance_of(self._image, self.mesh)
        return self._appearance


class Track:
    """Follow a face with an identity; `lost` is true while it is not seen."""

    def __init__(self, number: int, sighting: Sighting, t: float) -> None:
        self.number = number
        self.lost = False
        self.seen = t  # s, when it was last seen
        self.searched = t  # s, when it was last searched for
        self.roi = sighting.roi
        self.presence = sighting.presence
        self.appearance = sighting.appearance
        self._refreshed = t
        self._velocity: tuple[float, float] | None = None  # pixels a second
        self._smooth = OneEuro(_MIN_CUTOFF, _BETA, _D_CUTOFF)
        self.mesh = self._smoothed(sighting, t)  # (468, 3) pixels, smoothed
        self.eyes = aspect_ratios(sighting.mesh)  # unsmoothed, because smoothing halves a blink

    def predicted(self, t: float) -> Roi:
        """Return where the face should be at `t` seconds."""
        away = t - self.seen
        dt = _COAST_TIME * (1 - exp(-away / _COAST_TIME)) if self.lost else _LEAD * min(away, _LEAD_TIME)
        vx, vy = self._velocity or (0.0, 0.0)
        return self.roi.moved(vx * dt, vy * dt)

    def update(self, sighting: Sighting, t: float) -> None:
        """Take over what was seen at `t` seconds."""
        dt = t - self.seen
        if self.lost:
            self._smooth.reset()
        if dt > 0:
            now = (sighting.roi.x - self.roi.x) / dt, (sighting.roi.y - self.roi.y) / dt
            before = self._velocity or now
            keep = exp(-dt / _VELOCITY_TIME)
            self._velocity = (keep * before[0] + (1 - keep) * now[0], keep * before[1] + (1 - keep) * now[1])
        if self.due_for_appearance(t):
            fresh = np.float32(1 - exp(-(t - self._refreshed) / _APPEARANCE_TIME))
            self.appearance = _unit(self.appearance + fresh * (sighting.appearance - self.appearance))
            self._refreshed = t
        self.lost = False
        self.seen, self.roi, self.presence = t, sighting.roi, sighting.presence
        self.mesh = self._smoothed(sighting, t)
        self.eyes = aspect_ratios(sighting.mesh)

    def scale(self, scale: Scale) -> None:
        """Bring place, speed and mesh into the pixels of a picture of the same shape but another size."""
        factors = np.array([scale.x, scale.y, scale.mean])
        self.roi = self.roi.scaled(scale)
        self.mesh = (self.mesh * factors).astype(np.float32)
        self._smooth.scale(factors)
        if self._velocity is not None:
            self._velocity = (self._velocity[0] * scale.x, self._velocity[1] * scale.y)

    def _smoothed(self, sighting: Sighting, t: float) -> NDArray[np.float32]:
        unit = max(eye_distance(sighting.mesh), sighting.roi.side / 6)  # in profile the eyes fall into one line
        return self._smooth(sighting.mesh, t, unit).astype(np.float32)

    def due_for_appearance(self, t: float) -> bool:
        """Return whether it is time to compare and refresh the appearance."""
        return t - self._refreshed >= _APPEARANCE_PERIOD

    def off(self, roi: Roi, t: float) -> float:
        """Return how far `roi` is from where this face should be at `t` seconds, in sizes of the face."""
        expected = self.predicted(t)
        return MARGIN * hypot(roi.x - expected.x, roi.y - expected.y) / max(self.roi.side, roi.side)

    def slipped(self, sighting: Sighting, t: float) -> bool:
        """Return whether the mesh followed onto another face, or onto the background."""
        if self.off(sighting.roi, t) > _JUMP:
            return float(self.appearance @ sighting.appearance) < _JUMP_LIKENESS
        return self.due_for_appearance(t) and float(self.appearance @ sighting.appearance) < _MIN_LIKENESS

    def likeness(self, sighting: Sighting, t: float) -> float:
        """Return how well a sighting at `t` seconds fits this track: up to 1 for appearance, plus up to 1 for place.

        The place counts less, and in a wider circle, the longer the face was away. The result is -1 where size or
        appearance rule the track out.
        """
        if not 1 / MAX_GROWTH < sighting.roi.side / self.roi.side < MAX_GROWTH:
            return -1.0
        likeness = float(self.appearance @ sighting.appearance)
        if likeness < _MIN_LIKENESS:
            return -1.0
        away = t - self.seen
        distance = self.off(sighting.roi, t) / (_REACH + _REACH_PER_SECOND * away)
        place = exp(-(distance**2)) / (1 + _PLACE_FADES * away)
        return place + likeness
