"""What was taken for what, as pictures: a panel for each table, rows normalised to recall."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Panel = tuple[str, Sequence[str], NDArray[np.int64]]  # title, classes, (classes, classes) counts with the truth in rows


def plot(panels: Sequence[Panel], truth: str, path: Path) -> None:
    """Writes a PNG to `path`; `truth` says whose word the rows are."""
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
