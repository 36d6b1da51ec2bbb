"""One face in one frame: what perception hands on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Degrees. Positive pitch looks up, positive yaw turns to the image's right, positive roll tilts clockwise."""

    pitch: float
    yaw: float
    roll: float


@dataclass(frozen=True, slots=True)
class Quality:
    """What abstention looks at."""

    size: float  # pixels, longer side of the face box
    sharpness: float  # variance of the Laplacian of the aligned grey crop
    brightness: float  # mean grey of the aligned crop, 0..255


@dataclass(frozen=True)
class Face:
    """A tracked face at time `t`. Arrays are this face's own and not written to afterwards."""

    track: int
    t: float  # seconds on the session clock
    box: tuple[float, float, float, float]  # x, y, width, height in pixels of the frame
    confidence: float  # 0..1, face presence
    mesh: NDArray[np.float32]  # (468, 3) x, y, z in pixels, smoothed
    landmarks: NDArray[np.float32]  # (68, 2) pixels, iBUG order
    matrix: NDArray[np.float64]  # (2, 3) similarity, frame -> aligned crop
    crop: NDArray[np.uint8]  # (112, 112, 3) RGB, aligned to the ArcFace-112 template
    head_pose: HeadPose
    quality: Quality
    image: NDArray[np.uint8] | None = None  # (height, width, 3) RGB frame that it was found in; keep it no longer

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """(112, 112) landmark picture of TSAV (spec 2.3), drawn when first asked for."""
        from service.perception.mask import draw_mask

        ones = np.ones((68, 1), np.float64)
        return draw_mask(np.hstack([self.landmarks, ones]) @ self.matrix.T)
