"""Aff-Wild2's files: read as they are, written as the challenges want them, errors with file and line."""

from pathlib import Path

import numpy as np
import pytest

from models.errors import AnnotationError
from models.training import affwild2

ROWS_2022 = "v_left/00002.jpg,0.5,-0.25,7," + ",".join("1" * 12) + "\n"


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def data_set(tmp_path):
    write(tmp_path / "annotations/VA_Set/Training_Set/1-30-1280x720.txt", "valence,arousal", "0.5,-0.2", "-5,-5", "1,0")
    write(tmp_path / "annotations/EXPR_Set/Train_Set/1-30-1280x720.txt", affwild2.EXPRESSION_HEADERS[7], "4", "-1")
    write(tmp_path / "annotations/AU_Set/Train_Set/9_right.txt", affwild2.AU_HEADERS[8], "0,1,0,0,1,0,0,-1")
    return tmp_path


def test_tasks_of_a_video_are_put_together(data_set):
    annotations = affwild2.read_annotations(data_set, "train")
    video = annotations["1-30-1280x720"]
    np.testing.assert_allclose(video.va, [(0.5, -0.2), (-5, -5), (1, 0)])
    assert video.expression.tolist() == [4, -1, -1]
    assert (video.au == -1).all()
    assert video.au.shape == (3, 8)
    assert annotations["9_right"].video == "9"
    assert annotations["9_right"].au.tolist() == [[0, 1, 0, 0, 1, 0, 0, -1]]


def test_line_i_is_picture_i(data_set):
    assert affwild2.picture(data_set, "1-30-1280x720", 0).parts[-2:] == ("1-30-1280x720", "00001.jpg")


def test_the_multi_task_file_of_2022(tmp_path):
    annotation = affwild2.read_multi_task(write(tmp_path / "t.txt", affwild2.MULTI_TASK_HEADER, ROWS_2022))["v_left"]
    assert len(annotation) == 2
    np.testing.assert_array_equal(annotation.va, [(-5, -5), (0.5, -0.25)])
    assert annotation.expression.tolist() == [-1, 7]
    assert annotation.au.tolist() == [[-1] * 12, [1] * 12]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("arousal,valence", "0,0"), r"line 1: expected 'valence,arousal', not 'arousal,valence'"),
        ((), "line 1: expected 'valence,arousal', not ''"),
        (("valence,arousal", "0,0", "0.1"), "line 3: expected 2 numbers, not '0.1'"),
        (("valence,arousal", "0,0,0"), "line 2: expected 2 numbers, not '0,0,0'"),
        (("valence,arousal", "0,0", "", "0,0"), "line 3: expected 2 numbers, not ''"),
        (("valence,arousal", "0,x"), "line 2: expected 2 numbers, not '0,x'"),
        (("valence,arousal", "0,0", "0,1.5"), r"line 3: valence and arousal lie in -1..1, or are -5; not \[0.0, 1.5\]"),
        (("valence,arousal", "0,nan"), "line 2: valence and arousal lie in"),
    ],
)
def test_wrong_files_are_named_with_their_line(tmp_path, lines, message):
    with pytest.raises(AnnotationError, match=r"a\.txt, " + message):
        affwild2.read_va(write(tmp_path / "a.txt", *lines))


def test_wrong_classes_are_named_with_their_line(tmp_path):
    path = write(tmp_path / "a.txt", affwild2.EXPRESSION_HEADERS[7], "6", "7")
    with pytest.raises(AnnotationError, match=r"line 3: expected whole numbers, -1 to 6; not \[7.0\]"):
        affwild2.read_expression(path)
    path = write(tmp_path / "b.txt", affwild2.AU_HEADERS[8], "0,0,0,0,0,0,0,0.5")
    with pytest.raises(AnnotationError, match="line 2: expected whole numbers, -1 to 1"):
        affwild2.read_au(path)
    path = write(tmp_path / "c.txt", affwild2.MULTI_TASK_HEADER, ROWS_2022.replace("v_left/00002", "00000"))
    with pytest.raises(AnnotationError, match=r"line 2: expected video/00001.jpg and 15 numbers"):
        affwild2.read_multi_task(path)


def test_an_empty_data_set_is_named(tmp_path):
    with pytest.raises(AnnotationError, match=r"no train annotations .* expected .*VA_Set/Train_Set"):
        affwild2.read_annotations(tmp_path, "train")


def test_training_leaves_out_values_that_the_data_set_itself_has_wrong(tmp_path, caplog):
    path = write(tmp_path / "a.txt", "valence,arousal", "0.1,0.2", "0.1,-1.7")
    np.testing.assert_array_equal(affwild2.read_va(path, strict=False)[1], (-5, -5))
    assert "1 frames lie outside" in caplog.text


def test_what_is_written_is_read_again(tmp_path):
    va = np.array([(0.1234, -3.0), (-5, -5)])
    expression, au = np.array([6, -1]), np.array([[0, 1] * 4, [-1] * 8])
    affwild2.write_va(tmp_path / "VA_Set/v_left.txt", va)
    affwild2.write_expression(tmp_path / "EXPR_Set/v_left.txt", expression)
    affwild2.write_au(tmp_path / "AU_Set/v_left.txt", au)
    assert (tmp_path / "VA_Set/v_left.txt").read_text("utf-8") == "valence,arousal\n0.123,-1.000\n-5.000,-5.000\n"
    np.testing.assert_array_equal(affwild2.read_expression(tmp_path / "EXPR_Set/v_left.txt"), expression)
    np.testing.assert_array_equal(affwild2.read_au(tmp_path / "AU_Set/v_left.txt"), au)

    path = write(tmp_path / "in.txt", affwild2.MULTI_TASK_HEADER, ROWS_2022)
    annotation = affwild2.read_multi_task(path)["v_left"]
    affwild2.write_multi_task(tmp_path / "out.txt", [annotation], {"v_left": [1]})
    again = affwild2.read_multi_task(tmp_path / "out.txt")["v_left"]
    np.testing.assert_array_equal(again.va, annotation.va)
    np.testing.assert_array_equal(again.au, annotation.au)


def test_frames_without_a_face_hold_the_one_before_and_none_after_it():
    held = affwild2.hold(np.array([10.0, 20.0]), [1, 4], 7, sentinel=-5)
    assert held.tolist() == [-5, 10, 10, 10, 20, 20, 20]
