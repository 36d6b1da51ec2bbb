"""The face network: a MobileNet over the aligned face, with one head for each task.

The picture goes in as perception hands it on, (N, 112, 112, 3) uint8. The graph itself turns it to luminance (FER+ is
grey, cameras are not), keeps the part between brows and chin pixel by pixel, and standardises it, so that brightness
and contrast of the camera matter little and nothing has to be remembered outside the graph. What is served is the mean
over the face and its mirror image. MobileNet: Howard et al. 2017; multi-task heads: Kollias et al. 2021.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CROP = 112  # pixels, side of the aligned crop
INPUT = 97  # pixels, side of what the network sees; 97, 49, 25, 13, 7, 4: every stride pads alike on both sides
LEFT, TOP = 8, 13  # corner of that part in the crop: brows, eyes, nose, mouth, chin
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
STD_FLOOR = 8.0  # grey levels: a flat picture is not blown up to noise
FACE_SIGMA = 0.25  # of the picture's side
LIMIT = 4.0  # standard deviations
GREY_STD = 55.0  # grey levels of a standard deviation, for the weights that start from pictures of 0..255
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
CELL_BLOCK = 11  # the block before which the grid of 7x7 cells is taken: where on the face a unit moves matters
UNIT_CELLS, UNIT_CHANNELS, UNIT_HIDDEN = 7, 24, 160


@dataclass(frozen=True)
class Config:
    """Hold the size of the network; `aus` names the action units in the order of the outputs."""

    aus: tuple[str, ...]
    first: int = 32
    widths: tuple[int, ...] = WIDTHS
    expressions: int = 8  # labels.EXPRESSIONS and contempt, which is served as `other`
    dropout: float = 0.3


class Answers(NamedTuple):
    """Hold what the network says of N faces."""

    logits: Tensor  # (N, 8) of the expressions, under a balanced prior
    va: Tensor  # (N, 2) valence and arousal, -1..1
    log_std: Tensor  # (N, 2) of valence and arousal
    units: Tensor  # (N, k) intensity of the action units; 0..5 is published
    unit_log_std: Tensor  # (N, k)
    occlusion: Tensor  # (N,) logit


class Trunk(nn.Module):
    """MobileNet v1 with its norms folded into the convolutions, as its weights were published."""

    def __init__(self, first: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, first, 3, 2, 1)
        inner = (first, *widths[:-1])
        self.depthwise = nn.ModuleList(
            nn.Conv2d(n, n, 3, stride, 1, groups=n) for n, stride in zip(inner, STRIDES, strict=True)
        )
        self.pointwise = nn.ModuleList(nn.Conv2d(n, m, 1) for n, m in zip(inner, widths, strict=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cells (N, c, 7, 7) before the last stride and the last grid (N, d, 4, 4) of (N, 1, 97, 97)."""
        x = cells = F.relu6(self.conv1(x))
        for block, (depthwise, pointwise) in enumerate(zip(self.depthwise, self.pointwise, strict=True)):
            if block == CELL_BLOCK:
                cells = x
            x = F.relu6(pointwise(F.relu6(depthwise(x))))
        return cells, x


class FaceNetwork(nn.Module):
    """Reads (N, 1, 97, 97) standardised luminance and gives `Answers`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.first, config.widths)
        cells, width, k = config.widths[CELL_BLOCK - 1], config.widths[-1], len(config.aus)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.expression = nn.Linear(width, config.expressions)
        self.affect = nn.Linear(width, 4)
        self.local = nn.Conv2d(cells, UNIT_CHANNELS, 1)
        self.hidden = nn.Linear(width + UNIT_CHANNELS * UNIT_CELLS**2, UNIT_HIDDEN)
        self.units = nn.Linear(UNIT_HIDDEN, 2 * k)
        self.occlusion = nn.Linear(UNIT_HIDDEN, 1)
        for head in (self.expression, self.affect, self.units, self.occlusion):
            nn.init.normal_(head.weight, 0.0, 0.01)
            nn.init.zeros_(head.bias)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the heads read: the whole face (N, width) and the part for units and occlusion (N, 160)."""
        cells, grid = self.trunk(x)
        whole = self.norm(grid.float().mean((2, 3)))
        local = F.adaptive_avg_pool2d(F.relu(self.local(cells).float()), UNIT_CELLS).flatten(1)
        hidden = F.relu(self.hidden(torch.cat([self.dropout(whole), local], 1)).float())
        return whole, hidden

    def answers(self, whole: Tensor, hidden: Tensor) -> Answers:
        """Return the answers to `features`."""
        whole = self.dropout(whole)
        affect, units = self.affect(whole).float(), self.units(hidden).float()
        k = len(self.config.aus)
        return Answers(
            self.expression(whole).float(),
            torch.tanh(affect[:, :2]),
            affect[:, 2:].clamp(-3.5, 0.5),
            units[:, :k],
            units[:, k:].clamp(-3.0, 1.5),
            self.occlusion(hidden).float()[:, 0],
        )

    def forward(self, x: Tensor) -> Answers:
        """Return the answers for the faces as they are."""
        return self.answers(*self.features(x))

    def mirrored(self, x: Tensor) -> Answers:
        """Return the answers to the mean of the features of each face and its mirror image, as they are served."""
        whole, hidden = self.features(torch.cat([x, x.flip(3)]))
        return self.answers(_halves(whole), _halves(hidden))


def _halves(features: Tensor) -> Tensor:
    """Return the mean (N, d) of the two halves of (2N, d)."""
    return features.reshape(2, -1, features.shape[1]).mean(0)


@cache
def face_weights(size: int) -> Tensor:
    """Return (size, size) weights that sum to 1: a bell, so that hair and background count little."""
    line = torch.exp(-0.5 * ((torch.arange(size) + 0.5 - size / 2) / (FACE_SIGMA * size)) ** 2)
    bell = torch.outer(line, line)
    return bell / bell.sum()


def standardise(x: Tensor, weights: Tensor) -> Tensor:
    """Return (N, 1, S, S) grey levels 0..255 with zero mean and unit deviation of each picture under `weights`."""
    mean = (x * weights).sum((2, 3), keepdim=True)
    std = ((x - mean) ** 2 * weights).sum((2, 3), keepdim=True).sqrt()
    return ((x - mean) / (std + STD_FLOOR)).clamp(-LIMIT, LIMIT)


class View(nn.Module):
    """Turns (N, 112, 112, 3) uint8 RGB into what the network sees, (N, 1, 97, 97) float32."""

    luma: Tensor
    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("luma", torch.tensor(LUMA))
        self.register_buffer("weights", face_weights(INPUT))

    def forward(self, face: Tensor) -> Tensor:
        """Return the standardised luminance of the faces."""
        part = face[:, TOP : TOP + INPUT, LEFT : LEFT + INPUT].float()
        return standardise((part @ self.luma)[:, None], self.weights)
