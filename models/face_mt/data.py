"""Aligned faces on disk, as `affectstream prepare` wrote them, and the targets that training takes from them.

A prepared folder holds `*.npz` shards without pickles. Each has `crops` (n, 112, 112[, 3]) uint8, `found` (n,) bool (a
mesh was found; the others were aligned by the mean transform), `mesh` (n, 468, 2) in pixels of the crop, and what its
source knows: `votes` (n, 10) and `split` (n,) for FER+; `label` (n,) and `va` (n, 2) for webva; `label` (n,) for
labelled pictures; `name` (n,). What the teachers of the action units gave is in `blendshapes` (n, 52) with
`blendshape_names`, and `openface` (n, 17) with `openface_names`.
"""

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError
from models.face_mt import points, votes
from models.face_mt.action_units import SHAPES, Scale, Teachers, scale, targets
from models.labels import EXPRESSIONS

TRAIN, VALIDATION, TEST = 0, 1, 2
HELD_OUT = 0.3  # share of the labelled pictures that is never trained on, chosen by the hash of their source
TEST_ROWS, TEST_SHARE = 400, 0.2  # the last rows of webva, at most this share of it, are never used for a choice
FOLDS = 5  # of webva's other rows: every fifth row is held out of one fold
SMOOTHING = 0.1  # of webva's labels, each of which is given by one person
NEUTRAL = votes.CLASSES.index("neutral")

Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Faces:
    """Hold faces with targets. Unknown targets are NaN (regressions) or have weight 0 (expressions)."""

    grey: NDArray[np.uint8]  # (n, 112, 112)
    found: NDArray[np.bool_]  # (n,)
    split: NDArray[np.int64]  # (n,) TRAIN, VALIDATION, TEST
    expression: NDArray[np.float32]  # (n, 8) soft label
    weight: NDArray[np.float32]  # (n,) of the expression
    majority: NDArray[np.int64]  # (n,) class, -1 where there is none
    affect: NDArray[np.float32]  # (n, 2) valence, arousal as people rated them
    units: NDArray[np.float32]  # (n, 19) intensities in the order of action_units.UNITS
    yaw: NDArray[np.float32]  # (n,) degrees that the head is turned, NaN where unknown
    points: NDArray[np.float32]  # (n, 468, 2) of the mesh, as `points` describes them

    def __len__(self) -> int:
        return len(self.grey)


def read(folder: Path) -> Columns:
    """Return all shards of a prepared folder, concatenated by key. Raise FileNotFoundError if there is none."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no prepared shards. Run `affectstream prepare` first.")
    parts: dict[str, list[NDArray[np.generic]]] = {}
    names: Columns = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as shard:
            for key in shard.files:
                if key.endswith("_names"):
                    names[key] = shard[key]
                else:
                    parts.setdefault(key, []).append(shard[key])
    return {key: np.concatenate(arrays) for key, arrays in parts.items()} | names


def _of_faces(folder: Path) -> Columns:
    """Return what `read` does. Raise `ModelError` for shards of an earlier version, which have no meshes."""
    columns = read(folder)
    if "mesh" not in columns:
        raise ModelError(f"{folder} was prepared by an earlier version, without `mesh`. Empty it and prepare it anew.")
    return columns


def luminance(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (n, 112, 112) BT.601 luminance, rounded, of (n, 112, 112[, 3]) crops."""
    if crops.ndim == 3:
        return crops
    out = np.empty(crops.shape[:3], np.uint8)
    for i, crop in enumerate(crops):
        out[i] = np.rint(crop @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)
    return out


def _teachers(columns: Columns) -> Teachers:
    n = len(columns["found"])
    shape_names = [str(name) for name in columns.get("blendshape_names", np.array(_ALL_SHAPES))]
    names = [str(name) for name in columns.get("openface_names", np.array([], str))]
    silent = np.full((n, max(len(shape_names), len(names))), np.nan, np.float32)
    return Teachers(
        columns["blendshapes"].astype(np.float32) if "blendshapes" in columns else silent[:, : len(shape_names)],
        shape_names,
        columns["openface"].astype(np.float32) if "openface" in columns else silent[:, : len(names)],
        names,
    )


_ALL_SHAPES = sorted({shape for shapes in SHAPES.values() for shape in shapes})


@dataclass(frozen=True)
class Basis:
    """Hold what the training rows of webva set for all sources.

    Attributes:
        scale: The scale of the units; another source has its own, with the same factors.
        rest: (468, 2) points of the mesh of a face at rest, in pixels of the crop.
        partner: (468,) the point that each becomes in the mirror image.
    """

    scale: Scale
    rest: NDArray[np.float32]
    partner: NDArray[np.int64]

    def of(self, columns: Columns, neutral: NDArray[np.bool_]) -> "Basis":
        """Return the basis of another source, whose `neutral` (n,) faces are at rest."""
        return replace(self, scale=scale(_teachers(columns), neutral, self.scale.factor))


def _faces(columns: Columns, basis: Basis, majority: NDArray[np.int64], **known: NDArray[np.generic]) -> Faces:
    """Return the faces of `columns`; what `known` leaves out is unknown."""
    n = len(majority)
    units = targets(_teachers(columns), basis.scale)
    return Faces(
        grey=luminance(columns["crops"].astype(np.uint8)),
        found=columns["found"].astype(np.bool_),
        split=known.get("split", np.full(n, TEST)).astype(np.int64),
        expression=known.get("expression", np.full((n, len(votes.CLASSES)), 1 / len(votes.CLASSES))).astype(np.float32),
        weight=known.get("weight", np.zeros(n)).astype(np.float32),
        majority=majority,
        affect=known.get("affect", np.full((n, 2), np.nan)).astype(np.float32),
        units=units,
        yaw=columns["yaw"].astype(np.float32) if "yaw" in columns else np.full(n, np.nan, np.float32),
        points=points.points_of(columns["mesh"].astype(np.float32), basis.rest),
    )


def webva_basis(folder: Path) -> Basis:
    """Return what the training rows of webva set for all sources."""
    columns = _of_faces(folder)
    label = _classes(columns["label"])
    training = webva_split(len(label)) == TRAIN
    part = {k: v if k.endswith("_names") else v[training] for k, v in columns.items()}
    found = scale(_teachers(part), label[training] == NEUTRAL, None)
    return Basis(found, *points.at_rest(part["mesh"].astype(np.float32)))


def webva_split(n: int) -> NDArray[np.int64]:
    """Return (n,) the split of webva: the last 400 rows are TEST, or a fifth where there are fewer than 2,000."""
    test = min(TEST_ROWS, round(n * TEST_SHARE))
    return np.where(np.arange(n) < n - test, TRAIN, TEST).astype(np.int64)


def webva(folder: Path, basis: Basis) -> Faces:
    """Return the web faces that people rated, as prepared into `folder`."""
    columns = _of_faces(folder)
    label = _classes(columns["label"])
    smooth = np.eye(len(votes.CLASSES))[label] * (1 - SMOOTHING) + SMOOTHING / len(votes.CLASSES)
    return _faces(
        columns,
        basis,
        label,
        split=webva_split(len(label)),
        expression=smooth,
        weight=np.ones(len(label)),
        affect=columns["va"],
    )


def fold_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold that each of webva's rows is held out of."""
    return rows % FOLDS


def ferplus(folder: Path, basis: Basis) -> Faces:
    """Return FER+ as prepared into `folder`, with its own split."""
    columns = _of_faces(folder)
    count = columns["votes"].astype(np.uint8)
    soft, weight = votes.distributions(count)
    majority, split = votes.majority(count), columns["split"].astype(np.int64)
    own = basis.of(columns, (majority == NEUTRAL) & (split == TRAIN))
    return _faces(columns, own, majority, split=split, expression=soft, weight=weight)


def held_out(name: str, share: float = HELD_OUT) -> bool:
    """Return whether the picture called `name` is held out: all pictures of one source fall on the same side."""
    stem = "".join(c for c in name.rsplit(".", 1)[0].lower() if not c.isdigit()).strip("_- ")
    return zlib.crc32(stem.encode()) % 1000 < 1000 * share


def labelled(folder: Path, basis: Basis) -> Faces:
    """Return pictures with one noisy label each, which teach the units only. `split` is TEST for the held-out part."""
    columns = _of_faces(folder)
    label = _classes(columns["label"])
    split = np.where([held_out(str(name)) for name in columns["name"]], TEST, TRAIN)
    own = basis.of(columns, (label == NEUTRAL) & (split == TRAIN))
    return _faces(columns, own, label, split=split)


def recorded(folder: Path, basis: Basis) -> Faces:
    """Return the faces of prepared videos, of which the teachers' units alone are known; none was trained on."""
    columns = _of_faces(folder)
    return _faces(columns, basis, np.full(len(columns["found"]), -1, np.int64))


@dataclass(frozen=True)
class Sets:
    """Hold the prepared sets with their targets, and what they have in common."""

    ferplus: Faces
    webva: Faces
    faces: Faces
    basis: Basis


def sets(folder: Path) -> Sets:
    """Return the sets ferplus, webva and faces in `folder`. Raise FileNotFoundError if one is missing."""
    basis = webva_basis(folder / "webva")
    return Sets(
        ferplus(folder / "ferplus", basis), webva(folder / "webva", basis), labelled(folder / "faces", basis), basis
    )


def training_prior(faces: Faces) -> NDArray[np.float64]:
    """Return (8,) the share of each class in the weighted soft labels of the training part."""
    rows = faces.split == TRAIN
    total = (faces.expression[rows] * faces.weight[rows, None]).astype(np.float64).sum(0)
    return np.asarray(total / total.sum(), np.float64)


def _classes(labels: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the number of each label among votes.CLASSES, -1 for others."""
    return np.array([votes.CLASSES.index(str(x)) if str(x) in votes.CLASSES else -1 for x in labels], np.int64)


assert len(votes.CLASSES) == len(EXPRESSIONS) + 1
