"""Irises are found in both eyes, and gaze follows them in OpenFace's axes."""

import numpy as np
import pytest

from engines import weights
from service.perception.camera_pose import camera_pose
from service.perception.gaze_reader import GazeReader
from service.perception.iris import CORNERS, eye_crops, gaze, iris_centres
from service.perception.networks import IRIS, Network, Networks
from service.perception.perceive import perceive_still


@pytest.fixture(scope="module")
def seen(portrait):
    network, networks = Network(weights.path(IRIS.name), IRIS), Networks()

    def look(image):
        (face,) = perceive_still(networks, image)
        outputs = []
        for crop in eye_crops(image, face.mesh):
            network.input()[:] = crop
            outputs.append(network.run()[1].ravel().copy())
        pose = camera_pose(face.mesh, image.shape[1], image.shape[0])
        return iris_centres(np.stack(outputs), face.mesh), face.mesh, pose

    return look(portrait), look(np.ascontiguousarray(portrait[:, ::-1]))


def test_each_iris_lies_between_the_corners_of_its_eye(seen):
    (centres, mesh, _), _ = seen
    for eye, (left, right) in enumerate(CORNERS):
        width = mesh[right, 0] - mesh[left, 0]
        assert mesh[left, 0] + 0.25 * width < centres[eye, 0] < mesh[right, 0] - 0.25 * width
        assert abs(centres[eye, 1] - mesh[[left, right], 1].mean()) < 0.3 * width


def test_she_looks_into_the_camera(seen):
    (centres, mesh, pose), _ = seen
    columns = gaze(centres, mesh, pose)
    np.testing.assert_allclose(np.linalg.norm(columns[:6].reshape(2, 3), axis=1), 1)
    towards = -pose.translation / np.linalg.norm(pose.translation)
    for look in columns[:6].reshape(2, 3):
        assert np.degrees(np.arccos(look @ towards)) < 15


def test_a_mirrored_picture_mirrors_the_gaze(seen):
    there, mirrored = (gaze(*each) for each in seen)
    np.testing.assert_allclose(there[6], -mirrored[6], atol=0.08)
    np.testing.assert_allclose(there[7], mirrored[7], atol=0.08)


def test_the_reader_gives_the_same_direction_in_degrees(portrait, seen):
    (centres, mesh, pose), _ = seen
    (face,) = perceive_still(Networks(), portrait)
    angles = GazeReader()(face)
    x, y = np.degrees(gaze(centres, mesh, pose)[6:])
    assert (angles.yaw, angles.pitch) == (pytest.approx(x, abs=0.01), pytest.approx(-y, abs=0.01))


def test_gaze_follows_the_iris(seen):
    (centres, mesh, pose), _ = seen
    still = gaze(centres, mesh, pose)
    right, down = (gaze(centres + step, mesh, pose) for step in ((2, 0), (0, 2)))
    assert right[6] > still[6] + 0.1
    assert down[7] > still[7] + 0.1
    far = gaze(centres + np.array([500, 0]), mesh, pose)
    assert np.isfinite(far).all()
