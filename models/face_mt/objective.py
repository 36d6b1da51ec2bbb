"""What a batch of faces asks of the network: its tasks, doubt where there is no face, and to tell what is covered."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from models.face_mt import action_units, augment, losses
from models.face_mt.data import Faces
from models.face_mt.drawings import drawings
from models.face_mt.network import FaceNetwork
from models.face_mt.occluders import Bank, bank

TASKS = ("expression", "affect", "deviation", "units", "unit deviation", "occlusion", "doubt")
WEIGHTS = (1.0, 0.5, 0.3, 0.35, 0.05, 0.3, 0.1)
PHANTOMS = 2  # pictures of each kind without a face in a batch: of nothing, cut-up faces, drawn faces
OCCLUDED = 0.2  # share of the pictures that something is drawn over
FREE, COVERED = (
    0.12,
    0.33,
)  # covered shares of nose and mouth below and above which a face counts as free and as covered
SPREAD_FLOOR = 0.2  # of a unit's standard deviation
PRIOR_FLOOR = 2e-3  # a class rarer than this is not pushed further


@dataclass
class Source:
    """Training rows of one source, dealt out in an order that is new after each pass."""

    grey: Tensor  # (n, 112, 112) uint8
    expression: Tensor  # (n, 8)
    weight: Tensor  # (n,)
    affect: Tensor  # (n, 2), NaN where unknown
    units: Tensor  # (n, k), NaN where unknown
    log_prior: Tensor  # (8,) of the source's classes
    _order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    _next: int = 0

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Return the numbers of the next `count` rows."""
        if self._next + count > len(self._order):
            self._order, self._next = torch.randperm(len(self.grey), generator=generator), 0
        self._next += count
        return self._order[self._next - count : self._next]


def source(faces: Faces, rows: NDArray[np.int64], prior: NDArray[np.float64]) -> Source:
    """Return the `rows` of `faces` as tensors; `prior`: (8,) share of each class where these faces come from."""
    arrays = (faces.grey, faces.expression, faces.weight, faces.affect, faces.units)
    grey, expression, weight, affect, units = (torch.from_numpy(np.ascontiguousarray(a[rows])) for a in arrays)
    log_prior = torch.from_numpy(np.log(np.maximum(prior, PRIOR_FLOOR))).float()
    return Source(grey, expression, weight, affect, units, log_prior)


def unit_spread(faces: list[Faces]) -> Tensor:
    """Return (k,) the standard deviation of each unit over all faces."""
    units = np.concatenate([one.units for one in faces])
    spread = [np.std(column[np.isfinite(column)]) if np.isfinite(column).any() else 1.0 for column in units.T]
    return torch.tensor(spread, dtype=torch.float32).clamp_min(SPREAD_FLOOR)


class Objective:
    """The losses of batches that are drawn from several sources."""

    def __init__(self, sources: list[Source], mix: tuple[int, ...], spread: Tensor) -> None:
        """`mix`: rows of each source in a batch; `spread`: (k,) standard deviation of the units."""
        self._sources = [(s, count) for s, count in zip(sources, mix, strict=True) if count]
        self._spread = spread
        self._bank: Bank = bank()
        self._lower = torch.tensor([unit in action_units.LOWER for unit in action_units.UNITS])

    def __call__(self, network: FaceNetwork, generator: Generator) -> Tensor:
        """Return (7,) the weighted losses of `TASKS` on the next batch; chance comes from `generator`."""
        rows = [(s, s.draw(count, generator)) for s, count in self._sources]
        grey, expression, weight, affect, units = (
            torch.cat([getattr(s, name)[r] for s, r in rows])
            for name in ("grey", "expression", "weight", "affect", "units")
        )
        log_prior = torch.cat([s.log_prior.expand(len(r), -1) for s, r in rows])
        n = len(grey)
        none = [augment.phantoms(PHANTOMS, generator), augment.shuffled(grey[:PHANTOMS], generator)]
        pictures = torch.cat([grey, *none, drawings(PHANTOMS, generator)])
        pictures, covered = augment.occluded(pictures, self._bank, OCCLUDED, generator)
        x = augment.view(pictures, generator)
        covered, free = covered[:n], covered[:n] < FREE
        with torch.autocast("cpu", torch.bfloat16):
            y = network(x.contiguous(memory_format=torch.channels_last))
        visible = free[:, None] | ~self._lower
        told = free | (covered > COVERED)
        parts = [
            losses.expression_loss(y.logits[:n], expression, weight, log_prior),
            losses.affect_loss(y.va[:n], affect, free),
            losses.likelihood_loss(y.va[:n], y.log_std[:n], affect),
            losses.unit_loss(y.units[:n], units, visible, self._spread),
            losses.likelihood_loss(y.units[:n].detach(), y.unit_log_std[:n], units),
            F.binary_cross_entropy_with_logits(y.occlusion[:n][told], (covered[told] > COVERED).float()),
            losses.doubt_loss(y.logits[n:], y.va[n:], y.log_std[n:]),
        ]
        return torch.stack(parts) * torch.tensor(WEIGHTS)
