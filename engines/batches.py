"""Batches as engines with fixed sizes run them: what is given is checked, cut, and filled up to the next size."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import EngineError

# A batch between two of these is filled up with rows that nobody reads.
SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)

Shapes = Mapping[str, tuple[int, ...]]


def rows_of(label: str, shapes: Shapes, types: Mapping[str, str], inputs: Mapping[str, NDArray[np.generic]]) -> int:
    """The batch size that `inputs` share. Raises `EngineError` for wrong names, shapes (-1: the batch) or types."""
    if inputs.keys() != shapes.keys():
        raise EngineError(f"{label} takes the inputs {sorted(shapes)}, but was given {sorted(inputs)}.")
    for name, shape in shapes.items():
        given = inputs[name]
        if given.shape[1:] != shape[1:] or given.dtype.name != types[name]:
            raise EngineError(
                f"{label} takes {name!r} of shape {shape} in {types[name]}, but was given {given.shape} in "
                f"{given.dtype.name}."
            )
    sizes = {len(values) for values in inputs.values()}
    if len(sizes) != 1:
        raise EngineError(f"{label} was given inputs of different batch sizes: {sorted(sizes)}.")
    return sizes.pop()


def in_sizes(
    rows: int,
    inputs: Mapping[str, NDArray[np.generic]],
    run: Callable[[Mapping[str, NDArray[np.generic]], int], Arrays],
    sizes: Sequence[int] = SIZES,
) -> Arrays:
    """Outputs of `run` for each piece of `inputs` and the one of `sizes`, smallest first, that holds it, put together
    again.

    No rows are run as one row of zeros, which gives the outputs' shapes and types.
    """
    if not rows:
        zeros = {name: np.zeros((1, *values.shape[1:]), values.dtype) for name, values in inputs.items()}
        return {name: values[:0] for name, values in run(zeros, 1).items()}
    parts = []
    for start in range(0, rows, sizes[-1]):
        piece = {name: values[start : start + sizes[-1]] for name, values in inputs.items()}
        count = len(next(iter(piece.values())))
        parts.append(run(piece, next(size for size in sizes if size >= count)))
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
