"""From a checkpoint to the ONNX file that is served: preprocessing, network, calibration, one graph.

Input `face` (N, 112, 112, 3) uint8 RGB; outputs `expression` (N, 8) probabilities under a balanced prior,
`valence_arousal` (N, 2), `std` (N, 2), `aus` (N, k) logits. The names of classes and units and the figures behind the
calibration travel in the file's metadata. Weights are stored in float16 and computed in float32.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.face_mt import onnx_file
from models.face_mt.calibration import Calibration, fit_std_scale, fit_temperature
from models.face_mt.data import TEST, VALIDATION, ferplus, labelled
from models.face_mt.network import CROP, Config, FaceNetwork, View
from models.face_mt.scores import concordance, macro_f1, predict, unit_correlations
from models.face_mt.votes import CIRCUMPLEX, CLASSES
from models.labels import EXPRESSIONS

VERSION = "face-mt-2"  # named in every event; a new one with each change of the weights that are shipped
INPUT = "face"
OUTPUTS = ("expression", "valence_arousal", "std", "aus")
MIN_AGREEMENT = 0.6  # r with the teacher, on both held-out sets, from which a unit is published


def load(path: Path) -> tuple[FaceNetwork, dict[str, Any]]:
    """The network of a checkpoint, in evaluation mode, and what else the checkpoint says."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    c = state["config"]
    network = FaceNetwork(
        Config(tuple(c["widths"]), tuple(c["blocks"]), int(c["expressions"]), tuple(c["aus"]), float(c["dropout"]))
    )
    network.load_state_dict(state["network"])
    return network.eval(), state


def release(checkpoint: Path, data: Path, out: Path) -> dict[str, float]:
    """Calibrates a checkpoint on FER+ validation, keeps the units that agree with their teacher, writes `out`.

    `data`: folder of the prepared sets. Returns what was fitted, and r of every unit, kept or not.
    """
    network, state = load(checkpoint)
    scales = {au: (float(s[0]), float(s[1])) for au, s in state["scales"].items()}
    fer, web = ferplus(data / "ferplus"), labelled(data / "faces")
    validation, unseen = np.flatnonzero(fer.split == VALIDATION), np.flatnonzero(web.split == TEST)
    on_fer, on_web = predict(network, fer.grey[validation]), predict(network, web.grey[unseen])
    truth = fer.majority[validation]
    named = truth >= 0
    temperature = fit_temperature(on_fer.logits[named], truth[named], np.log(state["prior"].numpy()))
    known = np.isfinite(fer.affect[validation]).all(1)
    std_scale = fit_std_scale(on_fer.va[known], on_fer.std[known], fer.affect[validation][known, :2].astype(np.float64))
    first = unit_correlations(on_fer.units, fer, validation, scales)
    second = unit_correlations(on_web.units, web, unseen, scales)
    agreed = {au: min(first[au], second[au]) for au in scales}
    keep = [au for au in scales if agreed[au] >= MIN_AGREEMENT]
    columns = [list(scales).index(au) for au in keep]
    network.aus.weight = nn.Parameter(network.aus.weight[columns])
    network.aus.bias = nn.Parameter(network.aus.bias[columns])
    basic, seven = named & (truth < len(EXPRESSIONS)), len(EXPRESSIONS)
    # What weighs the face against the voice: concordance of valence and of arousal, macro F1 of the seven.
    validation_scores = [
        *(concordance(on_fer.va[known, k], fer.affect[validation][known, k].astype(np.float64)) for k in (0, 1)),
        macro_f1(truth[basic], on_fer.logits[basic, :seven].argmax(1), seven),
    ]
    facts = {
        "aus": keep,
        "validation": [round(v, 4) for v in validation_scores],
        "scales": {au: [round(v, 5) for v in scales[au]] for au in keep},
        "training_prior": [round(float(p), 6) for p in state["prior"]],
    }
    export(network, Calibration(temperature, std_scale), VERSION, facts, out)
    return {
        "temperature": temperature,
        "std_scale_valence": std_scale[0],
        "std_scale_arousal": std_scale[1],
        **agreed,
    }


class Served(nn.Module):
    """What the service calls: crops in, calibrated answers out."""

    def __init__(self, network: FaceNetwork, calibration: Calibration) -> None:
        super().__init__()
        self.view = View()
        self.network = network
        self.temperature = calibration.temperature
        self.std_scale: Tensor
        self.register_buffer("std_scale", torch.tensor(calibration.std_scale))

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        logits, va, log_std, aus = self.network(self.view(face))
        return torch.softmax(logits / self.temperature, 1), va, torch.exp(log_std) * self.std_scale, aus


def export(network: FaceNetwork, calibration: Calibration, version: str, facts: dict[str, Any], out: Path) -> None:
    """Writes the ONNX file to `out`, whole or not at all, with `facts` in its metadata."""
    facts = facts | {
        "version": version,
        "expressions": list(CLASSES),
        "temperature": round(calibration.temperature, 6),
        "std_scale": [round(v, 6) for v in calibration.std_scale],
        "circumplex": CIRCUMPLEX,
    }
    sample = torch.zeros(2, CROP, CROP, 3, dtype=torch.uint8)
    onnx_file.write(Served(network, calibration), INPUT, sample, OUTPUTS, facts, out)
