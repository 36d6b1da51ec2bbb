"""TSAV: a two-stream aural-visual network for expressions, valence, arousal and action units.

Kuhnke, Rumberg and Ostermann 2020, "Two-Stream Aural-Visual Affect Analysis in the Wild", as published in
kuhnkeF/ABAW2020TNT. An R(2+1)D-18 (Tran et al. 2018) sees 8 aligned faces and their landmark masks over 1.4 s, a
ResNet18 the mel spectrogram of 10 s of sound; one linear layer reads both. All outputs are raw: no softmax, tanh or
sigmoid. The ablations of the paper's Table II are options: no mask, the visual or the aural stream alone.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.resnet import ResNet18

# Where each task lies in the 17 outputs.
EXPRESSION = slice(0, 7)  # logits, in the order of models.labels.EXPRESSIONS
VA = slice(7, 9)  # valence, arousal; clip to [-1, 1]
AU = slice(9, 17)  # logits, in the order of models.labels.AUS_2020


class SpatioTemporalConv(nn.Sequential):
    """Split a 3x3x3 convolution into 1x3x3 in space and 3x1x1 in time, with `mid` channels between them."""

    def __init__(self, planes_in: int, planes: int, mid: int, stride: int) -> None:
        """Make both convolutions; `stride` divides space in the first and time in the second."""
        super().__init__(
            nn.Conv3d(planes_in, mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(mid),
            nn.ReLU(inplace=True),
            nn.Conv3d(mid, planes, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        )


class Block(nn.Module):
    """Add two split convolutions to a shortcut; time and space are halved when `stride` is 2."""

    def __init__(self, planes_in: int, planes: int, stride: int = 1) -> None:
        """Make the layers for `planes_in` channels in and `planes` out."""
        super().__init__()
        # As many parameters as the full 3x3x3 convolution has. Both convolutions take the count of the block's input.
        mid = (planes_in * planes * 27) // (planes_in * 9 + 3 * planes)
        self.conv1 = nn.Sequential(
            SpatioTemporalConv(planes_in, planes, mid, stride), nn.BatchNorm3d(planes), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(SpatioTemporalConv(planes, planes, mid, 1), nn.BatchNorm3d(planes))
        self.downsample: nn.Sequential | None = None
        if stride != 1 or planes_in != planes:
            self.downsample = nn.Sequential(nn.Conv3d(planes_in, planes, 1, stride, bias=False), nn.BatchNorm3d(planes))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, planes, time / stride, height / stride, width / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class R2Plus1D(nn.Module):
    """Turn clips (batch, channels, 8, 112, 112) into features (batch, 8 width)."""

    def __init__(self, channels: int, width: int) -> None:
        """Make the 18 layers; `width` is that of the first."""
        super().__init__()
        stem = 45 * width // 64
        self.stem = nn.Sequential(
            nn.Conv3d(channels, stem, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(stem),
            nn.ReLU(inplace=True),
            nn.Conv3d(stem, width, (3, 1, 1), 1, (1, 0, 0), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        self.layer1 = nn.Sequential(Block(width, width), Block(width, width))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width))
        self.layer3 = nn.Sequential(Block(2 * width, 4 * width, 2), Block(4 * width, 4 * width))
        self.layer4 = nn.Sequential(Block(4 * width, 8 * width, 2), Block(8 * width, 8 * width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (batch, 8 width) of `x` (batch, channels, 8, 112, 112)."""
        x = self.layer1(self.stem(x))  # (batch, 64, 8, 56, 56)
        x = self.layer4(self.layer3(self.layer2(x)))  # (batch, 512, 1, 7, 7)
        return x.mean((2, 3, 4))


class AudioModel(nn.Module):
    """Turn mel pictures into features; one level deeper than ResNet18 itself because the published names are."""

    def __init__(self, width: int) -> None:
        """Make a ResNet18 for one channel."""
        super().__init__()
        self.resnet = ResNet18(channels=1, width=width)

    def forward(self, sound: Tensor) -> Tensor:
        """Return the features (batch, 8 width) of `sound` (batch, 1, 64, 1001)."""
        features: Tensor = self.resnet(sound)
        return features


class VideoModel(nn.Module):
    """Turn clips into features; one level deeper than R2Plus1D itself because the published names are."""

    def __init__(self, channels: int, width: int) -> None:
        """Make an R2Plus1D for `channels`."""
        super().__init__()
        self.r2plus1d = R2Plus1D(channels, width)

    def forward(self, clip: Tensor) -> Tensor:
        """Return the features (batch, 8 width) of `clip` (batch, channels, 8, 112, 112)."""
        features: Tensor = self.r2plus1d(clip)
        return features


class TSAV(nn.Module):
    """Predict all tasks from a clip and its sound; `width` 64 is the published network (42,489,995 parameters)."""

    def __init__(
        self, width: int = 64, mask: bool = True, streams: Literal["both", "visual", "aural"] = "both"
    ) -> None:
        """Take the `width` of the first layers, whether the landmark mask is read, and which `streams` there are.

        Raise `TypeError` for other `streams`.
        """
        super().__init__()
        if streams not in ("both", "visual", "aural"):
            raise TypeError(f"streams is 'both', 'visual' or 'aural', not {streams!r}")
        self.mask, self.streams = mask, streams
        if streams != "visual":
            self.audio_model = AudioModel(width)
        if streams != "aural":
            self.video_model = VideoModel(4 if mask else 3, width)
        features = 16 if streams == "both" else 8
        self.fc = nn.Sequential(nn.Dropout(0.0), nn.Linear(features * width, 17))

    def forward(self, clip: Tensor, sound: Tensor) -> Tensor:
        """Return raw outputs (batch, 17): 7 expression logits, valence, arousal, 8 action unit logits.

        `clip`: (batch, 4, 8, 112, 112) float32, normalised RGB and mask, frames 0.2 s apart, oldest first.
        `sound`: (batch, 1, 64, 1001) float32, normalised mel columns in dB, 10 ms apart, oldest first. A network
        without the mask or one of the streams takes the same and leaves it unread.
        """
        outputs: Tensor
        if self.streams == "aural":
            outputs = self.fc(self.audio_model(sound))
            return outputs
        seen = self.video_model(clip if self.mask else clip[:, :3])
        if self.streams == "visual":
            outputs = self.fc(seen)
            return outputs
        return self.fused(self.audio_model(sound), seen)

    def fused(self, heard: Tensor, seen: Tensor) -> Tensor:
        """Return raw outputs from the features of the sound and of the clip, (batch, 512) each."""
        outputs: Tensor = self.fc(torch.cat((heard, seen), dim=1))  # sound first
        return outputs
