"""The training objective of a batch: the tasks, uncertainty where there is no face, and detection of covered faces."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from models.face_mt import action_units, augment, losses, votes
from models.face_mt.data import Faces
from models.face_mt.drawings import drawings
from models.face_mt.network import FaceNetwork
from models.face_mt.occluders import Bank, bank
from models.face_mt.teacher import Lesson

TASKS = ("expression", "votes", "affect", "taught", "deviation", "units", "unit deviation", "occlusion", "doubt")
# Of each loss; `taught` is the affect that a teacher gave to faces that nobody rated.
WEIGHTS = (1.0, 0.7, 1.0, 0.5, 0.3, 0.5, 0.05, 0.3, 0.1)
PHANTOMS = 2  # pictures of each kind without a face in a batch: of nothing, cut-up faces, drawn faces
OCCLUDED = 0.2  # share of the pictures that something is drawn over
FREE, COVERED = 0.1, 0.25  # covered share of nose and mouth of a face that counts as free, and as covered
SPREAD_FLOOR = 0.2  # of a unit's standard deviation
PRIOR_FLOOR = 2e-3  # a class rarer than this is not pushed further
TAUGHT_WEIGHT = 0.5  # of a teacher's expression over that of people
CLASSES = len(votes.CLASSES)


@dataclass
class Source:
    """Hold the training rows of one source, drawn in an order that is new after each pass."""

    grey: Tensor  # (n, 112, 112) uint8
    expression: Tensor  # (n, 8) as webva's raters name it, or a teacher in their place
    weight: Tensor  # (n,) of the expression, 0 where it is unknown
    votes: Tensor  # (n, 8) as FER+'s raters name it
    votes_weight: Tensor  # (n,), 0 where unknown
    affect: Tensor  # (n, 2), NaN where unknown
    rated: Tensor  # (n,) bool, whether people gave the affect
    units: Tensor  # (n, k), NaN where unknown
    log_prior: Tensor  # (8,) of the classes of the votes
    _order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    _next: int = 0

    def begin(self) -> None:
        """Forget the order in which rows were dealt out."""
        self._order, self._next = torch.empty(0, dtype=torch.long), 0

    def draw(self, count: int, generator: Generator) -> Tensor:
        """Return the numbers of the next `count` rows."""
        if self._next + count > len(self._order):
            self._order, self._next = torch.randperm(len(self.grey), generator=generator), 0
        self._next += count
        return self._order[self._next - count : self._next]


def rated_source(faces: Faces, rows: NDArray[np.int64]) -> Source:
    """Return the `rows` of faces whose expression and affect people rated."""
    return _source(faces, rows, (faces.expression[rows], faces.weight[rows], faces.affect[rows]), True)


def voted_source(
    faces: Faces, rows: NDArray[np.int64], prior: NDArray[np.float64], taught: Lesson | None = None
) -> Source:
    """Return `rows` of FER+; `prior`: (8,) share of each class there; `taught`: a teacher's predictions for them."""
    found = _source(faces, rows, _lesson(taught, len(rows)), False)
    found.votes, found.votes_weight = (torch.from_numpy(a[rows]) for a in (faces.expression, faces.weight))
    found.log_prior = torch.from_numpy(np.log(np.maximum(prior, PRIOR_FLOOR))).float()
    return found


def unit_source(faces: Faces, rows: NDArray[np.int64], taught: Lesson | None = None) -> Source:
    """Return `rows` with known units; `taught` holds a teacher's predictions of the other tasks, if there are any."""
    return _source(faces, rows, _lesson(taught, len(rows)), False)


def _lesson(taught: Lesson | None, n: int) -> tuple[NDArray[np.float32], ...]:
    if taught is None:
        return (
            np.full((n, CLASSES), 1 / CLASSES, np.float32),
            np.zeros(n, np.float32),
            np.full((n, 2), np.nan, np.float32),
        )
    return taught.expression, np.full(n, TAUGHT_WEIGHT, np.float32), taught.affect


def _source(faces: Faces, rows: NDArray[np.int64], said: tuple[NDArray[np.float32], ...], rated: bool) -> Source:
    n = len(rows)
    expression, weight, affect = (torch.from_numpy(np.ascontiguousarray(a)) for a in said)
    grey, units = (torch.from_numpy(np.ascontiguousarray(a[rows])) for a in (faces.grey, faces.units))
    nothing = torch.full((n, CLASSES), 1 / CLASSES), torch.zeros(n)
    rates = torch.full((n,), rated)
    return Source(grey, expression, weight, *nothing, affect, rates, units, torch.zeros(CLASSES))


def unit_spread(faces: list[Faces]) -> Tensor:
    """Return (k,) the standard deviation of each unit over all faces."""
    units = np.concatenate([one.units for one in faces])
    spread = [np.std(column[np.isfinite(column)]) if np.isfinite(column).any() else 1.0 for column in units.T]
    return torch.tensor(spread, dtype=torch.float32).clamp_min(SPREAD_FLOOR)


class Objective:
    """Compute the losses of batches that are drawn from several sources."""

    def __init__(self, sources: list[Source], mix: tuple[int, ...], spread: Tensor) -> None:
        """Begin with `mix`, the rows of each source in a batch, and `spread`, (k,) standard deviation of the units."""
        self._sources = [(s, count) for s, count in zip(sources, mix, strict=True) if count]
        self._spread = spread
        self._bank: Bank = bank()
        self._lower = torch.tensor([unit in action_units.LOWER for unit in action_units.UNITS])

    def __call__(self, network: FaceNetwork, generator: Generator) -> Tensor:
        """Return (9,) the weighted losses of `TASKS` on the next batch; chance comes from `generator`."""
        rows = [(s, s.draw(count, generator)) for s, count in self._sources]
        grey, expression, weight, voted, votes_weight, affect, rated, units = (
            torch.cat([getattr(s, name)[r] for s, r in rows])
            for name in ("grey", "expression", "weight", "votes", "votes_weight", "affect", "rated", "units")
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
        known = free | (covered > COVERED)
        of_people = torch.where(rated[:, None], affect, torch.nan)
        parts = [
            losses.expression_loss(y.logits[:n], expression, weight, torch.zeros(CLASSES)),
            losses.expression_loss(y.votes[:n], voted, votes_weight, log_prior),
            losses.affect_loss(y.va[:n], affect, free & rated),
            losses.affect_loss(y.va[:n], affect, free & ~rated),
            losses.likelihood_loss(y.va[:n], y.log_std[:n], of_people),
            losses.unit_loss(y.units[:n], units, visible, self._spread),
            losses.likelihood_loss(y.units[:n].detach(), y.unit_log_std[:n], units),
            F.binary_cross_entropy_with_logits(y.occlusion[:n][known], (covered[known] > COVERED).float()),
            losses.doubt_loss(y.logits[n:], y.va[n:], y.log_std[n:]),
        ]
        return torch.stack(parts) * torch.tensor(WEIGHTS)
