"""The points of a face as the network reads them: how far each lies from where it lies in a face at rest.

They are those of perception's mesh in pixels of the aligned crop, so that neither place, size nor roll of the face is
left in them. The mesh's depth is not read: it added nothing. Where no mesh is known, all are zero: a face at rest.
"""

import numpy as np
from numpy.typing import NDArray

POINTS = 468
UNIT = 2.0  # pixels of the crop that count as 1: about the standard deviation of a point over photographs

Floats = NDArray[np.float32]


def points_of(mesh: NDArray[np.floating], rest: NDArray[np.floating]) -> Floats:
    """Return how far each point of (n, 468, 2) meshes lies from its place in the face at `rest`, (468, 2).

    The distances are in `UNIT`, and 0 where a mesh is NaN.
    """
    return np.nan_to_num((mesh - rest) / UNIT).astype(np.float32)


def at_rest(mesh: NDArray[np.floating]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the mean of (n, 468, 2) meshes and their mirror images, (468, 2), and each point's mirrored partner.

    Meshes with NaN do not count; without any other, the face at rest is all zeros.
    """
    known = mesh[np.isfinite(mesh).all((1, 2))]
    mean = known.mean(0, dtype=np.float64) if len(known) else np.zeros((POINTS, 2))
    turned = mean * (-1, 1) + (2 * mean[:, 0].mean(), 0)
    partner = ((turned[:, None] - mean[None]) ** 2).sum(-1).argmin(1)
    return ((mean + turned[partner]) / 2).astype(np.float32), partner


def mirrored(points: Floats, partner: NDArray[np.int64]) -> Floats:
    """Return the (n, 468, 2) points of the mirror images."""
    return points[:, partner] * np.array([-1, 1], np.float32)
