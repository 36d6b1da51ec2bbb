"""The body below a face, as BODY_25: where it is, whose it is, and what cannot be seen."""

import numpy as np
import pytest

from engines import weights
from service.perception import body
from service.perception.networks import POSE_DETECTION, POSE_LANDMARK, Network, Networks
from service.perception.perceive import perceive_still


@pytest.fixture(scope="module")
def networks():
    return tuple(Network(weights.path(file.name), file) for file in (POSE_DETECTION, POSE_LANDMARK))


def detected(network, image, box):
    network.input()[:] = body.scene(image)
    boxes, logits = network.run()
    return body.find_person(boxes[0], logits.ravel(), image.shape[1], image.shape[0], box)


@pytest.fixture(scope="module")
def found(networks, portrait):
    (face,) = perceive_still(Networks(), portrait)
    region = detected(networks[0], portrait, face.box)
    for _ in range(2):
        networks[1].input()[:] = body.person_crop(portrait, region)
        outputs = networks[1].run()
        points, region = body.body_25(outputs[0][0], float(outputs[1].item()), region, face.box, 512, 512)
    return face, dict(zip(body.BODY_25, points, strict=True)), region


def test_the_portraits_shoulders_lie_below_her_nose(found):
    face, points, _ = found
    x, y, w, h = face.box
    nose = points["Nose"][:2] * 512
    assert x < nose[0] < x + w
    assert y < nose[1] < y + h
    assert points["RShoulder"][0] < points["Nose"][0] < points["LShoulder"][0]
    assert points["RShoulder"][1] > points["REye"][1] + 0.1
    np.testing.assert_allclose(points["Neck"][:2], (points["RShoulder"] + points["LShoulder"])[:2] / 2)
    assert points["Neck"][2] == min(points["RShoulder"][2], points["LShoulder"][2])


def test_what_the_picture_does_not_show_is_unknown(found):
    _, points, _ = found
    for joint in ("RKnee", "LAnkle", "RHeel", "LSmallToe", "RSmallToe"):
        assert np.isnan(points[joint]).all(), joint
    seen = np.stack(list(points.values()))
    assert np.nanmin(seen) >= 0
    assert np.nanmax(seen[:, :2]) <= 1


def test_a_smaller_picture_gives_the_same_figures(found, networks, portrait):
    _, points, region = found
    half = np.ascontiguousarray(portrait[::2, ::2])
    smaller = body.Region(region.x / 2, region.y / 2, (region.up[0] / 2, region.up[1] / 2))
    (face,) = perceive_still(Networks(), half)
    networks[1].input()[:] = body.person_crop(half, smaller)
    outputs = networks[1].run()
    again, _ = body.body_25(outputs[0][0], float(outputs[1].item()), smaller, face.box, 256, 256)
    for joint in ("Nose", "RShoulder", "LShoulder"):
        np.testing.assert_allclose(again[body.BODY_25.index(joint)][:2], points[joint][:2], atol=0.02)


def test_nobody_is_found_in_an_empty_picture_nor_far_from_the_face(networks, portrait):
    grey = np.full((360, 640, 3), 90, np.uint8)
    assert detected(networks[0], grey, (300.0, 100.0, 60.0, 60.0)) is None
    assert detected(networks[0], portrait, (480.0, 480.0, 20.0, 20.0)) is None


def test_another_persons_nose_is_not_taken():
    region = body.Region(128, 128, (0, -128))
    outputs = np.zeros((39, 5))
    outputs[:, :2], outputs[:, 3:] = 128, 9
    outputs[34, 1] = 64
    here, next_region = body.body_25(outputs.ravel(), 1.0, region, (120, 120, 20, 20), 256, 256)
    assert here is not None
    assert next_region == body.Region(128, 128, (0, -80))
    assert body.body_25(outputs.ravel(), 1.0, region, (10, 10, 20, 20), 256, 256) == (None, None)
    assert body.body_25(outputs.ravel(), 0.2, region, (120, 120, 20, 20), 256, 256) == (None, None)
