"""AffWildNet: a face network with landmarks beside it, and a recurrent network on top, for valence and arousal.

Kollias and Zafeiriou 2021, V-A (and Kollias et al. 2019, "Deep affect prediction in-the-wild"). The published code
(dkollias/Aff-Wild-models) has no landmarks, and its ResNet50 variant no fully connected layer: `landmarks=False`,
`fc=0`, `reset="before"`; `models.networks.tensorflow` brings its weights over. The baselines of the paper's Table II
are options: `recurrent` "lstm" is VGG-FACE-LSTM, "none" a convolutional network alone.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from models.networks.ferplus_resnet50 import FEATURES, FaceResNet50
from models.networks.gru import GRU, LSTM, UNITS, Reset
from models.networks.vgg_face import WIDTH, VGGFace

LANDMARKS = 2 * 68
SEQUENCE = 80  # frames, from zero state, that the published networks were trained on
FC = {"vgg-face": 4096, "resnet50": 1500}


class AffWildNet(nn.Module):
    """Predict valence and arousal from faces and landmarks.

    It has 35,872,322 parameters with VGG-FACE and landmarks, 35,315,266 without landmarks.
    """

    state_layers = 2

    def __init__(
        self,
        backbone: Literal["vgg-face", "resnet50"] = "vgg-face",
        landmarks: bool = True,
        reset: Reset = "after",
        fc: int | None = None,
        width: int = WIDTH,
        recurrent: Literal["gru", "lstm", "none"] = "gru",
    ) -> None:
        """Take the published network's options; `fc` None is the paper's width, `width` that of the first convolutions.

        Raise `TypeError` for a `backbone` or `recurrent` that there is not.
        """
        super().__init__()
        if backbone not in FC:
            raise TypeError(f"backbone is 'vgg-face' or 'resnet50', not {backbone!r}")
        if recurrent not in ("gru", "lstm", "none"):
            raise TypeError(f"recurrent is 'gru', 'lstm' or 'none', not {recurrent!r}")
        fc = FC[backbone] if fc is None else fc
        self.landmarks = landmarks
        self.cnn = VGGFace(width) if backbone == "vgg-face" else FaceResNet50()
        features = (self.cnn.last_pool if isinstance(self.cnn, VGGFace) else FEATURES) + LANDMARKS * landmarks
        self.fc = nn.Sequential(nn.Linear(features, fc), nn.ReLU(), nn.Dropout(0.5)) if fc else nn.Identity()
        self.rnn: GRU | LSTM | None = None
        if recurrent != "none":
            self.rnn = GRU(fc or features, reset=reset) if recurrent == "gru" else LSTM(fc or features)
        self.state_layers = {"gru": 2, "lstm": 4, "none": 0}[recurrent]
        self.output = nn.Linear(UNITS if self.rnn is not None else fc or features, 2)

    def forward(self, image: Tensor, landmarks: Tensor | None = None, state: Tensor | None = None) -> dict[str, Tensor]:
        """Return `va` (batch, time, 2), raw, and `state` (batch, layers of state, 128) to go on from.

        `image`: (batch, time, 3, 96, 96) float32, RGB, (x - 128) / 128. `landmarks`: (batch, time, 136) float32, x and
        y of the 68 points in turn, the crop's edges at -1 and 1; left out if the network was made without. Raise
        `ValueError` if they are given to a network without, or missing for one with landmarks.
        """
        if self.landmarks is (landmarks is None):
            raise ValueError(f"This AffWildNet was made with landmarks={self.landmarks}; give it just that.")
        frames = image.flatten(0, 1)
        x = self.cnn.features(frames) if isinstance(self.cnn, FaceResNet50) else self.cnn(frames)
        if landmarks is not None:
            x = torch.cat((x, landmarks.flatten(0, 1)), dim=1)
        x = self.fc(x).view(*image.shape[:2], -1)
        if self.rnn is None:
            return {"va": self.output(x), "state": x.new_zeros(len(x), 0, UNITS)}
        x, state = self.rnn(x, state)
        return {"va": self.output(x), "state": state}
