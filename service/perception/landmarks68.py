"""The 68 points of iBUG's 300-W annotation out of the mesh's 468 points (Sagonas et al. 2016).

Contours that the two schemes sample differently (jaw, brows, lips) take the mesh's vertices nearest to equal steps
along the contour; left and right use mirrored vertices.
"""

import numpy as np
from numpy.typing import NDArray

MESH_OF_68 = np.array(
    [
        127, 234, 132, 58, 172, 136, 149, 176, 152, 400, 378, 365, 397, 288, 361, 454, 356,  # 0-16 jaw
        70, 63, 105, 66, 107,  # 17-21 brow A, image-left
        336, 296, 334, 293, 300,  # 22-26 brow B, image-right
        168, 197, 5, 1,  # 27-30 bridge of the nose to its tip
        98, 97, 2, 326, 327,  # 31-35 base of the nose
        33, 160, 158, 133, 153, 144,  # 36-41 eye A
        362, 385, 387, 263, 373, 380,  # 42-47 eye B
        61, 40, 37, 0, 267, 270, 291, 321, 405, 17, 181, 91,  # 48-59 outer lip
        78, 81, 13, 311, 308, 402, 14, 178,  # 60-67 inner lip
    ],
    np.intp,
)  # fmt: skip


def landmarks_of(mesh: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (68, 2) float32 x, y of (468, 2 or 3) `mesh`, in its units."""
    return mesh[MESH_OF_68, :2].astype(np.float32)
