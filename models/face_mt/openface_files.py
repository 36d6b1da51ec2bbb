"""OpenFace's linear action-unit predictors and its shape model, read from the files that their users have.

The files are for academic use only and are not part of Affectstream (Baltrusaitis, Mahmoud and Robinson 2015;
Baltrusaitis, Robinson and Morency 2016). Nothing is unpickled: the formats are read by hand and checked in length.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

FEATURES = 4702  # 12 x 12 cells of 31 HOG channels, 204 displacements, 34 shape parameters
SHAPE_POINTS, SHAPE_MODES = 68, 34
INTENSITY, INTENSITY_DYNAMIC, PRESENCE, PRESENCE_DYNAMIC = 0, 1, 4, 5  # first number of a predictor file
_KINDS = {
    INTENSITY: "a static intensity predictor",
    INTENSITY_DYNAMIC: "a dynamic intensity predictor",
    PRESENCE: "a static presence predictor",
    PRESENCE_DYNAMIC: "a dynamic presence predictor",
}
_FLOATS = {5: "<f4", 6: "<f8"}  # OpenCV's type numbers
STATIC_LIST = "AU_predictors/AU_all_static.txt"  # for pictures that stand alone
BEST_LIST = "AU_predictors/AU_all_best.txt"  # for films: some read how a face differs from what it mostly is
SHAPE_FILE = "model/pdms/In-the-wild_aligned_PDM_68.txt"
TRIANGLE_FILE = "model/tris_68_full.txt"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictor:
    """Hold one linear predictor, `(features - mean) . weights + bias`; `cutoff` is that of a dynamic one, else NaN."""

    kind: int
    cutoff: float
    mean: Floats  # (4702,)
    weights: Floats  # (4702,)
    bias: float


@dataclass(frozen=True)
class Files:
    """Hold the intensity predictors of a folder, with the shape model and the triangles of the face."""

    units: tuple[str, ...]  # "AU01", ... in the order of the columns of `weights`
    mean: Floats  # (4702,)
    weights: Floats  # (4702, units)
    bias: Floats  # (units,)
    shape_mean: Floats  # (204,) x, y and z of 68 points in millimetres, y downwards
    shape_modes: Floats  # (204, 34)
    shape_variances: Floats  # (34,)
    triangles: NDArray[np.int64]  # (111, 3)
    dynamic: NDArray[np.bool_]  # (units,) whether the running median of the features is taken off first


def read(folder: Path, listed: str = STATIC_LIST) -> Files:
    """Return the intensity predictors of the list `listed` in `folder`, and what they need.

    Raise `ModelError` for a file that is missing, cut off or not what its name says.
    """
    predictors: dict[str, Predictor] = {}
    for line in _text(folder / listed).splitlines():
        fields = line.split()
        if len(fields) == 2:
            path = folder / "AU_predictors" / fields[0]
            predictor = read_predictor(path)
            if listed == STATIC_LIST and predictor.kind in (INTENSITY_DYNAMIC, PRESENCE_DYNAMIC):
                raise ModelError(f"{path} is {_KINDS[predictor.kind]}, but {STATIC_LIST} lists static ones only.")
            if predictor.kind in (INTENSITY, INTENSITY_DYNAMIC):
                predictors[fields[1]] = predictor
    if not predictors:
        raise ModelError(f"{folder / listed} lists no intensity predictor; expected lines like `FILE.dat AU12`.")
    first = next(iter(predictors.values()))
    for unit, predictor in predictors.items():
        if not np.array_equal(predictor.mean, first.mean):
            raise ModelError(
                f"{folder}: the predictor of {unit} has another mean than the others; the versions differ."
            )
    mean, modes, variances = read_shape_model(folder / SHAPE_FILE)
    return Files(
        units=tuple(predictors),
        mean=first.mean,
        weights=np.stack([p.weights for p in predictors.values()], 1),
        bias=np.array([p.bias for p in predictors.values()]),
        shape_mean=mean,
        shape_modes=modes,
        shape_variances=variances,
        triangles=read_triangles(folder / TRIANGLE_FILE),
        dynamic=np.array([p.kind == INTENSITY_DYNAMIC for p in predictors.values()]),
    )


def pack(files: Files) -> bytes:
    """Return the files as one `.npz`."""
    buffer = io.BytesIO()
    np.savez(buffer, **(vars(files) | {"units": np.array(files.units)}))
    return buffer.getvalue()


def unpack(path: Path) -> Files:
    """Return what `pack` wrote to `path`. Raise `ModelError` if it is something else."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in Files.__dataclass_fields__}
    except (OSError, ValueError, KeyError) as e:
        raise ModelError(f"{path} does not hold OpenFace's predictors; import their folder again.") from e
    return Files(**(found | {"units": tuple(str(unit) for unit in found["units"])}))


def read_predictor(path: Path) -> Predictor:
    """Return the predictor in a `.dat` file. Raise `ModelError` if it is cut off, longer, or of another kind."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise ModelError(f"{path} cannot be read: {e.strerror}.") from e
    try:
        (kind,) = struct.unpack_from("<i", data, 0)
        if kind not in _KINDS:
            raise ModelError(f"{path} begins with {kind}; expected 0, 1, 4 or 5, the kinds of OpenFace 1's predictors.")
        at, cutoff = 4, np.nan
        if kind == INTENSITY_DYNAMIC:
            (cutoff,) = struct.unpack_from("<d", data, at)
            at += 8
        mean, at = _matrix(data, at, (1, FEATURES), path)
        weights, at = _matrix(data, at, (FEATURES, 1), path)
        (bias,) = struct.unpack_from("<d", data, at)
        at += 8 + (16 if kind in (PRESENCE, PRESENCE_DYNAMIC) else 0)
    except struct.error as e:
        raise ModelError(f"{path} ends after {len(data)} bytes; it is cut off. Fetch it again.") from e
    if len(data) != at:
        raise ModelError(f"{path} has {len(data)} bytes; expected {at} for {_KINDS[kind]}. Fetch it again.")
    return Predictor(kind, cutoff, mean, weights, bias)


def _matrix(data: bytes, at: int, shape: tuple[int, int], path: Path) -> tuple[Floats, int]:
    """Return the matrix that starts at byte `at`, flat, and the byte after it."""
    rows, columns, kind = struct.unpack_from("<iii", data, at)
    if (rows, columns) != shape or kind not in _FLOATS:
        raise ModelError(
            f"{path} holds a matrix of {rows}x{columns}, type {kind}; expected {shape[0]}x{shape[1]} of type 5 or 6. "
            "It is of another version of OpenFace."
        )
    dtype = np.dtype(_FLOATS[kind])
    end = at + 12 + FEATURES * dtype.itemsize
    if end > len(data):
        raise struct.error
    return np.frombuffer(data, dtype, FEATURES, at + 12).astype(np.float64), end


def read_shape_model(path: Path) -> tuple[Floats, Floats, Floats]:
    """Return mean (204,), modes (204, 34) and variances (34,) of the shape model. Raise `ModelError` for others."""
    lines = [line for line in map(str.strip, _text(path).splitlines()) if line and not line.startswith("#")]
    found: list[Floats] = []
    at = 0
    for rows, columns in ((3 * SHAPE_POINTS, 1), (3 * SHAPE_POINTS, SHAPE_MODES), (1, SHAPE_MODES)):
        head = lines[at : at + 2]
        if head != [str(rows), str(columns)]:
            raise ModelError(f"{path} holds a block of {'x'.join(head) or 'nothing'}; expected {rows}x{columns}.")
        at += 3  # rows, columns, type
        values: list[str] = []
        while len(values) < rows * columns and at < len(lines):
            values += lines[at].split()
            at += 1
        if len(values) != rows * columns:
            raise ModelError(f"{path} ends in its block of {rows}x{columns}; it is cut off. Fetch it again.")
        try:
            found.append(np.array(values, np.float64).reshape(rows, columns))
        except ValueError as e:
            raise ModelError(f"{path} holds something that is not a number: {e}.") from e
    return found[0].ravel(), found[1], found[2].ravel()


def read_triangles(path: Path) -> NDArray[np.int64]:
    """Return (n, 3) numbers of points. Raise `ModelError` where they are cut off or no points of the face."""
    fields = _text(path).split()
    count = int(fields[0]) if fields and fields[0].isdigit() else 0
    numbers = fields[3 : 3 + 3 * count]
    if not count or len(numbers) != 3 * count or not all(n.isdigit() and int(n) < SHAPE_POINTS for n in numbers):
        raise ModelError(f"{path} does not hold the triangles that its first line promises; expected points 0 to 67.")
    return np.array(numbers, np.int64).reshape(count, 3)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ModelError(f"{path} cannot be read as text; name the folder of OpenFace 1's files.") from e
