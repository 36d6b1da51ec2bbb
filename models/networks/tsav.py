"""TSAV: a two-stream aural-visual network for expressions, valence, arousal and action units.

Kuhnke, Rumberg and Ostermann 2020, "Two-Stream Aural-Visual Affect Analysis in the Wild", as published in
kuhnkeF/ABAW2020TNT. An R(2+1)D-18 (Tran et al. 2018) sees 8 aligned faces and their landmark masks over 1.4 s, a
ResNet18 the mel spectrogram of 10 s of sound; one linear layer reads both. All outputs are raw: no softmax, tanh or
sigmoid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.resnet import ResNet18

# Where each task lies in the 17 outputs.
EXPRESSION = slice(0, 7)  # logits, in the order of models.labels.EXPRESSIONS
VA = slice(7, 9)  # valence, arousal; clip to [-1, 1]
AU = slice(9, 17)  # logits, in the order of models.labels.AUS_2020


class SpatioTemporalConv(nn.Sequential):
    """A 3x3x3 convolution split into 1x3x3 in space and 3x1x1 in time, with `mid` channels between them."""

    def __init__(self, planes_in: int, planes: int, mid: int, stride: int) -> None:
        super().__init__(
            nn.Conv3d(planes_in, mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            nn.BatchNorm3d(mid),
            nn.ReLU(inplace=True),
            nn.Conv3d(mid, planes, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        )


class Block(nn.Module):
    """Two split convolutions and a shortcut; halves time and space when `stride` is 2."""

    def __init__(self, planes_in: int, planes: int, stride: int = 1) -> None:
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
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.conv2(self.conv1(x)) + shortcut)


class R2Plus1D(nn.Module):
    """(batch, channels, 8, 112, 112) -> (batch, 8 width)."""

    def __init__(self, channels: int, width: int) -> None:
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
        x = self.layer1(self.stem(x))  # (batch, 64, 8, 56, 56)
        x = self.layer4(self.layer3(self.layer2(x)))  # (batch, 512, 1, 7, 7)
        return x.mean((2, 3, 4))


class AudioModel(nn.Module):
    """Mel picture -> features; one level deeper than ResNet18 itself because the published names are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnet = ResNet18(channels=1, width=width)

    def forward(self, sound: Tensor) -> Tensor:
        features: Tensor = self.resnet(sound)
        return features


class VideoModel(nn.Module):
    """Clip -> features; one level deeper than R2Plus1D itself because the published names are."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.r2plus1d = R2Plus1D(channels, width)

    def forward(self, clip: Tensor) -> Tensor:
        features: Tensor = self.r2plus1d(clip)
        return features


class TSAV(nn.Module):
    """`width` 64 is the published network (42,489,995 parameters); smaller ones train on a laptop."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.audio_model = AudioModel(width)
        self.video_model = VideoModel(4, width)
        self.fc = nn.Sequential(nn.Dropout(0.0), nn.Linear(16 * width, 17))

    def forward(self, clip: Tensor, sound: Tensor) -> Tensor:
        """Raw outputs (batch, 17): 7 expression logits, valence, arousal, 8 action unit logits.

        `clip`: (batch, 4, 8, 112, 112) float32, normalised RGB and mask, frames 0.2 s apart, oldest first.
        `sound`: (batch, 1, 64, 1001) float32, normalised mel columns in dB, 10 ms apart, oldest first.
        """
        return self.fused(self.audio_model(sound), self.video_model(clip))

    def fused(self, heard: Tensor, seen: Tensor) -> Tensor:
        """Raw outputs from the features of the sound and of the clip, (batch, 512) each."""
        outputs: Tensor = self.fc(torch.cat((heard, seen), dim=1))  # sound first
        return outputs
