"""The direction of gaze: MediaPipe's iris network on each eye, and OpenFace's eight gaze columns from it.

Regions as in MediaPipe's published iris graphs: a square 2.3 times as wide as the eye, turned with its corners; the
network was trained on one side only, so the image-right eye is mirrored. The direction follows from an eyeball of 12 mm
radius behind the middle of the eye's corners: an approximation of OpenFace's fitted eye model, with its conventions
(unit vectors in the camera's axes x right, y down, z away from it; eye 0 is the image-left one; angles in radians).
"""

from math import atan2, hypot

import cv2
import numpy as np
from numpy.typing import NDArray

from service.perception.camera_pose import CameraPose

CORNERS = ((33, 133), (362, 263))  # mesh points, image-left to image-right, of the image-left and image-right eye
SIZE = 64  # pixels, side of the network's input
_MARGIN = 2.3
_RADIUS = 12.0  # mm, of an eyeball
_BEHIND = 5.0  # mm from the middle of the corners back to the eyeball's centre

Floats = NDArray[np.float64]


def eye_crops(image: NDArray[np.uint8], mesh: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return (2, 64, 64, 3) RGB of both eyes as the network takes them, out of (height, width, 3) `image`."""
    out = np.empty((2, SIZE, SIZE, 3), np.uint8)
    for eye in (0, 1):
        matrix = _from_crop(mesh, eye)
        out[eye] = cv2.warpAffine(
            image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
    return out


def iris_centres(irises: NDArray[np.floating], mesh: NDArray[np.floating]) -> Floats:
    """Return (2, 2) pixels of the picture, from (2, 15) iris outputs for the crops of `mesh`."""
    middle = irises.reshape(2, 5, 3)[:, 0, :2].astype(np.float64)
    return np.stack([_from_crop(mesh, eye) @ np.append(middle[eye], 1.0) for eye in (0, 1)])


def gaze(centres: Floats, mesh: NDArray[np.floating], pose: CameraPose) -> Floats:
    """Return (8,) gaze_0_x, y, z, gaze_1_x, y, z, gaze_angle_x, gaze_angle_y from (2, 2) iris `centres`."""
    back = (pose.sight.T @ pose.rotation)[:, 2] * _BEHIND  # mm, of the eyeball's centre behind the corners
    looks = np.empty((2, 3))
    for eye, corners in enumerate(CORNERS):
        middle = mesh[list(corners), :2].astype(np.float64).mean(0)
        across = np.clip(((centres[eye] - middle) / pose.scale - back[:2]) / _RADIUS, -1, 1)
        long = hypot(*across)
        across = across / max(long, 1.0)
        looks[eye] = pose.sight @ np.array([*across, -np.sqrt(max(1 - min(long, 1.0) ** 2, 0.0))])
    x, y, z = looks.mean(0).tolist()
    return np.array([*looks.ravel(), atan2(x, -z), atan2(y, -z)])


def _from_crop(mesh: NDArray[np.floating], eye: int) -> Floats:
    """Return (2, 3), which takes pixels of an eye's crop to pixels of the picture."""
    (x0, y0), (x1, y1) = mesh[list(CORNERS[eye]), :2].astype(np.float64).tolist()
    scale = _MARGIN * hypot(x1 - x0, y1 - y0) / SIZE
    angle = atan2(y1 - y0, x1 - x0)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if eye == 1:
        linear = linear * (-1, 1)  # mirrored
    origin = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) - linear @ np.full(2, SIZE / 2)
    return np.hstack((linear, origin[:, None]))
