"""What a batch of faces asks of the network: the three tasks, and doubt where there is no face."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from models.face_mt import augment, losses
from models.face_mt.drawings import drawings
from models.face_mt.network import FaceNetwork

TASKS = ("expression", "affect", "units", "doubt")
WEIGHTS = (1.0, 0.5, 2.0, 0.1)
PHANTOM_SHARE = 1 / 32  # pictures of each kind without a face, for each face: of nothing, cut-up faces, drawn faces


@dataclass(frozen=True)
class Batches:
    """Training rows of all sources as tensors."""

    grey: Tensor  # (n, 112, 112) uint8
    expression: Tensor  # (n, 8)
    weight: Tensor  # (n,)
    affect: Tensor  # (n, 4), NaN where unknown
    units: Tensor  # (n, k), NaN where unknown

    def epoch(self, size: int, generator: Generator) -> Iterator[Tensor]:
        """Row numbers of each full batch, in a new order."""
        order = torch.randperm(len(self.grey), generator=generator)
        yield from order[: len(order) // size * size].reshape(-1, size)

    def to(self, device: str) -> "Batches":
        """The same rows on another device."""
        columns = (self.grey, self.expression, self.weight, self.affect, self.units)
        return Batches(*(column.to(device) for column in columns))

    def spread(self) -> Tensor:
        """(2,) standard deviation of valence and arousal over all raters and faces."""
        known = torch.isfinite(self.affect).all(1)
        if int(known.sum()) < 2:
            return torch.full((2,), 0.5)
        return (self.affect[known, :2].var(0) + self.affect[known, 2:].mean(0)).sqrt()


@dataclass(frozen=True)
class Objective:
    """The loss of rows of `batches`; a task with weight 0 takes no part."""

    batches: Batches
    log_prior: Tensor  # (8,), added to the logits
    spread: Tensor  # (2,)
    weights: tuple[float, ...] = WEIGHTS
    spoil: bool = True

    def __call__(self, network: FaceNetwork, rows: Tensor, size: int, generator: Generator) -> Tensor:
        """(4,) weighted losses of `TASKS` on `rows`, seen at `size` pixels; chance comes from `generator`."""
        data = self.batches
        grey, count = data.grey[rows], len(rows)
        doubtful = max(1, round(count * PHANTOM_SHARE)) if self.weights[3] else 0
        if doubtful:
            cut = augment.shuffled(grey[:doubtful], generator)
            grey = torch.cat(
                [grey, augment.phantoms(doubtful, generator), cut, drawings(doubtful, generator).to(grey.device)]
            )
        x = augment.view(grey, size, generator, training=True, spoil=self.spoil)
        network.generator = generator
        with torch.autocast(grey.device.type, torch.bfloat16):
            logits, va, log_std, units = network(x.contiguous(memory_format=torch.channels_last))
        parts = [
            losses.expression_loss(logits[:count], data.expression[rows], data.weight[rows], self.log_prior),
            losses.affect_loss(va[:count], log_std[:count], data.affect[rows]),
            losses.unit_loss(units[:count], data.units[rows]),
            losses.doubt_loss(logits[count:], va[count:], log_std[count:], self.spread) if doubtful else va.sum() * 0.0,
        ]
        return torch.stack(parts) * torch.tensor(self.weights)
