"""MIMAMO Net: micro-motion (phase differences) and macro-motion (appearance) read together by a recurrent network.

Deng, Chen, Pan and Shi 2020, "MIMAMO Net", as published in wtomin/MIMAMO-Net and used unchanged by Li 2020 for
Aff-Wild2. The appearance features come from a network of their own, `ferplus-resnet50`; the motion from
`models.networks.phase`.
"""

from typing import get_args

import torch
from torch import Tensor, nn

from models.networks.ferplus_resnet50 import FEATURES
from models.networks.phase import Unwrap

SEQUENCE = 64  # face frames that the published network was trained on


class FeatureMLP(nn.Module):
    """Turn appearance features (n, 2048) into (n, 256)."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Dropout(0.3), nn.Linear(FEATURES, 256), nn.BatchNorm1d(256), nn.ReLU(),
            nn.Dropout(0.3), nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, 256) of `features` (n, 2048)."""
        out: Tensor = self.mlp(features)
        return out


def _convolutions(planes_in: int, planes: int) -> nn.Sequential:
    """Return two 3x3 convolutions, the second of which halves the picture."""
    return nn.Sequential(
        nn.Conv2d(planes_in, planes, 3, padding=1), nn.BatchNorm2d(planes), nn.ReLU(),
        nn.Conv2d(planes, planes, 3, stride=2, padding=1), nn.BatchNorm2d(planes), nn.ReLU(),
    )  # fmt: skip


class PhaseNet(nn.Module):
    """Turn phase differences of two scales into (n, 256)."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.conv_net = nn.ModuleList((_convolutions(24, 64), _convolutions(64 + 24, 128), _convolutions(128, 256)))
        self.dropout = nn.Dropout2d(0.2)
        self.fc = nn.Sequential(
            nn.Linear(256, 256), nn.ReLU(), nn.BatchNorm1d(256), nn.Dropout(0.3),
            nn.Linear(256, 256), nn.ReLU(), nn.BatchNorm1d(256), nn.Dropout(0.3),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(256, 1), nn.BatchNorm1d(1))  # published, read by nothing

    def forward(self, phase_0: Tensor, phase_1: Tensor) -> Tensor:
        """Return (n, 256) of `phase_0` (n, 24, 48, 48) and `phase_1` (n, 24, 24, 24)."""
        x = torch.cat((self.conv_net[0](phase_0), phase_1), dim=1)  # (n, 88, 24, 24)
        x = self.dropout(self.conv_net[1](x))  # (n, 128, 12, 12)
        x = self.dropout(self.conv_net[2](x))  # (n, 256, 6, 6)
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


class MIMAMO(nn.Module):
    """Run the two streams and their recurrent head; 2,636,425 parameters.

    It recurs over time (`batch_first`), which is what the paper means. With `legacy_axis` it recurs over the batch, as
    the published code does by an oversight: for parity with its weights only. `unwrap` says how `models.networks.phase`
    is to prepare the inputs: published weights expect "reference". `bidirectional=False` is for new training of a
    network whose state can be carried; it has no published weights.
    """

    def __init__(
        self,
        batch_first: bool = True,
        legacy_axis: bool = False,
        unwrap: Unwrap = "reference",
        bidirectional: bool = True,
    ) -> None:
        """Make the layers. Raise `TypeError` for an `unwrap` that there is not."""
        super().__init__()
        if unwrap not in get_args(Unwrap):
            raise TypeError(f"unwrap is 'reference' or 'correct', not {unwrap!r}")
        self.unwrap = unwrap
        self.mlp = FeatureMLP()
        self.phasenet = PhaseNet()
        self.transform = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.BatchNorm1d(256), nn.Dropout(0.5))
        self.rnns = nn.GRU(
            256,
            128,
            num_layers=2,
            dropout=0.3,
            bidirectional=bidirectional,
            batch_first=batch_first and not legacy_axis,
        )
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(256 if bidirectional else 128, 2), nn.BatchNorm1d(2))

    def transformed(self, phase_0: Tensor, phase_1: Tensor, features: Tensor) -> Tensor:
        """Return what the recurrent layers read, (batch, time, 256); it depends on no other frame and can be cached."""
        batch, time = features.shape[:2]
        spatial = self.mlp(features.flatten(0, 1))
        temporal = self.phasenet(phase_0.flatten(0, 1), phase_1.flatten(0, 1))
        out: Tensor = self.transform(torch.cat((spatial, temporal), dim=1))
        return out.view(batch, time, -1)

    def recur(self, transformed: Tensor) -> Tensor:
        """Return valence and arousal (batch, time, 2) of `transformed` (batch, time, 256), from zero state."""
        batch, time = transformed.shape[:2]
        states = self.rnns(transformed)[0]  # (batch, time, 256)
        out: Tensor = self.classifier(states.flatten(0, 1))
        return out.view(batch, time, 2)

    def forward(self, phase_0: Tensor, phase_1: Tensor, features: Tensor) -> Tensor:
        """Return valence and arousal (batch, time, 2), not clipped; checkpoints of OMG may hold them the other way.

        `phase_0`: (batch, time, 24, 48, 48), `phase_1`: (batch, time, 24, 24, 24) radians, by `models.networks.phase`.
        `features`: (batch, time, 2048) of `ferplus-resnet50`.
        """
        return self.recur(self.transformed(phase_0, phase_1, features))
