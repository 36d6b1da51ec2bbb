"""The voice network: the emotion of the last seconds of speech, out of the mel columns that TSAV reads too.

Input `mel`: (N, 64, 301) decibels of 10 ms columns (service/perception/mel.py), the newest last. The graph keeps the
channels below 8 kHz (the training files end there, microphones do not), and sets level and spectral tilt of the window
to a fixed value, so that gain, distance and the microphone's colour matter little. Residual convolutions, then
attention over time (Mirsamadi et al. 2017).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "calm", "no_speech")
CHANNELS = 46  # of 64 mel channels; the last of them ends at 8.0 kHz
COLUMNS = 301  # 3 s of 10 ms columns
RANGE_DB = 60.0  # what lies further below the loudest cell is raised to that
SCALE_DB = 15.0
LOUD_SHARE = 0.5  # of the spectral mean taken out: all of it would take the speaker's timbre of an emotion too


class VoiceView(nn.Module):
    """(N, 64, T) decibels -> (N, 1, 46, T), levelled."""

    def forward(self, mel: Tensor) -> Tensor:
        x = mel[:, :CHANNELS]
        top = x.amax((1, 2), keepdim=True)
        x = torch.maximum(x - top, torch.full_like(top, -RANGE_DB)) + RANGE_DB  # (N, 46, T) 0..60
        channel = x.mean(2, keepdim=True)
        x = x - LOUD_SHARE * channel - (1 - LOUD_SHARE) * channel.mean(1, keepdim=True)
        return (x / SCALE_DB)[:, None]


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inner: int, outer: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.shortcut = nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(inner, outer, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class VoiceNetwork(nn.Module):
    """`forward`: (N, 1, 46, T) levelled decibels -> logits (N, 9) in the order of `CLASSES`."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 128), dropout: float = 0.4) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(nn.Conv2d(1, a, (5, 5), (2, 2), 2, bias=False), nn.BatchNorm2d(a), nn.ReLU())
        self.body = nn.Sequential(Residual(a, b, (2, 2)), Residual(b, c, (2, 2)), Residual(c, d, (2, 1)))
        self.attention = nn.Conv1d(2 * d, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * d, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(self.stem(x))  # (N, 128, 3, 38)
        y = torch.cat([y.mean(2), y.amax(2)], 1)  # (N, 256, 38)
        weight = torch.softmax(self.attention(y), 2)
        mean = (y * weight).sum(2)
        spread = ((y - mean[:, :, None]) ** 2 * weight).sum(2).clamp_min(1e-5).sqrt()
        return self.head(self.dropout(torch.cat([mean, spread], 1)))  # type: ignore[no-any-return]
