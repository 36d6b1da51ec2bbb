"""The protocol of the data-set readers: every reader turns a folder into recordings with labels, by one function.

A reader is a small module of this package with a function `read(root) -> list[Labelled]`. It parses annotation files
and names pictures or videos; it opens no picture. Expressions are indices into `EXPRESSIONS_8`: the seven of
`models.labels.EXPRESSIONS` and contempt, which sets without it never use. Action units are in the order of
`models.labels.AUS_UNION`. Unknown labels hold the sentinels of Aff-Wild2: -5 for valence and arousal, -1 otherwise.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import AnnotationError
from models.labels import AUS_UNION, EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL

EXPRESSIONS_8 = (*EXPRESSIONS, "contempt")
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
VIDEOS = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".wmv"})

STILLS = 10_000  # pictures of one recording

Split = Literal["train", "validation", "test"]
Table = Iterator[tuple[int, dict[str, str]]]


@dataclass(frozen=True)
class Labelled:
    """Hold the labels of one recording: a video, or pictures in order (of one clip, or stills that share a split).

    `media`: the video's path, or one path for each picture. `va`: (n, 2) in [-1, 1]. `expression`: (n,) indices into
    `EXPRESSIONS_8`. `au`: (n, 17) zeros and ones. `compound`: (n,) indices into `models.labels.COMPOUND_EXPRESSIONS`.
    Missing labels hold -5 (`va`) or -1.
    """

    name: str
    split: Split
    media: Path | tuple[Path, ...]
    va: NDArray[np.float32]
    expression: NDArray[np.int64]
    au: NDArray[np.int64]
    compound: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of frames or pictures."""
        return len(self.expression)


class LabelReader(Protocol):
    """Describe what `affectstream prepare NAME` calls: a function from a data set's folder to its recordings."""

    def __call__(self, root: Path, /) -> list[Labelled]:
        """Return the recordings in `root`. Raise `AnnotationError` for a file that is missing or wrong."""
        ...


def labelled(
    name: str,
    split: Split,
    media: Path | Sequence[Path],
    *,
    length: int,
    va: NDArray[np.floating] | None = None,
    expression: NDArray[np.integer] | None = None,
    au: Mapping[str, NDArray[np.integer]] | None = None,
    compound: NDArray[np.integer] | None = None,
) -> Labelled:
    """Return a recording of `length` frames whose missing labels hold the sentinels; `au` maps a unit's name to (n,).

    Units outside `AUS_UNION` are left out: no network here predicts them.
    """
    units = np.full((length, len(AUS_UNION)), CLASS_SENTINEL, np.int64)
    for unit, values in (au or {}).items():
        if unit in AUS_UNION:
            units[:, AUS_UNION.index(unit)] = values
    return Labelled(
        name,
        split,
        media if isinstance(media, Path) else tuple(media),
        np.full((length, 2), VA_SENTINEL, np.float32) if va is None else va.astype(np.float32),
        np.full(length, CLASS_SENTINEL, np.int64) if expression is None else expression.astype(np.int64),
        units,
        np.full(length, CLASS_SENTINEL, np.int64) if compound is None else compound.astype(np.int64),
    )


def table(path: Path, columns: Sequence[str], delimiter: str = ",") -> Table:
    """Yield each row of a CSV file with its line number, from 2. Columns beyond `columns` are allowed.

    Raise `AnnotationError` naming the file, the line and what was expected, for a file that cannot be read, a header
    that lacks one of `columns`, or a row with missing cells.
    """
    expected = ", ".join(columns)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
            found = lines.fieldnames or ()
            if not set(columns) <= set(found):
                raise AnnotationError(f"{path}, line 1: expected the columns {expected}; found {', '.join(found)!r}.")
            for row in lines:
                if any(row[name] is None or not row[name].strip() for name in columns):
                    raise AnnotationError(f"{path}, line {lines.line_num}: expected a value for each of {expected}.")
                yield lines.line_num, {name: cell.strip() for name, cell in row.items() if isinstance(cell, str)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path} cannot be read as a table: {error}.") from error


def number(path: Path, line: int, name: str, text: str, low: float, high: float) -> float:
    """Return `text` as a number. Raise `AnnotationError` by file and line unless it lies in [`low`, `high`]."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:  # also false for NaN
        raise AnnotationError(f"{path}, line {line}: expected {name} from {low:g} to {high:g}, not {text!r}.")
    return value


def choice(path: Path, line: int, name: str, text: str, allowed: Mapping[str, int]) -> int:
    """Return what `allowed` maps `text` to. Raise `AnnotationError` by file and line for any other text."""
    if text not in allowed:
        raise AnnotationError(f"{path}, line {line}: expected {name} as one of {', '.join(allowed)}; not {text!r}.")
    return allowed[text]


def existing(path: Path, line: int, media: Path) -> Path:
    """Return `media`. Raise `AnnotationError` naming the annotation's file and line if there is no such file."""
    if not media.is_file():
        raise AnnotationError(f"{path}, line {line}: expected a picture or video at {media}, and it is not there.")
    return media


def need(path: Path, what: str) -> Path:
    """Return `path`. Raise `AnnotationError` saying that `what` was expected there if it does not exist."""
    if not path.exists():
        raise AnnotationError(f"{path} does not exist; expected {what} there.")
    return path


def split_of(subject: str, validation: float = 0.2) -> Split:
    """Return train or validation for a set without an official split, by the hash of the subject or video.

    The share `validation` is for validation, the same on every machine.
    """
    share = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4]) / 2**32
    return "validation" if share < validation else "train"


def stills(name: str, split: Split, rows: Sequence["Still"]) -> list[Labelled]:
    """Return pictures that share a split as recordings of at most `STILLS` pictures each."""
    found = []
    for number, start in enumerate(range(0, len(rows), STILLS)):
        part = rows[start : start + STILLS]
        found.append(
            labelled(
                f"{name}_{split}_{number:03}",
                split,
                [row.path for row in part],
                length=len(part),
                va=np.array([row.va for row in part], np.float32),
                expression=np.array([row.expression for row in part]),
                au={unit: np.array([row.au.get(unit, CLASS_SENTINEL) for row in part]) for unit in AUS_UNION},
                compound=np.array([row.compound for row in part]),
            )
        )
    return found


@dataclass(frozen=True)
class Still:
    """Hold one labelled picture; labels that are missing hold the sentinels, and `au` lacks their units."""

    path: Path
    va: tuple[float, float] = (VA_SENTINEL, VA_SENTINEL)
    expression: int = CLASS_SENTINEL
    au: Mapping[str, int] = field(default_factory=dict)
    compound: int = CLASS_SENTINEL


def lines(path: Path) -> list[str]:
    """Return the lines of a text file. Raise `AnnotationError` if it cannot be read."""
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read as text: {error}.") from error
