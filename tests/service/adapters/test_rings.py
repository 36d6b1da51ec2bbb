"""The frames of a track: the ring gives what a list of all frames would give, at any rate, without allocating."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.estimates import face
from hypothesis import given, settings
from hypothesis import strategies as st

from service.adapters.face_ring import RATE, FaceRing
from service.adapters.window_ring import WindowRing

SECONDS, NEAREST, HOLD = 1.6, 1 / 60, 0.2


def seen(t, number):
    """A face whose crop and mask both tell its number."""
    corners = np.full((68, 2), 10.0 + number % 90, np.float32)
    crop = np.full((112, 112, 3), number % 256, np.uint8)
    return replace(face(t), crop=crop, landmarks=corners, matrix=np.eye(2, 3))


def picture(one):
    return np.dstack([one.crop, one.mask])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.004, 0.017, 0.033, 0.1, 0.21, 1.7]), min_size=1, max_size=70), st.integers(1, 9))
def test_a_clip_has_the_frames_that_a_list_of_all_would_give(steps, every):
    ring, faces = FaceRing(SECONDS), []
    for number, t in enumerate(np.cumsum(steps).tolist()):
        faces.append((t, seen(t, number)))
        ring.push(t, faces[-1][1])
        assert ring.newest == t
        if number % every:
            continue
        wanted = [t - 0.2 * back for back in range(8)]
        clip = np.empty((8, 112, 112, 4), np.uint8)
        ring.clip(wanted, NEAREST, HOLD, clip)
        kept = [pair for pair in faces if t - pair[0] <= SECONDS]
        assert len(ring) == len(kept)
        for at, given_picture in zip(wanted, clip, strict=True):
            earlier = [one for when, one in kept if when <= at + NEAREST and at - when <= HOLD]
            expected = picture(earlier[-1]) if earlier else np.zeros((112, 112, 4), np.uint8)
            np.testing.assert_array_equal(given_picture, expected)


def test_the_arrays_are_allocated_once_at_the_rate_that_they_are_made_for():
    ring = FaceRing(SECONDS)
    pictures = ring._pictures
    for number in range(5 * RATE):
        ring.push(number / RATE, seen(number / RATE, number))
    assert ring._pictures is pictures
    with pytest.raises(IndexError, match="no face was seen"):
        _ = FaceRing(SECONDS).newest


@given(st.lists(st.integers(0, 99), min_size=1, max_size=40), st.integers(1, 13))
def test_a_window_holds_the_last_values_with_the_first_before_them(values, length):
    ring = WindowRing(length, np.array([values[0]]))
    for value in values[1:]:
        ring.push(np.array([value]))
    expected = ([values[0]] * length + values)[-length:]
    assert ring.window[:, 0].tolist() == expected
    assert np.shares_memory(ring.window, ring._values)
