"""Prepare a data set as the aligned crops, teacher values and samples of sound that training reads.

The perception is the one that serves live. A data set is written in shards, each aside and then renamed, and a run that
was stopped goes on with the shards that are missing. Shards are `.npz` files without pickles:

`crops` (n, 112, 112[, 3]) uint8 · `found` (n,) bool, false where no mesh was found and the crop was aligned by the mean
transform · `mesh` (n, 468, 2) float32 in pixels of the crop, NaN where none was found · `blendshapes` (n, 52) float32,
NaN where the teacher saw no face, and `blendshape_names` · where OpenFace's files are at hand, `openface` (n, 17)
float32 intensities and `openface_names` · `yaw` (n,) degrees, NaN where no mesh was found · FER+: `votes`, `split`,
`index` · pictures: `name`, `label` · webva: `valence` and `arousal` too · video: `t` seconds · RAVDESS and nEMO:
`service.datasets.voices`.
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
from engines.errors import WeightsError
from models.errors import UserError
from models.face_mt import openface_files
from models.face_mt.openface import OpenFace
from models.files import sha256, written_whole
from service.capture.file import FileSource
from service.capture.media import Frame
from service.datasets import voices, webva
from service.datasets.blendshapes import NAMES, Blendshapes
from service.datasets.labelled import EXPRESSIONS_8
from service.perception.align import aligned_crop, in_crop
from service.perception.mesh import POINTS
from service.perception.networks import Networks
from service.perception.perceive import Perception
from service.perception.still import face_in_crop

log = logging.getLogger(__name__)

LABELLED = (
    "affwild", "omg-emotion", "affectnet", "raf-db", "emotionet", "disfa", "bp4d", "afew-va", "webva-recordings",
)  # fmt: skip
DATASETS = (
    "ferplus", "faces", "webva", "ravdess", "nemo", "video", "affwild2", *LABELLED, "multiterm", "multiterm-files",
)  # fmt: skip
SHARD = 2048  # pictures
_TEACHER = "face-landmarker"  # name in the weights manifest
_OPENFACE = "openface-au"  # folder of OpenFace 1's files, beside the data
_SHARP_SIDE = 192  # pixels that small pictures are enlarged to before OpenFace's features are taken
# Mean transform from a FER picture of side 1 to the aligned crop over faces with a certain mesh, for the other faces.
_MEAN_SCALE, _MEAN_ROLL, _MEAN_SHIFT = 97.67, -0.0067, (7.54, 14.48)

Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class _Picture:
    crop: NDArray[np.uint8]
    found: bool
    mesh: NDArray[np.float32]  # (468, 2) in pixels of the crop, NaN where unknown
    blendshapes: NDArray[np.float32]  # (52,) NaN where unknown
    openface: NDArray[np.float32]  # (17,) likewise; empty without OpenFace's files
    yaw: float  # degrees, NaN where unknown


class _PictureReader:
    """Read single pictures by perception and the teachers, from several threads."""

    def __init__(self, folder: Path) -> None:
        """Take the data's `folder`, beside which the teachers' files may lie; without them units are left out."""
        self._networks = Networks()
        self._teacher = _teacher_file(folder)
        self._openface = _openface(folder)
        self._own = local()

    @property
    def units(self) -> tuple[str, ...]:
        """Name the units of `openface`."""
        return () if self._openface is None else self._openface.units

    def __call__(self, image: NDArray[np.uint8]) -> _Picture:
        """Return the aligned face of `image` (height, width[, 3]), by the mean transform if no face is found."""
        unknown = np.full(len(NAMES), np.nan, np.float32)
        face = face_in_crop(self._networks, image)
        if face is None:
            crop = aligned_crop(_as_rgb(image), _mean_matrix(image))
            silent = np.full(len(self.units), np.nan, np.float32)
            nowhere = np.full((POINTS, 2), np.nan, np.float32)
            return _Picture(_as_source(crop, image), False, nowhere, unknown, silent, np.nan)
        shapes = self.shapes(_as_rgb(image), face.mesh)
        return _Picture(
            _as_source(face.crop, image),
            True,
            in_crop(face.mesh[:, :2], face.matrix).astype(np.float32),
            unknown if shapes is None else shapes,
            self.intensities(_as_rgb(image), face.landmarks),
            face.head_pose.yaw,
        )

    def intensities(self, image: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return OpenFace's intensities of the face whose 68 `points` were found; NaN where its shape cannot be."""
        if self._openface is None:
            return np.empty(0, np.float32)
        factor = max(_SHARP_SIDE / max(image.shape[:2]), 1.0)
        if factor > 1:
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
        try:
            return self._openface(image, points * factor).astype(np.float32)
        except np.linalg.LinAlgError:
            return np.full(len(self.units), np.nan, np.float32)

    def shapes(self, image: NDArray[np.uint8], mesh: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the teacher's values (52,), or None without a teacher or where it sees no face."""
        if self._teacher is None:
            return None
        if not hasattr(self._own, "teacher"):
            self._own.teacher = Blendshapes(self._teacher)
        values: NDArray[np.float32] | None = self._own.teacher(image, mesh)
        return values


def _as_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def _as_source(crop: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey crops of grey pictures, which take a third of the room."""
    return crop[:, :, 0] if image.ndim == 2 else crop


def _mean_matrix(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    height, width = image.shape[:2]
    side = min(height, width)
    scale = _MEAN_SCALE / side
    c, s = np.cos(_MEAN_ROLL) * scale, np.sin(_MEAN_ROLL) * scale
    linear = np.array([[c, -s], [s, c]])
    corner = np.array([(width - side) / 2, (height - side) / 2])
    return np.hstack([linear, (np.array(_MEAN_SHIFT) - linear @ corner)[:, None]])


def prepare(dataset: str, folder: str | Path, out: str | Path, *, context: bool = False, given: bool = False) -> None:
    """Write the shards of `dataset` (one of `DATASETS`), read from `folder`, into `out`.

    ferplus: ferplus.npz, or its folder; faces: pictures with an index.csv (file, emotion, source_name); webva: see
    `service.datasets.webva`; ravdess and nemo: recordings by those corpora's names; video: a video, or a folder of
    them. affwild2, a folder of it, becomes folders by recording instead (`service.datasets.affwild2`), with `context`
    those of faces with their surroundings too and with `given` its own aligned pictures, and so do the sets of
    `service.datasets.labelled_sets` (webva-recordings is webva so). multiterm adds what that system reads
    (`service.datasets.multiterm`), and multiterm-files takes it from other programs' files. Raise `UserError` for a
    name or folder that is not there, `AnnotationError` for a file that is wrong.
    """
    source, target = Path(folder), Path(out)
    if dataset not in DATASETS:
        raise UserError(f"There is no data set {dataset!r}; choose one of {', '.join(DATASETS)}.")
    if not source.exists():
        raise UserError(f"{source} does not exist. Name the folder that holds {dataset}.")
    if dataset == "affwild2":
        from service.datasets.affwild2 import prepare_affwild2

        return prepare_affwild2(source, target, context=context, given=given)
    if dataset == "multiterm":
        from service.datasets.multiterm import prepare_multiterm

        return prepare_multiterm(source, target)
    if dataset == "multiterm-files":
        from service.datasets.feature_files import prepare_feature_files

        return prepare_feature_files(source, target)
    if dataset in LABELLED:
        from service.datasets.labelled_sets import prepare_labelled

        return prepare_labelled(dataset, source, target)
    target.mkdir(parents=True, exist_ok=True)
    makers = {"ferplus": _ferplus, "faces": _faces, "webva": _webva, "video": _video}
    makers |= {name: partial(voices.shards, name) for name in voices.CORPORA}
    shards = makers[dataset]
    for name, make in shards(source):
        path = target / f"{name}.npz"
        if not path.exists():
            _write(path, make())


def _write(path: Path, columns: Columns) -> None:
    with written_whole(path) as aside:
        np.savez(aside, **columns)  # type: ignore[arg-type]


def _teacher_file(folder: Path) -> Path | None:
    """Return face_landmarker.task beside the data or from the weights store, or None, with a warning, without it.

    Raise `UserError` for a file beside the data that is cut off, of another version, or something else.
    """
    try:
        wanted = weights.entry(_TEACHER)
        for near in (folder, folder.parent):
            for path in (near / wanted.file, near / "models" / wanted.file):
                if path.is_file():
                    if (found := sha256(path)) != wanted.sha256:
                        raise UserError(
                            f"{path} is not the teacher that the units were scaled for: its SHA-256 is {found}, "
                            f"expected {wanted.sha256}. Fetch {wanted.file} again, or move it away."
                        )
                    return path
        return weights.path(_TEACHER)
    except WeightsError as e:
        log.warning("Action units are left out: %s", e)
        return None


def _openface(folder: Path) -> OpenFace | None:
    """Return OpenFace's predictors where their folder lies beside the data. Raise `ModelError` for damaged files."""
    for near in (folder, folder.parent):
        if (near / _OPENFACE).is_dir():
            return OpenFace(openface_files.read(near / _OPENFACE))
    log.warning("OpenFace's units are left out: there is no folder %s beside the data", _OPENFACE)
    return None


def _pictures(images: list[NDArray[np.uint8]], reader: _PictureReader, title: str) -> Columns:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = list(tqdm(pool.map(reader, images), total=len(images), desc=title, leave=False))
    return {
        "crops": np.stack([one.crop for one in seen]),
        "found": np.array([one.found for one in seen]),
        "mesh": np.stack([one.mesh for one in seen]),
        "blendshapes": np.stack([one.blendshapes for one in seen]),
        "blendshape_names": np.array(NAMES),
        "yaw": np.array([one.yaw for one in seen], np.float32),
    } | _openface_columns([one.openface for one in seen], reader)


def _openface_columns(values: list[NDArray[np.float32]], reader: _PictureReader) -> Columns:
    return {"openface": np.stack(values), "openface_names": np.array(reader.units)} if reader.units else {}


def _ferplus(source: Path) -> Iterator[tuple[str, Callable[[], Columns]]]:
    path = source / "ferplus.npz" if source.is_dir() else source
    with np.load(path, allow_pickle=False) as file:
        images, votes, split = file["images"], file["votes"], file["split"]
    reader = _PictureReader(path.parent)
    for start in range(0, len(images), SHARD):
        rows = slice(start, min(start + SHARD, len(images)))

        def make(rows: slice = rows) -> Columns:
            columns = _pictures(list(images[rows]), reader, f"{rows.start}-{rows.stop} of {len(images)}")
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
    reader = _PictureReader(source)
    for start in range(0, len(rows), SHARD):
        part = rows[start : start + SHARD]

        def make(part: list[dict[str, str]] = part) -> Columns:
            columns = _pictures([_read(source / row["file"]) for row in part], reader, source.name)
            return columns | {
                "label": np.array([row["emotion"] for row in part]),
                "name": np.array([row["source_name"] for row in part]),
            }

        yield f"{start:06d}", make


def _webva(source: Path) -> Iterator[tuple[str, Callable[[], Columns]]]:
    rows = webva.photographs(source)
    reader = _PictureReader(source)
    for start in range(0, len(rows), SHARD):
        part = rows[start : start + SHARD]

        def make(part: list[webva.Photograph] = part) -> Columns:
            columns = _pictures([_read(row.path) for row in part], reader, "webva")
            return columns | {
                "label": np.array([EXPRESSIONS_8[row.expression] for row in part]),
                "va": np.array([(row.valence, row.arousal) for row in part], np.float32),
                "split": np.array([webva.SPLITS.index(row.split) for row in part], np.uint8),
                "name": np.array([row.path.name for row in part]),
            }

        yield f"{start:06d}", make


def _read(path: Path) -> NDArray[np.uint8]:
    """Return (height, width, 3) RGB. Raise `UserError` if it is not a picture."""
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
    reader = _PictureReader(source)
    networks = Networks()
    for path in paths:

        def make(path: Path = path) -> Columns:
            perception = Perception(networks)
            crops, meshes, shapes, times, units, yaws = [], [], [], [], [], []
            for item in FileSource(path, path.name, realtime=False).read(Event()):
                if not isinstance(item, Frame):
                    continue
                for face in perception(item):
                    values = reader.shapes(item.image, face.mesh)
                    if values is not None:
                        crops.append(face.crop)
                        meshes.append(in_crop(face.mesh[:, :2], face.matrix).astype(np.float32))
                        shapes.append(values)
                        times.append(face.t)
                        units.append(reader.intensities(item.image, face.landmarks))
                        yaws.append(face.head_pose.yaw)
            if not crops:
                raise UserError(f"No face was found in {path}.")
            return {
                "crops": np.stack(crops), "found": np.ones(len(crops), bool), "mesh": np.stack(meshes),
                "blendshapes": np.stack(shapes),
                "blendshape_names": np.array(NAMES), "t": np.array(times), "name": np.full(len(crops), path.stem),
                "yaw": np.array(yaws, np.float32),
            } | _openface_columns(units, reader)  # fmt: skip

        yield path.stem, make
