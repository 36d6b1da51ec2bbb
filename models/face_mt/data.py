"""Aligned faces on disk, as `affectstream prepare` wrote them, and the targets that training takes from them.

A prepared folder holds `*.npz` shards without pickles. Each has `crops` (n, 112, 112[, 3]) uint8, `found` (n,) bool (a
mesh was found; the others were aligned by the mean transform), and what its source knows: `votes` (n, 10) and `split`
(n,) for FER+, `label` (n,) for labelled pictures, `name` (n,); with the teacher at hand also `blendshapes` (n, 52)
and `blendshape_names` (52,).
"""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.face_mt import votes
from models.face_mt.action_units import units
from models.labels import EXPRESSIONS

TRAIN, VALIDATION, TEST = 0, 1, 2
HELD_OUT = 0.3  # share of the labelled pictures that is never trained on, chosen by the hash of their source
TEACHER_SURE = 0.5  # presence of the mesh from which the teacher's blendshapes count


@dataclass(frozen=True)
class Faces:
    """Faces with targets. Unknown targets are NaN (regressions) or have weight 0 (expressions)."""

    grey: NDArray[np.uint8]  # (n, 112, 112)
    found: NDArray[np.bool_]  # (n,)
    split: NDArray[np.int64]  # (n,) TRAIN, VALIDATION, TEST
    expression: NDArray[np.float32]  # (n, 8) soft label
    weight: NDArray[np.float32]  # (n,) of the expression
    majority: NDArray[np.int64]  # (n,) class, -1 where there is none
    affect: NDArray[np.float32]  # (n, 4) valence, arousal, their variances
    units: dict[str, NDArray[np.float32]]  # "AU12" -> (n,) on the teacher's scale; empty without a teacher

    def __len__(self) -> int:
        return len(self.grey)


def read(folder: Path) -> dict[str, NDArray[np.generic]]:
    """All shards of a prepared folder, concatenated by key. Raises FileNotFoundError if there is none."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no prepared shards. Run `affectstream prepare` first.")
    parts: dict[str, list[NDArray[np.generic]]] = {}
    names: NDArray[np.generic] | None = None
    for path in paths:
        with np.load(path, allow_pickle=False) as shard:
            for key in shard.files:
                if key == "blendshape_names":
                    names = shard[key]
                else:
                    parts.setdefault(key, []).append(shard[key])
    columns = {key: np.concatenate(arrays) for key, arrays in parts.items()}
    if names is not None:
        columns["blendshape_names"] = names
    return columns


def luminance(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 112, 112[, 3]) -> (n, 112, 112), BT.601, rounded."""
    if crops.ndim == 3:
        return crops
    out = np.empty(crops.shape[:3], np.uint8)
    for i, crop in enumerate(crops):
        out[i] = np.rint(crop @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)
    return out


def _teacher(columns: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
    if "blendshapes" not in columns:
        return {}
    shapes = columns["blendshapes"].astype(np.float32)
    return units(shapes, [str(name) for name in columns["blendshape_names"]])


def ferplus(folder: Path) -> Faces:
    """FER+ as prepared into `folder`, with its own split."""
    columns = read(folder)
    soft, weight = votes.distributions(columns["votes"].astype(np.uint8))
    mean, variance = votes.circumplex(soft)
    affect = np.concatenate([mean, variance], 1).astype(np.float32)
    affect[weight == 0] = np.nan
    return Faces(
        grey=luminance(columns["crops"].astype(np.uint8)),
        found=columns["found"].astype(np.bool_),
        split=columns["split"].astype(np.int64),
        expression=soft.astype(np.float32),
        weight=weight.astype(np.float32),
        majority=votes.majority(columns["votes"].astype(np.uint8)),
        affect=affect,
        units=_teacher(columns),
    )


def held_out(name: str, share: float = HELD_OUT) -> bool:
    """Whether the picture called `name` is held out: all pictures of one source fall on the same side."""
    stem = "".join(c for c in name.rsplit(".", 1)[0].lower() if not c.isdigit()).strip("_- ")
    return zlib.crc32(stem.encode()) % 1000 < 1000 * share


def labelled(folder: Path) -> Faces:
    """Pictures with one noisy label each (`label` in labels.EXPRESSIONS or contempt): teacher and cross-source check.

    `split` is TEST for the held-out part. The labels carry weight 0: they choose, they do not teach.
    """
    columns = read(folder)
    names = [str(name) for name in columns["name"]]
    label = np.array(
        [votes.CLASSES.index(str(x)) if str(x) in votes.CLASSES else -1 for x in columns["label"]], np.int64
    )
    n = len(names)
    return Faces(
        grey=luminance(columns["crops"].astype(np.uint8)),
        found=columns["found"].astype(np.bool_),
        split=np.where([held_out(name) for name in names], TEST, TRAIN).astype(np.int64),
        expression=np.full((n, len(votes.CLASSES)), 1 / len(votes.CLASSES), np.float32),
        weight=np.zeros(n, np.float32),
        majority=label,
        affect=np.full((n, 4), np.nan, np.float32),
        units=_teacher(columns),
    )


def recorded(folder: Path) -> Faces:
    """Faces of prepared videos: the teacher's units alone are known, and none was trained on."""
    columns = read(folder)
    n = len(columns["found"])
    return Faces(
        grey=luminance(columns["crops"].astype(np.uint8)),
        found=columns["found"].astype(np.bool_),
        split=np.full(n, TEST, np.int64),
        expression=np.full((n, len(votes.CLASSES)), 1 / len(votes.CLASSES), np.float32),
        weight=np.zeros(n, np.float32),
        majority=np.full(n, -1, np.int64),
        affect=np.full((n, 4), np.nan, np.float32),
        units=_teacher(columns),
    )


def training_prior(faces: Faces) -> NDArray[np.float64]:
    """(8,) share of each class in the weighted soft labels of the training part."""
    rows = faces.split == TRAIN
    total = (faces.expression[rows] * faces.weight[rows, None]).astype(np.float64).sum(0)
    return np.asarray(total / total.sum(), np.float64)


assert len(votes.CLASSES) == len(EXPRESSIONS) + 1
