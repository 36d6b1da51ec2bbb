"""Predictions of the face network over many crops, and the figures that training and evaluation report."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.face_mt.action_units import UNITS
from models.face_mt.augment import exact_view
from models.face_mt.data import Faces
from models.face_mt.network import FaceNetwork
from models.labels import EXPRESSIONS

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
_BATCH = 128
_SEVEN = len(EXPRESSIONS)


@dataclass(frozen=True)
class Predictions:
    """Hold the predictions of the network for n crops."""

    logits: Floats  # (n, 8) under a balanced prior
    va: Floats  # (n, 2)
    std: Floats  # (n, 2), not calibrated
    occlusion: Floats  # (n,) logits
    votes: Floats  # (n, 8) logits of FER+'s names under a balanced prior


@torch.no_grad()
def predict(network: FaceNetwork, grey: NDArray[np.uint8]) -> Predictions:
    """Return the predictions for (n, 112, 112) aligned luminance."""
    network.eval()
    parts: list[list[NDArray[np.float32]]] = []
    for start in range(0, len(grey), _BATCH):
        x = exact_view(torch.from_numpy(np.ascontiguousarray(grey[start : start + _BATCH])))
        with torch.autocast("cpu", torch.bfloat16):
            y = network(x.contiguous(memory_format=torch.channels_last))
        columns = (y.logits, y.va, y.log_std.exp(), y.occlusion, y.votes)
        parts.append([v.float().numpy() for v in columns])
    return Predictions(*(np.concatenate(columns).astype(np.float64) for columns in zip(*parts, strict=True)))


def softmax(logits: Floats) -> Floats:
    """Return (n, c) probabilities of (n, c) logits; rows sum to 1."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True), np.float64)


def reweighted(balanced: Floats, prior: Floats) -> Floats:
    """Return (n, c) the probabilities `balanced` of classes that are alike frequent, where they have `prior` (c,)."""
    p = balanced * prior
    return np.asarray(p / p.sum(1, keepdims=True), np.float64)


def macro_f1(truth: Rows, guess: Rows, classes: int) -> float:
    """Return the mean F1 over all `classes`; one that neither names counts 0."""
    f1 = []
    for c in range(classes):
        hit = int(((truth == c) & (guess == c)).sum())
        named = int((truth == c).sum() + (guess == c).sum())
        f1.append(2 * hit / named if named else 0.0)
    return float(np.mean(f1))


def concordance(x: Floats, y: Floats) -> float:
    """Return Lin's concordance correlation."""
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2 + 1e-12))


def calibration_error(probabilities: Floats, truth: Rows, bins: int = 15, weights: Floats | None = None) -> float:
    """Return the expected calibration error of the winning class (Guo et al. 2017), of faces weighted by `weights`."""
    confidence, hit = probabilities.max(1), (probabilities.argmax(1) == truth).astype(np.float64)
    share = np.full(len(truth), 1 / len(truth)) if weights is None else weights / weights.sum()
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(sum(abs(((hit - confidence) * share)[which == b].sum()) for b in set(which.tolist())))


def balance_weights(truth: NDArray[np.int64], classes: int) -> Floats:
    """Return (n,) weights under which each class counts the same."""
    count = np.bincount(truth, minlength=classes).astype(np.float64)
    return np.asarray(1.0 / np.maximum(count, 1.0), np.float64)[truth]


def weighted_calibration_error(balanced: Floats, truth: Rows, prior: Floats) -> float:
    """Return the calibration error under `prior` (c,) of balanced probabilities, with the faces weighted to `prior`."""
    weights = balance_weights(truth, len(prior)) * prior[truth]
    return calibration_error(reweighted(balanced, prior), truth, weights=weights)


def expression_scores(p: Predictions, faces: Faces, rows: Rows) -> dict[str, float]:
    """Return the accuracy of seven, and of eight where contempt counts too, under a balanced prior."""
    truth = faces.majority[rows]
    named, basic = truth >= 0, (truth >= 0) & (truth < _SEVEN)
    return {
        "accuracy7": float((p.logits[basic, :_SEVEN].argmax(1) == truth[basic]).mean()),
        "accuracy8": float((p.logits[named].argmax(1) == truth[named]).mean()),
    }


def affect_scores(p: Predictions, faces: Faces, rows: Rows) -> dict[str, float]:
    """Return the concordance of valence and of arousal with people's ratings."""
    target = faces.affect[rows].astype(np.float64)
    return {name: concordance(p.va[:, k], target[:, k]) for k, name in enumerate(("valence", "arousal"))}


def unit_correlations(units: Floats, faces: Faces, rows: Rows) -> dict[str, float]:
    """Return Pearson's r of each unit with its teacher; units of which nothing is known are left out."""
    target = faces.units[rows]
    found = {}
    for k, unit in enumerate(UNITS):
        known = np.isfinite(target[:, k])
        if known.sum() > 2:
            found[unit] = float(np.corrcoef(units[known, k], target[known, k])[0, 1])
    return found
