"""The eye aspect ratio: how far the lids are apart, over the width of the eye (Soukupová and Čech 2016).

The mesh follows the lids only in part: a shut eye still has half the ratio of an open one. `service.aggregation.eyes`
therefore compares each ratio with the person's own.
"""

from math import dist

import numpy as np
from numpy.typing import NDArray

EyeAspect = tuple[float | None, float | None]  # of the image-left and the image-right eye; None where it has no width

# Mesh points of each eye: outer and inner corner, then upper and lower lid, three times.
_EYES = np.array([[33, 133, 160, 144, 159, 145, 158, 153], [263, 362, 387, 373, 386, 374, 385, 380]])


def aspect_ratios(mesh: NDArray[np.floating]) -> EyeAspect:
    """Return the aspect ratios of both eyes of a (468, 3) `mesh`, in three dimensions, so that turning changes little.

    An open eye has about 0.25 to 0.35, a shut one 0.15 to 0.19.
    """
    left, right = mesh[_EYES].tolist()
    return _ratio(left), _ratio(right)


def _ratio(points: list[list[float]]) -> float | None:
    outer, inner, *lids = points
    width = dist(outer, inner)
    return sum(map(dist, lids[::2], lids[1::2])) / (3 * width) if width > 0 else None
