"""Alignment and the landmark picture against the recorded references; the 468 -> 68 map; head pose of turned meshes."""

from math import cos, radians, sin
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.perception.align import TEMPLATE, five_points, in_crop, similarity
from service.perception.head_pose import _INDICES, _MEAN_FACE, head_pose_of
from service.perception.landmarks68 import MESH_OF_68, landmarks_of
from service.perception.mask import draw_mask


def test_the_mask_equals_the_reference_exactly(golden: Path) -> None:
    with np.load(golden / "tsav_mask.npz") as recorded:
        for landmarks, mask in zip(recorded["landmarks"], recorded["mask"], strict=True):
            assert np.array_equal(draw_mask(landmarks), mask)


def test_a_mask_of_points_far_outside_is_black() -> None:
    assert not draw_mask(np.full((68, 2), 1e12)).any()


def test_five_points_and_similarity_equal_the_reference(golden: Path) -> None:
    with np.load(golden / "tsav_align.npz") as recorded:
        assert np.allclose(TEMPLATE, recorded["template"], atol=1e-8)
        for index, landmarks in enumerate(recorded["landmarks"]):
            points = five_points(landmarks)
            matrix = similarity(points)
            assert np.allclose(points, recorded["five_points"][index], atol=1e-8)
            assert np.allclose(matrix, recorded["matrix"][index], atol=1e-8)
            aligned = np.hstack([landmarks, np.ones((68, 1))]) @ matrix.T
            assert np.allclose(aligned, recorded["landmarks_aligned"][index], atol=1e-8)


@given(st.floats(0.05, 20), st.floats(-180, 180), st.floats(-4000, 4000), st.floats(-4000, 4000))
def test_a_moved_turned_scaled_template_is_brought_back(scale: float, angle: float, dx: float, dy: float) -> None:
    c, s = scale * cos(radians(angle)), scale * sin(radians(angle))
    points = TEMPLATE @ np.array([[c, s], [-s, c]]) + [dx, dy]
    assert np.allclose(np.hstack([points, np.ones((5, 1))]) @ similarity(points).T, TEMPLATE, atol=1e-6)


def test_points_that_fall_together_give_finite_numbers() -> None:
    assert np.isfinite(similarity(np.full((5, 2), 7.0))).all()


def test_the_map_takes_68_different_points_and_mirrors_left_to_right() -> None:
    assert len(set(MESH_OF_68.tolist())) == 68
    mesh = np.arange(468 * 3, dtype=np.float32).reshape(468, 3)
    assert np.array_equal(landmarks_of(mesh), mesh[MESH_OF_68, :2])
    assert landmarks_of(mesh).dtype == np.float32


def turned(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """A mesh of the mean face, looking up by `pitch`, to the picture's right by `yaw`, tilted clockwise by `roll`."""
    p, y, r = radians(-pitch), radians(-yaw), radians(roll)
    rx = np.array([[1, 0, 0], [0, cos(p), -sin(p)], [0, sin(p), cos(p)]])
    ry = np.array([[cos(y), 0, sin(y)], [0, 1, 0], [-sin(y), 0, cos(y)]])
    rz = np.array([[cos(r), -sin(r), 0], [sin(r), cos(r), 0], [0, 0, 1]])
    mesh = np.zeros((468, 3))
    mesh[_INDICES] = _MEAN_FACE @ (ry @ rx @ rz).T * 80 + [300, 200, 5]
    return mesh


@given(st.floats(-80, 80), st.floats(-85, 85), st.floats(-170, 170))
def test_head_pose_reads_the_angles_that_a_mesh_was_turned_by(pitch: float, yaw: float, roll: float) -> None:
    pose = head_pose_of(turned(pitch, yaw, roll))
    assert (pose.pitch, pose.yaw, pose.roll) == pytest.approx((pitch, yaw, roll), abs=1e-6)


def test_signs_of_the_head_pose() -> None:
    nose, forehead, left, right = 1, 10, 33, 263
    assert turned(20, 0, 0)[nose, 1] < turned(0, 0, 0)[nose, 1]  # looking up lifts the nose in the picture
    assert turned(0, 20, 0)[nose, 0] > turned(0, 0, 0)[nose, 0]  # to the picture's right
    clockwise = turned(0, 0, 20)
    assert clockwise[forehead, 0] > 300
    assert clockwise[right, 1] > clockwise[left, 1]


def test_a_mesh_moves_with_the_crop() -> None:
    mesh = np.array([[1, 2, 3], [0, 0, -1]], np.float32)
    matrix = np.array([[0.0, -2.0, 5.0], [2.0, 0.0, 7.0]])  # a quarter turn clockwise, twice the size
    assert in_crop(mesh[:, :2], matrix) == pytest.approx(np.array([[1, 9], [5, 7]]))
