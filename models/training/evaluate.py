"""Score prediction files against annotation files as the challenges count, with intervals by video and by class.

`models.training.prediction_files` says which files are read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.errors import AnnotationError
from models.training import affwild2
from models.training.prediction_files import CLASSES, UNITS, Missing, Task, tasks_of


@dataclass(frozen=True)
class Evaluation:
    """Hold the scores of one set of predictions.

    `scores`: name -> (value, low, high), a 95 % interval by video. `classes`: a row of scores for each expression and
    action unit. `tasks`: the annotated frames.
    """

    year: str
    scores: dict[str, tuple[float, float, float]]
    classes: list[dict[str, str | float | None]]
    tasks: dict[str, Task] = field(repr=False)

    def rows(self) -> list[dict[str, str | float | None]]:
        """Return the scores as the rows of a table."""
        return [{"score": k, "value": v, "low": low, "high": high} for k, (v, low, high) in self.scores.items()]


def evaluate(
    predictions: Path,
    annotations: Path,
    split: str = "validation",
    rounds: int = 1000,
    missing: Missing = "count",
) -> Evaluation:
    """Return the scores of `predictions` against `annotations`, with intervals from `rounds` draws of whole videos.

    `predictions`: a folder of the three tasks' files, a multi-task file, or a folder of `analyze` exports.
    `annotations`: a data set's root, or a multi-task file. `missing`: whether annotated frames that have no prediction
    count as predicted -5 or -1, as in the challenges, or are left out. Raise `AnnotationError` naming files that are
    missing, wrong or of another length.
    """
    year = "2022" if annotations.is_file() else "2020"
    return scored(tasks_of(predictions, annotations, split, missing), year, rounds)


def scored(tasks: Mapping[str, Task], year: str, rounds: int = 1000) -> Evaluation:
    """Return the scores of `tasks`, each with at least one annotated frame, as the challenge of `year` counts them."""
    functions = _functions(tasks, year)
    scores = {}
    for name, (function, videos) in functions.items():
        everything = np.arange(len(videos))
        scores[name] = (function(everything), *metrics.bootstrap(function, videos, rounds))
    classes: list[dict[str, str | float | None]] = []
    if "expression" in tasks:
        label, ids = tasks["expression"].label, np.arange(len(CLASSES[year]))
        f1 = metrics.expression_scores(label, tasks["expression"].pred, len(ids)).f1
        classes += _per_class(CLASSES[year], f1, label[:, None] == ids, tasks["expression"].probability)
    if "au" in tasks:
        f1 = metrics.au_scores(tasks["au"].label, tasks["au"].pred).f1
        classes += _per_class(UNITS[year], f1, tasks["au"].label == 1, tasks["au"].probability)
    return Evaluation(year, scores, classes, dict(tasks))


def _per_class(
    names: tuple[str, ...], f1: NDArray[np.float64], shown: NDArray[np.bool_], probability: NDArray[np.float64] | None
) -> list[dict[str, str | float | None]]:
    rows: list[dict[str, str | float | None]] = []
    for i, name in enumerate(names):
        known = np.zeros(0, bool) if probability is None else ~np.isnan(probability[:, i])
        error = None
        if probability is not None and known.any():
            error = metrics.calibration_error(probability[known, i], shown[known, i])
        rows.append({"class": name, "f1": float(f1[i]), "frames": int(shown[:, i].sum()), "calibration_error": error})
    return rows


Score = Callable[[NDArray[np.int64]], float]


def _functions(tasks: Mapping[str, Task], year: str) -> dict[str, tuple[Score, NDArray[Any]]]:
    """Return by name the score as a function of chosen frames, and the frames' videos."""
    functions: dict[str, tuple[Score, NDArray[Any]]] = {}

    def add(task: str, name: str, function: Callable[[NDArray[Any], NDArray[Any]], float]) -> None:
        t = tasks[task]
        functions[name] = (lambda rows: function(t.label[rows], t.pred[rows]), t.video)

    if "va" in tasks:
        for name in ("ccc_valence", "ccc_arousal", "va"):
            add("va", name, lambda label, pred, name=name: metrics.va_scores(label, pred)[name])  # type: ignore[misc]
        for i, name in enumerate(("mse_valence", "mse_arousal")):
            add("va", name, lambda label, pred, i=i: metrics.mse(label[:, i], pred[:, i]))  # type: ignore[misc]
    if "expression" in tasks:
        n = len(CLASSES[year])
        add("expression", "expression_f1", lambda label, pred: metrics.expression_scores(label, pred, n).mean_f1)
        add("expression", "expression_accuracy", lambda label, pred: metrics.expression_scores(label, pred, n).accuracy)
        add("expression", "expression_diagonal", lambda label, pred: metrics.mean_diagonal(label, pred, n))
        add("expression", "expression_recall", lambda label, pred: metrics.unweighted_recall(label, pred, n))
        if year == "2020":
            add("expression", "expression_2020", lambda label, pred: metrics.expression_2020(
                metrics.expression_scores(label, pred, n)))  # fmt: skip
    if "au" in tasks:
        add("au", "au_f1", lambda label, pred: metrics.au_scores(label, pred).mean_f1)
        add("au", "au_accuracy", lambda label, pred: metrics.au_scores(label, pred).accuracy)
        add("au", "au_afa", metrics.average_f1_accuracy)
        if year == "2020":
            add("au", "au_2020", lambda label, pred: metrics.au_2020(metrics.au_scores(label, pred)))
    if year == "2022" and len(tasks) == 3:
        functions["multi_task_2022"] = _total(tasks)
    return functions


def _total(tasks: Mapping[str, Task]) -> tuple[Score, NDArray[Any]]:
    """Return the 2022 total as a function of all tasks' frames, and their videos, drawn for all tasks at once."""
    order = ("va", "expression", "au")
    video = np.concatenate([tasks[task].video for task in order])
    ends = np.cumsum([len(tasks[task].video) for task in order])

    def score(rows: NDArray[np.int64]) -> float:
        part = np.searchsorted(ends, rows, side="right")
        starts = np.concatenate(([0], ends[:-1]))
        va, expression, au = (
            (tasks[task].label[rows[part == i] - starts[i]], tasks[task].pred[rows[part == i] - starts[i]])
            for i, task in enumerate(order)
        )
        return metrics.multi_task_2022(
            metrics.va_scores(*va), metrics.expression_scores(*expression, 8), metrics.au_scores(*au)
        )

    return score, video


def validate(predictions: Path, frames: Mapping[str, int]) -> list[dict[str, str | int]]:
    """Return a row for each file of a submission, after checking that it is right and of its recording's length.

    `frames`: name -> frames of each recording. Raise `AnnotationError` naming the file, the line and what was expected.
    """
    if predictions.is_file():
        found = affwild2.read_multi_task(predictions)
        for name, count in frames.items():
            if name not in found or len(found[name]) < count:
                have = len(found[name]) if name in found else 0
                raise AnnotationError(
                    f"{predictions}: expected pictures of {name} up to {count:05}.jpg, not {have:05}."
                )
        return [{"file": predictions.name, "rows": sum(map(len, found.values()))}]
    rows: list[dict[str, str | int]] = []
    readers: dict[str, Callable[[Path], NDArray[Any]]] = {
        "va": affwild2.read_va,
        "expression": affwild2.read_expression,
        "au": affwild2.read_au,
    }
    for task, reader in readers.items():
        folder = predictions / affwild2.FOLDERS[task]
        for name, count in frames.items() if folder.is_dir() else ():
            path = folder / f"{name}.txt"
            if not path.is_file():
                raise AnnotationError(f"There is no prediction {path}.")
            if len(values := reader(path)) not in (count, count + 1):
                raise AnnotationError(f"{path}: expected {count} rows, not {len(values)}.")
            rows.append({"file": f"{folder.name}/{path.name}", "rows": len(values)})
    if not rows:
        raise AnnotationError(f"{predictions} has none of the folders {', '.join(affwild2.FOLDERS.values())}.")
    return rows
