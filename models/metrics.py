"""Scores of the Affective Behavior Analysis in-the-wild (ABAW) challenges of 2020 and 2022. numpy only.

Labels and predictions are arrays over all frames of all videos, concatenated, as the challenges count. A frame is left
out of a task's score if any of the task's columns holds the sentinel of frames that were not annotated.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

VA_SENTINEL = -5
CLASS_SENTINEL = -1  # of expressions and of action units

Floats = NDArray[np.float64]


def annotated(labels: ArrayLike, sentinel: float) -> NDArray[np.bool_]:
    """Return (n,) booleans: the frames of `labels` (n, ...) none of whose columns is `sentinel`."""
    values = np.asarray(labels)
    present: NDArray[np.bool_] = (values != sentinel).all(axis=tuple(range(1, values.ndim)))
    return present


def ccc(label: ArrayLike, pred: ArrayLike) -> float:
    """Return the concordance correlation coefficient with population moments (Lin 1989), in [-1, 1].

    The value is 2 cov / (var + var + squared difference of the means). It is 0 if `label` or `pred` is constant, since
    the covariance is 0 then (two equal constants are 0 / 0), and 0 if no frame is left.
    """
    x, y = np.asarray(label, np.float64), np.asarray(pred, np.float64)
    if not x.size or np.ptp(x) == 0 or np.ptp(y) == 0:  # rounding of the mean would leave a trace of a covariance
        return 0.0
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * covariance / spread)


def mse(label: ArrayLike, pred: ArrayLike) -> float:
    """Return the mean squared error of two (n,) arrays; 0 if no frame is left."""
    error = np.asarray(label, np.float64) - np.asarray(pred, np.float64)
    return float(np.square(error).mean()) if error.size else 0.0


def f1_scores(label: NDArray[np.bool_], pred: NDArray[np.bool_]) -> Floats:
    """Return (classes,) F1 scores of (n, classes) booleans; 0 for a class in neither labels nor predictions."""
    hits = (label & pred).sum(0)
    total = label.sum(0) + pred.sum(0)
    return np.asarray(2 * hits / np.maximum(total, 1), np.float64)


def va_scores(labels: ArrayLike, preds: ArrayLike) -> dict[str, float]:
    """Return `ccc_valence`, `ccc_arousal` and their mean `va` over the annotated frames of (n, 2) arrays."""
    keep = annotated(labels, VA_SENTINEL)
    x, y = np.asarray(labels)[keep], np.asarray(preds)[keep]
    scores = {name: ccc(x[:, i], y[:, i]) for i, name in enumerate(("ccc_valence", "ccc_arousal"))}
    return scores | {"va": sum(scores.values()) / 2}


@dataclass(frozen=True)
class ClassScores:
    """Hold the F1 of each class or action unit, their mean, and the total accuracy (over all cells of action units)."""

    f1: Floats
    mean_f1: float
    accuracy: float


def expression_scores(labels: ArrayLike, preds: ArrayLike, classes: int) -> ClassScores:
    """Return the scores of (n,) class ids. Every class counts in the mean, also one that occurs nowhere."""
    keep = annotated(labels, CLASS_SENTINEL)
    x, y = np.asarray(labels)[keep], np.asarray(preds)[keep]
    ids = np.arange(classes)
    f1 = f1_scores(x[:, None] == ids, y[:, None] == ids)
    return ClassScores(f1, float(f1.mean()), float((x == y).mean()) if x.size else 0.0)


def au_scores(labels: ArrayLike, preds: ArrayLike) -> ClassScores:
    """Return the scores of (n, action units) zeros and ones over the frames with every unit annotated."""
    keep = annotated(labels, CLASS_SENTINEL)
    x, y = np.asarray(labels)[keep] == 1, np.asarray(preds)[keep] == 1
    f1 = f1_scores(x, y)
    return ClassScores(f1, float(f1.mean()), float((x == y).mean()) if x.size else 0.0)


def confusion(labels: ArrayLike, preds: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return (classes, classes) counts of the annotated frames: the row is the label, the column the prediction."""
    keep = annotated(labels, CLASS_SENTINEL)
    x, y = np.asarray(labels)[keep].astype(int), np.asarray(preds)[keep].astype(int)
    return np.bincount(x * classes + y, minlength=classes * classes).reshape(classes, classes)


def recalls(labels: ArrayLike, preds: ArrayLike, classes: int) -> Floats:
    """Return (classes,) recalls of the annotated frames: the diagonal of the confusion, rows as shares; NaN if empty.

    A prediction of -1 (none) is a miss.
    """
    keep = annotated(labels, CLASS_SENTINEL)
    x, y = np.asarray(labels)[keep][:, None] == np.arange(classes), np.asarray(preds)[keep][:, None]
    total = x.sum(0)
    hits = (x & (y == np.arange(classes))).sum(0)
    return np.where(total > 0, hits / np.maximum(total, 1), np.nan)


def mean_diagonal(labels: ArrayLike, preds: ArrayLike, classes: int) -> float:
    """Return the mean of the confusion's diagonal, rows as shares, over all classes; a class without a frame counts 0.

    RAF-DB's measure (Li, Deng and Du 2017), used in Table VI of Kollias and Zafeiriou 2021.
    """
    return float(np.nan_to_num(recalls(labels, preds, classes)).mean())


def unweighted_recall(labels: ArrayLike, preds: ArrayLike, classes: int) -> float:
    """Return the unweighted average recall (UAR): the mean recall over the classes that occur; 0 if none does."""
    found = recalls(labels, preds, classes)
    return float(np.nanmean(found)) if not np.isnan(found).all() else 0.0


def average_f1_accuracy(labels: ArrayLike, preds: ArrayLike) -> float:
    """Return the average (AFA) of mean F1 and mean accuracy of action units, each over the frames annotated for it.

    `labels` and `preds`: (n, action units); -1 marks a unit that is not annotated in a frame. A unit that is annotated
    nowhere is left out. It is EmotioNet's measure; with every unit annotated in the same frames it equals `au_2020`.
    """
    x, y = np.asarray(labels), np.asarray(preds) == 1
    known = x != CLASS_SENTINEL
    if not known.any():
        return 0.0
    f1 = f1_scores((x == 1) & known, y & known)
    accuracy = (((x == 1) == y) & known).sum(0) / np.maximum(known.sum(0), 1)
    used = known.any(0)
    return float((f1[used].mean() + accuracy[used].mean()) / 2)


def expression_2020(scores: ClassScores) -> float:
    """Return 0.67 mean F1 + 0.33 accuracy, over 7 expressions: the criterion of 2020."""
    return 0.67 * scores.mean_f1 + 0.33 * scores.accuracy


def au_2020(scores: ClassScores) -> float:
    """Return 0.5 mean F1 + 0.5 accuracy, over 8 action units: the criterion of 2020."""
    return 0.5 * scores.mean_f1 + 0.5 * scores.accuracy


def multi_task_2022(va: Mapping[str, float], expression: ClassScores, au: ClassScores) -> float:
    """Return mean CCC + mean F1 of 8 expressions + mean F1 of 12 action units: the criterion of 2022."""
    return va["va"] + expression.mean_f1 + au.mean_f1


def reliability(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return mean probability, mean outcome and count of each non-empty one of `bins` equal parts of 0..1."""
    p, y = np.asarray(probability, np.float64), np.asarray(outcome, np.float64)
    place = np.clip((p * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    means = [np.bincount(place, weights, bins)[used] / count[used] for weights in (p, y)]
    return means[0], means[1], count[used]


def calibration_error(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error: the mean distance of probability and observed share; 0 without a frame."""
    predicted, observed, count = reliability(probability, outcome, bins)
    return float((np.abs(predicted - observed) * count).sum() / max(count.sum(), 1))


def bootstrap(
    score: Callable[[NDArray[np.int64]], float], groups: ArrayLike, rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % confidence interval of `score` when whole videos are drawn with replacement.

    `score`: takes the indices of the drawn frames. `groups`: the video (or subject) of each frame; frames of one video
    are alike, so drawing frames would make the interval far too narrow. Percentile method; a single video gives an
    interval of no width.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(group, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group))[:-1])
    rng = np.random.default_rng(seed)
    draws = [
        score(np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))])) for _ in range(rounds)
    ]
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)
