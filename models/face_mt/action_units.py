"""Action units out of a teacher's blendshapes: the published correspondences between ARKit's shapes and FACS.

The teacher (MediaPipe Face Landmarker's blendshape network, Apache-2.0) names its 52 outputs like ARKit. Which shape
moves like which unit follows the correspondences in the ARKit documentation's pictures and Ozel's ARKit-to-FACS cheat
sheet. Shapes that the teacher hardly moves (cheekPuff, cheekSquint, noseSneer, ...) teach nothing and are left out by
`live`, measured on the faces at hand, instead of being published as zeros.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Unit -> shapes whose mean stands for it; left and right are the person's.
SHAPES: dict[str, tuple[str, ...]] = {
    "AU01": ("browInnerUp",),
    "AU02": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04": ("browDownLeft", "browDownRight"),
    "AU05": ("eyeWideLeft", "eyeWideRight"),
    "AU06": ("cheekSquintLeft", "cheekSquintRight"),
    "AU07": ("eyeSquintLeft", "eyeSquintRight"),
    "AU09": ("noseSneerLeft", "noseSneerRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU14": ("mouthDimpleLeft", "mouthDimpleRight"),
    "AU15": ("mouthFrownLeft", "mouthFrownRight"),
    "AU17": ("mouthShrugLower",),
    "AU20": ("mouthStretchLeft", "mouthStretchRight"),
    "AU24": ("mouthPressLeft", "mouthPressRight"),
    "AU25": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "AU26": ("jawOpen",),
    "AU28": ("mouthRollLower", "mouthRollUpper"),
    "AU45": ("eyeBlinkLeft", "eyeBlinkRight"),
}
LIVE_SPREAD = 0.03  # a unit whose teacher spans less than this between the 5th and the 99th percentile is dead
FULL_PERCENTILE = 99.0  # the teacher's value that counts as 1


def units(blendshapes: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """`blendshapes`: (n, 52) of `names` -> (n,) of each unit, 0..1 on the teacher's own scale."""
    column = {name: i for i, name in enumerate(names)}
    return {au: blendshapes[:, [column[s] for s in shapes]].mean(1) for au, shapes in SHAPES.items()}


def live(values: dict[str, NDArray[np.float32]]) -> dict[str, tuple[float, float]]:
    """Units that the teacher moves, with the (low, high) of its scale that are published as 0 and 1."""
    scales: dict[str, tuple[float, float]] = {}
    for au, value in values.items():
        seen = value[np.isfinite(value)]
        if not len(seen):
            continue
        low, high = (float(v) for v in np.percentile(seen, [5.0, FULL_PERCENTILE]))
        if high - low >= LIVE_SPREAD:
            scales[au] = (low, high)
    return scales


def targets(values: dict[str, NDArray[np.float32]], scales: dict[str, tuple[float, float]]) -> NDArray[np.float32]:
    """(n, k) in 0..1, in the order of `scales`; NaN where the teacher saw no face."""
    return np.stack([np.clip((values[au] - low) / (high - low), 0.0, 1.0) for au, (low, high) in scales.items()], 1)
