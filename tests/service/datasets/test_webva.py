"""webva's index is read whole, or refused with its file, its line and what was expected."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from models.errors import AnnotationError, UserError
from service.datasets import webva
from service.datasets.labelled import EXPRESSIONS_8
from service.datasets.prepare import prepare

HEADER = "file,expression,valence,arousal"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    face = cv2.resize(astronaut()[:224, 110:334], (224, 224))
    for i in range(40):
        cv2.imwrite(str(tmp_path / "images" / f"{i:04}.jpg"), face[..., ::-1])
    write(tmp_path, *(f"{i:04}.jpg,{EXPRESSIONS_8[i % 8]},{i / 40 - 0.5},{-i / 40}" for i in range(40)))
    return tmp_path


def write(folder, *rows):
    (folder / "index.csv").write_text("\n".join((HEADER, *rows)) + "\n")


def test_every_row_is_read_once_and_splits_do_not_depend_on_the_others(folder):
    found = webva.photographs(folder)
    assert [one.expression for one in found[:9]] == [*range(8), 0]
    assert found[4].valence == pytest.approx(-0.4)
    assert found[4].arousal == pytest.approx(-0.1)
    recordings = webva.read(folder)
    assert [one.split for one in recordings] == ["train", "validation", "test"]
    assert sum(map(len, recordings)) == 40
    before = {one.path.name: one.split for one in found}
    write(folder, "0003.jpg,fear,0,0")
    assert webva.photographs(folder)[0].split == before["0003.jpg"]


def test_the_last_fifth_in_index_order_is_the_test_part_of_every_system(folder):
    splits = [one.split for one in webva.photographs(folder)]
    assert splits[32:] == ["test"] * 8
    assert set(splits[:32]) == {"train", "validation"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0001.jpg,joy,0,0", r"index\.csv, line 3: expected the expression as one of neutral, anger.*not 'joy'"),
        ("0001.jpg,fear,1.5,0", r"index\.csv, line 3: expected valence from -1 to 1, not '1.5'"),
        ("0001.jpg,fear,0,nan", r"index\.csv, line 3: expected arousal from -1 to 1, not 'nan'"),
        ("0001.jpg,fear,0", r"index\.csv, line 3: expected a value for each of file, expression, valence, arousal"),
        ("9999.jpg,fear,0,0", r"index\.csv, line 3: expected a picture or video at .*9999\.jpg"),
        ("0000.jpg,fear,0,0", r"index\.csv, line 3: expected each file once; '0000\.jpg' was there before"),
    ],
)
def test_wrong_rows_are_named_by_file_and_line(folder, row, message):
    write(folder, "0000.jpg,fear,0,0", row)
    with pytest.raises(AnnotationError, match=message):
        webva.photographs(folder)


def test_an_unreadable_picture_is_named_by_file_and_line(folder):
    (folder / "images" / "0001.jpg").write_bytes(b"no picture")
    with pytest.raises(AnnotationError, match=r"index\.csv, line 3: expected a picture at .*0001\.jpg"):
        webva.photographs(folder)


def test_a_teacher_of_another_version_or_cut_off_is_named(folder, tmp_path):
    (folder / "face_landmarker.task").write_bytes(b"PK cut off")
    with pytest.raises(UserError, match=r"face_landmarker\.task is not the teacher .* SHA-256 .* expected 64184e229b"):
        prepare("webva", folder, tmp_path / "out")


def test_a_missing_or_empty_index_is_named(folder, tmp_path):
    write(folder)
    with pytest.raises(AnnotationError, match=r"index\.csv, line 2: expected a row for each picture"):
        webva.photographs(folder)
    (folder / "index.csv").write_text("file,emotion\n")
    with pytest.raises(AnnotationError, match=r"index\.csv, line 1: expected the columns file, expression, valence"):
        webva.photographs(folder)
    with pytest.raises(AnnotationError, match=r"nowhere/index\.csv cannot be read as a table"):
        webva.photographs(tmp_path / "nowhere")


def test_prepared_shards_hold_crops_and_labels(folder, tmp_path):
    write(folder, "0000.jpg,fear,-0.5,0.5", "0001.jpg,contempt,0.25,-1")
    prepare("webva", folder, tmp_path / "out")
    with np.load(tmp_path / "out" / "000000.npz", allow_pickle=False) as shard:
        assert shard["crops"].shape == (2, 112, 112, 3)
        assert shard["found"].all()
        assert shard["label"].tolist() == ["fear", "contempt"]
        assert shard["va"].tolist() == [[-0.5, 0.5], [0.25, -1.0]]
        assert shard["name"].tolist() == ["0000.jpg", "0001.jpg"]
        assert set(shard["split"].tolist()) <= {0, 1, 2}
