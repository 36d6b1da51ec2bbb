"""OpenFace's shape model fitted to 68 points: scale, rotation and shift of a face whose shape varies in 34 ways."""

from dataclasses import dataclass

import numpy as np

from models.face_mt.openface_files import SHAPE_MODES, SHAPE_POINTS, Files, Floats

STEPS = 5  # of Gauss-Newton from the bounding box; more change nothing (measured on photographs)
SCALE = 1.25  # pixels per millimetre that faces are brought to: it sets how strongly the prior of the shape holds


@dataclass(frozen=True)
class Fit:
    """Hold a fitted face: its 34 parameters and where the shape's origin lies, in pixels of the given points."""

    parameters: Floats  # (34,)
    shift: Floats  # (2,)


class ShapeModel:
    """Fit the shape to points by least squares with the shape's own prior."""

    def __init__(self, files: Files) -> None:
        self.mean = files.shape_mean.reshape(3, SHAPE_POINTS)
        self.modes = files.shape_modes
        self._modes3 = files.shape_modes.reshape(3, SHAPE_POINTS, SHAPE_MODES)
        self._precision = np.r_[np.zeros(6), 1 / files.shape_variances]

    def fit(self, points: Floats) -> Fit:
        """Return the fit of (68, 2) `points` in iBUG order, in pixels with y downwards.

        Points are turned upright and brought to one scale first, so that neither decides on the result. Raise
        `numpy.linalg.LinAlgError` for points that all coincide.
        """
        eyes = points[42:48].mean(0) - points[36:42].mean(0)
        eyes = eyes / (np.hypot(*eyes) or 1.0)
        turn = np.array([[eyes[0], eyes[1]], [-eyes[1], eyes[0]]])
        extent = np.ptp(self.mean[:2], axis=1)
        factor = SCALE / float((np.ptp(points, axis=0) / extent).mean() or np.inf)
        if not factor:
            raise np.linalg.LinAlgError("points coincide")
        upright = points @ turn.T * factor
        parameters, shift = self._gauss_newton(upright, float((np.ptp(upright, axis=0) / extent).mean()))
        return Fit(parameters, (shift / factor) @ turn)

    def _gauss_newton(self, points: Floats, scale: float) -> tuple[Floats, Floats]:
        """Return parameters and shift that minimise the squared distance in pixels and the prior."""
        rotation, parameters = np.eye(3), np.zeros(SHAPE_MODES)
        shift = points.mean(0) - scale * self.mean[:2].mean(1)
        zeros = np.zeros(SHAPE_POINTS)
        jacobian = np.zeros((2, SHAPE_POINTS, 6 + SHAPE_MODES))
        jacobian[0, :, 4] = jacobian[1, :, 5] = 1.0
        for _ in range(STEPS):
            shape = self.mean + (self.modes @ parameters).reshape(3, SHAPE_POINTS)
            turned = rotation @ shape
            residual = points.T - scale * turned[:2] - shift[:, None]
            x, y, z = shape
            jacobian[..., 0] = turned[:2]
            for column, moved in enumerate(([zeros, -z, y], [z, zeros, -x], [-y, x, zeros]), 1):
                jacobian[..., column] = scale * (rotation @ np.stack(moved))[:2]
            jacobian[..., 6:] = scale * np.einsum("ij,jkl->ikl", rotation[:2], self._modes3)
            j = jacobian.reshape(2 * SHAPE_POINTS, -1)
            gradient = j.T @ residual.ravel()
            gradient[6:] -= self._precision[6:] * parameters
            step = np.linalg.solve(j.T @ j + np.diag(self._precision), gradient)
            scale += float(step[0])
            rotation = rotation @ _rotation(step[1:4])
            shift = shift + step[4:6]
            parameters = parameters + step[6:]
        return parameters, shift


def _rotation(vector: Floats) -> Floats:
    """Return the rotation by the length of `vector` (3,) about its direction (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    a, b, c = vector
    cross = np.array([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]])
    if angle < 1e-9:
        small: Floats = np.eye(3) + cross
        return small
    turn: Floats = np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
    return turn
