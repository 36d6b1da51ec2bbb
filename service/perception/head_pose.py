"""Head pose in degrees, from a rigid fit of a mean face to the mesh.

The mean face is our own: the generalised Procrustes mean of 1,714 meshes that the network found in web photographs of
faces, made symmetric, its forward direction turned to the median of those photographs. Only points that expressions
hardly move are fitted (forehead, eye corners, nose, temples, ears), so that opening the mouth does not move them.

Conventions: picture axes x right, y down, z away from the viewer; R = Ry(yaw) Rx(pitch) Rz(roll) takes the mean face to
the mesh. Positive pitch looks up, positive yaw turns to the picture's right, positive roll tilts clockwise as the
picture is seen. The mesh is a weak-perspective one: angles are relative to the line from the camera to the face.
"""

from math import asin, atan2, degrees

import cv2
import numpy as np
from numpy.typing import NDArray

from service.perception.face import HeadPose

# Mesh point, x, y, z; unit: the distance between the outer eye corners.
_RIGID = np.array(
    [
        (10, 0.0, -0.6293, -0.1883),
        (151, 0.0, -0.4555, -0.2251),
        (9, 0.0, -0.2752, -0.2516),
        (168, 0.0, -0.1030, -0.2305),
        (6, 0.0, -0.0159, -0.2772),
        (197, 0.0, 0.0639, -0.3312),
        (195, 0.0, 0.1389, -0.3897),
        (5, 0.0, 0.2187, -0.4503),
        (4, 0.0, 0.3130, -0.4761),
        (1, 0.0, 0.3841, -0.4517),
        (33, -0.5, -0.0647, 0.0143),
        (133, -0.1931, -0.0467, -0.0436),
        (127, -0.7755, -0.0318, 0.5587),
        (234, -0.7663, 0.1233, 0.6118),
        (93, -0.7568, 0.2821, 0.6206),
        (54, -0.6600, -0.4402, 0.1656),
        (103, -0.5533, -0.5342, 0.0241),
        (129, -0.2372, 0.3465, -0.1473),
        (98, -0.1966, 0.4241, -0.1872),
        (117, -0.5827, 0.1217, 0.0188),
        (263, 0.5, -0.0647, 0.0143),
        (362, 0.1931, -0.0467, -0.0436),
        (356, 0.7755, -0.0318, 0.5587),
        (454, 0.7663, 0.1233, 0.6118),
        (323, 0.7568, 0.2821, 0.6206),
        (284, 0.6600, -0.4402, 0.1656),
        (332, 0.5533, -0.5342, 0.0241),
        (358, 0.2372, 0.3465, -0.1473),
        (327, 0.1966, 0.4241, -0.1872),
        (346, 0.5827, 0.1217, 0.0188),
    ]
)
_INDICES = _RIGID[:, 0].astype(np.intp)
_MEAN_FACE = _RIGID[:, 1:] - _RIGID[:, 1:].mean(0)


def rotation_of(mesh: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the (3, 3) rotation from the mean face to (468, 3) `mesh` (Kabsch 1976)."""
    # The mean face is centred, so that the centre of the points makes no difference.
    _, u, vt = cv2.SVDecomp(mesh[_INDICES].T.astype(np.float64) @ _MEAN_FACE)  # takes a quarter of numpy's time
    rotation: NDArray[np.float64] = u @ vt
    if cv2.determinant(rotation) < 0:
        u[:, 2] = -u[:, 2]
        rotation = u @ vt
    return rotation


def head_pose_of(mesh: NDArray[np.floating]) -> HeadPose:
    """Return the head pose of (468, 3) `mesh` in pixels."""
    r = rotation_of(mesh).tolist()
    return HeadPose(
        pitch=degrees(asin(max(-1.0, min(1.0, r[1][2])))),
        yaw=degrees(atan2(-r[0][2], r[2][2])),
        roll=degrees(atan2(r[1][0], r[1][1])),
    )
