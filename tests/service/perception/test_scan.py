"""Where perception looks for faces and when: every place is covered, the cost is bounded, and only the clock counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.perception.detector import anchors, letterbox
from service.perception.mesh import Roi
from service.perception.scan import MAX_PASSES, MAX_TILES, NEWCOMERS_PERIOD, Schedule, region_around, tiles_of


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_tiles_lie_in_the_picture_cover_it_and_are_few(width: int, height: int) -> None:
    tiles = tiles_of(width, height)
    assert len(tiles) <= MAX_TILES
    covered_x, covered_y = np.zeros(width, bool), np.zeros(height, bool)
    for x, y, w, h in tiles:
        assert x >= 0
        assert x + w <= width
        assert y >= 0
        assert y + h <= height
        covered_x[x : x + w] = covered_y[y : y + h] = True
    assert not tiles or (covered_x.all() and covered_y.all())


def test_small_pictures_need_no_tiles() -> None:
    assert tiles_of(640, 360) == []


@given(st.integers(1, 9), st.floats(10, 60))
def test_everything_is_searched_twice_a_second_and_never_much_at_once(passes: int, fps: float) -> None:
    schedule = Schedule()
    assert schedule.due(0.0, passes, True) == list(range(passes))  # the first frame is searched whole
    counts = np.zeros(passes, int)
    seconds = 4
    for index in range(1, int(seconds * fps) + 1):
        due = schedule.due(index / fps, passes, True)
        assert len(due) <= min(MAX_PASSES, passes)
        counts[due] += 1
    expected = min(seconds / NEWCOMERS_PERIOD, seconds * fps * MAX_PASSES / passes)
    assert (abs(counts - expected) <= 2).all()


def test_nobody_there_is_looked_for_more_often() -> None:
    alone, company = Schedule(), Schedule()
    times = np.arange(0, 3, 1 / 30)
    assert sum(len(alone.due(t, 1, False)) for t in times) > 2 * sum(len(company.due(t, 1, True)) for t in times)


@given(
    st.floats(-500, 2500),
    st.floats(-500, 2500),
    st.floats(1, 3000),
    st.floats(-3, 3),
)
def test_a_region_around_a_face_lies_in_the_picture(x: float, y: float, side: float, angle: float) -> None:
    region = region_around(Roi(x, y, side, angle), 1280, 720, 2.5)
    if region is not None:
        left, top, width, height = region
        assert left >= 0
        assert top >= 0
        assert width > 1
        assert height > 1
        assert left + width <= 1280
        assert top + height <= 720


def test_anchor_counts_are_those_of_the_networks_outputs() -> None:
    assert anchors(192).shape == (2304, 2)
    assert anchors(128).shape == (896, 2)
    assert anchors(192)[1].tolist() == [6.0, 2.0]


@pytest.mark.parametrize(("width", "height"), [(640, 360), (1, 1), (3, 2000), (2000, 3), (193, 191), (50, 50)])
def test_letterbox_fits_any_shape(width: int, height: int) -> None:
    out = np.full((192, 192, 3), 7, np.uint8)
    scale = letterbox(np.full((height, width, 3), 200, np.uint8), out)
    assert scale == pytest.approx(192 / max(width, height))
    filled = (out == 200).all(axis=2)
    assert filled.any()
    assert not out[~filled].any()
    assert abs(filled.any(1).sum() - max(1, height * scale)) <= 1
    assert abs(filled.any(0).sum() - max(1, width * scale)) <= 1
