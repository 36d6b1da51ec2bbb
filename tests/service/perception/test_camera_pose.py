"""Head pose in OpenFace's conventions: millimetres in front of a guessed lens, radians about axes right, down, away."""

import numpy as np
import pytest

from service.perception.camera_pose import EYES_MM, camera_pose
from service.perception.head_pose import _INDICES, _MEAN_FACE

WIDTH, HEIGHT = 640, 480
FOCAL = 500  # pixels, of a picture of this size


def mesh(rotation=((1, 0, 0), (0, 1, 0), (0, 0, 1)), at=(320, 240), size=100.0):
    """The mean face, turned, with `size` pixels between the outer eye corners and these at `at` when it is frontal."""
    points = np.zeros((468, 3))
    points[_INDICES] = _MEAN_FACE @ np.transpose(rotation) * size
    points[:, :2] += at - points[[33, 263], :2].mean(0)
    return points


def about(axis, angle):
    c, s = np.cos(angle), np.sin(angle)
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def test_a_frontal_face_in_the_middle_is_straight_ahead():
    columns = camera_pose(mesh(), WIDTH, HEIGHT).columns
    np.testing.assert_allclose(columns, [0, 0, FOCAL * EYES_MM / 100, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize("angles", [(0.3, 0, 0), (0, -0.4, 0), (0, 0, 0.2), (0.2, -0.3, 0.1)])
def test_angles_are_those_of_r_x_r_y_r_z(angles):
    rotation = about("x", angles[0]) @ about("y", angles[1]) @ about("z", angles[2])
    np.testing.assert_allclose(camera_pose(mesh(rotation), WIDTH, HEIGHT).columns[3:], angles, atol=1e-6)


def test_a_face_at_the_side_that_looks_into_the_camera_is_turned_towards_it():
    pose = camera_pose(mesh(at=(470, 240)), WIDTH, HEIGHT)
    assert pose.columns[0] == pytest.approx(150 * EYES_MM / 100)
    away = pose.rotation @ (0, 0, 1)
    np.testing.assert_allclose(away, pose.translation / np.linalg.norm(pose.translation), atol=1e-6)
    assert pose.columns[4] == pytest.approx(np.arctan2(150, FOCAL))


def test_half_the_size_is_twice_the_distance():
    near, far = (camera_pose(mesh(size=size), WIDTH, HEIGHT).translation[2] for size in (100.0, 50.0))
    assert far == pytest.approx(2 * near)
