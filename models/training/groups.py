"""Score `analyze` exports against a user's own labels, group by group, with intervals by person.

Means over everybody hide for whom a model fails (Buolamwini & Gebru 2018, "Gender Shades"). A group of few people is
said to be small: its interval is then itself a guess. numpy only.
"""

import csv
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.errors import AnnotationError
from models.labels import ACTION_UNITS, EXPRESSIONS

EVERYBODY = "(everybody)"
UNKNOWN = "(not said)"  # the group of rows whose cell is empty
FEW_PEOPLE = 10  # below, percentile intervals by person are much too narrow
FEW_ITEMS = 30
PRESENT = 0.5  # probability from which a unit counts as present
PAIR = ("valence", "arousal")

Key = tuple[str, int | None]  # name of a picture or recording, and the frame where the labels have one
Row = dict[str, str | float | int | None]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Items:
    """Hold the labelled items: `label` and `said` have a row for each, NaN where unknown, and the same columns.

    Columns: valence, arousal, the expression's index, each action unit's presence.
    """

    group: NDArray[np.str_]
    person: NDArray[np.str_]
    read: NDArray[np.bool_]
    label: Floats
    said: Floats


def evaluate_groups(predictions: Path, labels: Path, column: str, rounds: int = 1000) -> list[Row]:
    """Return a row for each group and score: value, 95 % interval from `rounds` draws of people, and a note.

    `predictions`: the .csv that `analyze` wrote of a folder of pictures, or a folder with a NAME.csv of each recording.
    `labels`: a .csv with the column `file` and some of valence, arousal, expression and action units (AU01, 0 or 1),
    the column of the groups, perhaps `frame` (recordings; without it a row is about the whole recording) and perhaps
    `subject`: who it is. Without `subject` every file counts as a person. Raise `AnnotationError` naming the file and
    what is wrong with it.
    """
    items = _items(labels, column, _predicted(predictions), predictions)
    everybody = [(EVERYBODY, np.arange(len(items.group)))]
    groups = [(str(name), np.flatnonzero(items.group == name)) for name in np.unique(items.group)]
    rows: list[Row] = []
    for name, members in everybody + groups:
        for score, known, function in _scores(items):
            chosen = members[known[members]]
            if len(chosen):
                rows.append(_row(name, score, function, chosen, items.person, rounds))
    return rows


def _row(
    group: str,
    score: str,
    function: Callable[[NDArray[np.int64]], float],
    chosen: NDArray[np.int64],
    person: NDArray[np.str_],
    rounds: int,
) -> Row:
    people = len(np.unique(person[chosen]))
    low = high = None
    if people > 1:
        low, high = metrics.bootstrap(lambda rows: function(chosen[rows]), person[chosen], rounds)
    note = ""
    if people == 1:
        note = "one person: no interval"
    elif low == high:  # as where every face was read: draws from what never differs cannot tell how often it would
        low = high = None
        note = "all alike: no interval"
    elif people < FEW_PEOPLE or len(chosen) < FEW_ITEMS:
        note = "small group: the true interval is wider"
    value = function(chosen)
    return {
        "group": group, "score": score, "items": len(chosen), "people": people, "value": _short(value),
        "low": _short(low), "high": _short(high), "note": note,
    }  # fmt: skip


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _scores(items: _Items) -> list[tuple[str, NDArray[np.bool_], Callable[[NDArray[np.int64]], float]]]:
    """Return name, items that can be scored, and the score as a function of chosen items."""
    label, said = items.label, items.said
    known = ~np.isnan(label) & ~np.isnan(said)
    scores: list[tuple[str, NDArray[np.bool_], Callable[[NDArray[np.int64]], float]]] = [
        ("read", np.full(len(label), True), lambda rows: float(items.read[rows].mean()))
    ]
    for i, name in enumerate(PAIR):
        difference = said[:, i] - label[:, i]
        scores.append(
            (f"{name}_error", known[:, i], lambda rows, d=difference: float(np.abs(d[rows]).mean()))  # type: ignore[misc]
        )
        scores.append((f"{name}_bias", known[:, i], lambda rows, d=difference: float(d[rows].mean())))  # type: ignore[misc]
    scores.append(("expression_accuracy", known[:, 2], lambda rows: float((said[rows, 2] == label[rows, 2]).mean())))
    units = np.asarray(known[:, 3:].any(axis=1), np.bool_)
    scores.append(("au_f1", units, lambda rows: _unit_f1(label[rows, 3:], said[rows, 3:])))
    return scores


def _unit_f1(label: Floats, said: Floats) -> float:
    """Return the mean F1 of the units of which a labelled item shows or an answer claims one; NaN is left out."""
    both = ~np.isnan(label) & ~np.isnan(said)
    shown, claimed = both & (label > 0), both & (said > 0)
    total = shown.sum(0) + claimed.sum(0)
    return float((2 * (shown & claimed).sum(0)[total > 0] / total[total > 0]).mean()) if total.any() else 1.0


def _items(labels: Path, column: str, said: Mapping[Key, Sequence[float]], predictions: Path) -> _Items:
    """Return the labelled items beside what was predicted of them."""
    table = _table(labels)
    columns = table[0].keys() if table else set()
    if "file" not in columns or column not in columns:
        raise AnnotationError(
            f"{labels} needs the columns 'file' and {column!r}; it has {', '.join(columns) or 'no row'}."
        )
    if not columns & {*PAIR, "expression", *ACTION_UNITS}:
        raise AnnotationError(f"{labels} labels nothing: give columns valence, arousal, expression or AU01, AU02, …")
    seen: set[Key] = set()
    found: list[tuple[str, str, list[float], Sequence[float]]] = []
    for line, row in enumerate(table, 2):
        key = _key(row, labels, line, recordings=predictions.is_dir())
        if key in seen:
            raise AnnotationError(f"{labels}, line {line}: {row['file']!r} is labelled twice; give one row for each.")
        seen.add(key)
        if key not in said and (key[0], None) not in said:
            raise AnnotationError(f"{labels}, line {line}: {predictions} has nothing about {row['file']!r}.")
        values = _label(row, labels, line)
        answer = said.get(key, [math.nan] * len(values))
        found.append((row[column].strip() or UNKNOWN, (row.get("subject") or row["file"]).strip(), values, answer))
    group, person, label, answers = zip(*found, strict=True)
    known = np.array(answers, np.float64)
    read = np.asarray((~np.isnan(known)).any(axis=1), np.bool_)
    return _Items(np.array(group), np.array(person), read, np.array(label, np.float64), known)


def _key(row: Mapping[str, str], path: Path, line: int, *, recordings: bool) -> Key:
    name = PurePath(row["file"].strip().replace("\\", "/"))
    frame = (row.get("frame") or "").strip() if recordings else ""
    if frame and not frame.isdecimal():
        raise AnnotationError(f"{path}, line {line}: frame {frame!r} is no number; frames count from 1.")
    return (name.stem if recordings else name.name), int(frame) if frame else None


def _label(row: Mapping[str, str], path: Path, line: int) -> list[float]:
    """Return the label's columns; NaN where a cell is empty."""
    values: list[float] = []
    for name, low in (*((name, -1.0) for name in PAIR), ("expression", 0.0), *((name, 0.0) for name in ACTION_UNITS)):
        cell = (row.get(name) or "").strip()
        if name == "expression" and cell:
            if cell.lower() not in EXPRESSIONS:
                raise AnnotationError(f"{path}, line {line}: expression {cell!r} is none of {', '.join(EXPRESSIONS)}.")
            values.append(float(EXPRESSIONS.index(cell.lower())))
            continue
        try:
            value = float(cell) if cell else math.nan
        except ValueError:
            value = math.inf
        if not (math.isnan(value) or low <= value <= 1):
            raise AnnotationError(f"{path}, line {line}: {name} {cell!r} is no number from {low:g} to 1.")
        values.append(value)
    return values


def _predicted(predictions: Path) -> dict[Key, list[float]]:
    """Return by picture, or by recording and by its frames, what was predicted; NaN where nothing was."""
    if not predictions.is_dir():
        table = _table(predictions)
        if table and "file" not in table[0]:
            raise AnnotationError(
                f"{predictions} names no pictures; give what `analyze` wrote of a folder of pictures, or a folder "
                "with the .csv of each recording."
            )
        pictures: dict[str, list[dict[str, str]]] = {}
        for row in table:
            pictures.setdefault(row["file"], []).append(row)
        return {(name, None): _answer(rows) for name, rows in pictures.items()}
    found: dict[Key, list[float]] = {}
    for path in sorted(predictions.glob("*.csv")):
        rows = _person(_table(path))
        found[path.stem, None] = _answer(rows)
        found |= {(path.stem, int(row.get("frame") or 0)): _answer([row]) for row in rows}
    if not found:
        raise AnnotationError(
            f"{predictions} holds no .csv; `affectstream analyze RECORDING --out NAME.csv` makes one."
        )
    return found


def _person(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows of the face that was there longest."""
    tracks = Counter(row.get("face_id") for row in rows if row.get("success") == "1")
    return [row for row in rows if tracks and row.get("face_id") == tracks.most_common(1)[0][0]]


def _answer(rows: Sequence[Mapping[str, str]]) -> list[float]:
    """Return valence, arousal, expression and units of the face that `rows` are about, as means where there are many.

    Of several faces in a picture the surest counts. Only what was read from the very frame counts.
    """
    read = [row for row in rows if row.get("success") == "1"]
    if read and len({row.get("face_id") for row in read}) > 1:
        read = [max(read, key=lambda row: float(row.get("confidence") or 0))]
    if not read:
        return [math.nan] * (3 + len(ACTION_UNITS))
    pair = [_mean(read, name) for name in PAIR]
    shares = [_mean(read, name) for name in EXPRESSIONS]
    units = [_mean(read, f"{name}_p") for name in ACTION_UNITS]
    expression = math.nan if any(map(math.isnan, shares)) else float(np.argmax(shares))
    return [*pair, expression, *(unit if math.isnan(unit) else float(unit >= PRESENT) for unit in units)]


def _mean(rows: Sequence[Mapping[str, str]], name: str) -> float:
    try:
        values = [float(row[name]) for row in rows if row.get(name)]
    except ValueError as error:
        raise AnnotationError(f"The predictions' column {name} is not as `analyze` writes it: {error}.") from None
    return sum(values) / len(values) if values else math.nan


def _table(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [*csv.DictReader(file, restval="")]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path} cannot be read as a .csv: {error}.") from error
