"""Read Aff-Wild: videos with valence and arousal in every frame (Zafeiriou et al. 2017).

Layout, from its public description; tried on generated files only: `annotations/train/valence/NAME.txt` and
`annotations/train/arousal/NAME.txt` hold one number in [-1, 1] a line, a line for each video frame, and
`videos/train/NAME.mp4` (or another format) is the video. The test set's annotations are not public. There is no
official validation set: a fifth of the videos is held out by the hash of their names.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import AnnotationError
from service.datasets.labelled import VIDEOS, Labelled, labelled, lines, need, number, split_of


def read(root: Path) -> list[Labelled]:
    """Return a recording for each annotated video. Raise `AnnotationError` for a file that is missing or wrong."""
    folder = need(root / "annotations" / "train" / "valence", "a text file of valence for each video")
    found = []
    for path in sorted(folder.glob("*.txt")):
        other = need(root / "annotations" / "train" / "arousal" / path.name, f"the arousal beside {path}")
        valence, arousal = _values(path, "valence"), _values(other, "arousal")
        length = min(len(valence), len(arousal))  # the two were annotated apart; one may have a line more
        va = np.stack((valence[:length], arousal[:length]), axis=1)
        found.append(labelled(path.stem, split_of(path.stem), _video(root, path.stem), length=length, va=va))
    if not found:
        raise AnnotationError(f"{folder} holds no .txt files; expected a number a line for each video.")
    return found


def _values(path: Path, name: str) -> NDArray[np.float32]:
    return np.array([number(path, i, name, text, -1, 1) for i, text in enumerate(lines(path), start=1)], np.float32)


def _video(root: Path, name: str) -> Path:
    for suffix in sorted(VIDEOS):
        if (path := root / "videos" / "train" / f"{name}{suffix}").is_file():
            return path
    raise AnnotationError(f"{root}/videos/train holds no video of the annotation {name}.txt.")
