"""Recurrent networks over several levels of one face network, and their fusions, for valence and arousal.

Kollias and Zafeiriou 2021, V-B (their OMG-Emotion system, arXiv 1910.01417): low, middle and high level features are
read by three recurrent networks (CNN-3RNN) or, concatenated, by one (CNN-1RNN); the two networks are fused at model
level by another recurrent or fully connected layer, or at decision level by validation scores. Outputs are per frame;
a sequence's estimate is their median (`models.postprocess`).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.affwildnet import LANDMARKS
from models.networks.gru import GRU, UNITS
from models.networks.vgg_face import WIDTH, VGGFace

FC = 4096
RNN_DROPOUT = 0.8  # probability value of the dropout after the first recurrent layer, as the paper gives it


class MultiLevelVGG(nn.Module):
    """Run VGG-FACE, and a fully connected layer over its last pool and the landmarks."""

    def __init__(self, width: int, fc: int) -> None:
        """Take the `width` of the first convolutions and that of the fully connected layer."""
        super().__init__()
        self.cnn = VGGFace(width)
        self.fc = nn.Linear(self.cnn.last_pool + LANDMARKS, fc)
        self.fc_dropout = nn.Dropout(0.5)

    def levels(self, image: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return second pool, last pool and fully connected layer: (batch, time, 73728, 4608 and 4096)."""
        middle, last = self.cnn.levels(image.flatten(0, 1))
        fc = self.fc_dropout(F.relu(self.fc(torch.cat((last, landmarks.flatten(0, 1)), dim=1))))
        batch, time = image.shape[:2]
        return middle.view(batch, time, -1), last.view(batch, time, -1), fc.view(batch, time, -1)


class CNN3RNN(MultiLevelVGG):
    """Read each level by a recurrent network of its own; 66,251,842 parameters."""

    state_layers = 6

    def __init__(self, width: int = WIDTH, fc: int = FC, rnn_dropout: float = RNN_DROPOUT) -> None:
        """Take the widths of the layers, and the dropout after the first recurrent layer."""
        super().__init__(width, fc)
        self.rnn1 = GRU(fc, dropout=rnn_dropout)
        self.rnn2 = GRU(self.cnn.last_pool, dropout=rnn_dropout)
        self.rnn3 = GRU(self.cnn.second_pool, dropout=rnn_dropout)
        self.output = nn.Linear(3 * UNITS, 2)

    def recurrent(self, image: Tensor, landmarks: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the recurrent outputs (batch, time, 384) and the new state (batch, 6, 128)."""
        states = (None, None, None) if state is None else torch.split(state, 2, dim=1)
        levels = reversed(self.levels(image, landmarks))
        rnns = (self.rnn1, self.rnn2, self.rnn3)
        steps = [rnn(x, h) for rnn, x, h in zip(rnns, levels, states, strict=True)]
        return torch.cat([out for out, _ in steps], dim=2), torch.cat([h for _, h in steps], dim=1)

    def forward(self, image: Tensor, landmarks: Tensor, state: Tensor | None = None) -> dict[str, Tensor]:
        """Return `va` (batch, time, 2), raw, and `state` (batch, 6, 128); inputs as `AffWildNet` takes them."""
        x, state = self.recurrent(image, landmarks, state)
        return {"va": self.output(x), "state": state}


class CNN1RNN(MultiLevelVGG):
    """Read all levels, concatenated, by one recurrent network; 65,953,346 parameters."""

    state_layers = 2

    def __init__(self, width: int = WIDTH, fc: int = FC, rnn_dropout: float = RNN_DROPOUT) -> None:
        """Take the widths of the layers, and the dropout after the first recurrent layer."""
        super().__init__(width, fc)
        self.rnn = GRU(self.cnn.second_pool + self.cnn.last_pool + fc, dropout=rnn_dropout)
        self.output = nn.Linear(UNITS, 2)

    def recurrent(self, image: Tensor, landmarks: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the recurrent outputs (batch, time, 128) and the new state (batch, 2, 128)."""
        out: tuple[Tensor, Tensor] = self.rnn(torch.cat(self.levels(image, landmarks), dim=2), state)
        return out

    def forward(self, image: Tensor, landmarks: Tensor, state: Tensor | None = None) -> dict[str, Tensor]:
        """Return `va` (batch, time, 2), raw, and `state` (batch, 2, 128); inputs as `AffWildNet` takes them."""
        x, state = self.recurrent(image, landmarks, state)
        return {"va": self.output(x), "state": state}


class _Pair(nn.Module):
    """Run CNN-3RNN and CNN-1RNN beside each other; their output layers stay, so that trained ones load."""

    def __init__(self, width: int, fc: int, rnn_dropout: float) -> None:
        """Make both networks."""
        super().__init__()
        self.cnn_3rnn = CNN3RNN(width, fc, rnn_dropout)
        self.cnn_1rnn = CNN1RNN(width, fc, rnn_dropout)

    def recurrent(self, image: Tensor, landmarks: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the recurrent outputs (batch, time, 512) and the new state (batch, 8, 128)."""
        three, one = (None, None) if state is None else torch.split(state, [6, 2], dim=1)
        x3, three = self.cnn_3rnn.recurrent(image, landmarks, three)
        x1, one = self.cnn_1rnn.recurrent(image, landmarks, one)
        return torch.cat((x3, x1), dim=2), torch.cat((three, one), dim=1)


class FusionRNN(_Pair):
    """Fuse at model level by one more recurrent layer: 246,786 parameters beside the two networks'."""

    state_layers = 9

    def __init__(self, width: int = WIDTH, fc: int = FC, rnn_dropout: float = RNN_DROPOUT) -> None:
        """Take the widths of the layers, and the dropout after the first recurrent layer."""
        super().__init__(width, fc, rnn_dropout)
        self.rnn = GRU(4 * UNITS, layers=1)
        self.output = nn.Linear(UNITS, 2)

    def forward(self, image: Tensor, landmarks: Tensor, state: Tensor | None = None) -> dict[str, Tensor]:
        """Return `va` (batch, time, 2), raw, and `state` (batch, 9, 128); inputs as `AffWildNet` takes them."""
        pair, own = (None, None) if state is None else torch.split(state, [8, 1], dim=1)
        x, pair = self.recurrent(image, landmarks, pair)
        x, own = self.rnn(x, own)
        return {"va": self.output(x), "state": torch.cat((pair, own), dim=1)}


class FusionFC(_Pair):
    """Fuse at model level by a fully connected layer: 65,922 parameters beside the two networks'."""

    state_layers = 8

    def __init__(self, width: int = WIDTH, fc: int = FC, rnn_dropout: float = RNN_DROPOUT) -> None:
        """Take the widths of the layers, and the dropout after the first recurrent layer."""
        super().__init__(width, fc, rnn_dropout)
        self.fusion = nn.Sequential(nn.Linear(4 * UNITS, UNITS), nn.ReLU(), nn.Dropout(0.5))
        self.output = nn.Linear(UNITS, 2)

    def forward(self, image: Tensor, landmarks: Tensor, state: Tensor | None = None) -> dict[str, Tensor]:
        """Return `va` (batch, time, 2), raw, and `state` (batch, 8, 128); inputs as `AffWildNet` takes them."""
        x, state = self.recurrent(image, landmarks, state)
        return {"va": self.output(self.fusion(x)), "state": state}


class FusionDecision(_Pair):
    """Fuse at decision level: the two networks' outputs weighted by their validation CCCs; no parameters of its own.

    Equation 3 of the paper. `ccc`: ((valence, arousal) of CNN-3RNN, (valence, arousal) of CNN-1RNN); one below 0 counts
    as 0.
    """

    state_layers = 8
    ccc: Tensor

    def __init__(
        self,
        ccc: Sequence[Sequence[float]] = ((1.0, 1.0), (1.0, 1.0)),
        width: int = WIDTH,
        fc: int = FC,
        rnn_dropout: float = RNN_DROPOUT,
    ) -> None:
        """Take the validation scores `ccc`. Raise `TypeError` if both networks' are 0 or below for one of the two."""
        super().__init__(width, fc, rnn_dropout)
        weights = np.maximum(np.asarray(ccc, np.float32), 0)  # (2 networks, 2)
        if weights.shape != (2, 2) or not (weights.sum(0) > 0).all():
            raise TypeError(f"ccc is ((valence, arousal), (valence, arousal)), one of each above 0; not {ccc!r}")
        self.register_buffer("ccc", torch.as_tensor(weights))

    def forward(self, image: Tensor, landmarks: Tensor, state: Tensor | None = None) -> dict[str, Tensor]:
        """Return `va` (batch, time, 2), raw, and `state` (batch, 8, 128); inputs as `AffWildNet` takes them."""
        va, state = self.estimates(image, landmarks, state)
        return {"va": (va * self.ccc).sum(2) / self.ccc.sum(0), "state": state}

    def estimates(self, image: Tensor, landmarks: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the two networks' own values (batch, time, 2 networks, 2) and the new state (batch, 8, 128)."""
        three, one = (None, None) if state is None else torch.split(state, [6, 2], dim=1)
        outputs = self.cnn_3rnn(image, landmarks, three), self.cnn_1rnn(image, landmarks, one)
        va = torch.stack([out["va"] for out in outputs], dim=2)
        return va, torch.cat([out["state"] for out in outputs], dim=1)
