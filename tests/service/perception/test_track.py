"""A track's judgement without networks: synthetic people who move, grow, leave and return."""

from math import log

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.perception.mesh import Roi, roi_from_mesh
from service.perception.perceive import is_known, overlap
from service.perception.track import Sighting, Track

FAMILIAR = 0.75
LAYOUT = np.random.default_rng(5).uniform(-0.5, 0.5, (468, 3)).astype(np.float32)
PICTURE = np.random.default_rng(6).integers(0, 256, (720, 1280, 3)).astype(np.uint8)


def mesh_at(x: float, y: float, size: float) -> NDArray[np.float32]:
    """A rigid "face" of points with its eyes level, `size` pixels wide, around (x, y)."""
    points = LAYOUT.copy()
    points[33], points[263] = (-0.3, -0.2, 0), (0.3, -0.2, 0)
    return points * np.float32(size) + np.array([x, y, 0], np.float32)


def sighting(x: float, y: float, size: float, person: int = 0) -> Sighting:
    """A face whose look is that of `person`; different people's looks hardly correlate."""
    mesh = mesh_at(x, y, size)
    seen = Sighting(PICTURE, mesh, 1.0, roi_from_mesh(mesh))
    look = np.random.default_rng(person).normal(size=768).astype(np.float32)
    seen._appearance = look / np.linalg.norm(look)
    return seen


def walk(track: Track, speed: float, frames: int, x: float, size: float = 100) -> float:
    """Moves the track on at 30 fps; returns the last time."""
    t = 0.0
    for index in range(1, frames + 1):
        t = index / 30
        track.update(sighting(x + speed * t, 300, size), t)
    return t


@given(st.floats(-1500, 1500), st.floats(40, 200))
def test_steady_motion_is_predicted(speed: float, size: float) -> None:
    track = Track(1, sighting(600, 300, size), 0.0)
    t = walk(track, speed, 12, 600, size)
    ahead = track.predicted(t + 1 / 30).x - track.roi.x
    assert ahead == pytest.approx(speed / 30, abs=0.35 * abs(speed) / 30 + 0.01)


@given(st.floats(-400, 400), st.floats(0.05, 1.0))
def test_the_same_person_who_comes_back_where_expected_is_known(speed: float, away: float) -> None:
    track = Track(1, sighting(600, 300, 100), 0.0)
    t = walk(track, speed, 12, 600) + away
    track.lost = True
    back = sighting(track.predicted(t).x, 300, 100)
    assert track.likeness(back, t) > FAMILIAR


@given(st.integers(1, 50), st.floats(0.0, 1.0), st.floats(-300, 300))
def test_somebody_who_looks_otherwise_is_not(person: int, away: float, dx: float) -> None:
    track = Track(1, sighting(600, 300, 100), 0.0)
    track.lost = True
    assert track.likeness(sighting(600 + dx, 300, 100, person), away) < FAMILIAR


@given(st.floats(0.05, 20))
def test_a_face_does_not_change_its_size_at_once(ratio: float) -> None:
    assume(abs(abs(log(ratio)) - log(1.8)) > 1e-6)  # on the limit itself, the mesh's float32 decides
    track = Track(1, sighting(600, 300, 100), 0.0)
    likeness = track.likeness(sighting(600, 300, 100 * ratio), 0.1)
    assert (likeness > FAMILIAR) == (1 / 1.8 < ratio < 1.8)


@given(st.floats(0, 2), st.floats(0, 2), st.floats(0, 800), st.floats(0, 800))
def test_nearer_is_liker_and_absence_takes_weight_from_the_place(
    away: float, longer: float, near: float, far: float
) -> None:
    track = Track(1, sighting(600, 300, 100), 0.0)
    track.lost = True
    near, far = sorted((near, far))
    assert track.likeness(sighting(600 + near, 300, 100), away) >= track.likeness(sighting(600 + far, 300, 100), away)
    here = sighting(600, 300, 100)
    assert track.likeness(here, away) >= track.likeness(here, away + longer) - 1e-6


def test_a_mesh_that_slides_onto_another_face_has_slipped() -> None:
    track = Track(1, sighting(600, 300, 100), 0.0)
    t = walk(track, 0, 6, 600)
    assert not track.slipped(sighting(604, 300, 100), t + 1 / 30)
    assert track.slipped(sighting(660, 300, 100, person=2), t + 1 / 30)
    assert not track.slipped(sighting(660, 300, 100), t + 1 / 30)  # a fast move of the same face
    assert track.slipped(sighting(602, 300, 100, person=2), t + 0.2)


def test_the_remembered_look_follows_slow_change() -> None:
    track = Track(1, sighting(600, 300, 100), 0.0)
    for index in range(1, 91):
        track.update(sighting(600, 300, 100, person=1), index / 30)
    assert track.likeness(sighting(600, 300, 100, person=1), 3.0) > 1.7


def test_the_mesh_starts_anew_after_a_loss() -> None:
    track = Track(1, sighting(600, 300, 100), 0.0)
    walk(track, 0, 6, 600)
    track.lost = True
    back = sighting(640, 310, 100)
    track.update(back, 0.4)
    assert np.array_equal(track.mesh, back.mesh)
    assert not track.lost


rois = st.builds(Roi, st.floats(0, 2000), st.floats(0, 1000), st.floats(10, 600), st.floats(-3, 3))


@given(rois, rois)
def test_overlap_is_symmetric_and_a_part(a: Roi, b: Roi) -> None:
    assert overlap(a, b) == pytest.approx(overlap(b, a))
    assert 0 <= overlap(a, b) <= 1
    assert overlap(a, a) == pytest.approx(1)


def test_cheek_to_cheek_are_two_and_one_within_the_other_is_one() -> None:
    one = roi_from_mesh(mesh_at(300, 300, 100))
    assert not is_known(one.moved(75, 0), [one])
    assert is_known(one.moved(20, 10), [one])
    assert is_known(Roi(one.x + 20, one.y, one.side / 2, 0), [one])
    assert not is_known(one, [])
