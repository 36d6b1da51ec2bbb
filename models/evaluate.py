"""Scores of prediction files against annotation files, as the challenges count, with intervals by video, tables, plots.

2020: two folders with VA_Set, EXPR_Set and AU_Set (the annotations' ones in parts such as Validation_Set). 2022: two
multi-task files. Prediction files may have one row more than the annotations, as the published writers' have.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import affwild2, metrics
from models.errors import AnnotationError
from models.labels import AUS_2020, AUS_2022, EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL

RELIABILITY_BINS = 10
CLASSES = {"2020": EXPRESSIONS, "2022": (*EXPRESSIONS, "other")}
UNITS = {"2020": AUS_2020, "2022": AUS_2022}


@dataclass(frozen=True)
class Task:
    """Annotated frames of one task: `label` and `pred` (n, ...), and whose frame each is, `video` (n,)."""

    label: NDArray[Any]
    pred: NDArray[Any]
    video: NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """`scores`: name -> (value, low, high), a 95 % interval; `classes`: rows of per-class F1; `tasks`: the frames."""

    year: str
    scores: dict[str, tuple[float, float, float]]
    classes: list[dict[str, str | float]]
    tasks: dict[str, Task] = field(repr=False)

    def rows(self) -> list[dict[str, str | float]]:
        """The scores as a table."""
        return [{"score": k, "value": v, "low": low, "high": high} for k, (v, low, high) in self.scores.items()]


def evaluate(predictions: Path, annotations: Path, split: str = "validation", rounds: int = 1000) -> Evaluation:
    """Scores `predictions` (a folder, or a multi-task file) against `annotations` (a data set's root, or such a file).

    Raises `AnnotationError` naming files that are missing, wrong, or of another length.
    """
    year = "2022" if annotations.is_file() else "2020"
    tasks = _multi_task(predictions, annotations) if year == "2022" else _single_tasks(predictions, annotations, split)
    return scored(tasks, year, rounds)


def scored(tasks: Mapping[str, Task], year: str, rounds: int = 1000) -> Evaluation:
    """Scores of frames that are there already, for example of a training run's validation."""
    functions = _functions(tasks, year)
    scores = {}
    for name, (function, videos) in functions.items():
        everything = np.arange(len(videos))
        scores[name] = (function(everything), *metrics.bootstrap(function, videos, rounds))
    classes: list[dict[str, str | float]] = []
    if "expression" in tasks:
        f1 = metrics.expression_scores(tasks["expression"].label, tasks["expression"].pred, len(CLASSES[year])).f1
        counts = np.bincount(tasks["expression"].label, minlength=len(f1))
        classes += [
            {"class": name, "f1": float(f1[i]), "frames": int(counts[i])} for i, name in enumerate(CLASSES[year])
        ]
    if "au" in tasks:
        f1 = metrics.au_scores(tasks["au"].label, tasks["au"].pred).f1
        present = tasks["au"].label.sum(0)
        classes += [
            {"class": name, "f1": float(f1[i]), "frames": int(present[i])} for i, name in enumerate(UNITS[year])
        ]
    return Evaluation(year, scores, classes, dict(tasks))


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
            pairs.append((label, pred[: len(label)], file.stem))
        tasks[task] = _task(task, pairs)
    if not tasks:
        raise AnnotationError(f"{predictions} has none of the folders {', '.join(affwild2.FOLDERS.values())}.")
    return tasks


def _multi_task(predictions: Path, annotations: Path) -> dict[str, Task]:
    labels, preds = affwild2.read_multi_task(annotations, strict=False), affwild2.read_multi_task(predictions)
    pairs: dict[str, list[tuple[NDArray[Any], NDArray[Any], str]]] = {"va": [], "expression": [], "au": []}
    for name, label in labels.items():
        if name not in preds or len(preds[name]) < len(label):
            have = len(preds[name]) if name in preds else 0
            raise AnnotationError(
                f"{predictions}: expected pictures of {name} up to {len(label):05}.jpg, not {have:05}."
            )
        for task, found in pairs.items():
            found.append((getattr(label, task), getattr(preds[name], task)[: len(label)], label.video))
    return {task: _task(task, found) for task, found in pairs.items()}


def _task(task: str, pairs: list[tuple[NDArray[Any], NDArray[Any], str]]) -> Task:
    whole = [np.concatenate([pair[i] for pair in pairs]) for i in (0, 1)]
    videos = np.concatenate([np.full(len(pair[0]), affwild2.video_of(pair[2])) for pair in pairs])
    keep = metrics.annotated(whole[0], VA_SENTINEL if task == "va" else CLASS_SENTINEL)
    return Task(whole[0][keep], whole[1][keep], videos[keep])


def plot(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Writes confusion.png (expressions) and reliability.png (mean annotation by predicted value); their paths."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if "expression" in evaluation.tasks:
        names, task = CLASSES[evaluation.year], evaluation.tasks["expression"]
        counts = metrics.confusion(task.label, task.pred.clip(0), len(names))
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        figure = Figure(figsize=(6, 5), layout="constrained")
        axis = figure.subplots()
        axis.imshow(share, vmin=0, vmax=1, cmap="Blues")
        for (i, j), count in np.ndenumerate(counts):
            axis.text(j, i, str(count), ha="center", va="center", color="white" if share[i, j] > 0.5 else "black")
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axis.set_yticks(range(len(names)), names)
        axis.set(xlabel="predicted", ylabel="annotated")
        figure.savefig(folder / "confusion.png")
        written.append(folder / "confusion.png")
    if "va" in evaluation.tasks:
        task = evaluation.tasks["va"]
        figure = Figure(figsize=(8, 4), layout="constrained")
        for i, (axis, name) in enumerate(zip(figure.subplots(1, 2), ("valence", "arousal"), strict=True)):
            bins = np.clip(((task.pred[:, i] + 1) / 2 * RELIABILITY_BINS).astype(int), 0, RELIABILITY_BINS - 1)
            used = np.unique(bins)
            axis.plot((-1, 1), (-1, 1), color="grey", linewidth=0.8)
            axis.plot(
                *np.array([(task.pred[bins == b, i].mean(), task.label[bins == b, i].mean()) for b in used]).T, "o-"
            )
            axis.set(xlabel=f"predicted {name}", ylabel="mean annotation", xlim=(-1, 1), ylim=(-1, 1))
        figure.savefig(folder / "reliability.png")
        written.append(folder / "reliability.png")
    return written
