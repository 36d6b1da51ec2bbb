"""One face in one frame: the result of perception."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.perception.eyelids import EyeAspect
from service.perception.mask import mask_of


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Hold the head's angles in degrees: pitch up, yaw to the image's right and roll clockwise are positive."""

    pitch: float
    yaw: float
    roll: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Hold the measures that decide whether a face can be read (`service.aggregation.status`).

    Attributes:
        size: Pixels of the longer side of the face box.
        sharpness: Variance of the Laplacian of the aligned grey crop.
        brightness: Mean grey of the aligned crop, 0 to 255.
    """

    size: float
    sharpness: float
    brightness: float


@dataclass(frozen=True)
class Face:
    """Hold a tracked face at one time. Its arrays are its own and are not written to afterwards.

    Attributes:
        track: Number of the track.
        t: Seconds on the session clock.
        box: x, y, width and height in pixels of the frame.
        confidence: Probability that this is a face, 0 to 1.
        mesh: (468, 3) x, y, z in pixels, smoothed.
        landmarks: (68, 2) pixels in iBUG order.
        matrix: (2, 3) similarity from the frame to the aligned crop.
        crop: (112, 112, 3) RGB, aligned to the ArcFace-112 template.
        head_pose: Angles of the head.
        quality: Measures that decide whether it can be read.
        image: (height, width, 3) RGB, the frame that it was found in; not to be kept beyond the next frame.
        eyes: Aspect ratios of the image-left and the image-right eye, not smoothed (`service.perception.eyelids`).
    """

    track: int
    t: float
    box: tuple[float, float, float, float]
    confidence: float
    mesh: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    matrix: NDArray[np.float64]
    crop: NDArray[np.uint8]
    head_pose: HeadPose
    quality: Quality
    image: NDArray[np.uint8] | None = None
    eyes: EyeAspect = (None, None)

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """Return the landmark picture of TSAV, (112, 112), drawn when first asked for (`service.perception.mask`)."""
        return mask_of(self.landmarks, self.matrix)
