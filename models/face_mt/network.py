"""The face network: a small residual network over the aligned face, with one head for each task.

The picture goes in as perception hands it on, (N, 112, 112, 3) uint8. The graph itself turns it to luminance (FER+ is
grey, cameras are not), keeps the part between brows and chin at the resolution that FER+ has, and standardises it, so
that brightness and contrast of the camera matter little and nothing has to be remembered outside the graph.
Residual blocks: He et al. 2016; squeeze and excitation: Hu et al. 2018; multi-task heads: Kollias et al. 2021.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.face_mt.points import POINTS
from models.networks.phase import LUMA

CROP = 112  # pixels, side of the aligned crop
INPUT = 64  # pixels, side of what the network sees: an interocular distance of about 26 px, a little over FER+'s own
WINDOW = (12.0, 22.0, 100.0, 110.0)  # x0, y0, x1, y1 of the crop: brows, eyes, nose, mouth, chin
STD_FLOOR = 8.0  # grey levels: a flat picture is not blown up to noise
FACE_SIGMA = 0.25  # of the picture's side
LIMIT = 4.0  # standard deviations
UNIT_CELLS, UNIT_CHANNELS, UNIT_HIDDEN = 4, 24, 128  # where on the face a unit moves matters: a coarse map is kept
HEAD_POINTS, HEAD_HIDDEN = 64, 256  # widths of `UnitHead`


@dataclass(frozen=True)
class Config:
    """Hold the size of the network; `aus` names the action units in the order of the outputs."""

    aus: tuple[str, ...]
    widths: tuple[int, ...] = (32, 64, 160, 320)
    blocks: tuple[int, ...] = (1, 2, 3, 2)
    expressions: int = 8  # labels.EXPRESSIONS and contempt, which is served as `other`
    dropout: float = 0.2


class Answers(NamedTuple):
    """Hold the outputs of the network for N faces."""

    logits: Tensor  # (N, 8) of the expressions, under a balanced prior
    va: Tensor  # (N, 2) valence and arousal, -1..1
    log_std: Tensor  # (N, 2) of valence and arousal
    units: Tensor  # (N, k) intensity of the action units; 0..5 is published
    unit_log_std: Tensor  # (N, k)
    occlusion: Tensor  # (N,) logit
    votes: Tensor  # (N, 8) of the expressions as FER+'s raters name them, under a balanced prior


class Block(nn.Module):
    """Apply two 3x3 convolutions, squeeze and excitation, and the shortcut."""

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
        """Return (N, outer, H, W) of (N, inner, H, W), or half the size."""
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return F.relu(y * gate + self.shortcut(x))


class UnitHead(nn.Module):
    """Tell the action units from the features of `FaceNetwork` and from where the mesh's points lie.

    The picture of 64 pixels shows skin and shadows; the points say more exactly than its pixels how far a brow or a lip
    has moved. The head is trained last, on the finished trunk (`unit_head`).
    """

    def __init__(self, features: int, units: int) -> None:
        super().__init__()
        self.seen = nn.Linear(features, HEAD_HIDDEN)
        self.moved = nn.Linear(POINTS * 2, HEAD_POINTS)
        self.joined = nn.Linear(HEAD_POINTS, HEAD_HIDDEN)
        self.units = nn.Linear(HEAD_HIDDEN, 2 * units)

    def forward(self, seen: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, units) intensities and their log deviations.

        `seen`: (N, features), both of `FaceNetwork.read`; `points`: (N, 468, 2) as `points.points_of` gives them.
        """
        hidden = self.seen(seen) + self.joined(F.relu(self.moved(points.flatten(1))))
        units, k = self.units(F.relu(hidden)), self.units.out_features // 2
        return units[:, :k], units[:, k:].clamp(-3.0, 1.5)


class FaceNetwork(nn.Module):
    """Read (N, 1, 64, 64) standardised luminance and give `Answers`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.settled = False  # whether the norms keep their means and deviations in training too
        first = config.widths[0]
        self.stem = nn.Sequential(nn.Conv2d(1, first, 5, 2, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        blocks: list[nn.Module] = []
        inner = first
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for i in range(count):
                blocks.append(Block(inner, width, 2 if i == 0 and stage > 0 else 1))
                inner = width
        last = config.blocks[-1]
        self.body = nn.Sequential(*blocks[:-last])  # to a grid of 8x8 cells
        self.top = nn.Sequential(*blocks[-last:])
        self.dropout = nn.Dropout(config.dropout)
        self.expression = nn.Linear(inner, config.expressions)
        self.votes = nn.Linear(inner, config.expressions)
        self.affect = nn.Linear(inner, 4)
        self.local = nn.Sequential(
            nn.Conv2d(config.widths[-2], UNIT_CHANNELS, 1, bias=False), nn.BatchNorm2d(UNIT_CHANNELS), nn.ReLU()
        )
        self.hidden = nn.Linear(inner + UNIT_CHANNELS * UNIT_CELLS**2, UNIT_HIDDEN)
        self.units = nn.Linear(UNIT_HIDDEN, 2 * len(config.aus))  # teaches the trunk; `UnitHead` is what is served
        self.occlusion = nn.Linear(UNIT_HIDDEN, 1)
        for head in (self.affect, self.units, self.occlusion):
            nn.init.normal_(head.weight, 0.0, 0.01)
            nn.init.zeros_(head.bias)

    def train(self, mode: bool = True) -> "FaceNetwork":
        """Set the mode; norms of a `settled` network stay as they are."""
        super().train(mode)
        if self.settled:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
        return self

    @property
    def width(self) -> int:
        """Return how many features `read` gives for a face, both kinds together."""
        return self.hidden.in_features

    def features(self, x: Tensor) -> Tensor:
        """Return (N, width) float32, what the heads of expressions, valence and arousal read."""
        return cast(Tensor, self.top(self.body(self.stem(x))).mean((2, 3)).float())

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, width) features of whole faces and (N, `UNIT_CHANNELS * UNIT_CELLS**2`) of their parts."""
        cells = self.body(self.stem(x))
        whole = self.top(cells).mean((2, 3)).float()
        return whole, F.adaptive_avg_pool2d(self.local(cells), UNIT_CELLS).float().flatten(1)

    def forward(self, x: Tensor) -> Answers:
        """Return the answers for the faces."""
        return self.answers(*self.read(x))

    def answers(self, whole: Tensor, local: Tensor) -> Answers:
        """Return the answers for what `read` gave."""
        whole = self.dropout(whole)
        hidden = F.relu(self.hidden(torch.cat([whole, local], 1)).float())
        affect, units = self.affect(whole).float(), self.units(hidden).float()
        k = len(self.config.aus)
        return Answers(
            self.expression(whole).float(),
            torch.tanh(affect[:, :2]),
            affect[:, 2:].clamp(-3.5, 0.5),
            units[:, :k],
            units[:, k:].clamp(-3.0, 1.5),
            self.occlusion(hidden).float()[:, 0],
            self.votes(whole).float(),
        )


def resampling(size: int, start: float, stop: float, target: int) -> NDArray[np.float32]:
    """Return (target, size) weights that average `start`..`stop` of `size` pixels into `target` pixels by area."""
    edges = np.linspace(start, stop, target + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)[None]
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0.0, None)
    return cast(NDArray[np.float32], (overlap / overlap.sum(1, keepdims=True)).astype(np.float32))


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
    """Turn (N, 112, 112, 3) uint8 RGB into what the network sees, (N, 1, 64, 64) float32."""

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
        """Return the standardised luminance of the faces."""
        grey = (face.float() * self.luma).sum(-1)  # (N, 112, 112)
        return standardise((self.rows @ grey @ self.columns)[:, None], self.weights)
