"""Read the features of multi-term boosting from files of OpenFace, OpenPose and a deep network, instead of ours.

`affectstream prepare multiterm-files DIR --out OUT` writes `OUT/multiterm/NAME.npz` as `service.datasets.multiterm`
does. `DIR` holds the data set's annotations and, by the name of each recording:

- `openface/NAME.csv` of OpenFace 2.2's FeatureExtraction: the columns `timestamp`, `AU01_r` and so on, `AU01_c` and so
  on, `pose_Tx` ... `pose_Rz`, `gaze_0_x` ... `gaze_angle_y`; others are left out. Of several faces the one of most rows
  is read.
- `openpose/NAME.csv`: a row for each frame, 75 numbers (x, y, confidence of BODY_25's joints), no header.
- `deep/NAME.npy`, (frames, features), or `deep/NAME.csv`, a row for each frame, no header: those of ResNet50 or
  EfficientNet.

A file that is missing leaves its modality unknown. OpenFace's layout is documented and was written from that; it was
tried on generated files only.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import AnnotationError, UserError
from models.files import written_whole
from models.multiterm.live_windows import slot_of
from models.multiterm.system import MODALITIES
from models.training import affwild2
from service.adapters.frame_features import NAMES

Floats = NDArray[np.float64]

EXTRACTOR = "files"  # stands where the version of our deep features does
_FOLDERS = ("openface", "openpose", "deep")
_OPENFACE = ("au", "head", "gaze")


def prepare_feature_files(source: Path, out: Path) -> None:
    """Write `out`/multiterm/NAME.npz for each annotated recording that has a file in `source`, and its annotations.

    Raise `AnnotationError` naming a file and line that is wrong, `UserError` if no recording has a file.
    """
    names, done = affwild2.lengths(source), 0
    if out.resolve() != source.resolve():
        affwild2.copy_annotations(source, out)
    width = _deep_width(source, list(names))
    for name in names:
        found = read_features(source, name)
        if not found:
            continue
        length = max(len(x) for x in found.values())
        widths = {modality: columns for modality, columns in MODALITIES.items() if modality != "deep"}
        arrays = {modality: np.full((length, columns), np.nan) for modality, columns in widths.items()}
        if width:
            arrays["deep"] = np.full((length, width), np.nan)
        for modality, x in found.items():
            arrays[modality][: len(x)] = x
        with written_whole(out / "multiterm" / f"{name}.npz") as aside:
            halves = {key: x.astype(np.float32) for key, x in arrays.items()}
            np.savez_compressed(aside, extractor=np.array(EXTRACTOR), **halves)  # type: ignore[arg-type]
        done += 1
    if not done:
        raise UserError(f"{source} has no {', '.join(f'{folder}/NAME.csv' for folder in _FOLDERS)} of any recording.")


def read_features(source: Path, name: str) -> dict[str, Floats]:
    """Return by modality (slots, features) at 30 slots a second, of the files that there are for recording `name`."""
    found: dict[str, Floats] = {}
    if (path := source / "openface" / f"{name}.csv").is_file():
        found |= read_openface(path)
    if (path := source / "openpose" / f"{name}.csv").is_file():
        found["pose"] = _numbers(path, MODALITIES["pose"])
    if (deep := _deep_file(source, name)) is not None:
        found["deep"] = _deep(deep)
    return found


def read_openface(path: Path) -> dict[str, Floats]:
    """Return `au` (slots, 35), `head` (slots, 6) and `gaze` (slots, 8) of an OpenFace 2.2 CSV, by its timestamps.

    Rows with `success` 0 are unknown. Raise `AnnotationError` naming the line and what was expected.
    """
    columns = {modality: list(NAMES[modality]) for modality in _OPENFACE}
    wanted = [column for names in columns.values() for column in names]
    faces: dict[str, dict[int, list[float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, skipinitialspace=True)
            if missing := {"timestamp", *wanted} - set(table.fieldnames or ()):
                raise AnnotationError(
                    f"{path}, line 1: expected OpenFace's columns; {', '.join(sorted(missing))} lack."
                )
            for row in table:
                if float(row.get("success") or 1) == 0:
                    continue
                slot = slot_of(float(row["timestamp"]))
                faces.setdefault(row.get("face_id") or "0", {})[slot] = [float(row[column]) for column in wanted]
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path} cannot be read as text: {error}.") from error
    except (TypeError, ValueError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{path}, line {table.line_num}: expected numbers; {error}.") from None
    rows = max(faces.values(), key=len, default={})
    whole = np.full((max(rows, default=-1) + 1, len(wanted)), np.nan)
    for slot, values in rows.items():
        whole[slot] = values
    ends = np.cumsum([len(names) for names in columns.values()])[:-1]
    return dict(zip(columns, np.split(whole, ends, axis=1), strict=True))


def _deep_file(source: Path, name: str) -> Path | None:
    return next((path for suffix in (".npy", ".csv") if (path := source / "deep" / f"{name}{suffix}").is_file()), None)


def _deep(path: Path) -> Floats:
    """Return deep features (frames, features); raise `AnnotationError` if the file holds something else."""
    if path.suffix == ".csv":
        return _numbers(path, None)
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{path} cannot be read as an array: {error}.") from error
    if x.ndim != 2:
        raise AnnotationError(f"{path}: expected an array (frames, features), not one of shape {x.shape}.")
    return np.asarray(x, np.float64)


def _deep_width(source: Path, names: list[str]) -> int:
    """Return the width that all deep features share, 0 without any; raise `AnnotationError` if they differ."""
    widths: Mapping[str, int] = {
        str(path): _deep(path).shape[1] for name in names if (path := _deep_file(source, name)) is not None
    }
    if len(set(widths.values())) > 1:
        found = " and ".join(f"{path} has {width}" for path, width in list(widths.items())[:2])
        raise AnnotationError(f"{source}/deep: all files need as many features a frame, and {found}.")
    return next(iter(widths.values()), 0)


def _numbers(path: Path, columns: int | None) -> Floats:
    """Return (frames, columns) of a CSV without header, a row a frame; raise `AnnotationError` for a wrong line."""
    rows: list[list[float]] = []
    for line, text in enumerate(path.read_text("utf-8-sig").splitlines(), start=1):
        try:
            values = [float(cell) for cell in text.split(",")]
        except ValueError:
            raise AnnotationError(f"{path}, line {line}: expected numbers, not {text[:80]!r}.") from None
        expected = columns or (len(rows[0]) if rows else len(values))
        if len(values) != expected:
            raise AnnotationError(f"{path}, line {line}: expected {expected} numbers, not {len(values)}.")
        rows.append(values)
    return np.array(rows, np.float64).reshape(len(rows), -1)
