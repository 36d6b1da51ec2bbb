"""From a checkpoint to the ONNX file that is served: preprocessing, network, calibration, one graph.

Inputs `face` (N, 112, 112, 3) uint8 RGB, and `points` (N, 468, 2) float32 of the face's mesh (`models.face_mt.points`),
from which the units are read too. Outputs: `expression` (N, 8) probabilities under a balanced prior, as the
raters of web faces name them; `valence_arousal` and `std` (N, 2); `aus` (N, k) logits that a unit is present;
`intensities` (N, k) 0 to 5 and `intensity_std` (N, k); `occluded` (N, 1) probability that nose or mouth is covered;
`ferplus` (N, 8) probabilities as FER+'s raters name the expressions, under FER+'s prior. No event holds the last one:
it serves comparisons with FER+, whose raters separate the expressions differently. The names of classes and units and
the figures behind the calibration travel in the file's metadata. Weights of convolutions are stored in bytes with a
scale for each channel, others in float16; all is computed in float32.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.face_mt import onnx_file
from models.face_mt.action_units import HIGHEST, UNITS
from models.face_mt.calibration import (
    Calibration,
    fit_cover,
    fit_logistic,
    fit_prior,
    fit_scales,
    fit_std_scale,
    fit_temperature,
    present_above,
)
from models.face_mt.data import NEUTRAL, VALIDATION, Sets
from models.face_mt.network import CROP, Config, FaceNetwork, UnitHead, View
from models.face_mt.points import POINTS
from models.face_mt.scores import (
    Predictions,
    concordance,
    macro_f1,
    predict,
    softmax,
    weighted_calibration_error,
)
from models.face_mt.votes import CLASSES
from models.labels import EXPRESSIONS

VERSION = "face-mt-5"  # named in every event; a new one with each change of the weights that are shipped
INPUTS = ("face", "points")
OUTPUTS = ("expression", "valence_arousal", "std", "aus", "intensities", "intensity_std", "occluded", "ferplus")


def load(path: Path) -> tuple[FaceNetwork, UnitHead, dict[str, Any]]:
    """Return network and head of a checkpoint, in evaluation mode, and what else the checkpoint says."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    c = state["config"]
    config = Config(tuple(c["aus"]), tuple(c["widths"]), tuple(c["blocks"]), int(c["expressions"]), float(c["dropout"]))
    network = FaceNetwork(config)
    network.load_state_dict(state["network"])
    head = UnitHead(network.width, len(config.aus))
    head.load_state_dict(state["unit_head"])
    return network.eval(), head.eval(), state


def release(checkpoint: Path, data: Sets, held_out: Path, out: Path) -> dict[str, float]:
    """Calibrate a checkpoint, write `out`, and return what was fitted.

    `held_out`: the file that training wrote, with each fold's predictions for the web faces that it was not trained on.
    """
    network, head, state = load(checkpoint)
    with np.load(held_out, allow_pickle=False) as file:
        rows = file["rows"]
        said = Predictions(*(file[name].astype(np.float64) for name in Predictions.__dataclass_fields__))
        units, unit_std = (file[name].astype(np.float64) for name in ("units", "unit_std"))
    fer, web = data.ferplus, data.webva
    truth, rated, teacher = web.majority[rows], web.affect[rows].astype(np.float64), web.units[rows].astype(np.float64)
    temperature = fit_temperature(said.logits, truth, np.zeros(len(CLASSES)))
    limits = present_above(teacher, truth == NEUTRAL)
    lines = []
    for k in range(len(UNITS)):
        known = np.isfinite(teacher[:, k])
        lines.append(fit_logistic(units[known, k], teacher[known, k] > limits[k]))
    slope, offset = np.array(lines).T
    validation = np.flatnonzero((fer.split == VALIDATION) & (fer.majority >= 0))
    on_fer = predict(network, fer.grey[validation])
    named = fer.majority[validation]
    votes_temperature = fit_temperature(on_fer.votes, named, np.log(np.maximum(state["prior"].numpy(), 1e-6)))
    prior = fit_prior(on_fer.votes / votes_temperature, named, state["prior"].numpy())
    calibration = Calibration(
        temperature,
        fit_std_scale(said.va, said.std, rated),
        fit_scales(units, unit_std, teacher),
        slope,
        offset,
        fit_cover(said.occlusion),
        votes_temperature,
        prior,
    )
    balanced = softmax(said.logits / temperature)
    basic, seven = truth < len(EXPRESSIONS), len(EXPRESSIONS)
    # What weighs the face against the voice: concordance of valence and of arousal, macro F1 of the seven.
    validation_scores = [
        *(concordance(said.va[:, k], rated[:, k]) for k in (0, 1)),
        macro_f1(truth[basic], said.logits[basic, :seven].argmax(1), seven),
    ]
    facts = {
        "aus": list(UNITS),
        "rest": [[round(float(v), 2) for v in point] for point in data.basis.rest],
        "validation": [round(v, 4) for v in validation_scores],
        "present_above": [round(float(v), 4) for v in limits],
        "training_prior": [round(float(p), 6) for p in prior],
        "held_out_calibration": {
            name: round(weighted_calibration_error(balanced, truth, weights), 4)
            for name, weights in (("balanced", np.full(len(CLASSES), 1 / len(CLASSES))), ("ferplus", prior))
        },
    }
    export(network, head, calibration, VERSION, facts, out)
    return {
        "temperature": temperature,
        "std_scale_valence": calibration.std_scale[0],
        "std_scale_arousal": calibration.std_scale[1],
        "cover_offset": calibration.cover_offset,
    }


class Served(nn.Module):
    """Compute what the service calls: crops and points in, calibrated answers out."""

    def __init__(self, network: FaceNetwork, head: UnitHead, calibration: Calibration) -> None:
        super().__init__()
        self.view = View()
        self.unit_head = head
        self.network = network
        self.temperature = calibration.temperature
        self.cover_offset = calibration.cover_offset
        self.std_scale: Tensor
        self.unit_std_scale: Tensor
        self.slope: Tensor
        self.offset: Tensor
        self.votes_log_prior: Tensor
        self.register_buffer("std_scale", torch.tensor(calibration.std_scale))
        self.votes_temperature = calibration.votes_temperature
        for name, value in (
            ("votes_log_prior", np.log(np.maximum(calibration.votes_prior, 1e-9))),
            ("unit_std_scale", calibration.unit_std_scale),
            ("slope", calibration.unit_slope),
            ("offset", calibration.unit_offset),
        ):
            self.register_buffer(name, torch.tensor(np.asarray(value), dtype=torch.float32))

    def forward(self, face: Tensor, points: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of `OUTPUTS`."""
        whole, local = self.network.read(self.view(face))
        y = self.network.answers(whole, local)
        units, log_std = self.unit_head(torch.cat([whole, local], 1), points)
        return (
            torch.softmax(y.logits / self.temperature, 1),
            y.va,
            torch.exp(y.log_std) * self.std_scale,
            units * self.slope + self.offset,
            units.clamp(0.0, HIGHEST),
            torch.exp(log_std) * self.unit_std_scale,
            torch.sigmoid(y.occlusion + self.cover_offset)[:, None],
            torch.softmax(y.votes / self.votes_temperature + self.votes_log_prior, 1),
        )


def export(
    network: FaceNetwork, head: UnitHead, calibration: Calibration, version: str, facts: dict[str, Any], out: Path
) -> None:
    """Write the ONNX file to `out`, whole or not at all, with `facts` in its metadata."""
    facts = facts | {
        "version": version,
        "expressions": list(CLASSES),
        "temperature": round(calibration.temperature, 6),
        "std_scale": [round(v, 6) for v in calibration.std_scale],
    }
    samples = (torch.zeros(2, CROP, CROP, 3, dtype=torch.uint8), torch.zeros(2, POINTS, 2))
    served = Served(network, head, calibration)
    onnx_file.write(served, dict(zip(INPUTS, samples, strict=True)), OUTPUTS, facts, out, in_bytes=True)
