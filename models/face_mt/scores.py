"""Predictions of the face network over many crops, and the figures that training and evaluation report."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.face_mt import action_units
from models.face_mt.augment import exact_view
from models.face_mt.data import Faces
from models.labels import EXPRESSIONS

Floats = NDArray[np.float64]
_BATCH = 256
_RARE = 2e-3  # as train.PRIOR_FLOOR


@dataclass(frozen=True)
class Predictions:
    """Raw outputs for n crops; the logits are those under a balanced prior."""

    logits: Floats  # (n, 8)
    va: Floats  # (n, 2)
    std: Floats  # (n, 2)
    units: Floats  # (n, k) probabilities


@torch.no_grad()
def predict(network: nn.Module, grey: NDArray[np.uint8]) -> Predictions:
    """`grey`: (n, 112, 112) aligned luminance; runs where the network is."""
    network.eval()
    device = next(network.parameters()).device
    parts: list[list[NDArray[np.float32]]] = []
    for start in range(0, len(grey), _BATCH):
        x = exact_view(torch.from_numpy(grey[start : start + _BATCH]).to(device))
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            logits, va, log_std, units = network(x)
        parts.append([v.float().cpu().numpy() for v in (logits, va, log_std.exp(), torch.sigmoid(units))])
    return Predictions(*(np.concatenate(columns).astype(np.float64) for columns in zip(*parts, strict=True)))


def softmax(logits: Floats) -> Floats:
    """(n, c) -> (n, c), rows sum to 1."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True), np.float64)


def macro_f1(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> float:
    """Mean F1 over all `classes`; one that neither names counts 0."""
    f1 = []
    for c in range(classes):
        hit = int(((truth == c) & (guess == c)).sum())
        named = int((truth == c).sum() + (guess == c).sum())
        f1.append(2 * hit / named if named else 0.0)
    return float(np.mean(f1))


def concordance(x: Floats, y: Floats) -> float:
    """Lin's concordance correlation."""
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2 + 1e-12))


def calibration_error(probabilities: Floats, truth: NDArray[np.int64], bins: int = 15) -> float:
    """Expected calibration error of the winning class (Guo et al. 2017)."""
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(
        sum(abs(hit[which == b].mean() - confidence[which == b].mean()) * (which == b).mean() for b in set(which))
    )


def unit_correlations(
    units: Floats, faces: Faces, rows: NDArray[np.int64], scales: dict[str, tuple[float, float]]
) -> dict[str, float]:
    """Pearson r of each unit with its teacher."""
    if not scales or not faces.units:
        return {}
    target = action_units.targets(faces.units, scales)[rows]
    known = np.isfinite(target).all(1)
    return {au: float(np.corrcoef(units[known, k], target[known, k])[0, 1]) for k, au in enumerate(scales)}


def scores(
    p: Predictions, faces: Faces, rows: NDArray[np.int64], prior: Floats, scales: dict[str, tuple[float, float]]
) -> dict[str, float]:
    """Figures for `p`, predicted from `faces.grey[rows]`. `f1` and `accuracy` are under the training prior."""
    seven = len(EXPRESSIONS)
    truth = faces.majority[rows]
    named = truth >= 0
    trained = p.logits + np.log(np.maximum(prior, _RARE))
    figures = {"accuracy": float((trained[named].argmax(1) == truth[named]).mean())}
    basic = named & (truth < seven)
    figures["accuracy7"] = float((trained[basic, :seven].argmax(1) == truth[basic]).mean())
    figures["f1"] = macro_f1(truth[basic], trained[basic, :seven].argmax(1), seven)
    balanced = p.logits[basic, :seven].argmax(1)
    present = [c for c in range(seven) if (truth[basic] == c).any()]
    figures["balanced_accuracy"] = float(np.mean([(balanced[truth[basic] == c] == c).mean() for c in present]))
    weight = faces.weight[rows]
    if weight.sum() > 0:
        log_p = np.log(softmax(trained) + 1e-12)
        each = -(faces.expression[rows] * log_p).sum(1)
        figures["cross_entropy"] = float((each * weight).sum() / weight.sum())
    known = np.isfinite(faces.affect[rows]).all(1)
    if known.sum() > 2:
        target = faces.affect[rows][known].astype(np.float64)
        figures["ccc_valence"], figures["ccc_arousal"] = (concordance(p.va[known, k], target[:, k]) for k in (0, 1))
    r = unit_correlations(p.units, faces, rows, scales)
    if r:
        figures["units_r"] = float(np.median(list(r.values())))
    return figures
