"""Train the head of the action units on what a finished trunk sees of faces, and on the points of their meshes.

The trunk does not change any more, so that its features of each picture, its mirror image and some spoiled views are
computed once. One head learns from all training faces and is served. Five more, each without a fifth of webva's
training faces, tell how far the answers for faces never seen are off: that calibrates the served one.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F
from tqdm import tqdm

from models.face_mt import action_units, augment, losses
from models.face_mt.augment import exact_view
from models.face_mt.data import FOLDS, TRAIN, Faces, Sets, fold_of
from models.face_mt.network import FaceNetwork, UnitHead
from models.face_mt.objective import FREE, OCCLUDED, unit_spread
from models.face_mt.occluders import bank
from models.face_mt.points import mirrored
from models.face_mt.scores import Floats

EPOCHS, BATCH, RATE, DECAY = 12, 256, 1e-3, 0.05
DROPOUT, POINTS_DROPOUT = 0.3, 0.2
JITTER = 0.2  # standard deviation of the noise of each point, in units of `points.UNIT`: the mesh trembles on film
WITHOUT = 0.1  # share of the faces that are shown without their points
DEVIATION = 0.1  # weight of the likelihood that teaches the deviations
SPOILED = 2  # spoiled views of each photograph; FER+ has one of every second face
FERPLUS_STRIDE = 2
_BATCH = 128


@dataclass(frozen=True)
class Views:
    """Hold n views of faces."""

    seen: Tensor  # (n, width) float16 features of the trunk
    points: Tensor  # (n, 468, 2) float16
    units: Tensor  # (n, k), NaN where unknown
    free: Tensor  # (n,) bool, whether nothing covers nose and mouth

    def __len__(self) -> int:
        return len(self.seen)

    def part(self, rows: Tensor) -> "Views":
        """Return the views with these numbers."""
        return Views(*(getattr(self, field.name)[rows] for field in fields(self)))


def joined(views: list[Views]) -> Views:
    """Return several sets of views as one."""
    return Views(*(torch.cat([getattr(one, field.name) for one in views]) for field in fields(Views)))


@torch.no_grad()
def seen(network: FaceNetwork, x: Tensor) -> Tensor:
    """Return (n, width) float32 features of (n, 1, 64, 64) views."""
    parts = []
    for batch in torch.split(x, _BATCH):
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(torch.cat(network.read(batch.contiguous(memory_format=torch.channels_last)), 1))
    return torch.cat(parts).float()


def views_of(
    network: FaceNetwork, faces: Faces, rows: NDArray[np.int64], partner: NDArray[np.int64], spoiled: int, seed: int
) -> Views:
    """Return each of the `rows` as it is, mirrored, and `spoiled` times as a bad camera or a hand leaves it.

    The views of one kind follow each other in the order of the rows.
    """
    generator, shapes = Generator().manual_seed(seed), bank()
    kinds: list[Views] = []
    points = faces.points[rows]
    turned = mirrored(points, partner)
    for kind in range(2 + spoiled):
        free = torch.ones(len(rows), dtype=torch.bool)
        features = []
        for at in tqdm(range(0, len(rows), _BATCH), desc=f"view {kind + 1} of {2 + spoiled}", leave=False):
            grey = torch.from_numpy(faces.grey[rows[at : at + _BATCH]])
            if kind < 2:
                x = exact_view(grey)
                x = x.flip(3) if kind else x
            else:
                pictures, covered = augment.occluded(grey, shapes, OCCLUDED, generator)
                free[at : at + _BATCH] = covered < FREE
                x = augment.view(pictures, generator)
            features.append(seen(network, x).half())
        # Spoiled views are mirrored by chance; units do not tell left from right, so that their points may be either's.
        kinds.append(
            Views(
                torch.cat(features),
                torch.from_numpy(turned if kind % 2 else points).half(),
                torch.from_numpy(faces.units[rows]),
                free,
            )
        )
    return joined(kinds)


def fit(views: Views, spread: Tensor, seed: int) -> UnitHead:
    """Return a head that learned from the views; `spread`: (k,) standard deviations of the units."""
    torch.manual_seed(seed)
    mean, deviation = views.seen.float().mean(0), views.seen.float().std(0) + 0.05
    head = UnitHead(views.seen.shape[1], views.units.shape[1])
    optimizer = torch.optim.AdamW(head.parameters(), RATE, weight_decay=DECAY)
    lower = torch.tensor([unit in action_units.LOWER for unit in action_units.UNITS])
    steps = EPOCHS * -(-len(views) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(steps, 10), pct_start=0.05)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(views)), BATCH):
            one = views.part(rows)
            features = F.dropout((one.seen.float() - mean) / deviation, DROPOUT)
            points = one.points.float() + JITTER * torch.randn(one.points.shape)
            points = F.dropout(points, POINTS_DROPOUT) * (torch.rand(len(rows), 1, 1) >= WITHOUT)
            units, log_std = head(features, points)
            loss = losses.unit_loss(units, one.units, one.free[:, None] | ~lower, spread)
            loss = loss + DEVIATION * losses.likelihood_loss(units.detach(), log_std, one.units)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    with torch.no_grad():  # the features' scale goes into the layer that reads them
        head.seen.weight.div_(deviation)
        head.seen.bias.sub_(head.seen.weight @ mean)
    return head.eval()


@torch.no_grad()
def predict(network: FaceNetwork, head: UnitHead, faces: Faces, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return (n, k) intensities of the `rows` and their deviations, which are not calibrated."""
    features = seen(network, exact_view(torch.from_numpy(np.ascontiguousarray(faces.grey[rows]))))
    units, log_std = head(features, torch.from_numpy(faces.points[rows]))
    return units.numpy().astype(np.float64), log_std.exp().numpy().astype(np.float64)


def train(network: FaceNetwork, data: Sets, seed: int) -> tuple[UnitHead, NDArray[np.int64], Floats, Floats]:
    """Return the head that is served, and what heads that never saw them say of webva's training rows.

    These are the rows, (n, k) intensities and (n, k) deviations that are not calibrated.
    """
    network.eval()
    web, partner = data.webva, data.basis.partner
    rated = np.flatnonzero(web.split == TRAIN)
    voted = np.flatnonzero(data.ferplus.split == TRAIN)[::FERPLUS_STRIDE]
    of_web = views_of(network, web, rated, partner, SPOILED, seed)
    others = joined([
        views_of(network, data.faces, np.flatnonzero(data.faces.split == TRAIN), partner, SPOILED, seed + 1),
        views_of(network, data.ferplus, voted, partner, 1, seed + 2),
    ])  # fmt: skip
    spread = unit_spread([web, data.faces])
    fold = torch.from_numpy(np.tile(fold_of(rated), 2 + SPOILED))
    rows, units, deviations = [], [], []
    for one in range(FOLDS):
        head = fit(joined([of_web.part(torch.nonzero(fold != one)[:, 0]), others]), spread, seed)
        unseen = rated[fold_of(rated) == one]
        said = predict(network, head, web, unseen)
        rows.append(unseen)
        units.append(said[0])
        deviations.append(said[1])
    head = fit(joined([of_web, others]), spread, seed)
    return head, np.concatenate(rows), np.concatenate(units), np.concatenate(deviations)
