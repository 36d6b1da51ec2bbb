"""The face network: a small residual network over the aligned face, with one head for each task.

The picture goes in as perception hands it on, (N, 112, 112, 3) uint8. The graph itself turns it to luminance (FER+ is
grey, cameras are not), keeps the part between brows and chin at the resolution that FER+ has, and standardises it, so
that brightness and contrast of the camera matter little and nothing has to be remembered outside the graph.
Residual blocks: He et al. 2016; squeeze and excitation: Hu et al. 2018; multi-task heads: Kollias et al. 2021.
"""

from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

CROP = 112  # pixels, side of the aligned crop
INPUT = 64  # pixels, side of what the network sees: an interocular distance of about 26 px, a little over FER+'s own
WINDOW = (12.0, 22.0, 100.0, 110.0)  # x0, y0, x1, y1 of the crop: brows, eyes, nose, mouth, chin
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
STD_FLOOR = 8.0  # grey levels: a flat picture is not blown up to noise
FACE_SIGMA = 0.25  # of the picture's side
LIMIT = 4.0  # standard deviations
# Valence and arousal end a little beyond the norms that they are learned from (votes.CIRCUMPLEX).
AFFECT_CENTRE, AFFECT_REACH = (0.06, 0.20), (0.75, 0.50)
UNIT_CELLS, UNIT_CHANNELS, UNIT_HIDDEN = 4, 24, 128  # where on the face a unit moves matters: a coarse map is kept


@dataclass(frozen=True)
class Config:
    """Size of the network. `aus` names the action units in the order of the output."""

    widths: tuple[int, ...] = (32, 64, 160, 320)
    blocks: tuple[int, ...] = (1, 2, 3, 2)
    expressions: int = 8  # labels.EXPRESSIONS and contempt, which is served as `other`
    aus: tuple[str, ...] = ()
    dropout: float = 0.2


class Block(nn.Module):
    """Two 3x3 convolutions, squeeze and excitation, and the shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.squeeze = nn.Conv2d(outer, max(8, outer // 8), 1)
        self.excite = nn.Conv2d(max(8, outer // 8), outer, 1)
        same = stride == 1 and inner == outer
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(inner, outer, 1, bias=False),
                nn.BatchNorm2d(outer),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return F.relu(y * gate + self.shortcut(x))


class FaceNetwork(nn.Module):
    """`forward`: (N, 1, 64, 64) luminance -> logits (N, 8), va (N, 2), log std (N, 2), AU logits (N, k)."""

    centre: Tensor
    reach: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        first = config.widths[0]
        self.stem = nn.Sequential(nn.Conv2d(1, first, 5, 2, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        stages: list[nn.Module] = []
        inner = first
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for i in range(count):
                stages.append(Block(inner, width, 2 if i == 0 and stage > 0 else 1))
                inner = width
        last = config.blocks[-1]
        self.body = nn.Sequential(*stages[:-last])  # to a grid of 8x8 cells
        self.top = nn.Sequential(*stages[-last:])
        self.generator: torch.Generator | None = None  # of the dropout; None: torch's own
        self.expression = nn.Linear(inner, config.expressions)
        self.affect = nn.Linear(inner, 4)
        self.local = nn.Sequential(
            nn.Conv2d(config.widths[-2], UNIT_CHANNELS, 1, bias=False), nn.BatchNorm2d(UNIT_CHANNELS), nn.ReLU()
        )
        self.units = nn.Sequential(nn.Linear(inner + UNIT_CHANNELS * UNIT_CELLS**2, UNIT_HIDDEN), nn.ReLU())
        self.aus = nn.Linear(UNIT_HIDDEN, len(config.aus))
        self.register_buffer("centre", torch.tensor(AFFECT_CENTRE))
        self.register_buffer("reach", torch.tensor(AFFECT_REACH))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        cells = self.body(self.stem(x))  # (N, 160, 8, 8)
        pooled = self.top(cells).mean((2, 3)).float()  # (N, 320)
        local = F.adaptive_avg_pool2d(self.local(cells), UNIT_CELLS).float().flatten(1)  # (N, 384)
        dropped = self._dropped(pooled)
        affect = self.affect(pooled).float()
        aus = self.aus(self.units(torch.cat([dropped, local], 1))).float()
        va = self.centre + self.reach * torch.tanh(affect[:, :2])
        return self.expression(dropped).float(), va, affect[:, 2:].clamp(-4.0, 1.0), aus

    def _dropped(self, x: Tensor) -> Tensor:
        share = self.config.dropout
        if not self.training or not share:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - share, generator=self.generator)
        return x * keep / (1 - share)


def resampling(size: int, start: float, stop: float, target: int) -> NDArray[np.float32]:
    """(target, size) weights that average `start`..`stop` of a line of `size` pixels into `target` pixels by area."""
    edges = np.linspace(start, stop, target + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)[None]
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0.0, None)
    return cast(NDArray[np.float32], (overlap / overlap.sum(1, keepdims=True)).astype(np.float32))


@cache
def face_weights(size: int) -> Tensor:
    """(size, size) that sum to 1: a bell over the middle of the picture, so that hair and background count little."""
    line = torch.exp(-0.5 * ((torch.arange(size) + 0.5 - size / 2) / (FACE_SIGMA * size)) ** 2)
    bell = torch.outer(line, line)
    return bell / bell.sum()


def standardise(x: Tensor, weights: Tensor) -> Tensor:
    """`x`: (N, 1, S, S) grey levels 0..255 -> zero mean, unit deviation of each picture under `weights` (S, S)."""
    mean = (x * weights).sum((2, 3), keepdim=True)
    std = ((x - mean) ** 2 * weights).sum((2, 3), keepdim=True).sqrt()
    return ((x - mean) / (std + STD_FLOOR)).clamp(-LIMIT, LIMIT)


class View(nn.Module):
    """(N, 112, 112, 3) uint8 RGB -> what the network sees, (N, 1, 64, 64) float32."""

    rows: Tensor
    columns: Tensor
    luma: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        x0, y0, x1, y1 = WINDOW
        self.register_buffer("rows", torch.from_numpy(resampling(CROP, y0, y1, INPUT)))
        self.register_buffer("columns", torch.from_numpy(resampling(CROP, x0, x1, INPUT)).T.contiguous())
        self.register_buffer("luma", torch.tensor(LUMA))
        self.register_buffer("weights", face_weights(INPUT))

    def forward(self, face: Tensor) -> Tensor:
        grey = (face.float() * self.luma).sum(-1)  # (N, 112, 112)
        return standardise((self.rows @ grey @ self.columns)[:, None], self.weights)
