"""OpenFace 1's action-unit intensities, computed anew from a picture and 68 points: the teacher of the units.

Its files may not be passed on (see `openface_files`): who has them trains with them, or imports them to see these
intensities live (`openface_live`). The predictors were fitted to human FACS
codes (BP4D, Bosphorus, DISFA, UNBC, GEMEP and SEMAINE; Baltrusaitis et al. 2015). The features are HOG of Felzenszwalb
et al. (2010) as dlib computes them, over the masked and aligned face, and the parameters of the shape model.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.face_mt.openface_files import Files, Floats
from models.face_mt.shape_model import ShapeModel

SIZE, CELL, CELLS = 112, 8, 14  # pixels of the aligned face and of a cell; cells a side
ORIENTATIONS = 18
ALIGNED = np.array([*range(1, 5), *range(12, 16), 27, 28, 29, *range(31, 36), 36, *range(39, 43), 45, 46, 47])
SCALE = 0.7  # pixels per millimetre of the aligned face
BROWS = np.array([0, 16, *range(17, 27)])  # points that the mask moves up, so that the forehead is in it
BROW_LIFT = 30.0  # pixels by which it moves them
# Where each point of a face lies in its mirror image (iBUG order).
MIRRORED = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
    41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
])  # fmt: skip


class OpenFace:
    """Compute the features of OpenFace 1's predictors, and the intensities of those that are static."""

    def __init__(self, files: Files) -> None:
        """Take what a folder of OpenFace 1's files holds (`openface_files.read`)."""
        self.units = files.units
        self._files = files
        self._shape = ShapeModel(files)
        self._target = self._shape.mean[:2].T[ALIGNED] * SCALE

    def __call__(self, image: NDArray[np.uint8], points: NDArray[np.floating]) -> Floats:
        """Return (units,) intensities, the mean of the picture's and its mirror image's; not clipped.

        `image`: (height, width, 3) RGB; `points`: (68, 2) pixels in iBUG order. The predictors are not symmetric: alone
        they take a turned head for raised brows. Raise `numpy.linalg.LinAlgError` where the shape cannot be fitted.
        """
        here = np.asarray(points, np.float64)
        mirrored = here[MIRRORED].copy()
        mirrored[:, 0] = image.shape[1] - 1 - mirrored[:, 0]
        mean: Floats = (self._one(image, here) + self._one(np.ascontiguousarray(image[:, ::-1]), mirrored)) / 2
        return mean

    def _one(self, image: NDArray[np.uint8], points: Floats) -> Floats:
        values: Floats = (self.features(image, points) - self._files.mean) @ self._files.weights + self._files.bias
        return values

    def features(self, image: NDArray[np.uint8], points: Floats) -> Floats:
        """Return (4702,) features: HOG by row, column and channel, displacements, shape parameters."""
        fit = self._shape.fit(points)
        linear = _alignment(points[ALIGNED], self._target)
        shift = SIZE / 2 - linear @ fit.shift
        face = cv2.warpAffine(image, np.hstack([linear, shift[:, None]]), (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        outline = points @ linear.T + shift
        outline[BROWS, 1] -= BROW_LIFT
        mask = np.zeros((SIZE, SIZE), np.uint8)
        for triangle in self._files.triangles:
            cv2.fillConvexPoly(mask, np.rint(outline[triangle]).astype(np.int32), 1)
        return np.concatenate(
            [hog(np.asarray(face * mask[..., None], np.uint8)), self._shape.modes @ fit.parameters, fit.parameters]
        )


def _alignment(source: Floats, target: Floats) -> Floats:
    """Return (2, 2) rotation and scale of the points `source` to `target`: Kabsch, and the ratio of their RMS sizes."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, _, vt = np.linalg.svd(a.T @ b)
    turn = np.diag([1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    linear: Floats = vt.T @ turn @ u.T * np.sqrt((b**2).sum() / max((a**2).sum(), 1e-12))
    return linear


def _cells() -> tuple[NDArray[np.int64], Floats]:
    """Return for each inner pixel the four cells that it votes for, times 18, and its shares in them; (4, pixels)."""
    y, x = np.mgrid[1 : SIZE - 1, 1 : SIZE - 1]
    row, column = (y + 0.5) / CELL - 0.5, (x + 0.5) / CELL - 0.5
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    down, right = row - top, column - left
    cells, shares = [], []
    for dy, wy in ((0, 1 - down), (1, down)):
        for dx, wx in ((0, 1 - right), (1, right)):
            cells.append((top + 1 + dy) * (CELLS + 2) + left + 1 + dx)
            shares.append(wy * wx)
    return np.stack(cells).reshape(4, -1) * ORIENTATIONS, np.stack(shares).reshape(4, -1)


_CELLS, _SHARES = _cells()


def hog(face: NDArray[np.uint8]) -> Floats:
    """Return (4464,) HOG of a (112, 112, 3) picture: 12x12 cells of 18 signed, 9 unsigned and 4 texture channels."""
    levels = face.astype(np.float32)
    dx, dy = levels[1:-1, 2:] - levels[1:-1, :-2], levels[2:, 1:-1] - levels[:-2, 1:-1]
    square = dx * dx + dy * dy
    strongest = square.argmax(2)[..., None]
    dx, dy, square = (np.take_along_axis(v, strongest, 2).ravel() for v in (dx, dy, square))
    direction = np.rint(np.arctan2(dy, dx) * (ORIENTATIONS / 2 / np.pi)).astype(np.int64) % ORIENTATIONS
    side = CELLS + 2
    votes = np.bincount((_CELLS + direction).ravel(), (_SHARES * np.sqrt(square)).ravel(), side * side * ORIENTATIONS)
    signed = votes.reshape(side, side, ORIENTATIONS)
    unsigned = signed[..., : ORIENTATIONS // 2] + signed[..., ORIENTATIONS // 2 :]
    energy = (unsigned**2).sum(2)[1:-1, 1:-1]
    blocks = energy[:-1, :-1] + energy[:-1, 1:] + energy[1:, :-1] + energy[1:, 1:]
    limits = 0.2 * np.sqrt(blocks + 1e-4)
    signed, unsigned = signed[2:-2, 2:-2], unsigned[2:-2, 2:-2]
    out = np.zeros((CELLS - 2, CELLS - 2, 31))
    corners = (limits[1:, 1:], limits[:-1, 1:], limits[1:, :-1], limits[:-1, :-1])
    for i, limit in enumerate(corner[..., None] for corner in corners):
        clipped = np.minimum(signed, limit) * (0.1 / limit)
        out[..., :18] += clipped
        out[..., 18:27] += np.minimum(unsigned, limit) * (0.1 / limit)
        out[..., 27 + i] = 0.4714 * clipped.sum(2)
    return out.ravel()
