"""Multi-task networks on VGG-FACE: valence-arousal, expressions and action units of one picture, or of a stream.

Kollias and Zafeiriou 2021, VI-A: MT-VGG sees single faces, MT-VGG-GRU sequences, and A/V-MT-VGG-GRU sequences of faces
and of spectrogram pictures. The order of the output layer (VA, expressions, action units) is ours; the paper gives
none.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.labels import AUS_2020, EXPRESSIONS
from models.networks.gru import GRU, UNITS
from models.networks.vgg_face import WIDTH, VGGFace

FC = 4096
SEQUENCE = 90  # frames


def by_task(outputs: Tensor) -> dict[str, Tensor]:
    """Return the output layer (..., 2 + 7 + action units) by task, raw: `va`, `expression` logits, `au` logits."""
    expressions = len(EXPRESSIONS)
    va, expression, au = torch.split(outputs, [2, expressions, outputs.shape[-1] - 2 - expressions], dim=-1)
    return {"va": va, "expression": expression, "au": au}


class MTVGG(nn.Module):
    """Read single faces; 50,444,113 parameters with the 8 action units of 2020."""

    def __init__(self, aus: int = len(AUS_2020), width: int = WIDTH, fc: int = FC) -> None:
        """Take the number of action units and the widths of the first convolutions and of the dense layers."""
        super().__init__()
        self.cnn = VGGFace(width)
        self.fc1 = nn.Linear(self.cnn.last_pool, fc)
        self.fc2 = nn.Linear(fc, fc)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(fc, 2 + len(EXPRESSIONS) + aus)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return `va` (batch, 2), `expression` (batch, 7) and `au` (batch, 8), raw.

        `image`: (batch, 3, 96, 96) float32, RGB, (x - 128) / 128.
        """
        x = self.dropout(F.relu(self.fc1(self.cnn(image))))
        x = self.dropout(F.relu(self.fc2(x)))
        return by_task(self.output(x))


class Stream(nn.Module):
    """Read sequences of pictures by VGG-FACE, one fully connected layer and two recurrent layers."""

    def __init__(self, width: int, fc: int) -> None:
        """Take the widths of the first convolutions and of the dense layer."""
        super().__init__()
        self.cnn = VGGFace(width)
        self.fc1 = nn.Linear(self.cnn.last_pool, fc)
        self.dropout = nn.Dropout(0.5)
        self.rnn = GRU(fc)

    def recurrent(self, image: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return features (batch, time, 128) and the new state (batch, 2, 128) of `image` (batch, time, 3, 96, 96)."""
        x = self.dropout(F.relu(self.fc1(self.cnn(image.flatten(0, 1)))))
        out: tuple[Tensor, Tensor] = self.rnn(x.view(*image.shape[:2], -1), state)
        return out


class MTVGGGRU(Stream):
    """Read sequences of faces; 35,317,201 parameters."""

    state_layers = 2

    def __init__(self, aus: int = len(AUS_2020), width: int = WIDTH, fc: int = FC) -> None:
        """Take the number of action units and the widths of the first convolutions and of the dense layers."""
        super().__init__(width, fc)
        self.output = nn.Linear(UNITS, 2 + len(EXPRESSIONS) + aus)

    def forward(self, image: Tensor, state: Tensor | None = None) -> dict[str, Tensor]:
        """Return `va`, `expression` and `au`, (batch, time, 2, 7 and 8), raw, and `state` (batch, 2, 128).

        `image`: (batch, time, 3, 96, 96) float32, RGB, (x - 128) / 128. `state`: that of the frame before, or zero.
        """
        x, state = self.recurrent(image, state)
        return by_task(self.output(x)) | {"state": state}


class AVMTVGGGRU(nn.Module):
    """Read sequences of faces and of spectrogram pictures; 70,879,505 parameters."""

    state_layers = 6

    def __init__(self, aus: int = len(AUS_2020), width: int = WIDTH, fc: int = FC) -> None:
        """Take the number of action units and the widths of the first convolutions and of the dense layers."""
        super().__init__()
        self.visual = Stream(width, fc)
        self.aural = Stream(width, fc)
        self.rnn = GRU(2 * UNITS)
        self.output = nn.Linear(UNITS, 2 + len(EXPRESSIONS) + aus)

    def forward(self, image: Tensor, sound: Tensor, state: Tensor | None = None) -> dict[str, Tensor]:
        """Return `va`, `expression` and `au`, (batch, time, 2, 7 and 8), raw, and `state` (batch, 6, 128).

        `image` and `sound`: (batch, time, 3, 96, 96) float32 in [-1, 1]; a spectrogram picture holds the 96 newest
        columns of the sound up to its frame. `state`: that of the frame before, or zero.
        """
        seen, heard, own = (None, None, None) if state is None else torch.split(state, 2, dim=1)
        x, seen = self.visual.recurrent(image, seen)
        y, heard = self.aural.recurrent(sound, heard)
        z, own = self.rnn(torch.cat((x, y), dim=2), own)
        return by_task(self.output(z)) | {"state": torch.cat((seen, heard, own), dim=1)}
