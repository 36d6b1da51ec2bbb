"""OpenFace's predictors read from files in their format, which the tests write, and the features that they read."""

import struct
from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelError
from models.face_mt import openface_files
from models.face_mt.openface import MIRRORED, OpenFace, hog
from models.face_mt.openface_files import FEATURES
from models.face_mt.shape_model import ShapeModel


def _predictor(kind: int, weights: np.ndarray, bias: float, mean: np.ndarray) -> bytes:
    data = struct.pack("<i", kind) + (struct.pack("<d", 0.3) if kind == 1 else b"")
    data += struct.pack("<iii", 1, FEATURES, 6) + mean.astype("<f8").tobytes()
    data += struct.pack("<iii", FEATURES, 1, 6) + weights.astype("<f8").tobytes()
    return data + struct.pack("<d", bias) + (struct.pack("<dd", 1, 0) if kind in (4, 5) else b"")


def _face() -> np.ndarray:
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for name in ("AU_predictors/svr_combined", "model/pdms"):
        (tmp_path / name).mkdir(parents=True)
    mean = rng.random(FEATURES) * 0.1
    listed = []
    for unit in ("AU01", "AU12"):
        weights = rng.normal(size=FEATURES) * 0.01
        (tmp_path / f"AU_predictors/svr_combined/{unit}.dat").write_bytes(_predictor(0, weights, 0.5, mean))
        listed.append(f"svr_combined/{unit}.dat {unit}")
    (tmp_path / "AU_predictors/AU_all_static.txt").write_text("\n".join(listed))
    depth = rng.uniform(-20, 20, 68)
    shape = np.concatenate([_face().T.ravel(), depth + depth[MIRRORED]])[:, None]
    modes, _ = np.linalg.qr(rng.normal(size=(204, 34)))
    pdm = _block(shape) + _block(modes) + _block(np.linspace(500, 5, 34)[None])
    (tmp_path / "model/pdms/In-the-wild_aligned_PDM_68.txt").write_text(pdm)
    (tmp_path / "model/tris_68_full.txt").write_text("2\n3\n4\n0 1 2\n3 4 5\n")
    return tmp_path


def test_a_folder_is_read_whole(folder: Path) -> None:
    files = openface_files.read(folder)
    assert files.units == ("AU01", "AU12")
    assert files.weights.shape == (FEATURES, 2)
    assert files.bias == pytest.approx([0.5, 0.5])
    assert files.triangles.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_shape_is_found_wherever_the_face_lies(folder: Path) -> None:
    model = ShapeModel(openface_files.read(folder))
    points = _face()
    angle = np.radians(20)
    turned = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * 3 + [200, 150]
    for given in (points * 2, turned):
        fit = model.fit(given)
        assert np.abs(fit.parameters).max() < 0.5
    assert model.fit(turned).shift == pytest.approx([200, 150], abs=1.0)


def test_the_intensities_of_a_face_and_its_mirror_image_agree(folder: Path) -> None:
    teacher = OpenFace(folder)
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (240, 240, 3), np.uint8)
    points = _face() * 1.2 + 120 + rng.normal(0, 1, (68, 2))
    mirrored = points[MIRRORED].copy()
    mirrored[:, 0] = 239 - mirrored[:, 0]
    assert teacher(image, points) == pytest.approx(teacher(np.ascontiguousarray(image[:, ::-1]), mirrored))


def test_gradients_go_to_their_directions() -> None:
    ramp = np.repeat((np.arange(112) * 2)[None, :, None], 112, 0).repeat(3, 2).astype(np.uint8)
    cells = hog(ramp).reshape(12, 12, 31)
    assert (cells[..., :18].argmax(2) == 0).all()  # brighter to the right
    assert (hog(ramp.transpose(1, 0, 2).copy()).reshape(12, 12, 31)[..., :18].argmax(2) == 4).all() or (
        hog(ramp.transpose(1, 0, 2).copy()).reshape(12, 12, 31)[..., :18].argmax(2) == 5
    ).all()  # 90 degrees lies between the fourth and the fifth of 20 degrees
    assert hog(np.full((112, 112, 3), 90, np.uint8)).max() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-100], "cut off"),
        (lambda data: data + b"x", "bytes; expected"),
        (lambda data: struct.pack("<i", 9) + data[4:], "begins with 9"),
        (lambda data: data[:4] + struct.pack("<iii", 1, 4000, 6) + data[16:], "another version"),
    ],
)
def test_a_damaged_predictor_is_named(folder: Path, change: object, said: str) -> None:
    path = folder / "AU_predictors/svr_combined/AU12.dat"
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ModelError, match=said) as raised:
        openface_files.read(folder)
    assert "AU12.dat" in str(raised.value)


def test_a_dynamic_predictor_in_a_static_one_s_place_is_refused(folder: Path) -> None:
    path = folder / "AU_predictors/svr_combined/AU12.dat"
    path.write_bytes(_predictor(1, np.zeros(FEATURES), 0.0, np.zeros(FEATURES)))
    with pytest.raises(ModelError, match="dynamic"):
        openface_files.read(folder)


def test_a_shape_model_that_is_cut_off_is_named(folder: Path) -> None:
    path = folder / "model/pdms/In-the-wild_aligned_PDM_68.txt"
    path.write_text(path.read_text()[:2000])
    with pytest.raises(ModelError, match="PDM_68"):
        openface_files.read(folder)


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="AU_all_static"):
        openface_files.read(tmp_path)
