"""The step from a network's outputs to estimates, the same for all of the papers' systems."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from models.labels import AUS_2020, AUS_2022, AUS_UNION, EXPRESSIONS
from models.relations import compound_scores
from service.adapters.adapter import Estimate
from service.perception.face import Face

UNITS = {len(names): names for names in (AUS_2020, AUS_2022, AUS_UNION)}  # names of the units by their number


def estimates_of(t: float, faces: Sequence[Face], outputs: Arrays) -> dict[int, Estimate]:
    """Return estimates by track.

    An eighth class becomes `other`. Compound expressions are given with the seventeen units that they are computed from
    (`models.relations`).

    Args:
        t: Seconds on the session clock of the newest input.
        faces: The faces that the rows of `outputs` belong to.
        outputs: `valence_arousal` (N, 2), and where the network has them `expression` (N, 7 or 8) and `aus` (N, units)
            as logits, as `engines.papers.live_networks` names them.
    """
    va = np.clip(np.asarray(outputs["valence_arousal"], np.float64), -1.0, 1.0)
    classes = _softmax(outputs["expression"]) if "expression" in outputs else None
    seven = None
    if classes is not None:
        seven = classes[:, : len(EXPRESSIONS)]
        seven = seven / np.maximum(seven.sum(1, keepdims=True), 1e-9)
    units = 1.0 / (1.0 + np.exp(-np.asarray(outputs["aus"], np.float64))) if "aus" in outputs else None
    compound = None
    if seven is not None and units is not None and units.shape[1] == len(AUS_UNION):
        compound = compound_scores(seven, units, va[:, 0]).astype(np.float32)
    return {
        face.track: Estimate(
            track=face.track,
            t=t,
            valence=float(va[i, 0]),
            arousal=float(va[i, 1]),
            expression=None if seven is None else seven[i].astype(np.float32),
            other=float(classes[i, -1]) if classes is not None and classes.shape[1] > len(EXPRESSIONS) else None,
            aus={} if units is None else dict(zip(UNITS[units.shape[1]], units[i].tolist(), strict=True)),
            compound=None if compound is None else compound[i],
        )
        for i, face in enumerate(faces)
    }


def _softmax(logits: NDArray[np.generic]) -> NDArray[np.float64]:
    x = np.asarray(logits, np.float64)
    x = np.exp(x - x.max(1, keepdims=True))
    shares: NDArray[np.float64] = x / x.sum(1, keepdims=True)
    return shares
