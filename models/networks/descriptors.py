"""Emotional descriptors: one 16-number embedding per facial region, read by action unit, expression and VA heads.

Haider et al. 2022, "An ensemble approach for multiple emotion descriptors estimation using multi-task learning", built
on wtomin/ABAW3_MultiEmotionNet, whose names and details these are. Each of 17 attention maps picks a region of
InceptionV3's last map: 12 labelled action units and 5 hidden ones. A transformer relates the regions for the action
units; expression and valence-arousal read the regions directly.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.networks.inception_v3 import PLANES, InceptionV3Trunk

REGIONS = 17  # models.labels.AUS_2022, then hidden AU05, AU09, AU14, AU16, AU17
LABELLED = 12
WIDTH = 16  # of an embedding
POSITIONS = 5000  # that the published positional encoding holds
SMOOTHING = {"au": 7.0, "expression": 9.0, "va": 9.0}  # alpha of `smooth`, as published

Array = TypeVar("Array", Tensor, NDArray[np.float32], NDArray[np.float64])


def smooth(previous: Array, current: Array, alpha: float) -> Array:
    """Return the running mean of embeddings over time: (alpha previous + current) / (1 + alpha).

    The first frame is its own mean. Published at 30 frames a second; at another rate scale alpha by 30 / fps and keep
    the same time constant. Smoothing is wtomin/ABAW3_MultiEmotionNet's; Haider et al. do not describe it.
    """
    return (alpha * previous + current) / (1 + alpha)


class RegionEmbedding(nn.Module):
    """Turn the map under one attention into an embedding (batch, 16)."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.Conv1 = nn.Sequential(nn.Conv2d(PLANES, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.Conv2 = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the embedding (batch, 16) of `x` (batch, 768, 17, 17)."""
        embedding: Tensor = self.fc(self.Conv2(self.Conv1(x)).mean((2, 3)))
        return embedding


class PositionalEncoding(nn.Module):
    """Add sines and cosines of the region's index."""

    pos_embedding: Tensor

    def __init__(self) -> None:
        """Compute the encoding of 5000 positions."""
        super().__init__()
        position = torch.arange(POSITIONS, dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(10000) / WIDTH))
        encoding = torch.stack((torch.sin(position * rate), torch.cos(position * rate)), dim=2)  # (5000, 8, 2)
        self.register_buffer("pos_embedding", encoding.reshape(POSITIONS, 1, WIDTH))  # sine, cosine, sine, ...
        self.dropout = nn.Dropout(0.3)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `tokens` (batch, regions, 16) with the encoding added."""
        out: Tensor = self.dropout(tokens + self.pos_embedding[: tokens.shape[1]].transpose(0, 1))
        return out


class PerUnitClassifier(nn.Module):
    """Read each action unit by a 16-vector and a bias of its own: (batch, 12, 16) -> (batch, 12) logits."""

    def __init__(self) -> None:
        """Make the vectors."""
        super().__init__()
        self.fc = nn.Linear(WIDTH, LABELLED)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (batch, 12) of `tokens` (batch, 12, 16)."""
        return (tokens * self.fc.weight).sum(-1) + self.fc.bias


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width in pairwise(widths):
        layers += [nn.Linear(width_in, width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Descriptors(nn.Module):
    """Predict all tasks from one picture, by an embedding for each of 17 regions of the face."""

    def __init__(self, heads: Literal["linear", "mlp"] = "linear") -> None:
        """Take `heads` "linear" (the published names, 11,368,253 parameters) or "mlp" (Haider et al., 11,445,917).

        Raise `TypeError` for other `heads`.
        """
        super().__init__()
        if heads not in ("linear", "mlp"):
            raise TypeError(f"heads is 'linear' or 'mlp', not {heads!r}")
        self.backbone_CNN = InceptionV3Trunk()
        self.AU_attention_convs = nn.Sequential(
            nn.Conv2d(PLANES, 4 * REGIONS, 3, padding=1), nn.BatchNorm2d(4 * REGIONS), nn.ReLU(),
            nn.Conv2d(4 * REGIONS, REGIONS, 1), nn.BatchNorm2d(REGIONS), nn.ReLU(),
        )  # fmt: skip
        self.AU_attention_map_module = nn.Sequential(nn.Conv2d(REGIONS, REGIONS, 1), nn.Sigmoid())
        self.AU_attention_classification_module = nn.Sequential(nn.Conv2d(REGIONS, REGIONS, 1))  # read by nothing
        self.AU_Metric_Modules = nn.ModuleList(RegionEmbedding() for _ in range(REGIONS))
        self.positional_encoding = PositionalEncoding()
        self.MHA = nn.TransformerEncoderLayer(
            WIDTH, nhead=8, dim_feedforward=1024, dropout=0.1, activation="gelu", batch_first=True
        )
        self.transformation_matrices = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(REGIONS))
        mlp = heads == "mlp"
        self.emotion_classifiers = nn.ModuleList(
            (
                PerUnitClassifier(),
                _mlp(WIDTH, 512, 128, 8) if mlp else nn.Linear(WIDTH, 8),
                _mlp(WIDTH, 128, 2) if mlp else nn.Linear(WIDTH, 2),
            )
        )

    def regions(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (batch, 17, 16) and attention maps (batch, 17, 17, 17) of `image` (batch, 3, 299, 299)."""
        x = self.backbone_CNN(image)  # (batch, 768, 17, 17)
        attention = self.AU_attention_map_module(self.AU_attention_convs(x))  # (batch, 17 regions, 17, 17)
        embeddings = [module(x * attention[:, i : i + 1] + x) for i, module in enumerate(self.AU_Metric_Modules)]
        return torch.stack(embeddings, dim=1), attention

    def embeddings(self, image: Tensor) -> dict[str, Tensor]:
        """Return what the classifiers read, to `smooth`: `au` (batch, 12, 16), `expression` and `va` (batch, 16)."""
        regions, _ = self.regions(image)
        tokens = self.MHA(self.positional_encoding(regions))[:, :LABELLED]
        pooled = torch.stack([m(regions[:, i]) for i, m in enumerate(self.transformation_matrices)], dim=1).mean(1)
        return {"au": tokens, "expression": pooled, "va": pooled}

    def classify(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return raw outputs of (smoothed) `embeddings`: `au` (batch, 12), `expression` (batch, 8), `va` (batch, 2)."""
        tasks = zip(("au", "expression", "va"), self.emotion_classifiers, strict=True)
        return {task: classifier(embeddings[task]) for task, classifier in tasks}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Return `au` (batch, 12) and `expression` (batch, 8, the last "other") as logits, and `va` (batch, 2) raw.

        `image`: (batch, 3, 299, 299) float32, RGB in 0..1, normalised once by `inception_v3.MEAN` and `STD`.
        """
        return self.classify(self.embeddings(image))


class DescriptorsEnsemble(nn.Module):
    """Average two networks, one for the face with its surroundings, one for the aligned face."""

    def __init__(self, heads: Literal["linear", "mlp"] = "mlp", weights: Sequence[float] = (0.5, 0.5)) -> None:
        """Take the networks' `heads` and the two `weights`, context first. Raise `TypeError` for other weights."""
        super().__init__()
        if len(weights) != 2 or min(weights) < 0 or sum(weights) <= 0:
            raise TypeError(f"weights are two numbers of at least 0, not both 0; not {weights!r}")
        self.context, self.aligned = Descriptors(heads), Descriptors(heads)
        self.weights = [weight / sum(weights) for weight in weights]

    def forward(self, context_crop: Tensor, aligned_face: Tensor) -> dict[str, Tensor]:
        """Return `au` (batch, 12) and `expression` (batch, 8) as probabilities, and `va` (batch, 2) raw.

        Pictures as `Descriptors` takes them: the face with its surroundings, and the aligned face (in Aff-Wild2 the
        folders `cropped` and `cropped_aligned`).
        """
        return self.averaged(self.context(context_crop), self.aligned(aligned_face))

    def averaged(self, context: dict[str, Tensor], aligned: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted mean of the two networks' raw outputs, as `forward` does."""
        weighted = list(zip(self.weights, (context, aligned), strict=True))
        return {
            "au": torch.stack([w * out["au"].sigmoid() for w, out in weighted]).sum(0),
            "expression": torch.stack([w * out["expression"].softmax(-1) for w, out in weighted]).sum(0),
            "va": torch.stack([w * out["va"] for w, out in weighted]).sum(0),
        }
