"""OpenFace's predictors read from files in their format, which the tests write, and the features that they read."""

import struct
from pathlib import Path

import numpy as np
import pytest
from helpers import openface_folder

from models.errors import ModelError
from models.face_mt import openface_files
from models.face_mt.openface import MIRRORED, OpenFace, hog
from models.face_mt.openface_files import BEST_LIST, FEATURES
from models.face_mt.openface_live import Person, RunningMedian
from models.face_mt.shape_model import ShapeModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return openface_folder.write(tmp_path)


def test_a_folder_is_read_whole(folder: Path) -> None:
    files = openface_files.read(folder)
    assert files.units == ("AU01", "AU12")
    assert files.weights.shape == (FEATURES, 2)
    assert files.bias == pytest.approx([0.5, 0.5])
    assert files.triangles.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_shape_is_found_wherever_the_face_lies(folder: Path) -> None:
    model = ShapeModel(openface_files.read(folder))
    points = openface_folder.face()
    angle = np.radians(20)
    turned = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) * 3 + [200, 150]
    for given in (points * 2, turned):
        fit = model.fit(given)
        assert np.abs(fit.parameters).max() < 0.5
    assert model.fit(turned).shift == pytest.approx([200, 150], abs=1.0)


def test_the_intensities_of_a_face_and_its_mirror_image_agree(folder: Path) -> None:
    teacher = OpenFace(openface_files.read(folder))
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (240, 240, 3), np.uint8)
    points = openface_folder.face() * 1.2 + 120 + rng.normal(0, 1, (68, 2))
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
    path.write_bytes(openface_folder.predictor(1, np.zeros(FEATURES), 0.0, np.zeros(FEATURES)))
    with pytest.raises(ModelError, match="dynamic"):
        openface_files.read(folder)


def test_a_shape_model_that_is_cut_off_is_named(folder: Path) -> None:
    path = folder / "model/pdms/In-the-wild_aligned_PDM_68.txt"
    path.write_text(path.read_text("utf-8")[:2000])
    with pytest.raises(ModelError, match="PDM_68"):
        openface_files.read(folder)


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="AU_all_static"):
        openface_files.read(tmp_path)


def test_what_is_packed_is_what_is_unpacked(folder: Path, tmp_path: Path) -> None:
    files = openface_files.read(folder, BEST_LIST)
    assert files.units == ("AU01", "AU05")
    assert files.dynamic.tolist() == [False, True]
    (tmp_path / "kept.npz").write_bytes(openface_files.pack(files))
    again = openface_files.unpack(tmp_path / "kept.npz")
    assert again.units == files.units
    assert all(np.array_equal(value, vars(files)[name]) for name, value in vars(again).items())
    (tmp_path / "kept.npz").write_bytes(b"something else")
    with pytest.raises(ModelError, match="import their folder again"):
        openface_files.unpack(tmp_path / "kept.npz")


def test_the_running_median_is_that_of_all_that_was_seen() -> None:
    values = np.random.default_rng(0).normal(0, 1, (301, 20))
    median = RunningMedian(20, 1000, -5.0, 5.0)
    for row in values:
        median.push(row)
    assert median.value == pytest.approx(np.median(values, 0), abs=0.011)


def _person(folder: Path) -> Person:
    files = openface_files.read(folder, BEST_LIST)
    return Person(OpenFace(files), files)


def test_a_face_that_never_changes_shows_no_dynamic_unit(folder: Path) -> None:
    person = _person(folder)
    image = np.random.default_rng(2).integers(0, 256, (240, 240, 3), np.uint8)
    points = openface_folder.face() * 1.2 + 120
    for frame in range(30):
        found = person(frame / 30, image, points)
    assert set(found) == {"AU01", "AU05"}
    assert found["AU05"] == pytest.approx(0.0, abs=0.05)  # nothing above its own floor
    assert found["AU01"] == pytest.approx(0.0, abs=0.05)


def test_what_comes_later_changes_nothing_before(folder: Path) -> None:
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (240, 240, 3), np.uint8) for _ in range(14)]
    points = openface_folder.face() * 1.2 + 120
    one, other = _person(folder), _person(folder)
    before = [one(i / 30, picture, points) for i, picture in enumerate(pictures[:12])]
    again = [other(i / 30, picture, points) for i, picture in enumerate(pictures[:12])]
    other(12 / 30, pictures[13], points)
    assert before == again
    assert all(0 <= value <= 5 for found in before for value in found.values())
