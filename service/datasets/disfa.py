"""Read DISFA: videos of 27 subjects with twelve action units in every frame (Mavadati et al. 2013).

Layout, from its public description; tried on generated files only: `ActionUnit_Labels/SN001/SN001_au1.txt` and so on
hold lines `frame,intensity`, frames from 1 and intensities 0 to 5; the video is
`Videos_LeftCamera/LeftVideoSN001_comp.avi`. A unit counts as present from intensity 2 on, as is usual with this set.
There is no official split: a fifth of the subjects is held out by the hash of their names.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import AnnotationError
from models.metrics import CLASS_SENTINEL
from service.datasets.labelled import Labelled, existing, labelled, lines, need, number, split_of

UNITS = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU09", "AU12", "AU15", "AU17", "AU20", "AU25", "AU26")
PRESENT = 2  # intensity


def read(root: Path) -> list[Labelled]:
    """Return a recording for each subject. Raise `AnnotationError` for a file that is missing or wrong."""
    folder = need(root / "ActionUnit_Labels", "a folder SN001 and so on for each subject")
    found = []
    for subject in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = {unit: subject / f"{subject.name}_au{int(unit[2:])}.txt" for unit in UNITS}
        units = {unit: _presence(need(path, f"{unit} of {subject.name}")) for unit, path in files.items()}
        length = max(map(len, units.values()))
        video = root / "Videos_LeftCamera" / f"LeftVideo{subject.name}_comp.avi"
        existing(files["AU01"], 1, video)
        whole = {
            unit: np.append(values, np.full(length - len(values), CLASS_SENTINEL)) for unit, values in units.items()
        }
        found.append(labelled(subject.name, split_of(subject.name), video, length=length, au=whole))
    if not found:
        raise AnnotationError(f"{folder} holds no folders; expected SN001 and so on for each subject.")
    return found


def _presence(path: Path) -> NDArray[np.int64]:
    """Return 1 or 0 for each frame, -1 for frames that the file leaves out."""
    rows: dict[int, int] = {}
    for line, text in enumerate(lines(path), start=1):
        frame, _, intensity = text.partition(",")
        at = round(number(path, line, "a frame number", frame, 1, 1e6))
        rows[at] = int(number(path, line, "an intensity", intensity, 0, 5) >= PRESENT)
    values = np.full(max(rows, default=0), CLASS_SENTINEL, np.int64)
    for frame_number, value in rows.items():
        values[frame_number - 1] = value
    return values
