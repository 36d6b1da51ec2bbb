"""Faces and estimates made by hand, and a check of the published entry."""

import json

import numpy as np
import pytest

from models.labels import AUS_2020
from service.adapters.adapter import Estimate
from service.events import FaceAffect
from service.perception.face import Face, HeadPose, Quality

NEUTRAL = np.array([0.7, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05], np.float32)

HAPPY = np.array([0.1, 0.0, 0.0, 0.0, 0.88, 0.01, 0.01], np.float32)


def face(t, track=1, *, yaw=5.0, pitch=2.0, size=140.0, sharpness=300.0, brightness=120.0):
    return Face(
        track=track,
        t=t,
        box=(212.04, 80.0, 140.0, 140.06),
        confidence=0.98123,
        mesh=np.zeros((468, 3), np.float32),
        landmarks=np.zeros((68, 2), np.float32),
        matrix=np.zeros((2, 3)),
        crop=np.zeros((112, 112, 3), np.uint8),
        head_pose=HeadPose(pitch, yaw, 0.4),
        quality=Quality(size, sharpness, brightness),
    )


def estimate(t, track=1, valence=0.3, arousal=0.1, expression=HAPPY, **more):
    given = {"std": (0.11, 0.14), "aus": dict.fromkeys(AUS_2020, 0.25)} | more
    return Estimate(track, t, valence, arousal, expression=expression, **given)


def check(entry):
    """By the published schema, as JSON would carry it."""
    FaceAffect.model_validate_json(json.dumps(entry, allow_nan=False))
    if entry["expression"]:
        assert sum(entry["expression"]["probabilities"].values()) == pytest.approx(1, abs=1e-3)
