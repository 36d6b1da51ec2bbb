"""Five-point similarity to the ArcFace-112 template, and the aligned crop (spec 2.3)."""

import cv2
import numpy as np
from numpy.typing import NDArray

CROP_SIZE = 112  # pixels

# ArcFace-112 (Deng et al. 2019): image-left eye, image-right eye, nose tip, image-left and image-right mouth corner.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
_TEMPLATE_CENTRE = TEMPLATE.mean(0)
_TEMPLATE_CENTRED = TEMPLATE - _TEMPLATE_CENTRE


def five_points(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """(5, 2) eye centres, nose tip and mouth corners of (68, 2) `landmarks` in iBUG order."""
    return np.stack(
        [landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54]]
    ).astype(np.float64)


def similarity(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """(2, 3) least-squares similarity (Umeyama 1991, rotation and scale) that takes (5, 2) `points` to `TEMPLATE`.

    In the plane the solution is linear in (a, b, tx, ty), where the matrix is [[a, -b, tx], [b, a, ty]].
    """
    centre = points.mean(0)
    centred = points - centre
    spread = float((centred * centred).sum()) or 1.0
    a = float((centred * _TEMPLATE_CENTRED).sum()) / spread
    b = float((centred[:, 0] * _TEMPLATE_CENTRED[:, 1] - centred[:, 1] * _TEMPLATE_CENTRED[:, 0]).sum()) / spread
    linear = np.array([[a, -b], [b, a]])
    return np.hstack([linear, (_TEMPLATE_CENTRE - linear @ centre)[:, None]])


def aligned_crop(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(112, 112, 3) crop of (height, width, 3) `image` under `matrix`, bicubic; black outside the picture."""
    crop: NDArray[np.uint8] = cv2.warpAffine(
        image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )  # type: ignore[assignment]
    return crop
