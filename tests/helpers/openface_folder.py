"""A folder in the format of OpenFace 1's action-unit predictors, filled with chance."""

import struct
from pathlib import Path

import numpy as np

from models.face_mt.openface import MIRRORED
from models.face_mt.openface_files import FEATURES


def predictor(kind: int, weights: np.ndarray, bias: float, mean: np.ndarray) -> bytes:
    data = struct.pack("<i", kind) + (struct.pack("<d", 0.3) if kind == 1 else b"")
    data += struct.pack("<iii", 1, FEATURES, 6) + mean.astype("<f8").tobytes()
    data += struct.pack("<iii", FEATURES, 1, 6) + weights.astype("<f8").tobytes()
    return data + struct.pack("<d", bias) + (struct.pack("<dd", 1, 0) if kind in (4, 5) else b"")


def face() -> np.ndarray:
    """Return a flat face of 68 points in millimetres, symmetric about x = 0."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-70, 70, (68, 2))
    points[36:42] = np.array([-30, -30]) + rng.uniform(-8, 8, (6, 2))
    points[42:48] = np.array([30, -30]) + rng.uniform(-8, 8, (6, 2))
    points = (points + points[MIRRORED] * [-1, 1]) / 2
    return points


def _block(matrix: np.ndarray) -> str:
    rows = "\n".join(" ".join(f"{v:.9g}" for v in row) for row in matrix)
    return f"# a block\n{matrix.shape[0]}\n{matrix.shape[1]}\n6\n{rows}\n"


def write(folder: Path) -> Path:
    """Write predictors of AU01 and AU12, and a dynamic one of AU05, with shape model and triangles; return `folder`."""
    rng = np.random.default_rng(1)
    for name in ("AU_predictors/svr_combined", "model/pdms"):
        (folder / name).mkdir(parents=True)
    mean = rng.random(FEATURES) * 0.1
    listed = []
    for unit in ("AU01", "AU12"):
        weights = rng.normal(size=FEATURES) * 0.01
        (folder / f"AU_predictors/svr_combined/{unit}.dat").write_bytes(predictor(0, weights, 0.5, mean))
        listed.append(f"svr_combined/{unit}.dat {unit}")
    (folder / "AU_predictors/AU_all_static.txt").write_text("\n".join(listed))
    moving = rng.normal(size=FEATURES) * 0.01
    (folder / "AU_predictors/svr_combined/AU05_dynamic.dat").write_bytes(predictor(1, moving, 0.5, mean))
    (folder / "AU_predictors/AU_all_best.txt").write_text("\n".join([listed[0], "svr_combined/AU05_dynamic.dat AU05"]))
    depth = rng.uniform(-20, 20, 68)
    shape = np.concatenate([face().T.ravel(), depth + depth[MIRRORED]])[:, None]
    modes, _ = np.linalg.qr(rng.normal(size=(204, 34)))
    pdm = _block(shape) + _block(modes) + _block(np.linspace(500, 5, 34)[None])
    (folder / "model/pdms/In-the-wild_aligned_PDM_68.txt").write_text(pdm)
    (folder / "model/tris_68_full.txt").write_text("2\n3\n4\n0 1 2\n3 4 5\n")
    return folder
