"""Read and write Aff-Wild2's annotation and submission files, of 2020 (a folder a task) and of 2022 (one file for all).

Single-task files are text, a header and then one line per video frame without its number; line i belongs to picture
`00001.jpg` + i - 1 in `cropped_aligned/<name>/`. Names end in `_left` or `_right` where two people are annotated. The
multi-task file has the header `image,valence,arousal,expression,aus` and one row per picture, `video/00001.jpg,...`.
Frames that were not annotated hold sentinels: -5 for valence and arousal, -1 for expressions and action units. Other
data sets are prepared in the same layout; the header of their AU_Set files names the 17 units of FaceBehaviorNet.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import AnnotationError
from models.files import write_text
from models.labels import AUS_2020, AUS_2022, AUS_UNION, COMPOUND_EXPRESSIONS, EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL

log = logging.getLogger(__name__)

FOLDERS = {"va": "VA_Set", "expression": "EXPR_Set", "au": "AU_Set"}
COMPOUND_FOLDER = "COMPOUND_Set"  # of data sets prepared in this layout; Aff-Wild2 has no compound expressions
SPLITS = {"train": ("Train_Set", "Training_Set"), "validation": ("Validation_Set",), "test": ("Test_Set",)}
# Files of the 2022 multi-task challenge, under `annotations`.
MULTI_TASK = {
    "train": "MTL_Challenge/training_set_annotations.txt",
    "validation": "MTL_Challenge/validation_set_annotations.txt",
}
VA_HEADER = "valence,arousal"
EXPRESSION_HEADERS = {
    7: ",".join(name.capitalize() for name in EXPRESSIONS),
    8: ",".join(name.capitalize() for name in (*EXPRESSIONS, "other")),
}
UNIT_SETS = {len(units): units for units in (AUS_2020, AUS_2022, AUS_UNION)}
AU_HEADERS = {count: ",".join(f"AU{int(unit[2:])}" for unit in units) for count, units in UNIT_SETS.items()}
COMPOUND_HEADER = ",".join(name.replace(" ", "_") for name in COMPOUND_EXPRESSIONS)
MULTI_TASK_HEADER = "image,valence,arousal,expression,aus"

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Annotation:
    """Hold the labels of one person in one video, frame by frame, sentinels where there are none.

    `va`: (n, 2) in [-1, 1]. `expression`: (n,) class ids. `au`: (n, units) zeros and ones. `compound`: (n,) indices
    into `models.labels.COMPOUND_EXPRESSIONS`, or None if the recording has no file of them.
    """

    name: str
    va: Floats
    expression: Ints
    au: Ints
    compound: Ints | None = None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.expression)

    @property
    def video(self) -> str:
        """Return the name of the video file without its extension."""
        return video_of(self.name)


def video_of(name: str) -> str:
    """Return the video of an annotation's name; the two people of one video share it."""
    return name.removesuffix("_left").removesuffix("_right")


def annotation_root(root: Path) -> Path:
    """Return `root`/annotations, or `root` itself where the tasks' folders lie in it."""
    return root / "annotations" if (root / "annotations").is_dir() else root


def picture(folder: Path, name: str, frame: int) -> Path:
    """Return the path of the picture of frame `frame` (index from 0) of recording `name` in `folder`."""
    return folder / name / f"{frame + 1:05}.jpg"


def read_va(path: Path, strict: bool = True) -> Floats:
    """Return (n, 2) valence and arousal. Raise `AnnotationError` for a file that breaks the format.

    The data set has a few values outside [-1, 1]; they raise if `strict`, and are sentinels otherwise.
    """
    return _va(path, _rows(path, {VA_HEADER: 2})[0], strict)


def read_expression(path: Path) -> Ints:
    """Return (n,) class ids of 7 or 8 classes, by the header. Raise `AnnotationError` by file and line."""
    rows, header = _rows(path, dict.fromkeys(EXPRESSION_HEADERS.values(), 1))
    return _classes(path, rows, header.count(",") + 1)[:, 0]


def read_au(path: Path) -> Ints:
    """Return (n, 8, 12 or 17) zeros and ones, by the header. Raise `AnnotationError` by file and line."""
    return _classes(path, _rows(path, {header: units for units, header in AU_HEADERS.items()})[0], 2)


def read_compound(path: Path) -> Ints:
    """Return (n,) indices into `models.labels.COMPOUND_EXPRESSIONS`. Raise `AnnotationError` by file and line."""
    return _classes(path, _rows(path, {COMPOUND_HEADER: 1})[0], len(COMPOUND_EXPRESSIONS))[:, 0]


def read_annotations(root: Path, split: str, units: Sequence[str] = AUS_2020) -> dict[str, Annotation]:
    """Return by name the tasks' files of `root`/VA_Set/Train_Set and so on (or of `root`/annotations), put together.

    A task without a file for a name has sentinels there, and so do frames beyond the end of a shorter file. `units`:
    the action units wanted, in order; a file must have them all, or have only some of them. Raise `AnnotationError` for
    a file that is wrong, or if there is none.
    """
    root = annotation_root(root)
    tasks: dict[str, dict[str, NDArray[Any]]] = {}
    readers: dict[str, Callable[[Path], NDArray[Any]]] = {
        "va": lambda path: read_va(path, strict=False),
        "expression": read_expression,
        "au": read_au,
        "compound": read_compound,
    }
    folders = FOLDERS | {"compound": COMPOUND_FOLDER}
    for task, reader in readers.items():
        for folder in (root / folders[task] / name for name in SPLITS[split]):
            for path in sorted(folder.glob("*.txt")):
                tasks.setdefault(path.stem, {})[task] = reader(path)
    if not tasks:
        expected = f"{root}/VA_Set/{SPLITS[split][0]}/*.txt"
        raise AnnotationError(f"There are no {split} annotations in {root}; expected {expected}, EXPR_Set, AU_Set.")
    return {name: _together(name, found, units) for name, found in sorted(tasks.items())}


def has_annotations(root: Path, split: str) -> bool:
    """Return whether `root` has a file of any task for `split`."""
    root = annotation_root(root)
    folders = (root / task / part for task in (*FOLDERS.values(), COMPOUND_FOLDER) for part in SPLITS[split])
    return any(path for folder in folders for path in folder.glob("*.txt"))


def lengths(root: Path) -> dict[str, int]:
    """Return the annotated frames by name, over every split of 2020 and 2022 that `root` has, reading all files."""
    root, found = annotation_root(root), dict[str, int]()
    for split, folders in SPLITS.items():
        files = [
            path for task in FOLDERS.values() for folder in folders for path in (root / task / folder).glob("*.txt")
        ]
        annotations = read_annotations(root, split) if files else {}
        if split in MULTI_TASK and (root / MULTI_TASK[split]).is_file():
            annotations |= read_multi_task(root / MULTI_TASK[split], strict=False)
        for name, annotation in annotations.items():
            found[name] = max(len(annotation), found.get(name, 0))
    return found


def copy_annotations(root: Path, out: Path) -> None:
    """Copy the annotation files of both years from `root` to `out`/annotations."""
    root = annotation_root(root)
    for folder in (*FOLDERS.values(), *{Path(file).parent.name for file in MULTI_TASK.values()}):
        if (root / folder).is_dir():
            shutil.copytree(root / folder, out / "annotations" / folder, dirs_exist_ok=True)


def _together(name: str, found: Mapping[str, NDArray[Any]], units: Sequence[str]) -> Annotation:
    length = max(map(len, found.values()))
    va = np.full((length, 2), VA_SENTINEL, np.float32)
    expression, au = np.full(length, CLASS_SENTINEL), np.full((length, len(units)), CLASS_SENTINEL)
    for task, whole in (("va", va), ("expression", expression)):
        if task in found:
            whole[: len(found[task])] = found[task]
    if "au" in found:
        au[: len(found["au"])] = chosen_units(name, found["au"], units)
    compound: Ints | None = None
    if "compound" in found:
        compound = np.full(length, CLASS_SENTINEL, np.int64)
        compound[: len(found["compound"])] = found["compound"]
    return Annotation(name, va, expression.astype(np.int64), au.astype(np.int64), compound)


def chosen_units(name: str, au: NDArray[Any], units: Sequence[str]) -> NDArray[Any]:
    """Return (n, len(`units`)) labels out of (n, 8, 12 or 17) ones; units that these lack hold -1.

    Raise `AnnotationError` if neither set of units holds the other: `name` was annotated for another challenge.
    """
    have = UNIT_SETS[au.shape[1]]
    if not (set(have) <= set(units) or set(units) <= set(have)):
        raise AnnotationError(
            f"{name} is annotated for {len(have)} action units, not for {len(units)}: wanted are {', '.join(units)}; "
            f"annotated are {', '.join(have)}."
        )
    out = np.full((len(au), len(units)), CLASS_SENTINEL)
    for i, unit in enumerate(units):
        if unit in have:
            out[:, i] = au[:, have.index(unit)]
    return out


def read_multi_task(path: Path, strict: bool = True) -> dict[str, Annotation]:
    """Return by name the rows of a 2022 multi-task file (8 expressions, 12 units); missing pictures hold sentinels.

    `strict`: see `read_va`. Raise `AnnotationError` naming the file, the line and what was expected.
    """
    rows: dict[str, dict[int, list[float]]] = {}
    columns = 4 + len(AUS_2022)
    for number, line in enumerate(_lines(path, (MULTI_TASK_HEADER,))[1:], start=2):
        cells = line.split(",")
        name, _, file = cells[0].rpartition("/")
        stem = file.removesuffix(".jpg")
        try:
            if len(cells) != columns or not name or not int(stem) > 0:
                raise ValueError
            rows.setdefault(name, {})[int(stem) - 1] = [float(cell) for cell in cells[1:]]
        except ValueError:
            expected = f"video/00001.jpg and {columns - 1} numbers"
            raise AnnotationError(f"{path}, line {number}: expected {expected}, not {line[:80]!r}.") from None
    return {name: _from_rows(path, name, frames, strict) for name, frames in rows.items()}


def _from_rows(path: Path, name: str, frames: Mapping[int, list[float]], strict: bool) -> Annotation:
    table = np.full((max(frames) + 1, 3 + len(AUS_2022)), CLASS_SENTINEL, np.float64)
    table[:, :2] = VA_SENTINEL
    for frame, values in frames.items():
        table[frame] = values
    where = path / name  # so that a message names the video as well
    expression = _classes(where, table[:, 2:3], EXPRESSION_HEADERS[8].count(",") + 1)[:, 0]
    return Annotation(name, _va(where, table[:, :2], strict), expression, _classes(where, table[:, 3:], 2))


def _lines(path: Path, headers: Iterable[str]) -> list[str]:
    """Return the lines of a file that begins with one of `headers`, without blank ones at its end."""
    try:
        lines = path.read_text("utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read as text: {error}.") from error
    headers = tuple(headers)
    found = lines[0].replace(" ", "") if lines else ""
    if found not in headers:
        raise AnnotationError(f"{path}, line 1: expected {' or '.join(map(repr, headers))}, not {found[:80]!r}.")
    return [found, *lines[1:]]


def _rows(path: Path, headers: Mapping[str, int]) -> tuple[NDArray[np.float64], str]:
    """Return the numbers of a single-task file and its header; `headers` gives the columns that each one promises."""
    lines = _lines(path, headers)
    columns = headers[lines[0]]
    rows = np.empty((len(lines) - 1, columns))
    for index, line in enumerate(lines[1:]):
        try:
            cells = line.split(",")
            if len(cells) != columns:  # a single number would fill the row
                raise ValueError
            rows[index] = [float(cell) for cell in cells]
        except ValueError:
            expected = f"{columns} number{'s' * (columns > 1)}"
            raise AnnotationError(f"{path}, line {index + 2}: expected {expected}, not {line[:80]!r}.") from None
    return rows, lines[0]


def _va(path: Path, rows: NDArray[np.float64], strict: bool) -> Floats:
    missing = (rows == VA_SENTINEL).any(1)
    bad = ~missing & ~(np.abs(rows) <= 1).all(1)  # NaN is bad too
    if bad.any():
        if strict or np.isnan(rows).any():
            line, row = int(bad.argmax()) + 2, rows[bad][0].tolist()
            raise AnnotationError(f"{path}, line {line}: valence and arousal lie in -1..1, or are -5; not {row}.")
        log.warning("%s: %d frames lie outside -1..1 and count as not annotated", path, bad.sum())
    return np.where((missing | bad)[:, None], VA_SENTINEL, rows).astype(np.float32)


def _classes(path: Path, rows: NDArray[np.float64], classes: int) -> Ints:
    bad = ~((rows >= CLASS_SENTINEL) & (rows < classes) & (rows == np.round(rows))).all(1)
    if bad.any():
        line, row = int(bad.argmax()) + 2, rows[bad][0].tolist()
        raise AnnotationError(f"{path}, line {line}: expected whole numbers, -1 to {classes - 1}; not {row}.")
    return rows.astype(np.int64)


def hold(values: NDArray[Any], frames: Sequence[int], length: int, sentinel: float) -> NDArray[Any]:
    """Return predictions for `length` frames from those of `frames` (indices, ascending): each holds until the next.

    Frames before the first hold `sentinel`: what comes later is not known yet.
    """
    row = np.searchsorted(np.asarray(frames), np.arange(length), side="right") - 1
    held = np.asarray(values)[np.maximum(row, 0)].copy()
    held[row < 0] = sentinel
    return held


def write_va(path: Path, va: NDArray[np.floating]) -> None:
    """Write a single-task file of (n, 2) values, clipped to [-1, 1]; -5 stays."""
    clipped = np.where(va == VA_SENTINEL, va, np.clip(va, -1, 1))
    _write(path, VA_HEADER, [f"{v:.3f},{a:.3f}" for v, a in clipped])


def write_expression(path: Path, expression: NDArray[np.integer], classes: int = 7) -> None:
    """Write a single-task file of (n,) class ids of 7 or 8 `classes`."""
    _write(path, EXPRESSION_HEADERS[classes], map(str, expression))


def write_compound(path: Path, compound: NDArray[np.integer]) -> None:
    """Write a file of (n,) indices into `models.labels.COMPOUND_EXPRESSIONS`."""
    _write(path, COMPOUND_HEADER, map(str, compound))


def write_au(path: Path, au: NDArray[np.integer]) -> None:
    """Write a single-task file of (n, 8, 12 or 17) zeros and ones."""
    _write(path, AU_HEADERS[au.shape[1]], [",".join(map(str, row)) for row in au])


def write_multi_task(path: Path, predictions: Iterable[Annotation], frames: Mapping[str, Sequence[int]]) -> None:
    """Write a 2022 submission: the rows of `frames` (indices from 0) of each video's predictions."""
    rows = [
        f"{p.name}/{i + 1:05}.jpg,{p.va[i, 0]:.4f},{p.va[i, 1]:.4f},{p.expression[i]}," + ",".join(map(str, p.au[i]))
        for p in predictions
        for i in frames[p.name]
    ]
    _write(path, MULTI_TASK_HEADER, rows)


def _write(path: Path, header: str, rows: Iterable[str]) -> None:
    write_text(path, "\n".join((header, *rows)) + "\n")
