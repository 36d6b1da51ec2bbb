"""Intensities of the action units, 0 to 5, from two teachers: MediaPipe's blendshapes and OpenFace's predictors.

Two teachers are at hand. MediaPipe's blendshapes (Apache-2.0) are named like ARKit's; which shape moves like which unit
follows the correspondences in the ARKit documentation's pictures and Ozel's ARKit-to-FACS cheat sheet. OpenFace's
linear predictors were fitted to human FACS codes (see `openface`). Which teacher counts for which unit was measured on
posed expressions: OpenFace's separates 06, 09, 12, 14, 15, 23 and 04, which the blendshapes hardly move or confuse; the
blendshapes are steadier for eyes, lips and jaw; for 01, 02, 10 and 20 the mean of both is best.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Unit -> shapes whose mean stands for it; left and right are the person's.
SHAPES: dict[str, tuple[str, ...]] = {
    "AU01": ("browInnerUp",),
    "AU02": ("browOuterUpLeft", "browOuterUpRight"),
    "AU05": ("eyeWideLeft", "eyeWideRight"),
    "AU07": ("eyeSquintLeft", "eyeSquintRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU17": ("mouthShrugLower",),
    "AU20": ("mouthStretchLeft", "mouthStretchRight"),
    "AU24": ("mouthPressLeft", "mouthPressRight"),
    "AU25": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "AU26": ("jawOpen",),
    "AU28": ("mouthRollLower", "mouthRollUpper"),
    "AU45": ("eyeBlinkLeft", "eyeBlinkRight"),
}
OPENFACE = ("AU01", "AU02", "AU04", "AU06", "AU09", "AU10", "AU12", "AU14", "AU15", "AU20", "AU23")
UNITS = tuple(sorted({*SHAPES, *OPENFACE}))  # 19 units, in the order of the network's outputs
EXPERIMENTAL = ("AU14", "AU23")  # units whose teacher could not be checked on posed expressions
# Units that are not seen where a hand, a mask or a microphone covers nose and mouth.
LOWER = ("AU06", "AU09", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26", "AU28")
FULL_PERCENTILE, FULL = 99.0, 4.0  # the blendshape's value at this percentile is put at this intensity
LOWEST, HIGHEST = -1.0, 5.0  # targets are cut here; below 0 they still say how far a unit is from moving


@dataclass(frozen=True)
class Teachers:
    """Hold what both teachers gave for n faces; NaN where one saw no face or was not asked."""

    blendshapes: Floats  # (n, 52)
    shape_names: Sequence[str]
    openface: Floats  # (n, units), not clipped
    openface_names: Sequence[str]


@dataclass(frozen=True)
class Scale:
    """Hold what each teacher gives for faces at rest, and the intensity per unit of a blendshape."""

    shapes: dict[str, float]  # at rest
    openface: dict[str, float]  # at rest
    factor: dict[str, float]


def scale(teachers: Teachers, neutral: NDArray[np.bool_], factor: dict[str, float] | None = None) -> Scale:
    """Return the scale of a source whose `neutral` (n,) faces are at rest.

    The predictors were fitted on other points and pictures, which moves what they give at rest by up to 0.9, and by
    other amounts for grey pictures of 48 pixels than for sharp ones: so each source has its own. `factor` of another
    source makes intensities comparable; without, the 99th percentile of each blendshape is put at 4.
    """
    shapes = _shape_values(teachers)
    rest = {unit: _median(value[neutral]) for unit, value in shapes.items()}
    if factor is None:
        full = {unit: float(np.nanpercentile(value, FULL_PERCENTILE)) for unit, value in shapes.items()}
        factor = {unit: FULL / max(full[unit] - rest[unit], 1e-6) for unit in shapes}
    openface = {u: _median(teachers.openface[neutral, i]) for i, u in enumerate(teachers.openface_names)}
    return Scale(rest, openface, factor)


def targets(teachers: Teachers, scale: Scale) -> Floats:
    """Return (n, 19) intensities, cut to -1..5, in the order of `UNITS`; NaN where a unit's teacher gives no value."""
    shapes = _shape_values(teachers)
    column = {name: i for i, name in enumerate(teachers.openface_names)}
    silent = np.full(len(teachers.blendshapes), np.nan, np.float32)
    out = np.empty((len(silent), len(UNITS)), np.float32)
    for k, unit in enumerate(UNITS):
        parts = []
        if unit in SHAPES:
            parts.append((shapes[unit] - scale.shapes[unit]) * scale.factor[unit])
        if unit in OPENFACE:
            given = unit in column
            parts.append(teachers.openface[:, column[unit]] - scale.openface[unit] if given else silent)
        out[:, k] = np.mean(parts, 0)
    return np.clip(out, LOWEST, HIGHEST)


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _shape_values(teachers: Teachers) -> dict[str, Floats]:
    column = {name: i for i, name in enumerate(teachers.shape_names)}
    return {u: teachers.blendshapes[:, [column[s] for s in shapes]].mean(1) for u, shapes in SHAPES.items()}
