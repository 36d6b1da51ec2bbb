"""Scores of prediction files against annotation files, as the challenges count, with intervals by video and tables.

2020: two folders with VA_Set, EXPR_Set and AU_Set (the annotations' ones in parts such as Validation_Set). 2022: two
multi-task files. Prediction files may have one row more than the annotations, as the published writers' have. Instead
of predictions, a folder of NAME.csv by `analyze` is scored too; beside them, in `probabilities`, such files say how
sure the predictions were.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.errors import AnnotationError
from models.labels import AUS_2020, AUS_2022, EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL
from models.training import affwild2, probabilities

PROBABILITIES = "probabilities"  # folder beside predictions
CLASSES = {"2020": EXPRESSIONS, "2022": (*EXPRESSIONS, "other")}
UNITS = {"2020": AUS_2020, "2022": AUS_2022}


@dataclass(frozen=True)
class Task:
    """Annotated frames of one task: `label` and `pred` (n, ...), and whose frame each is, `video` (n,).

    `probability`: (n, classes or units), NaN where unknown, if there are any.
    """

    label: NDArray[Any]
    pred: NDArray[Any]
    video: NDArray[Any]
    probability: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class _Pair:
    """What is annotated and what is predicted of one recording and task."""

    label: NDArray[Any]
    pred: NDArray[Any]
    name: str
    probability: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Evaluation:
    """`scores`: name -> (value, low, high), a 95 % interval; `classes`: rows of their scores; `tasks`: the frames."""

    year: str
    scores: dict[str, tuple[float, float, float]]
    classes: list[dict[str, str | float | None]]
    tasks: dict[str, Task] = field(repr=False)

    def rows(self) -> list[dict[str, str | float | None]]:
        """The scores as a table."""
        return [{"score": k, "value": v, "low": low, "high": high} for k, (v, low, high) in self.scores.items()]


def evaluate(predictions: Path, annotations: Path, split: str = "validation", rounds: int = 1000) -> Evaluation:
    """Scores `predictions` (a folder, or a multi-task file) against `annotations` (a data set's root, or such a file).

    Raises `AnnotationError` naming files that are missing, wrong, or of another length.
    """
    year = "2022" if annotations.is_file() else "2020"
    if predictions.is_dir() and any(predictions.glob("*.csv")):
        tasks = _analysed(predictions, annotations, split)
    elif year == "2022":
        tasks = _multi_task(predictions, annotations)
    else:
        tasks = _single_tasks(predictions, annotations, split)
    return scored(tasks, year, rounds)


def scored(tasks: Mapping[str, Task], year: str, rounds: int = 1000) -> Evaluation:
    """Scores of frames that are there already, for example of a training run's validation."""
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
    """Name -> score of a choice of frames, and the frames' videos."""
    functions: dict[str, tuple[Score, NDArray[Any]]] = {}

    def add(task: str, name: str, function: Callable[[NDArray[Any], NDArray[Any]], float]) -> None:
        t = tasks[task]
        functions[name] = (lambda rows: function(t.label[rows], t.pred[rows]), t.video)

    if "va" in tasks:
        for name in ("ccc_valence", "ccc_arousal", "va"):
            add("va", name, lambda label, pred, name=name: metrics.va_scores(label, pred)[name])  # type: ignore[misc]
    if "expression" in tasks:
        n = len(CLASSES[year])
        add("expression", "expression_f1", lambda label, pred: metrics.expression_scores(label, pred, n).mean_f1)
        add("expression", "expression_accuracy", lambda label, pred: metrics.expression_scores(label, pred, n).accuracy)
        if year == "2020":
            add("expression", "expression_2020", lambda label, pred: metrics.expression_2020(
                metrics.expression_scores(label, pred, n)))  # fmt: skip
    if "au" in tasks:
        add("au", "au_f1", lambda label, pred: metrics.au_scores(label, pred).mean_f1)
        add("au", "au_accuracy", lambda label, pred: metrics.au_scores(label, pred).accuracy)
        if year == "2020":
            add("au", "au_2020", lambda label, pred: metrics.au_2020(metrics.au_scores(label, pred)))
    if year == "2022" and len(tasks) == 3:
        functions["multi_task_2022"] = _total(tasks)
    return functions


def _total(tasks: Mapping[str, Task]) -> tuple[Score, NDArray[Any]]:
    """The 2022 total over all tasks' frames; videos are drawn for all tasks at once."""
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


def _single_tasks(predictions: Path, annotations: Path, split: str) -> dict[str, Task]:
    root = affwild2.annotation_root(annotations)
    readers: dict[str, Callable[[Path], NDArray[Any]]] = {
        "va": lambda path: affwild2.read_va(path, strict=False),
        "expression": affwild2.read_expression,
        "au": affwild2.read_au,
    }
    tasks = {}
    for task, reader in readers.items():
        folder = predictions / affwild2.FOLDERS[task]
        if not folder.is_dir():
            continue
        parts = [root / affwild2.FOLDERS[task] / part for part in affwild2.SPLITS[split]]
        files = sorted(path for part in parts for path in part.glob("*.txt"))
        if not files:
            raise AnnotationError(f"There are no annotations in {parts[0]}.")
        pairs = []
        for file in files:
            if not (folder / file.name).is_file():
                raise AnnotationError(f"There is no prediction {folder / file.name} for the annotation {file}.")
            label, pred = reader(file), reader(folder / file.name)
            if len(pred) not in (len(label), len(label) + 1):
                raise AnnotationError(f"{folder / file.name}: expected {len(label)} rows, not {len(pred)}.")
            sure = _probability(predictions, task, file.stem, len(label), "2020")
            pairs.append(_Pair(label, pred[: len(label)], file.stem, sure))
        tasks[task] = _task(task, pairs)
    if not tasks:
        raise AnnotationError(f"{predictions} has none of the folders {', '.join(affwild2.FOLDERS.values())}.")
    return tasks


def _multi_task(predictions: Path, annotations: Path) -> dict[str, Task]:
    labels, preds = affwild2.read_multi_task(annotations, strict=False), affwild2.read_multi_task(predictions)
    pairs: dict[str, list[_Pair]] = {"va": [], "expression": [], "au": []}
    for name, label in labels.items():
        if name not in preds or len(preds[name]) < len(label):
            have = len(preds[name]) if name in preds else 0
            raise AnnotationError(
                f"{predictions}: expected pictures of {name} up to {len(label):05}.jpg, not {have:05}."
            )
        for task, found in pairs.items():
            sure = _probability(predictions.parent, task, name, len(label), "2022")
            found.append(_Pair(getattr(label, task), getattr(preds[name], task)[: len(label)], name, sure))
    return {task: _task(task, found) for task, found in pairs.items()}


def _analysed(folder: Path, annotations: Path, split: str) -> dict[str, Task]:
    """Of each annotated recording's NAME.csv: values and decisions, each held until the next."""
    if annotations.is_file():
        year, labels = "2022", affwild2.read_multi_task(annotations, strict=False)
    else:
        year, labels = "2020", affwild2.read_annotations(annotations, split)
    pairs: dict[str, list[_Pair]] = {"va": [], "expression": [], "au": []}
    for name, label in labels.items():
        path = folder / f"{name}.csv"
        if not path.is_file():
            raise AnnotationError(f"There is no {path} for the annotation of {name}; `affectstream analyze` writes it.")
        found = probabilities.read(path, CLASSES[year], UNITS[year])
        for task, decided in (
            ("va", np.nan_to_num(found.va, nan=VA_SENTINEL)),
            ("expression", np.nan_to_num(found.expression, nan=-1).argmax(1)),
            ("au", (found.au >= 0.5).astype(np.int64)),
        ):
            if not len(found.frames) or np.isnan(getattr(found, task)).all():
                pred = np.full_like(getattr(label, task), VA_SENTINEL if task == "va" else CLASS_SENTINEL)
            else:
                sentinel = VA_SENTINEL if task == "va" else CLASS_SENTINEL
                pred = affwild2.hold(decided, found.frames.tolist(), len(label), sentinel)
            sure = _by_frame(getattr(found, task), found.frames, len(label)) if task != "va" else None
            pairs[task].append(_Pair(getattr(label, task), pred, name, sure))
    tasks = {task: _task(task, found) for task, found in pairs.items()}
    return {task: found for task, found in tasks.items() if len(found.label)}  # what is annotated


def _probability(folder: Path, task: str, name: str, length: int, year: str) -> NDArray[np.float64] | None:
    """(length, classes or units) out of the file beside the predictions, if there is one."""
    path = folder / PROBABILITIES / f"{name}.csv"
    if task == "va" or not path.is_file():
        return None
    found = probabilities.read(path, CLASSES[year], UNITS[year])
    return _by_frame(getattr(found, task), found.frames, length)


def _by_frame(values: NDArray[np.float64], frames: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    out = np.full((length, values.shape[1]), np.nan)
    inside = frames < length
    out[frames[inside]] = values[inside]
    return out


def _task(task: str, pairs: list[_Pair]) -> Task:
    label, pred = (np.concatenate([getattr(pair, kind) for pair in pairs]) for kind in ("label", "pred"))
    video = np.concatenate([np.full(len(pair.label), affwild2.video_of(pair.name)) for pair in pairs])
    keep = metrics.annotated(label, VA_SENTINEL if task == "va" else CLASS_SENTINEL)
    sure = [pair.probability for pair in pairs if pair.probability is not None]
    probability = np.concatenate(sure)[keep] if pairs and len(sure) == len(pairs) else None
    return Task(label[keep], pred[keep], video[keep], probability)


def validate(predictions: Path, frames: Mapping[str, int]) -> list[dict[str, str | int]]:
    """Checks a submission for recordings of as many frames: every file is there, right, and of that length.

    Gives a row for each file. Raises `AnnotationError` naming the file, the line and what was expected.
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
