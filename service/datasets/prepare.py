"""`affectstream prepare`: a data set as the aligned crops, teacher values and samples of sound that training reads.

The perception is the very one that serves. A data set is written in shards, each aside and then renamed, and a run that
was stopped goes on with the shards that are missing. Shards are `.npz` files without pickles:

`crops` (n, 112, 112[, 3]) uint8 · `found` (n,) bool, false where no mesh was found and the crop was aligned by the mean
transform · `blendshapes` (n, 52) float32, NaN where the teacher saw no face, and `blendshape_names` · FER+: `votes`,
`split`, `index` · pictures: `name`, `label` · video: `t` seconds · RAVDESS and nEMO: `service.datasets.voices`.
"""

import csv
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event, local

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines import weights
from engines.errors import UserError, WeightsError
from service.capture.file import FileSource
from service.capture.media import Frame
from service.datasets import voices, webva
from service.datasets.blendshapes import NAMES, Blendshapes
from service.datasets.labelled import EXPRESSIONS_8
from service.perception.align import aligned_crop
from service.perception.networks import Networks
from service.perception.perceive import Perception
from service.perception.still import face_in_crop

log = logging.getLogger(__name__)

DATASETS = ("ferplus", "faces", "webva", "ravdess", "nemo", "video", "affwild2", "multiterm", "multiterm-files")
SHARD = 2048  # pictures
_TEACHER = "face-landmarker"  # name in the weights manifest
# Mean similarity from a FER picture of side 1 to the aligned crop, over the faces whose mesh is certain: for the rest.
_MEAN_SCALE, _MEAN_ROLL, _MEAN_SHIFT = 97.67, -0.0067, (7.54, 14.48)

Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class _Picture:
    crop: NDArray[np.uint8]
    found: bool
    blendshapes: NDArray[np.float32]  # (52,) NaN where unknown


class _Looker:
    """Perception and teacher over single pictures, for several threads."""

    def __init__(self, teacher: Path | None) -> None:
        self._networks = Networks()
        self._teacher = teacher
        self._own = local()

    def __call__(self, image: NDArray[np.uint8]) -> _Picture:
        unknown = np.full(len(NAMES), np.nan, np.float32)
        face = face_in_crop(self._networks, image)
        if face is None:
            crop = aligned_crop(_as_rgb(image), _mean_matrix(image))
            return _Picture(_as_source(crop, image), False, unknown)
        shapes = self.shapes(_as_rgb(image), face.mesh)
        return _Picture(_as_source(face.crop, image), True, unknown if shapes is None else shapes)

    def shapes(self, image: NDArray[np.uint8], mesh: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """The teacher's values, or None."""
        if self._teacher is None:
            return None
        if not hasattr(self._own, "teacher"):
            self._own.teacher = Blendshapes(self._teacher)
        values: NDArray[np.float32] | None = self._own.teacher(image, mesh)
        return values


def _as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _as_source(crop: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey crops of grey pictures: a third of the room."""
    return crop[:, :, 0] if image.ndim == 2 else crop


def _mean_matrix(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    height, width = image.shape[:2]
    side = min(height, width)
    scale = _MEAN_SCALE / side
    c, s = np.cos(_MEAN_ROLL) * scale, np.sin(_MEAN_ROLL) * scale
    linear = np.array([[c, -s], [s, c]])
    corner = np.array([(width - side) / 2, (height - side) / 2])
    return np.hstack([linear, (np.array(_MEAN_SHIFT) - linear @ corner)[:, None]])


def prepare(dataset: str, folder: str | Path, out: str | Path, *, context: bool = False) -> None:
    """Writes the shards of `dataset` (one of `DATASETS`), read from `folder`, into `out`.

    ferplus: ferplus.npz, or its folder; faces: pictures with an index.csv (file, emotion, source_name); ravdess and
    nemo: recordings by those corpora's names; video: a video, or a folder of them. affwild2, a folder of it, becomes
    folders by recording instead (`service.datasets.affwild2`), with `context` those of faces with their surroundings too;
    multiterm adds what that system reads (`service.datasets.multiterm`). Raises `UserError` for a name or folder
    that is not there.
    """
    source, target = Path(folder), Path(out)
    if dataset not in DATASETS:
        raise UserError(f"There is no data set {dataset!r}; choose one of {', '.join(DATASETS)}.")
    if not source.exists():
        raise UserError(f"{source} does not exist. Name the folder that holds {dataset}.")
    if dataset == "affwild2":
        from service.datasets.affwild2 import prepare_affwild2

        return prepare_affwild2(source, target, context=context)
    if dataset == "multiterm":
        from service.datasets.multiterm import prepare_multiterm

        return prepare_multiterm(source, target)
    if dataset == "multiterm-files":
        from service.datasets.feature_files import prepare_feature_files

        return prepare_feature_files(source, target)
    target.mkdir(parents=True, exist_ok=True)
    makers = {"ferplus": _ferplus, "faces": _faces, "webva": _webva, "video": _video}
    makers |= {name: partial(voices.shards, name) for name in voices.CORPORA}
    shards = makers[dataset]
    for name, make in shards(source):
        path = target / f"{name}.npz"
        if not path.exists():
            _write(path, make())


def _write(path: Path, columns: Columns) -> None:
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]
    os.replace(aside, path)


def _teacher_file(folder: Path) -> Path | None:
    """face_landmarker.task beside the data, or out of the weights store; None, said once, where there is neither."""
    try:
        wanted = weights.entry(_TEACHER)
        for near in (folder, folder.parent):
            for path in (near / wanted.file, near / "models" / wanted.file):
                if path.is_file():
                    return path
        return weights.path(_TEACHER)
    except WeightsError as e:
        log.warning("Action units are left out: %s", e)
        return None


def _pictures(images: list[NDArray[np.uint8]], look: _Looker, title: str) -> Columns:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(tqdm(pool.map(look, images), total=len(images), desc=title, leave=False))
    return {
        "crops": np.stack([one.crop for one in seen]),
        "found": np.array([one.found for one in seen]),
        "blendshapes": np.stack([one.blendshapes for one in seen]),
        "blendshape_names": np.array(NAMES),
    }


def _ferplus(source: Path) -> Iterator[tuple[str, Callable[[], Columns]]]:
    path = source / "ferplus.npz" if source.is_dir() else source
    with np.load(path, allow_pickle=False) as file:
        images, votes, split = file["images"], file["votes"], file["split"]
    look = _Looker(_teacher_file(path.parent))
    for start in range(0, len(images), SHARD):
        rows = slice(start, min(start + SHARD, len(images)))

        def make(rows: slice = rows) -> Columns:
            columns = _pictures(list(images[rows]), look, f"{rows.start}-{rows.stop} of {len(images)}")
            return columns | {
                "votes": votes[rows], "split": split[rows], "index": np.arange(rows.start, rows.stop),
            }  # fmt: skip

        yield f"{start:06d}", make


def _faces(source: Path) -> Iterator[tuple[str, Callable[[], Columns]]]:
    index = source / "index.csv"
    if not index.is_file():
        raise UserError(f"{source} has no index.csv (file, emotion, source_name).")
    with index.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    look = _Looker(_teacher_file(source))
    for start in range(0, len(rows), SHARD):
        part = rows[start : start + SHARD]

        def make(part: list[dict[str, str]] = part) -> Columns:
            columns = _pictures([_read(source / row["file"]) for row in part], look, source.name)
            return columns | {
                "label": np.array([row["emotion"] for row in part]),
                "name": np.array([row["source_name"] for row in part]),
            }

        yield f"{start:06d}", make


def _webva(source: Path) -> Iterator[tuple[str, Callable[[], Columns]]]:
    rows = webva.photographs(source)
    look = _Looker(_teacher_file(source))
    for start in range(0, len(rows), SHARD):
        part = rows[start : start + SHARD]

        def make(part: list[webva.Photograph] = part) -> Columns:
            columns = _pictures([_read(row.path) for row in part], look, "webva")
            return columns | {
                "label": np.array([EXPRESSIONS_8[row.expression] for row in part]),
                "va": np.array([(row.valence, row.arousal) for row in part], np.float32),
                "split": np.array([webva.SPLITS.index(row.split) for row in part], np.uint8),
                "name": np.array([row.path.name for row in part]),
            }

        yield f"{start:06d}", make


def _read(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3) RGB. Raises `UserError` if it is not a picture."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} is not a picture that can be read.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _video(source: Path) -> Iterator[tuple[str, Callable[[], Columns]]]:
    paths = (
        sorted(p for p in source.iterdir() if p.suffix.lower() in (".mp4", ".mkv", ".mov", ".webm"))
        if source.is_dir()
        else [source]
    )
    look = _Looker(_teacher_file(source))
    networks = Networks()
    for path in paths:

        def make(path: Path = path) -> Columns:
            perception = Perception(networks)
            crops, shapes, times = [], [], []
            for item in FileSource(path, path.name, realtime=False).read(Event()):
                if not isinstance(item, Frame):
                    continue
                for face in perception(item):
                    values = look.shapes(item.image, face.mesh)
                    if values is not None:
                        crops.append(face.crop)
                        shapes.append(values)
                        times.append(face.t)
            if not crops:
                raise UserError(f"No face was found in {path}.")
            return {
                "crops": np.stack(crops), "found": np.ones(len(crops), bool), "blendshapes": np.stack(shapes),
                "blendshape_names": np.array(NAMES), "t": np.array(times), "name": np.full(len(crops), path.stem),
            }  # fmt: skip

        yield path.stem, make
