"""Where a head is and how it is turned, for a camera whose lens is guessed: OpenFace's six pose columns.

Conventions as in OpenFace 2.2 (Baltrušaitis et al. 2018): axes x right, y down, z away from the camera; millimetres and
radians; R = Rx Ry Rz. Where OpenFace fits its own face model, this takes the mesh, so the figures are alike, not equal:
distances rest on a guessed lens (OpenFace's own guess) and on an adult's face, and angles on the mesh's mean face.
"""

from dataclasses import dataclass
from math import asin, atan2, cos, hypot, sin

import numpy as np
from numpy.typing import NDArray

from service.perception.head_pose import rotation_of
from service.perception.mesh import EYE_OUTER_LEFT, EYE_OUTER_RIGHT

EYES_MM = 90.0  # between the outer eye corners of an adult (Farkas 1994: 88 to 91)
# Pixels of focal length for each pixel of width and height, averaged: OpenFace's guess for an unknown camera.
_FOCAL_WIDTH, _FOCAL_HEIGHT = 500 / 640, 500 / 480

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CameraPose:
    """Hold where a head is and how it is turned, in the camera's axes.

    Attributes:
        translation: (3,) mm, of the point between the eyes.
        rotation: (3, 3), which takes the mean face to the camera's axes.
        sight: (3, 3), the same for a face that looks straight into the camera.
        scale: Pixels for a millimetre.
    """

    translation: Floats
    rotation: Floats
    sight: Floats
    scale: float

    @property
    def columns(self) -> Floats:
        """Return OpenFace's pose_Tx, Ty, Tz in mm and pose_Rx, Ry, Rz in radians, (6,)."""
        r = self.rotation
        angles = atan2(-r[1, 2], r[2, 2]), asin(max(-1.0, min(1.0, r[0, 2]))), atan2(-r[0, 1], r[0, 0])
        return np.array([*self.translation, *angles])


def camera_pose(mesh: NDArray[np.floating], width: int, height: int) -> CameraPose:
    """Return the pose of a (468, 3) `mesh` in a picture of `width` x `height` pixels."""
    rotation = rotation_of(mesh)
    left, right = (mesh[corner].astype(np.float64) for corner in (EYE_OUTER_LEFT, EYE_OUTER_RIGHT))
    scale = max(float(np.linalg.norm(right - left)), 1e-6) / EYES_MM
    focal = (_FOCAL_WIDTH * width + _FOCAL_HEIGHT * height) / 2
    x, y = ((left + right) / 2)[:2].tolist()
    depth = focal / scale
    tx, ty = (x - width / 2) / scale, (y - height / 2) / scale
    # The mesh has no perspective: it is turned relative to the line from the camera to the face.
    sight = _about_y(atan2(tx, depth)) @ _about_x(-atan2(ty, hypot(tx, depth)))
    return CameraPose(np.array([tx, ty, depth]), sight @ rotation, sight, scale)


def _about_x(a: float) -> Floats:
    return np.array([[1, 0, 0], [0, cos(a), -sin(a)], [0, sin(a), cos(a)]])


def _about_y(a: float) -> Floats:
    return np.array([[cos(a), 0, sin(a)], [0, 1, 0], [-sin(a), 0, cos(a)]])
