"""Probabilities frame by frame in CSV files, one per recording, as `analyze --out NAME.csv` and trained networks write.

Columns by name: `frame` (from 1), `valence`, `arousal`, the expressions, `AU01_p` and so on; empty cells are unknown.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import AnnotationError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probabilities:
    """Of `frames` (n,), indices from 0, ascending: `va` (n, 2), `expression` (n, 7 or 8), `au` (n, units).

    NaN where unknown.
    """

    frames: NDArray[np.int64]
    va: Floats
    expression: Floats
    au: Floats


def columns(expressions: tuple[str, ...], units: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the columns after `frame`."""
    return ("valence", "arousal", *expressions, *(f"{unit}_p" for unit in units))


def read(path: Path, expressions: tuple[str, ...], units: tuple[str, ...]) -> Probabilities:
    """Columns that the file lacks are unknown. Of several people in it, the one who is there most often is read.

    Raises `AnnotationError` naming the file and the line.
    """
    wanted, rows = columns(expressions, units), dict[str, dict[int, list[float]]]()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if "frame" not in (table.fieldnames or ()):
                raise AnnotationError(f"{path}, line 1: expected the columns of `analyze`, frame among them.")
            for row in table:
                values = [float(row.get(name) or "nan") for name in wanted]
                if not np.isnan(values).all():
                    rows.setdefault(row.get("face_id") or "", {})[int(row["frame"]) - 1] = values
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read as text: {error}.") from error
    except (TypeError, ValueError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{path}, line {table.line_num}: expected numbers; {error}.") from None
    person = max(rows.values(), key=len, default={})
    frames = np.array(sorted(person), np.int64)
    whole = np.array([person[frame] for frame in frames.tolist()]).reshape(len(frames), len(wanted))
    if len(frames) and (frames[0] < 0 or (whole[:, 2:] < 0).any() or (whole[:, 2:] > 1).any()):
        raise AnnotationError(f"{path}: frames count from 1, and probabilities lie in 0..1.")
    return Probabilities(frames, *np.split(whole, [2, 2 + len(expressions)], axis=1))


def write(path: Path, found: Probabilities, expressions: tuple[str, ...], units: tuple[str, ...]) -> None:
    """Written aside and renamed."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("frame", *columns(expressions, units)))
    table = np.concatenate((found.va, found.expression, found.au), axis=1)
    for frame, row in zip(found.frames.tolist(), table.tolist(), strict=True):
        lines.writerow((frame + 1, *("" if np.isnan(x) else f"{x:.4f}" for x in row)))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text.getvalue())
    part.replace(path)
