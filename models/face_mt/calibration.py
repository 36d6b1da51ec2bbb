"""Calibrate probabilities and deviations on faces that no weight was trained on.

The five folds' predictions for the rated web faces are used, each fold's for the fifth that it was not trained on: one
temperature for the expressions (Guo et al. 2017), one factor for each deviation, and for each unit the logistic line
from its intensity to the probability that it is present.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.face_mt.scores import Floats, softmax
from models.face_mt.votes import CLASSES

CLASS_COUNT = len(CLASSES)
COVERAGE = 0.68  # share of the cases that lie within one standard deviation
PRESENT_AT_REST = (
    0.95  # a unit counts as present beyond the teacher's intensity that this share of neutral faces is under
)
FREE_PHOTOGRAPHS = 0.97  # share of photographs whose face is judged less likely covered than not
LOWEST_PRESENT, HIGHEST_PRESENT = 0.3, 1.5  # intensities between which that limit lies
_STEPS = 60  # of Newton's method; it converges in about ten
_RIDGE = 1e-3


@dataclass(frozen=True)
class Calibration:
    """Hold what turns the network's answers into those that are published; k units."""

    temperature: float  # divides the logits
    std_scale: tuple[float, float]  # multiplies the deviations of valence and arousal
    unit_std_scale: Floats  # (k,)
    unit_slope: Floats  # (k,) of the logit of presence over the intensity
    unit_offset: Floats  # (k,) of that logit at intensity 0
    cover_offset: float  # added to the logit of cover
    votes_temperature: float  # divides the logits of FER+'s names
    votes_prior: Floats  # (c,) whose logarithm is then added to them


def plain(units: int) -> Calibration:
    """Return the calibration that changes nothing: unit k is as likely as not at intensity 0."""
    ones = np.ones(units)
    return Calibration(1.0, (1.0, 1.0), ones, ones, np.zeros(units), 0.0, 1.0, np.full(CLASS_COUNT, 1 / CLASS_COUNT))


def fit_temperature(logits: Floats, truth: NDArray[np.int64], log_prior: Floats) -> float:
    """Return the temperature that is best in cross-entropy on faces as they come.

    `logits`: (n, c) balanced; `truth`: (n,). It divides the balanced logits, before the prior of the faces is added: so
    it is fitted on all faces alike and holds for the balanced prior as well.
    """

    def cost(temperature: float) -> float:
        p = softmax(logits / temperature + log_prior)
        return float(-np.log(p[np.arange(len(truth)), truth] + 1e-12).sum())

    candidates = np.exp(np.linspace(np.log(0.3), np.log(4.0), 200))
    return float(min(candidates, key=cost))


def fit_prior(logits: Floats, truth: NDArray[np.int64], start: Floats) -> Floats:
    """Return the (c,) prior under which `logits`, already divided by the temperature, fit the faces `truth` best.

    It begins at `start` and follows the share of each class by expectation and maximisation (Saerens et al. 2002, with
    labels): what raters of one source call by another name than those of another is in it too.
    """
    share = np.bincount(truth, minlength=len(start)) / len(truth)
    log_prior = np.log(np.maximum(start, 1e-6))
    for _ in range(_STEPS):
        said = softmax(logits + log_prior).mean(0)
        log_prior = log_prior + np.log(np.maximum(share, 1e-6)) - np.log(np.maximum(said, 1e-6))
    prior: Floats = softmax(log_prior[None])[0]
    return prior


def fit_std_scale(predicted: Floats, std: Floats, target: Floats) -> tuple[float, float]:
    """Return factors with which `COVERAGE` of |target - predicted| lies within one std; all (n, 2)."""
    first, second = (float(v) for v in fit_scales(predicted, std, target))
    return first, second


def fit_scales(predicted: Floats, std: Floats, target: Floats) -> Floats:
    """Return (k,) such factors for (n, k) values, over the targets that are known; 1 where none is."""
    ratio = np.abs(target - predicted) / np.maximum(std, 1e-6)
    return np.array([np.quantile(r[np.isfinite(r)], COVERAGE) if np.isfinite(r).any() else 1.0 for r in ratio.T])


def present_above(teacher: Floats, neutral: NDArray[np.bool_]) -> Floats:
    """Return (k,) the teacher's intensity (n, k) above which a unit counts as present.

    Teachers differ in scale: an intensity that is rare on neutral faces of one unit is common in another. So the limit
    is what `PRESENT_AT_REST` of the neutral faces stay under, within bounds.
    """
    limits = []
    for column in teacher[neutral].T:
        known = column[np.isfinite(column)]
        limits.append(np.quantile(known, PRESENT_AT_REST) if len(known) else 1.0)
    return np.clip(limits, LOWEST_PRESENT, HIGHEST_PRESENT)


def fit_cover(logits: Floats) -> float:
    """Return what is added to the `logits` (n,) of cover, so that `FREE_PHOTOGRAPHS` of photographs are under 0.

    A fifth of the training pictures are covered, more than of real ones. The web photographs whose logit is then above
    0 were inspected: most show hands, pacifiers or beards.
    """
    return -float(np.quantile(logits, FREE_PHOTOGRAPHS))


def fit_logistic(value: Floats, present: NDArray[np.bool_]) -> tuple[float, float]:
    """Return slope and offset of the logit of `present` over `value`, both (n,), by logistic regression (Platt 1999).

    The slope is positive or zero. Where all or none are present, the line is that of one imagined face of each kind.
    """
    x = np.concatenate([value, [value.max() + 1, value.min() - 1]]) if len(value) else np.array([1.0, -1.0])
    y = np.concatenate([present.astype(np.float64), [1.0, 0.0]])
    design = np.stack([x, np.ones(len(x))], 1)
    found = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ found, -30, 30)))
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (y - p) - _RIDGE * found)
        found = found + np.clip(step, -2, 2)
    return max(float(found[0]), 0.0), float(found[1])
