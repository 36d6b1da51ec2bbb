"""Five-point similarity to the ArcFace-112 template, and the aligned crop (Deng et al. 2019)."""

import cv2
import numpy as np
from numpy.typing import NDArray

CROP_SIZE = 112  # pixels

# ArcFace-112 (Deng et al. 2019): image-left eye, image-right eye, nose tip, image-left and image-right mouth corner.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
# Points of the plane as complex numbers: to turn and to scale is to multiply.
_TEMPLATE_CENTRE = complex(*TEMPLATE.mean(0))
_TEMPLATE_CENTRED = TEMPLATE.view(np.complex128)[:, 0] - _TEMPLATE_CENTRE


def five_points(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (5, 2) eye centres, nose tip and mouth corners of (68, 2) `landmarks` in iBUG order."""
    points = np.empty((5, 2))
    points[:2] = landmarks[36:48].reshape(2, 6, 2).sum(1) / landmarks.dtype.type(6)
    points[2:] = landmarks[[30, 48, 54]]
    return points


def similarity(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the (2, 3) least-squares similarity (Umeyama 1991) that takes (5, 2) `points` to `TEMPLATE`."""
    z = np.ascontiguousarray(points, np.float64).view(np.complex128)[:, 0]
    centre = complex(z.sum()) / len(z)
    z = z - centre
    linear = complex(np.vdot(z, _TEMPLATE_CENTRED)) / (np.vdot(z, z).real or 1.0)
    shift = _TEMPLATE_CENTRE - linear * centre
    return np.array([[linear.real, -linear.imag, shift.real], [linear.imag, linear.real, shift.imag]])


def aligned_crop(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return the (112, 112, 3) crop of (height, width, 3) `image` under `matrix`, bicubic; black beyond its edges."""
    crop: NDArray[np.uint8] = cv2.warpAffine(
        image, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )  # type: ignore[assignment]
    return crop


def in_crop(points: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where (n, 2) `points` of the frame lie in the aligned crop, in its pixels; `matrix` leads there."""
    placed: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return placed
