"""The voice network: the emotion of the last seconds of speech, out of the mel columns that TSAV reads too.

Input: (N, 64, T) decibels of 10 ms columns (service/perception/mel.py), the newest last. Only the channels below 8 kHz
are read (the training files end there, microphones do not), relative to the loudest cell, so that gain and distance
matter little. Two looks at them answer together, their logits summed:

- `Statistics`: means, deviations, skews and correlations of bands and of their changes over the columns with speech;
  correlations of bands say more of an emotion than their means, and 1,080 clips are enough to learn from them;
- `Contours`: small residual convolutions and attention over time (Mirsamadi et al. 2017), for what comes in what order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "calm", "no_speech")
CHANNELS = 46  # of 64 mel channels; the last of them ends at 8.0 kHz
COLUMNS = 301  # 3 s of 10 ms columns
RANGE_DB = 60.0  # what lies further below the loudest cell is raised to that
SPEECH_DB = 25.0  # columns further below the loudest count less and less ...
SPEECH_EDGE_DB = 2.0  # ... over a few times this many decibels
SCALE_DB = 15.0
MEAN_SHARE = 0.5  # of the spectral mean taken out: all of it would take the speaker's timbre of an emotion too
LAG = 2  # columns to either side over which a change is taken
AFFECT = 2  # outputs after the classes: valence and arousal before their tanh ...
SIDE = 2  # ... and, for training only, the logits of strong intensity and of a woman's voice
OUTPUTS = len(CLASSES) + AFFECT + SIDE
_BANDS = CHANNELS // 2
_STATISTICS = _BANDS + 2 * CHANNELS + CHANNELS * (CHANNELS - 1) // 2


def levelled(mel: Tensor) -> Tensor:
    """(N, 64, T) decibels -> (N, 46, T) from -60 to 0, relative to the loudest cell."""
    x = mel[:, :CHANNELS]
    top = x.amax((1, 2), keepdim=True)
    return torch.maximum(x - top, torch.full_like(top, -RANGE_DB))


class Statistics(nn.Module):
    """(N, 46, T) levelled decibels -> (N, 1150): over 23 bands, and how they change within 40 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: Tensor
        i, j = torch.triu_indices(CHANNELS, CHANNELS, 1)
        self.register_buffer("pairs", i * CHANNELS + j, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        level = 10 * torch.log10((10 ** (x / 10)).sum(1) + 1e-9)  # (N, T)
        speech = torch.sigmoid((level - level.amax(1, keepdim=True) + SPEECH_DB) / SPEECH_EDGE_DB)
        weight = (speech / speech.sum(1, keepdim=True))[:, None]
        band = (x[:, 0::2] + x[:, 1::2]) / 2
        change = F.pad(band[:, :, 2 * LAG :] - band[:, :, : -2 * LAG], (LAG, LAG))
        y = torch.cat([band, change], 1)  # (N, 46, T)
        mean = (y * weight).sum(2, keepdim=True)
        y = y - mean
        std = ((y**2 * weight).sum(2) + 1).sqrt()  # the 1 dB² keeps still bands still
        skew = (y**3 * weight).sum(2) / std**3
        z = y / std[:, :, None]
        correlation = ((z * weight) @ z.transpose(1, 2)).flatten(1)[:, self.pairs]
        colour = mean[:, :_BANDS, 0]
        return torch.cat([colour - colour.mean(1, keepdim=True), torch.log(std), skew, correlation], 1)


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


class Contours(nn.Module):
    """(N, 46, T) levelled decibels -> (N, 256): mean and deviation over time, each channel with its own attention."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(nn.Conv2d(2, a, 5, 2, 2, bias=False), nn.BatchNorm2d(a), nn.ReLU())
        self.body = nn.Sequential(Residual(a, b, (2, 2)), Residual(b, c, (2, 2)), Residual(c, d, (2, 1)))
        self.mix = nn.Sequential(nn.Conv1d(3 * d, 128, 1, bias=False), nn.BatchNorm1d(128), nn.ReLU())
        self.attention = nn.Sequential(nn.Conv1d(128, 64, 1), nn.Tanh(), nn.Conv1d(64, 128, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool1d(x, 2, ceil_mode=True) + RANGE_DB  # 20 ms columns
        mean = x.mean(2, keepdim=True)
        x = (x - MEAN_SHARE * mean - (1 - MEAN_SHARE) * mean.mean(1, keepdim=True)) / SCALE_DB
        padded = F.pad(x, (2, 2), mode="replicate")
        slope = (2 * (padded[:, :, 4:] - padded[:, :, :-4]) + padded[:, :, 3:-1] - padded[:, :, 1:-3]) / 5
        x = torch.stack([x, 2 * slope], 1).contiguous(memory_format=torch.channels_last)
        y = self.mix(self.body(self.stem(x)).flatten(1, 2)).float()  # (N, 128, T / 16)
        weight = torch.softmax(self.attention(y).float(), 2)
        mean = (y * weight).sum(2)
        spread = ((y - mean[:, :, None]) ** 2 * weight).sum(2).clamp_min(1e-5).sqrt()
        return torch.cat([mean, spread], 1)


class VoiceNetwork(nn.Module):
    """`forward`: (N, 64, T) decibels -> (N, 13), the answers of both looks (2, N, 13) summed: logits of `CLASSES`,
    valence and arousal before their tanh, and the two side tasks of training.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 96), hidden: int = 128, dropout: float = 0.4) -> None:
        super().__init__()
        self.statistics = Statistics()
        self.scale = nn.BatchNorm1d(_STATISTICS, affine=False)
        self.perceptron = nn.Sequential(
            nn.Dropout(dropout / 2), nn.Linear(_STATISTICS, hidden), nn.BatchNorm1d(hidden), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(hidden, OUTPUTS),
        )  # fmt: skip
        self.contours = Contours(widths)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(256, OUTPUTS))

    def forward(self, mel: Tensor) -> Tensor:
        return self.answers(mel).sum(0)

    def answers(self, mel: Tensor) -> Tensor:
        """(2, N, 13): of each look alone."""
        x = levelled(mel)
        with torch.autocast(mel.device.type, enabled=False):
            found = self.scale(self.statistics(x))
        return torch.stack([self.perceptron(found).float(), self.head(self.contours(x)).float()])
