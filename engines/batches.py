"""Batches for engines that run fixed sizes: inputs are checked, cut into pieces, and filled up to the next size."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.engine import Arrays
from engines.errors import EngineError

# The sizes that are run; a batch between two of them is filled up with rows whose outputs are dropped.
SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)

Shapes = Mapping[str, tuple[int, ...]]


def rows_of(label: str, shapes: Shapes, types: Mapping[str, str], inputs: Mapping[str, NDArray[np.generic]]) -> int:
    """Return the batch size that `inputs` share.

    `shapes` (-1 stands for the batch) and `types` (numpy's names) are those that the network `label` takes, by name.
    Raise `EngineError` where names, shapes or types differ from them.
    """
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


def size_for(rows: int, sizes: Sequence[int] = SIZES) -> int:
    """Return the smallest of `sizes`, which ascend, that holds so many `rows`; the largest where none does."""
    return next((size for size in sizes if size >= rows), sizes[-1])


def in_sizes(
    rows: int,
    inputs: Mapping[str, NDArray[np.generic]],
    run: Callable[[Mapping[str, NDArray[np.generic]], int], Arrays],
    sizes: Sequence[int] = SIZES,
) -> Arrays:
    """Return the outputs for all `rows` of `inputs`, put together of pieces that are run one after another.

    `run` is called with a piece and the smallest of `sizes` (in ascending order) that holds it. For no rows, one row of
    zeros is run, which gives the outputs' shapes and types.
    """
    if not rows:
        zeros = {name: np.zeros((1, *values.shape[1:]), values.dtype) for name, values in inputs.items()}
        return {name: values[:0] for name, values in run(zeros, 1).items()}
    parts = []
    for start in range(0, rows, sizes[-1]):
        piece = {name: values[start : start + sizes[-1]] for name, values in inputs.items()}
        parts.append(run(piece, size_for(len(next(iter(piece.values()))), sizes)))
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
