"""The rows of several requests as the inputs of one engine call, and its outputs as theirs again."""

import numpy as np

from engines.engine import Arrays
from engines.errors import EngineError
from service.inference.queue import Share


def join(shares: list[Share]) -> Arrays:
    """One batch of all rows; a single request's arrays are handed on as they are."""
    if len(shares) == 1:
        share = shares[0]
        return {k: v[share.start : share.stop] for k, v in share.request.inputs.items()}
    names = shares[0].request.inputs
    return {k: np.concatenate([s.request.inputs[k][s.start : s.stop] for s in shares]) for k in names}


def split(outputs: Arrays, shares: list[Share]) -> list[Arrays]:
    """Each share's own rows. Raises `EngineError` if the engine gave another number of rows than it took."""
    rows = sum(share.rows for share in shares)
    for name, values in outputs.items():
        if values.shape[:1] != (rows,):
            raise EngineError(f"The engine gave {name!r} of shape {values.shape} for {rows} rows.")
    if len(shares) == 1:
        return [outputs]
    results, start = [], 0
    for share in shares:
        results.append({k: v[start : start + share.rows] for k, v in outputs.items()})
        start += share.rows
    return results
