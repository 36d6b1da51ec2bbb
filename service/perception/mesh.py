"""The 468-point face mesh on a turned square region, and the region that follows from a detection or a mesh.

Regions as in MediaPipe's published face-landmark graphs (Kartynnik et al. 2019): upright along the line between the
eyes, half as large again as the face, the picture's border replicated.
"""

from dataclasses import dataclass
from math import atan2, cos, exp, hypot, isfinite, sin

import numpy as np
from numpy.typing import NDArray

from service.perception.detector import Detection
from service.perception.networks import Runs
from service.perception.picture_size import Scale
from service.perception.warp import draw_view

POINTS = 468
EYE_OUTER_LEFT, EYE_OUTER_RIGHT = 33, 263  # outer eye corners, image-left and image-right
MARGIN = 1.5  # region over face
_LOGIT_CLIP = 100.0  # below it the probability is 0 for all that matters, and exp would overflow


@dataclass(frozen=True, slots=True)
class Roi:
    """Hold a square region of the picture that the mesh is looked for in.

    Attributes:
        x: Pixels from the picture's left edge to the region's centre.
        y: Pixels from the picture's upper edge to the region's centre.
        side: Pixels.
        angle: Radians by which the region is turned clockwise in the picture.
    """

    x: float
    y: float
    side: float
    angle: float

    def moved(self, dx: float, dy: float) -> "Roi":
        """Return the same region shifted by (dx, dy) pixels."""
        return Roi(self.x + dx, self.y + dy, self.side, self.angle)

    def scaled(self, scale: Scale) -> "Roi":
        """Return the same region in the pixels of a picture that was scaled."""
        return Roi(self.x * scale.x, self.y * scale.y, self.side * scale.mean, self.angle)


def roi_from_detection(detection: Detection) -> Roi:
    """Return the region around a detected face, turned so that the eyes lie level."""
    x, y, width, height = detection.box
    (lx, ly), (rx, ry) = detection.keypoints[:2].tolist()
    return Roi(x + width / 2, y + height / 2, MARGIN * max(width, height), atan2(ry - ly, rx - lx))


def roi_from_mesh(points: NDArray[np.floating]) -> Roi:
    """Return the region around a mesh, (468, 3) pixels; its box is taken in the face's own upright frame."""
    angle = roll(points)
    c, s = cos(angle), sin(angle)
    upright = np.array([[c, s], [-s, c]], points.dtype) @ points[:, :2].T  # rows, over which extremes are found fast
    low, high = upright.min(1), upright.max(1)
    u, v = ((low + high) / 2).tolist()
    return Roi(u * c - v * s, u * s + v * c, MARGIN * float((high - low).max()), angle)


def roll(points: NDArray[np.floating]) -> float:
    """Return the angle of the line through the outer eye corners in radians, clockwise in the picture."""
    (lx, ly), (rx, ry) = points[EYE_OUTER_LEFT, :2].tolist(), points[EYE_OUTER_RIGHT, :2].tolist()
    return atan2(ry - ly, rx - lx)


def eye_distance(points: NDArray[np.floating]) -> float:
    """Return the pixels between the outer eye corners of a (468, 3) mesh."""
    (lx, ly), (rx, ry) = points[EYE_OUTER_LEFT, :2].tolist(), points[EYE_OUTER_RIGHT, :2].tolist()
    return hypot(rx - lx, ry - ly)


def find_mesh(network: Runs, image: NDArray[np.uint8], roi: Roi) -> tuple[NDArray[np.float32], float]:
    """Return the mesh of the face in `roi`, and the probability that there is one.

    Args:
        network: The mesh network.
        image: (height, width, 3) RGB.
        roi: Where to look.

    Returns:
        (468, 3) x, y, z in pixels of the picture, z negative towards the viewer; the probability, 0 to 1. It is 0 where
        the network gave something that is not a number.
    """
    size = network.size
    scale = roi.side / size
    a, b = scale * cos(roi.angle), scale * sin(roi.angle)
    half = size / 2
    # From the network's input to the picture. Pixel 0 of the input lies on the region's corner, as in MediaPipe.
    tx = roi.x - a * half + b * half
    ty = roi.y - b * half - a * half
    reach = (abs(a) + abs(b)) * half
    draw_view(image, np.array([[a, -b, tx], [b, a, ty]]), (roi.x, roi.y, reach), network.input())
    outputs = network.run()
    points = outputs[0].reshape(POINTS, 3)
    logit = float(outputs[1].reshape(-1)[0])
    linear = np.array([[a, b, 0], [-b, a, 0], [0, 0, scale]], np.float32)
    origin = np.array([tx, ty, 0], np.float32)
    mesh = points @ linear + origin
    if not (isfinite(logit) and np.isfinite(mesh).all()):
        return np.zeros_like(mesh), 0.0
    return mesh, 1 / (1 + exp(-max(logit, -_LOGIT_CLIP)))
