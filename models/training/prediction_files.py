"""Read prediction files beside annotation files: the annotated frames of each task, with labels and predictions.

2020: two folders with VA_Set, EXPR_Set and AU_Set (the annotations' ones in parts such as Validation_Set). 2022: two
multi-task files. Prediction files may have one row more than the annotations, as the published writers' have. A folder
of NAME.csv by `analyze` is read too. Probabilities lie beside predictions, in `probabilities/NAME.csv`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models import metrics
from models.errors import AnnotationError
from models.labels import AUS_2020, AUS_2022, EXPRESSIONS
from models.metrics import CLASS_SENTINEL, VA_SENTINEL
from models.training import affwild2, probabilities

log = logging.getLogger(__name__)

PROBABILITIES = "probabilities"  # folder beside predictions
CLASSES = {"2020": EXPRESSIONS, "2022": (*EXPRESSIONS, "other")}
UNITS = {"2020": AUS_2020, "2022": AUS_2022}
TASKS = {"va": "valence and arousal", "expression": "expressions", "au": "action units"}
SENTINELS = {"va": VA_SENTINEL, "expression": CLASS_SENTINEL, "au": CLASS_SENTINEL}
WHOLE = 0.95  # share of a recording's frames that an export without times must count, or it left frames out

Missing = Literal["count", "leave-out"]
READERS: dict[str, Callable[[Path], NDArray[Any]]] = {
    "va": lambda path: affwild2.read_va(path, strict=False),
    "expression": affwild2.read_expression,
    "au": affwild2.read_au,
}


@dataclass(frozen=True)
class Task:
    """Hold the annotated frames of one task: `label` and `pred` (n, ...), and each frame's `video` (n,).

    `probability`: (n, classes or units), NaN where unknown; None if no file gives any.
    """

    label: NDArray[Any]
    pred: NDArray[Any]
    video: NDArray[Any]
    probability: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class _Pair:
    """Hold the labels and predictions of one recording and task, frame by frame."""

    label: NDArray[Any]
    pred: NDArray[Any]
    name: str
    probability: NDArray[np.float64] | None = None


def tasks_of(predictions: Path, annotations: Path, split: str, missing: Missing = "count") -> dict[str, Task]:
    """Return the tasks that have annotated frames, of `predictions` against `annotations` (see `evaluate.evaluate`).

    A task without an annotated frame is left out with a warning. `missing` says what becomes of annotated frames whose
    prediction is a sentinel (-5 or -1): they count as predicted so, or are left out; either way a warning gives their
    number. Raise `AnnotationError` naming files that are missing, wrong or of another length, or if no task is left.
    """
    if predictions.is_dir() and any(predictions.glob("*.csv")):
        pairs = _analysed(predictions, annotations, split)
    elif annotations.is_file():
        pairs = _multi_task(predictions, annotations)
    else:
        pairs = _single_tasks(predictions, annotations, split)
    tasks = {}
    for task, found in pairs.items():
        joined = _joined(task, found, missing)
        if len(joined.label):
            tasks[task] = joined
        else:
            log.warning("%s: no frame is annotated for %s, which are not scored", annotations, TASKS[task])
    if not tasks:
        raise AnnotationError(f"{annotations} has no annotated frame of the {split} recordings; nothing can be scored.")
    return tasks


def _single_tasks(predictions: Path, annotations: Path, split: str) -> dict[str, list[_Pair]]:
    root, tasks = affwild2.annotation_root(annotations), dict[str, list[_Pair]]()
    for task, reader in READERS.items():
        folder = predictions / affwild2.FOLDERS[task]
        if not folder.is_dir():
            continue
        parts = [root / affwild2.FOLDERS[task] / part for part in affwild2.SPLITS[split]]
        files = sorted(path for part in parts for path in part.glob("*.txt"))
        if not files:
            raise AnnotationError(f"There are no annotations in {parts[0]}.")
        pairs = tasks[task] = []
        for file in files:
            if not (folder / file.name).is_file():
                raise AnnotationError(f"There is no prediction {folder / file.name} for the annotation {file}.")
            label, pred = reader(file), reader(folder / file.name)
            if len(pred) not in (len(label), len(label) + 1):
                raise AnnotationError(f"{folder / file.name}: expected {len(label)} rows, not {len(pred)}.")
            sure = _probability(predictions, task, file.stem, len(label), "2020")
            pairs.append(_Pair(label, pred[: len(label)], file.stem, sure))
    if not tasks:
        raise AnnotationError(f"{predictions} has none of the folders {', '.join(affwild2.FOLDERS.values())}.")
    return tasks


def _multi_task(predictions: Path, annotations: Path) -> dict[str, list[_Pair]]:
    labels, preds = affwild2.read_multi_task(annotations, strict=False), affwild2.read_multi_task(predictions)
    pairs: dict[str, list[_Pair]] = {task: [] for task in TASKS}
    for name, label in labels.items():
        if name not in preds or len(preds[name]) < len(label):
            have = len(preds[name]) if name in preds else 0
            raise AnnotationError(
                f"{predictions}: expected pictures of {name} up to {len(label):05}.jpg, not {have:05}."
            )
        for task, found in pairs.items():
            sure = _probability(predictions.parent, task, name, len(label), "2022")
            found.append(_Pair(getattr(label, task), getattr(preds[name], task)[: len(label)], name, sure))
    return pairs


def _analysed(folder: Path, annotations: Path, split: str) -> dict[str, list[_Pair]]:
    """Return the pairs of each annotated recording's NAME.csv: values and decisions, each held until the next."""
    if annotations.is_file():
        year, labels = "2022", affwild2.read_multi_task(annotations, strict=False)
    else:
        year, labels = "2020", affwild2.read_annotations(annotations, split)
    pairs: dict[str, list[_Pair]] = {task: [] for task in TASKS}
    for name, label in labels.items():
        path = folder / f"{name}.csv"
        if not path.is_file():
            raise AnnotationError(f"There is no {path} for the annotation of {name}; `affectstream analyze` writes it.")
        found = probabilities.read(path, CLASSES[year], UNITS[year])
        frames = _video_frames(path, found, annotations / "times" / f"{name}.npy", len(label))
        decisions = {
            "va": np.nan_to_num(found.va, nan=VA_SENTINEL),
            "expression": np.nan_to_num(found.expression, nan=-1).argmax(1),
            "au": (found.au >= 0.5).astype(np.int64),
        }
        for task, decided in decisions.items():
            if not len(frames) or np.isnan(getattr(found, task)).all():
                pred = np.full_like(getattr(label, task), SENTINELS[task])
            else:
                pred = affwild2.hold(decided, frames.tolist(), len(label), SENTINELS[task])
            sure = _by_frame(getattr(found, task), frames, len(label)) if task != "va" else None
            pairs[task].append(_Pair(getattr(label, task), pred, name, sure))
    return pairs


def _video_frames(path: Path, found: probabilities.Probabilities, times: Path, length: int) -> NDArray[np.int64]:
    """Return the video frame (index from 0) of each row of an export, which counts the pictures that were analysed.

    With `analyze --fps` those are fewer than the video's frames. The prepared data set's `times` (seconds of each
    frame) then say which frame a row's timestamp means. Raise `AnnotationError` if there are none to tell.
    """
    if found.seconds is not None and times.is_file():
        of_video = np.load(times, allow_pickle=False)
        period = float(np.median(np.diff(of_video))) if len(of_video) > 1 else 1.0
        frames: NDArray[np.int64] = np.searchsorted(of_video, found.seconds + period / 2, side="left") - 1
        return np.maximum(frames, 0)
    if found.pictures < WHOLE * length - 1:
        raise AnnotationError(
            f"{path} counts {found.pictures} pictures, and its video is annotated for {length} frames: `analyze --fps` "
            "left frames out. Analyze again without --fps, or score against a prepared data set, whose `times` say "
            "which frames they are."
        )
    return found.frames


def _probability(folder: Path, task: str, name: str, length: int, year: str) -> NDArray[np.float64] | None:
    """Return (length, classes or units) out of the file beside the predictions, or None if there is none."""
    path = folder / PROBABILITIES / f"{name}.csv"
    if task == "va" or not path.is_file():
        return None
    found = probabilities.read(path, CLASSES[year], UNITS[year])
    return _by_frame(getattr(found, task), found.frames, length)


def _by_frame(values: NDArray[np.float64], frames: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    out = np.full((length, values.shape[1]), np.nan)
    inside = frames < length
    out[frames[inside]] = values[inside]
    return out


def _joined(task: str, pairs: Sequence[_Pair], missing: Missing) -> Task:
    """Return the annotated frames of all recordings; see `tasks_of` for `missing`."""
    label, pred = (np.concatenate([getattr(pair, kind) for pair in pairs]) for kind in ("label", "pred"))
    video = np.concatenate([np.full(len(pair.label), affwild2.video_of(pair.name)) for pair in pairs])
    keep = metrics.annotated(label, SENTINELS[task])
    without = keep & ~metrics.annotated(pred, SENTINELS[task])
    if without.any():
        log.warning(
            "%d of %d frames annotated for %s have no prediction (%d): they %s",
            without.sum(), keep.sum(), TASKS[task], SENTINELS[task],
            "are left out" if missing == "leave-out" else f"count as predicted {SENTINELS[task]}",
        )  # fmt: skip
        if missing == "leave-out":
            keep &= ~without
    sure = [pair.probability for pair in pairs if pair.probability is not None]
    probability = np.concatenate(sure)[keep] if pairs and len(sure) == len(pairs) else None
    return Task(label[keep], pred[keep], video[keep], probability)
