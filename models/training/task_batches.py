"""Draw batches that join a fixed number of samples annotated for each task, as FaceBehaviorNet is trained.

Kollias and Zafeiriou 2021, VI-B: at each iteration three batches, of 401, 247 and 103 pictures from the sets annotated
for valence and arousal, for action units and for expressions, are concatenated, so that every loss has labels in every
step. An epoch ends when each set has been drawn whole; smaller sets are drawn again, in a new order.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler


class TaskBatches(Sampler[list[int]]):
    """Yield lists of sample indices, each with `sizes[task]` of `sets[task]` for every task."""

    def __init__(self, sets: Mapping[str, NDArray[np.int64]], sizes: Mapping[str, int], order: torch.Generator) -> None:
        """Take for each task the indices of the samples annotated for it, and the `order` that shuffles them."""
        self._sets = {task: sets[task] for task in sizes}
        self._sizes = dict(sizes)
        self._order = order

    def __len__(self) -> int:
        """Return the batches of an epoch: as many as the largest set, by its batch size, needs."""
        return max(-(-len(self._sets[task]) // size) for task, size in self._sizes.items())

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of one epoch."""
        drawn = {task: self._endless(found) for task, found in self._sets.items()}
        for _ in range(len(self)):
            yield [next(drawn[task]) for task, size in self._sizes.items() for _ in range(size)]

    def _endless(self, indices: NDArray[np.int64]) -> Iterator[int]:
        """Yield the indices in a random order, and again in another one, without an end."""
        while True:
            for place in torch.randperm(len(indices), generator=self._order).tolist():
                yield int(indices[place])
