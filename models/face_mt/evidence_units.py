"""What the evidence page says of action units: agreement with the teachers, and with what people called the faces."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.face_mt.action_units import EXPERIMENTAL, UNITS
from models.face_mt.data import Faces
from models.face_mt.evidence import Table, area_under, correlation, interval, paired
from models.face_mt.scores import Floats, Rows
from models.face_mt.served import Outputs
from models.face_mt.votes import CLASSES

# Units that make up posed expressions by the prototypes of Ekman and Friesen (EMFACS). Nobody coded these photographs
# by FACS: that a unit separates its expressions from neutral faces is what can be asked.
PROTOTYPES = {
    "happiness": ("AU06", "AU12"),
    "surprise": ("AU01", "AU02", "AU05", "AU25", "AU26"),
    "sadness": ("AU01", "AU04", "AU15", "AU17"),
    "anger": ("AU04", "AU05", "AU07", "AU23", "AU24"),
    "fear": ("AU01", "AU02", "AU04", "AU05", "AU20", "AU25", "AU26"),
    "disgust": ("AU09", "AU10", "AU15", "AU17"),
    "contempt": ("AU14",),
}


def _area(x: Floats, moved: NDArray[np.bool_], chosen: Rows) -> float:
    return area_under(x[chosen], moved[chosen])


def teacher_rows(out: Outputs, faces: Faces, rows: Rows) -> Table:
    """Return for each unit Pearson's r with its teacher, the error, and what the deviations cover."""
    table = []
    for k, unit in enumerate(UNITS):
        target = faces.units[rows, k].astype(np.float64)
        known = np.isfinite(target)
        if known.sum() < 10:
            continue
        x, y, std = out.intensities[known, k], np.clip(target[known], 0, 5), out.intensity_std[known, k]

        low, high = interval(partial(paired, correlation, x, y), len(x))
        table.append(
            {
                "unit": unit + (" (experimental)" if unit in EXPERIMENTAL else ""),
                "faces": len(x),
                "r": correlation(x, y),
                "low": low,
                "high": high,
                "within 1 std": float((np.abs(x - y) <= std).mean()),
                "mean std": float(std.mean()),
                "present": float((out.present[known, k] > 0.5).mean()),
            }
        )
    return table


def prototype_rows(out: Outputs, faces: Faces, rows: Rows) -> Table:
    """Return how well each unit's intensity separates the expressions that it belongs to from neutral faces."""
    truth = faces.majority[rows]
    table = []
    for k, unit in enumerate(UNITS):
        expressions = [name for name, units in PROTOTYPES.items() if unit in units]
        moved = np.isin(truth, [CLASSES.index(name) for name in expressions])
        chosen = moved | (truth == CLASSES.index("neutral"))
        if not moved.any() or moved[chosen].all():
            continue
        x, y = out.intensities[chosen, k] + 1e-3 * out.present[chosen, k], moved[chosen]
        low, high = interval(partial(_area, x, y), len(x))
        teacher = faces.units[rows, k][chosen].astype(np.float64)
        known = np.isfinite(teacher)
        table.append(
            {
                "unit": unit,
                "expressions": ", ".join(expressions),
                "faces": len(x),
                "area under the curve": area_under(x, y),
                "low": low,
                "high": high,
                "its teacher's": area_under(teacher[known], y[known]),
            }
        )
    return table
