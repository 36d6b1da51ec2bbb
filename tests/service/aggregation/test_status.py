"""Abstention: what cannot be read is named, and a value that wavers about a limit does not make the status flicker."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from service.aggregation.status import LIMITS, QualityGate
from service.perception.assemble import quality_of
from service.perception.face import Face, HeadPose, Quality

GOOD = Quality(size=140.0, sharpness=300.0, brightness=120.0)


def face(pitch=0.0, yaw=0.0, quality=GOOD):
    return Face(
        track=1,
        t=0.0,
        box=(0.0, 0.0, 140.0, 140.0),
        confidence=0.9,
        mesh=np.zeros((468, 3), np.float32),
        landmarks=np.zeros((68, 2), np.float32),
        matrix=np.zeros((2, 3)),
        crop=np.zeros((112, 112, 3), np.uint8),
        head_pose=HeadPose(pitch, yaw, 0.0),
        quality=quality,
    )


def portrait_crop(portrait):
    """(112, 112, 3), about what alignment makes of the portrait's face."""
    return cv2.resize(portrait[60:200, 155:295], (112, 112), interpolation=cv2.INTER_AREA)


def reasons_of(crop, size=140.0):
    return QualityGate()(face(quality=quality_of(np.ascontiguousarray(crop), size)))


def test_a_good_face_has_no_reasons():
    assert QualityGate()(face()) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (face(yaw=70), "turned_away"),
        (face(yaw=-70), "turned_away"),
        (face(pitch=45), "turned_away"),
        (face(pitch=-45), "turned_away"),
        (face(quality=replace(GOOD, size=20)), "too_small"),
        (face(quality=replace(GOOD, sharpness=3)), "blurred"),
        (face(quality=replace(GOOD, brightness=8)), "too_dark"),
    ],
)
def test_each_reason_is_given(bad, reason):
    assert QualityGate()(bad) == [reason]


def test_several_reasons_are_each_named_once():
    bad = face(pitch=60, yaw=60, quality=Quality(size=10, sharpness=1, brightness=3))
    assert QualityGate()(bad) == ["turned_away", "too_small", "blurred", "too_dark"]


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.reason}-{limit.enter:g}")
def test_a_reason_holds_until_the_measure_is_well_back(limit):
    sample = face()
    sign = 1 if limit.enter > limit.leave else -1
    inside, between, outside = limit.enter + sign, (limit.enter + limit.leave) / 2, limit.leave - sign
    held = False
    seen = []
    for measure in (outside, between, inside, between, inside, between, outside, between):
        held = replace(limit, measure=lambda _, x=measure: x).holds(sample, held)
        seen.append(held)
    assert seen == [False, False, True, True, True, True, False, False]


def test_the_portrait_can_be_read_down_to_faces_of_forty_pixels(portrait):
    crop = portrait_crop(portrait)
    for side in (112, 80, 56, 40):
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        assert reasons_of(cv2.resize(small, (112, 112)), size=side) == []
    assert reasons_of(crop, size=24) == ["too_small"]


def test_a_blur_that_takes_the_eyelids_is_named(portrait):
    crop = portrait_crop(portrait)
    assert reasons_of(cv2.GaussianBlur(crop, (0, 0), 1.5)) == []
    assert reasons_of(cv2.GaussianBlur(crop, (0, 0), 4)) == ["blurred"]


def test_dim_light_is_read_and_darkness_is_not(portrait):
    crop = portrait_crop(portrait)
    mean = float(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).mean())
    assert reasons_of((crop * (30 / mean)).astype(np.uint8)) == []
    assert "too_dark" in reasons_of((crop * (8 / mean)).astype(np.uint8))
