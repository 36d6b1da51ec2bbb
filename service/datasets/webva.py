"""Read webva: web photographs of faces with an expression, valence and arousal by human annotators.

Layout, seen and tried: `index.csv` with the columns `file`, `expression`, `valence`, `arousal`, and the pictures in
`images/` (or beside `index.csv`). `expression` is one of neutral, anger, disgust, fear, happiness, sadness, surprise,
contempt; `valence` and `arousal` lie in [-1, 1]. The set has no split and no identities: its last 400 rows in index
order (at most a fifth) are the test part, as for the default model (`models.face_mt.data.webva_split`), so that scores
of all systems are on the same pictures, and of the others the hash of the file name chooses 15 % for validation.

`affectstream prepare webva DIR --out OUT` writes shards as `models.face_mt.data.read` takes them: `crops`
(n, 112, 112, 3) uint8, `found` (n,) bool, `blendshapes` (n, 52) and `blendshape_names` (52,), and of this file `name`
(n,) the file, `label` (n,) the expression's name, `va` (n, 2) float32 valence and arousal, and `split` (n,) uint8 0
train, 1 validation, 2 test. The licence of the set is for research only.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.errors import AnnotationError
from models.face_mt.data import TEST, webva_split
from service.datasets.labelled import EXPRESSIONS_8, Labelled, Split, choice, existing, labelled, number, table

COLUMNS = ("file", "expression", "valence", "arousal")
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
VALIDATION = 0.15  # of the rows that are not the test part
_CLASSES = {name: index for index, name in enumerate(EXPRESSIONS_8)}


@dataclass(frozen=True)
class Photograph:
    """Hold one row of `index.csv`: the picture's path, its split and its labels.

    `expression` is an index into `EXPRESSIONS_8`.
    """

    path: Path
    split: Split
    expression: int
    valence: float
    arousal: float


def photographs(root: Path) -> list[Photograph]:
    """Return the rows of `root`/index.csv in their order.

    Raise `AnnotationError` naming the file, the line and what was expected, for a file that is missing, a wrong header,
    an unknown expression, a number outside [-1, 1], a picture that is not there, is none, or is named twice, or no row.
    """
    index, seen, found = root / "index.csv", set[str](), list[Photograph]()
    folder = root / "images" if (root / "images").is_dir() else root
    rows = list(table(index, COLUMNS))
    for (line, row), reserved in zip(rows, webva_split(len(rows)) == TEST, strict=True):
        if row["file"] in seen:
            raise AnnotationError(f"{index}, line {line}: expected each file once; {row['file']!r} was there before.")
        seen.add(row["file"])
        found.append(
            Photograph(
                _picture(index, line, folder / row["file"]),
                "test" if reserved else _split(row["file"]),
                choice(index, line, "the expression", row["expression"], _CLASSES),
                number(index, line, "valence", row["valence"], -1, 1),
                number(index, line, "arousal", row["arousal"], -1, 1),
            )
        )
    if not found:
        raise AnnotationError(f"{index}, line 2: expected a row for each picture; there is none.")
    return found


def _picture(index: Path, line: int, path: Path) -> Path:
    """Return `path`. Raise `AnnotationError` by file and line if it is missing or does not begin as a picture does."""
    if not cv2.haveImageReader(str(existing(index, line, path))):
        raise AnnotationError(f"{index}, line {line}: expected a picture at {path}, and it cannot be read as one.")
    return path


def _split(file: str) -> Split:
    share = int.from_bytes(hashlib.sha256(file.encode()).digest()[:4]) / 2**32
    return "validation" if share < VALIDATION else "train"


def read(root: Path) -> list[Labelled]:
    """Return one recording of stills for each split. Raise `AnnotationError` as `photographs` does."""
    found = photographs(root)
    return [recording(split, [one for one in found if one.split == split]) for split in SPLITS]


def recording(split: Split, part: Sequence[Photograph]) -> Labelled:
    """Return the photographs of one split as a recording."""
    return labelled(
        f"webva_{split}",
        split,
        [one.path for one in part],
        length=len(part),
        va=np.array([(one.valence, one.arousal) for one in part], np.float32).reshape(-1, 2),
        expression=np.array([one.expression for one in part], np.int64),
    )
