"""The session clock: whatever the stamps of a stream do, its time goes forward."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.capture.clock import SessionClock

SECONDS = st.one_of(st.none(), st.floats(-1e6, 1e6))


@given(st.lists(SECONDS, min_size=1, max_size=50), st.booleans())
def test_pictures_always_rise(stamps: list[float | None], live: bool) -> None:
    clock = SessionClock()
    clock.begin(0.0)
    times = [clock.picture(stamp, 0.04, n * 0.04 if live else None) for n, stamp in enumerate(stamps)]
    assert all(one < other for one, other in pairwise(times))
    assert times[0] >= 0


@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=50), st.floats(-1e4, 1e4))
def test_distances_between_pictures_are_kept(steps: list[float], start: float) -> None:
    clock = SessionClock()
    clock.begin(0.0)
    stamps = [start + sum(steps[:n]) for n in range(len(steps) + 1)]
    times = [clock.picture(stamp, 0.04) for stamp in stamps]
    assert times == pytest.approx([stamp - start for stamp in stamps], abs=1e-6)


def test_picture_and_sound_share_one_offset() -> None:
    clock = SessionClock()
    clock.begin(0.0, media_start=100.0)
    assert clock.sound(100.02, 0.02) == pytest.approx(0.02)
    assert clock.picture(100.0, 0.04) == pytest.approx(0.0)


def test_a_new_run_begins_after_the_last_one() -> None:
    clock = SessionClock()
    clock.begin(0.0, media_start=0.0)
    clock.picture(2.0, 0.04)
    clock.begin(1.0)
    assert clock.picture(77.0, 0.04) == pytest.approx(2.04)
    clock.begin(10.0)
    assert clock.picture(3.0, 0.04) == pytest.approx(10.0)
    assert clock.run == pytest.approx(0.04)


def test_a_live_stream_whose_stamps_jump_back_is_placed_at_the_wall_clock() -> None:
    clock = SessionClock()
    clock.begin(0.0)
    assert clock.picture(1000.0, 0.04, elapsed=0.0) == 0.0
    assert clock.picture(1000.04, 0.04, elapsed=0.04) == pytest.approx(0.04)
    assert clock.picture(5.0, 0.04, elapsed=3.0) == pytest.approx(3.0)
    assert clock.picture(5.04, 0.04, elapsed=3.04) == pytest.approx(3.04)


def test_a_live_stream_whose_stamps_leap_ahead_is_placed_at_the_wall_clock() -> None:
    clock = SessionClock()
    clock.begin(0.0)
    clock.picture(0.0, 0.04, elapsed=0.0)
    assert clock.picture(86_400.0, 0.04, elapsed=0.1) == pytest.approx(0.1)
