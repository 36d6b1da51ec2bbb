"""Read and write probabilities frame by frame: CSV files, one a recording, as `analyze` and trained networks write.

Columns by name: `frame` (from 1), `timestamp` in seconds (of `analyze`), `valence`, `arousal`, the expressions,
`AU01_p` and so on; empty cells are unknown.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import AnnotationError
from models.files import write_text

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probabilities:
    """Hold what is known of `frames` (n,), indices from 0, ascending: `va`, `expression` and `au` (n, columns).

    NaN where unknown. `seconds` (n,): time of each frame since the file's first row, None if the file gives no
    timestamps. `pictures`: the highest frame number of the file, also of rows without a face.
    """

    frames: NDArray[np.int64]
    va: Floats
    expression: Floats
    au: Floats
    seconds: Floats | None = None
    pictures: int = 0


def columns(expressions: tuple[str, ...], units: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns after `frame`."""
    return ("valence", "arousal", *expressions, *(f"{unit}_p" for unit in units))


def read(path: Path, expressions: tuple[str, ...], units: tuple[str, ...]) -> Probabilities:
    """Return what `path` holds; columns that it lacks are unknown. Of several people, the one in most frames is read.

    Raise `AnnotationError` naming the file and the line.
    """
    wanted, rows = columns(expressions, units), dict[str, dict[int, list[float]]]()
    seconds, pictures = dict[int, float](), 0
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if "frame" not in (table.fieldnames or ()):
                raise AnnotationError(f"{path}, line 1: expected the columns of `analyze`, frame among them.")
            for row in table:
                frame = int(row["frame"])
                pictures = max(pictures, frame)
                if row.get("timestamp"):
                    seconds[frame - 1] = float(row["timestamp"])
                values = [float(row.get(name) or "nan") for name in wanted]
                if not np.isnan(values).all():
                    rows.setdefault(row.get("face_id") or "", {})[frame - 1] = values
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
    va, expression, au = np.split(whole, [2, 2 + len(expressions)], axis=1)
    timed = seconds.keys() >= person.keys() and bool(person)
    times = np.array([seconds[frame] for frame in frames.tolist()]) - min(seconds.values()) if timed else None
    return Probabilities(frames, va, expression, au, times, pictures)


def write(path: Path, found: Probabilities, expressions: tuple[str, ...], units: tuple[str, ...]) -> None:
    """Write `found` to `path`, whole or not at all. Raise `OSError` if the folder cannot be written."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("frame", *columns(expressions, units)))
    table = np.concatenate((found.va, found.expression, found.au), axis=1)
    for frame, row in zip(found.frames.tolist(), table.tolist(), strict=True):
        lines.writerow((frame + 1, *("" if np.isnan(x) else f"{x:.4f}" for x in row)))
    write_text(path, text.getvalue())
