"""The voice network: the emotion of the last seconds of speech, from functionals and the speaker's running baseline.

Input: (N, 4, F): functionals of the window (`models/voice_mt/functionals.py`), mean and variance of the speaker's
baseline (`models/voice_mt/baseline.py`), and its seconds of speech. Each functional is read twice: as it differs from
the baseline, which is drawn towards the population while it holds little speech, and as it differs from the population,
which counts less the more is known of the speaker. Several small perceptrons read both, and their answers are averaged.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.voice_mt.functionals import NAMES, RELATIVE

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "calm")
AFFECT = 2  # outputs after the classes: valence and arousal before their tanh
OUTPUTS = len(CLASSES) + AFFECT
TRUST_SECONDS = 20.0  # of speech, with which baseline and population count the same
VARIANCE_SECONDS = 60.0  # the same for the deviation
LIMIT = 4.0  # deviations, beyond which a functional counts no more
MEMBERS, HIDDEN, DROPOUT = 5, 64, 0.3


@dataclass(frozen=True)
class Population:
    """Hold mean and deviation of each functional over all speakers, and its deviation within one of them; (F,) each."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    within: NDArray[np.float64]  # in units of `std`

    @staticmethod
    def of(rows: NDArray[np.floating], speaker: NDArray[np.int64]) -> "Population":
        """Return that of functionals (n, F) of n recordings."""
        mean, std = rows.mean(0).astype(np.float64), rows.std(0).astype(np.float64) + 1e-6
        z = (rows - mean) / std
        within = np.sqrt(np.mean([z[speaker == one].var(0) for one in np.unique(speaker)], 0) + 1e-4)
        return Population(mean, std, within)


class VoiceNetwork(nn.Module):
    """Map (N, 4, F) to (N, 10): logits of `CLASSES`, valence and arousal before their tanh."""

    mean: Tensor
    std: Tensor
    within: Tensor
    relative: Tensor

    def __init__(self, population: Population | None = None) -> None:
        super().__init__()
        one = np.ones(len(NAMES))
        known = population or Population(np.zeros(len(NAMES)), one, one)
        for name in ("mean", "std", "within"):
            self.register_buffer(name, torch.tensor(getattr(known, name), dtype=torch.float32))
        self.register_buffer("relative", torch.tensor([float(name in RELATIVE) for name in NAMES]), persistent=False)
        size = 2 * len(NAMES)
        self.inner = nn.Parameter(torch.randn(MEMBERS, size, HIDDEN) * (2 / size) ** 0.5)
        self.inner_bias = nn.Parameter(torch.zeros(MEMBERS, 1, HIDDEN))
        self.outer = nn.Parameter(torch.randn(MEMBERS, HIDDEN, OUTPUTS) * HIDDEN**-0.5)
        self.outer_bias = nn.Parameter(torch.zeros(MEMBERS, 1, OUTPUTS))

    def forward(self, voice: Tensor) -> Tensor:
        """Return (N, 10) of (N, 4, F)."""
        return self.answers(self.seen(voice)).mean(0)

    def seen(self, voice: Tensor) -> Tensor:
        """Return (N, 2 F) of (N, 4, F): how the functionals differ from the speaker, and from the population."""
        row, mean, variance, seconds = voice.unbind(1)
        known = seconds / (seconds + TRUST_SECONDS)  # 0 for a speaker never heard
        here = ((row - self.mean) / self.std).clamp(-5, 5)
        usual = ((mean - self.mean) / self.std).clamp(-5, 5)
        variance = variance / self.std.square()
        spread = (seconds * variance + VARIANCE_SECONDS * self.within.square()) / (seconds + VARIANCE_SECONDS)
        # What depends on the gain of the microphone says nothing of a speaker who was never heard.
        apart = here - usual * (known + self.relative * (1 - known))
        apart = apart / spread.sqrt().clamp_min(0.2) * (1 - self.relative * (1 - known))
        return torch.cat([apart, (1 - known) * here * (1 - self.relative)], 1).clamp(-LIMIT, LIMIT)

    def answers(self, seen: Tensor) -> Tensor:
        """Return (members, N, 10) of (N, 2 F)."""
        x = seen.expand(MEMBERS, -1, -1)
        x = F.relu(F.dropout(x, DROPOUT / 2, self.training) @ self.inner + self.inner_bias)
        return F.dropout(x, DROPOUT, self.training) @ self.outer + self.outer_bias
