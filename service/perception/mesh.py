"""The 468-point face mesh on a turned square region, and the region that follows from a detection or a mesh.

Regions as in MediaPipe's published face-landmark graphs (Kartynnik et al. 2019): upright along the line between the
eyes, half as large again as the face, the picture's border replicated.
"""

from dataclasses import dataclass
from math import atan2, cos, exp, hypot, sin

import numpy as np
from numpy.typing import NDArray

from service.perception.detector import Detection
from service.perception.networks import Runs
from service.perception.warp import draw_view

POINTS = 468
EYE_OUTER_LEFT, EYE_OUTER_RIGHT = 33, 263  # outer eye corners, image-left and image-right
MARGIN = 1.5  # region over face


@dataclass(frozen=True, slots=True)
class Roi:
    """A square region of the picture that the mesh looks at."""

    x: float  # pixels, centre
    y: float  # pixels, centre
    side: float  # pixels
    angle: float  # radians, clockwise in the picture

    def moved(self, dx: float, dy: float) -> "Roi":
        """The same region, shifted by (dx, dy) pixels."""
        return Roi(self.x + dx, self.y + dy, self.side, self.angle)


def roi_from_detection(detection: Detection) -> Roi:
    """The region around a detected face, turned so that the eyes lie level."""
    x, y, width, height = detection.box
    (lx, ly), (rx, ry) = detection.keypoints[:2].tolist()
    return Roi(x + width / 2, y + height / 2, MARGIN * max(width, height), atan2(ry - ly, rx - lx))


def roi_from_mesh(points: NDArray[np.floating]) -> Roi:
    """The region around a mesh: (468, 3) pixels; its box is taken in the face's own upright frame."""
    angle = roll(points)
    c, s = cos(angle), sin(angle)
    upright = np.array([[c, s], [-s, c]], points.dtype) @ points[:, :2].T  # rows, over which extremes are found fast
    low, high = upright.min(1), upright.max(1)
    u, v = ((low + high) / 2).tolist()
    return Roi(u * c - v * s, u * s + v * c, MARGIN * float((high - low).max()), angle)


def roll(points: NDArray[np.floating]) -> float:
    """Angle of the line through the outer eye corners in radians, clockwise in the picture."""
    (lx, ly), (rx, ry) = points[EYE_OUTER_LEFT, :2].tolist(), points[EYE_OUTER_RIGHT, :2].tolist()
    return atan2(ry - ly, rx - lx)


def eye_distance(points: NDArray[np.floating]) -> float:
    """Pixels between the outer eye corners."""
    (lx, ly), (rx, ry) = points[EYE_OUTER_LEFT, :2].tolist(), points[EYE_OUTER_RIGHT, :2].tolist()
    return hypot(rx - lx, ry - ly)


def find_mesh(network: Runs, image: NDArray[np.uint8], roi: Roi) -> tuple[NDArray[np.float32], float]:
    """Mesh of the face in `roi` of `image`: (height, width, 3) RGB.

    Returns ((468, 3) x, y, z in pixels of the picture, z towards the viewer negative; presence 0..1).
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
    return points @ linear + origin, 1 / (1 + exp(-logit))
