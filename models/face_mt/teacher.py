"""A teacher of valence, arousal and expressions for faces that nobody rated (Hinton et al. 2015; Xie et al. 2020).

It reads the features of two frozen networks, the start and the network after the stage of units, and predicts by kernel
ridge regression over the rated faces. On held-out faces it is a little better than one linear layer on either network.
Each fold has a teacher of its own, which is not fitted to the faces that the fold holds out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.face_mt.augment import exact_view
from models.face_mt.network import FaceNetwork
from models.face_mt.scores import Floats

RIDGE = 1.0
WIDTH = 0.5  # of the kernel exp(-WIDTH d^2 / median of d^2)
LEAST = 0.01  # probability that the teacher leaves to every class
_BATCH = 128


@dataclass(frozen=True)
class Lesson:
    """Hold a teacher's predictions for n faces."""

    expression: NDArray[np.float32]  # (n, 8) probabilities as webva's raters would name the face
    affect: NDArray[np.float32]  # (n, 2)


@torch.no_grad()
def features(network: FaceNetwork, grey: NDArray[np.uint8], *, mirrored: bool = False) -> Floats:
    """Return (n, width) what `network` sees in (n, 112, 112) crops; `mirrored`: the mean with the mirror images."""
    network.eval()
    parts = []
    for at in range(0, len(grey), _BATCH):
        x = exact_view(torch.from_numpy(np.ascontiguousarray(grey[at : at + _BATCH])))
        views = (x, x.flip(3)) if mirrored else (x,)
        with torch.autocast("cpu", torch.bfloat16):
            seen = [network.features(v.contiguous(memory_format=torch.channels_last)) for v in views]
        parts.append(torch.stack(seen).mean(0).numpy())
    return np.concatenate(parts).astype(np.float64)


class Teacher:
    """Answer by kernel ridge regression of expressions and affect over the features of several networks."""

    def __init__(self, seen: list[Floats], expression: Floats, affect: Floats) -> None:
        """Take (n, d) features of each network of the rated faces, their `expression` (n, 8) and `affect` (n, 2)."""
        self._norms = [(x.mean(0), x.std(0) + 0.05 * x.std()) for x in seen]
        self._seen = [self._scaled(x, i) for i, x in enumerate(seen)]
        distances = [_squared_distances(x, x) for x in self._seen]
        self._medians = [float(np.median(d)) for d in distances]
        kernel = np.mean([np.exp(-WIDTH * d / m) for d, m in zip(distances, self._medians, strict=True)], 0)
        targets = np.hstack([expression, affect])
        self._mean = targets.mean(0)
        inverse = np.linalg.inv(kernel + RIDGE * np.eye(len(kernel)))
        self._weights = inverse @ (targets - self._mean)
        # Its prediction for each rated face from the others (leave-one-out), which spreads as those for new faces do.
        left_out = targets - self._weights / np.diag(inverse)[:, None]
        self._stretch = affect.std(0) / left_out[:, -2:].std(0)

    def __call__(self, seen: list[Floats]) -> Lesson:
        """Return the lesson for faces with these features; the affect is as widely spread as people's ratings are."""
        kernel = np.mean([
            np.exp(-WIDTH * _squared_distances(self._scaled(x, i), self._seen[i]) / self._medians[i])
            for i, x in enumerate(seen)
        ], 0)  # fmt: skip
        said = kernel @ self._weights + self._mean
        expression = np.clip(said[:, :-2], LEAST, 1)
        middle = self._mean[-2:]
        affect = np.clip((said[:, -2:] - middle) * self._stretch + middle, -1, 1)
        return Lesson(
            (expression / expression.sum(1, keepdims=True)).astype(np.float32), affect.astype(np.float32)
        )  # fmt: skip

    def _scaled(self, x: Floats, network: int) -> Floats:
        mean, spread = self._norms[network]
        return np.asarray((x - mean) / spread, np.float64)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0.0), np.float64)
