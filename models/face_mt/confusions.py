"""Draw confusion matrices: a panel for each table, rows normalised to recall."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Panel = tuple[str, Sequence[str], NDArray[np.int64]]  # title, classes, (classes, classes) counts with the truth in rows


def plot(panels: Sequence[Panel], truth: str, path: Path) -> None:
    """Write a PNG to `path`; `truth` names whose labels the rows are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(panels), 4.8))
    for axis, (title, names, table) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        share = table / np.maximum(table.sum(1, keepdims=True), 1)
        axis.imshow(share, vmin=0, vmax=1, cmap="Blues")
        for i, j in zip(*np.nonzero(table), strict=True):
            colour = "white" if share[i, j] > 0.5 else "black"
            axis.text(j, i, str(table[i, j]), ha="center", va="center", fontsize=7, color=colour)
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("said")
        axis.set_ylabel(truth)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def reliability(probabilities: NDArray[np.float64], truth: NDArray[np.int64], path: Path, bins: int = 10) -> None:
    """Write a PNG of how often the likeliest class is right against its probability; `truth` (n,), -1 is left out."""
    from matplotlib.figure import Figure

    known = truth >= 0
    confidence, hit = probabilities[known].max(1), probabilities[known].argmax(1) == truth[known]
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    filled = [b for b in range(bins) if (which == b).any()]
    figure = Figure(figsize=(4.4, 4.4))
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axis.plot([confidence[which == b].mean() for b in filled], [hit[which == b].mean() for b in filled], "o-")
    for b in filled:
        place = (confidence[which == b].mean(), hit[which == b].mean())
        axis.annotate(str(int((which == b).sum())), place, fontsize=7, xytext=(4, -8), textcoords="offset points")
    axis.set_xlabel("published probability of the likeliest expression")
    axis.set_ylabel("share that is right")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
