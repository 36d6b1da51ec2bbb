"""Draw an evaluation: confusions, and how predicted values and probabilities agree with the annotations."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.training.evaluate import Evaluation
from models.training.prediction_files import CLASSES, UNITS, Task

BINS = 10  # of a reliability plot
COLUMNS = 4  # of a figure with a panel for each class


def write(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write a PNG file for each task that the evaluation has frames of, and return the paths.

    confusion.png (expressions), reliability.png (mean annotation by predicted valence and arousal) and, where there are
    probabilities, reliability_expression.png and reliability_au.png (share of frames that show a class by its
    probability, in ten bins, with the bins' frames as bars and the expected calibration error).
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    tasks, names = evaluation.tasks, CLASSES[evaluation.year]
    if "expression" in tasks:
        figures["confusion"] = _confusion(tasks["expression"], names)
    if "va" in tasks:
        figures["reliability"] = _values(tasks["va"])
    if "expression" in tasks and (found := tasks["expression"].probability) is not None:
        shown = tasks["expression"].label[:, None] == np.arange(len(names))
        figures["reliability_expression"] = _probabilities(shown, found, names)
    if "au" in tasks and (found := tasks["au"].probability) is not None:
        figures["reliability_au"] = _probabilities(tasks["au"].label == 1, found, UNITS[evaluation.year])
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in figures]


def _confusion(task: Task, names: tuple[str, ...]) -> Any:
    from matplotlib.figure import Figure

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
    return figure


def _values(task: Task) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    for i, (axis, name) in enumerate(zip(figure.subplots(1, 2), ("valence", "arousal"), strict=True)):
        predicted, annotated, _ = metrics.reliability((task.pred[:, i] + 1) / 2, task.label[:, i], BINS)
        axis.plot((-1, 1), (-1, 1), color="grey", linewidth=0.8)
        axis.plot(predicted * 2 - 1, annotated, "o-")
        axis.set(xlabel=f"predicted {name}", ylabel="mean annotation", xlim=(-1, 1), ylim=(-1, 1))
    return figure


def _probabilities(shown: NDArray[np.bool_], probability: NDArray[np.float64], names: tuple[str, ...]) -> Any:
    from matplotlib.figure import Figure

    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(2.6 * COLUMNS, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis, i in zip(axes, range(len(names)), strict=False):
        known = ~np.isnan(probability[:, i])
        axis.set(title=f"{names[i]}, not given", xlim=(0, 1), ylim=(0, 1))
        if known.any():
            predicted, observed, count = metrics.reliability(probability[known, i], shown[known, i], BINS)
            axis.bar(predicted, count / count.sum(), width=0.06, color="lightgrey")
            axis.plot((0, 1), (0, 1), color="grey", linewidth=0.8)
            axis.plot(predicted, observed, "o-", markersize=3)
            error = metrics.calibration_error(probability[known, i], shown[known, i], BINS)
            axis.set(title=f"{names[i]}, error {error:.3f}")
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    figure.supxlabel("probability")
    figure.supylabel("share of frames that show it")
    return figure
