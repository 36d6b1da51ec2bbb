"""From the checkpoints of a voice run to the ONNX file that is served: levels, network, calibration, one graph.

Input `mel` (N, 64, 301) decibels; outputs `expression` (N, 8) probabilities of the seven (calm counted as neutral) and
of no_speech, `valence_arousal` (N, 2), `std` (N, 2). One fold's network is served, calibrated on the predictions
that the other folds' networks made of actors whom they never heard; so its own held-out actors stay untouched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.face_mt import onnx_file
from models.face_mt.calibration import fit_std_scale, fit_temperature
from models.face_mt.scores import concordance, macro_f1, softmax
from models.labels import EXPRESSIONS
from models.voice_mt import train as voice_train
from models.voice_mt.data import CALM, FOLDS, POSITIONS, SPOKEN, Clips, Floats, affect_of, clips
from models.voice_mt.network import CLASSES, COLUMNS, VoiceNetwork
from models.voice_mt.scores import SEVEN, Heard, served, seven

VERSION = "voice-mt-1"  # named in every event; a new one with each change of the weights that are shipped
SHIPPED = 0  # fold whose network is served, whatever its figures
OUTPUTS = ("expression", "valence_arousal", "std")


@dataclass(frozen=True)
class Fit:
    """`temperature` divides the logits, `std_scale` multiplies the deviations; `validation`: concordance of valence and
    arousal and macro F1 over the seven, which weigh the voice in the fusion.
    """

    temperature: float
    std_scale: tuple[float, float]
    validation: tuple[float, float, float]


def spread(probabilities: Floats) -> Floats:
    """(n, 9) -> (n, 2): deviation of the classes' places."""
    p = probabilities[:, :SPOKEN] / np.maximum(probabilities[:, :SPOKEN].sum(1, keepdims=True), 1e-9)
    mean = p @ POSITIONS
    return np.asarray(np.sqrt(np.maximum(p @ POSITIONS**2 - mean**2, 0) + 1e-4), np.float64)


def together(parts: list[Heard]) -> Heard:
    """Of several folds."""
    return Heard(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("rows", "logits", "affect")))


def calibrate(heard: Heard, data: Clips) -> Fit:
    """From predictions of clips that nobody trained on."""
    truth, place = data.label[heard.rows], data.affect()[heard.rows]
    temperature = fit_temperature(heard.logits, truth, np.zeros(len(CLASSES)))
    p = softmax(heard.logits / temperature)
    return Fit(
        temperature,
        fit_std_scale(heard.affect, spread(p), place),
        (
            concordance(heard.affect[:, 0], place[:, 0]),
            concordance(heard.affect[:, 1], place[:, 1]),
            macro_f1(seven(truth), served(p)[:, :SEVEN].argmax(1), SEVEN),
        ),
    )


class Served(nn.Module):
    """What the service calls: decibels in, calibrated answers out."""

    def __init__(self, network: VoiceNetwork, fit: Fit) -> None:
        super().__init__()
        self.network = network
        self.temperature = fit.temperature
        self.places: Tensor
        self.std_scale: Tensor
        self.register_buffer("places", torch.tensor(POSITIONS, dtype=torch.float32))
        self.register_buffer("std_scale", torch.tensor(fit.std_scale))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = self.network(mel)
        p = torch.softmax(out[:, : len(CLASSES)] / self.temperature, 1)
        voiced = p[:, :SPOKEN] / p[:, :SPOKEN].sum(1, keepdim=True).clamp_min(1e-9)
        mean = voiced @ self.places
        std = ((voiced @ self.places**2 - mean**2).clamp_min(0) + 1e-4).sqrt() * self.std_scale
        expression = torch.cat([p[:, :1] + p[:, CALM : CALM + 1], p[:, 1:CALM], p[:, CALM + 1 :]], 1)
        return expression, affect_of(out), std


def export(network: VoiceNetwork, fit: Fit, version: str, facts: dict[str, Any], out: Path) -> None:
    """Writes the ONNX file to `out`, whole or not at all, with `facts` in its metadata."""
    facts = facts | {
        "version": version,
        "expressions": [*EXPRESSIONS, "no_speech"],
        "temperature": round(fit.temperature, 6),
        "std_scale": [round(v, 6) for v in fit.std_scale],
        "validation": [round(v, 4) for v in fit.validation],
    }
    onnx_file.write(Served(network, fit), "mel", torch.zeros(2, 64, COLUMNS), OUTPUTS, facts, out)


def release(run: Path, data: Path, out: Path, fold: int = SHIPPED) -> Fit:
    """Exports fold `fold` of the folder `run` that training wrote, calibrated on the other folds; `data`: the prepared
    sets. Raises `ModelError` or FileNotFoundError where a fold is missing or not over.
    """
    network, options = voice_train.load(run / f"fold{fold}.pt")
    others = [Heard.load(run / f"fold{k}.npz") for k in range(FOLDS) if k != fold]
    fit = calibrate(together(others), clips(data / "ravdess"))
    export(network, fit, VERSION, {"held_out_actors": list(options.held_out)}, out)
    return fit


def main(data: Path, out: Path) -> list[dict[str, float]]:
    """`affectstream train voice-mt`: all folds of `data`/ravdess into `out`, then the file that is served. One row of
    figures for each fold.
    """
    rows = voice_train.main(data, out)
    release(out, data, out / "voice-mt.onnx")
    return rows
