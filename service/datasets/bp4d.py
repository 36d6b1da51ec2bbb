"""Read BP4D: videos of 41 subjects in eight tasks with coded action units (Zhang et al. 2014). BP4D+ is laid out alike.

Layout, from its public description; tried on generated files only: `AUCoding/F001_T1.csv` has a first row of action
unit numbers (after one cell) and then a row for each coded frame, its number first, with 1 present, 0 absent and 9 not
coded; the pictures are `2D+3D/F001/T1/0001.jpg` (some copies number with three digits). The usual split holds subjects
out: a fifth of them by the hash of their names.
"""

from pathlib import Path

import numpy as np

from models.errors import AnnotationError
from models.metrics import CLASS_SENTINEL
from service.datasets.labelled import PICTURES, Labelled, choice, labelled, lines, need, number, split_of

_CODES = {"0": 0, "1": 1, "9": CLASS_SENTINEL}


def read(root: Path) -> list[Labelled]:
    """Return a recording for each subject and task. Raise `AnnotationError` for a file that is missing or wrong."""
    folder = need(root / "AUCoding", "a file F001_T1.csv and so on for each subject and task")
    found = [_recording(root, path) for path in sorted(folder.glob("*.csv"))]
    if not found:
        raise AnnotationError(f"{folder} holds no .csv files; expected F001_T1.csv and so on.")
    return found


def _recording(root: Path, path: Path) -> Labelled:
    subject, _, task = path.stem.partition("_")
    pictures = root / "2D+3D" / subject / task
    by_number = {
        int(picture.stem): picture
        for picture in sorted(need(pictures, f"the pictures that {path.name} codes").iterdir())
        if picture.suffix.lower() in PICTURES and picture.stem.isdigit()
    }
    rows = [text.split(",") for text in lines(path)]
    header = rows[0] if rows else []
    units = {
        column: f"AU{round(number(path, 1, 'an action unit', cell, 1, 99)):02}"
        for column, cell in enumerate(header[1:], start=1)
    }
    if not units:
        raise AnnotationError(f"{path}, line 1: expected a cell and then the numbers of the action units.")
    frames, values = [], []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise AnnotationError(f"{path}, line {line}: expected {len(header)} cells, not {len(row)}.")
        frame = round(number(path, line, "a frame number", row[0], 0, 1e6))
        coded = [choice(path, line, units[column], row[column].strip(), _CODES) for column in units]
        if frame in by_number:
            frames.append(by_number[frame])
            values.append(coded)
    codes = np.array(values, np.int64).reshape(len(frames), len(units))
    au = {name: codes[:, i] for i, name in enumerate(units.values())}
    return labelled(path.stem, split_of(subject), frames, length=len(frames), au=au)
