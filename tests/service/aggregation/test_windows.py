"""Trailing windows against direct sums, and against the recorded statistics of the Fujitsu system's windows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.aggregation.windows import EDGE, WINDOW_SECONDS, TrailingWindows

SECONDS = (0.5, 1.0, 3.0)


def direct(times, column, t, seconds):
    """Mean, std, range and slope of the samples in (t - seconds, t], by the definitions."""
    inside = (times > t - seconds + EDGE) & (times <= t) & np.isfinite(column)
    x, tau = column[inside], times[inside]
    if not len(x):
        return 0, np.nan, np.nan, np.nan, np.nan
    centred = tau - tau.mean()
    spread = (centred**2).sum()
    # Equal times, too, lie 1e-16 s from their rounded mean.
    slope = (centred * (x - x.mean())).sum() / spread if len(x) * spread > EDGE**2 else 0.0
    return len(x), x.mean(), x.std(), np.ptp(x), slope


@st.composite
def signals(draw):
    gaps = draw(st.lists(st.sampled_from([0.0, 0.016, 0.033, 0.04, 0.21, 0.7, 4.0]), min_size=1, max_size=120))
    offset = draw(st.sampled_from([0.0, -3.0, 1e4]))
    cells = st.one_of(st.just(float("nan")), st.floats(-1, 1, width=32), st.just(0.25))
    values = draw(st.lists(st.tuples(cells, cells), min_size=len(gaps), max_size=len(gaps)))
    return np.cumsum(gaps) + draw(st.sampled_from([0.0, 3600.0])), np.array(values) + offset


@given(signals())
@settings(max_examples=150, deadline=None)
def test_every_step_equals_the_direct_statistics(signal):
    times, values = signal
    windows = TrailingWindows(2, SECONDS)
    for i, t in enumerate(times):
        windows.push(t, values[i])
        found = windows.statistics()
        for w, seconds in enumerate(SECONDS):
            for column in range(2):
                count, *expected = direct(times[: i + 1], values[: i + 1, column], t, seconds)
                got = [part[w, column] for part in (found.mean, found.std, found.range, found.slope)]
                assert found.count[w, column] == count
                np.testing.assert_allclose(got[:3], expected[:3], rtol=0, atol=1e-6)
                np.testing.assert_allclose(got[3], expected[3], rtol=1e-6, atol=1e-5)


def test_the_recorded_windows_of_the_fujitsu_system_are_met(golden: Path):
    recorded = np.load(golden / "fujitsu_windows.npz")
    windows = TrailingWindows(6, tuple(recorded["window_seconds"]))
    evaluated = {int(frame): row for row, frame in enumerate(recorded["eval_frames"])}
    for frame, row in enumerate(recorded["signal"]):
        windows.push(frame / float(recorded["fps"]), row)
        found = windows.statistics()
        np.testing.assert_array_equal(found.count[:, 0], recorded["count_every_frame"][frame])
        for name in ("mean", "std", "range", "slope"):
            got = getattr(found, name)
            np.testing.assert_allclose(got[0], recorded[f"{name}_1s_every_frame"][frame], rtol=0, atol=1e-6)
            if frame in evaluated:
                np.testing.assert_allclose(got, recorded[name][evaluated[frame]], rtol=0, atol=1e-6)


def test_an_hour_of_samples_leaves_no_drift():
    random = np.random.default_rng(1)
    times = np.cumsum(random.uniform(0.02, 0.05, 20_000)) + 1e5
    values = random.normal(0, 0.1, (20_000, 1)) + 1e6
    windows = TrailingWindows(1)
    for t, value in zip(times, values, strict=True):
        windows.push(t, value)
    found = windows.statistics()
    for w, seconds in enumerate(WINDOW_SECONDS):
        _, mean, std, extent, slope = direct(times, values[:, 0], times[-1], seconds)
        assert found.mean[w, 0] == pytest.approx(mean, abs=1e-6)
        assert found.std[w, 0] == pytest.approx(std, abs=1e-8)
        assert found.range[w, 0] == extent
        assert found.slope[w, 0] == pytest.approx(slope, abs=1e-8)


def test_memory_is_that_of_the_longest_window():
    windows = TrailingWindows(1, (1.0,))
    for i in range(5_000):
        windows.push(i / 50, [0.0])
    assert len(windows._times) <= 128
    for i in range(1_000):
        windows.push(100 + i / 500, [0.0])
    assert windows.statistics().count[0, 0] == 500


def test_samples_leave_when_only_time_goes_on():
    windows = TrailingWindows(1, (1.0, 6.0))
    windows.push(0.0, [1.0])
    windows.push(0.5, [3.0])
    windows.advance(1.25)
    found = windows.statistics()
    assert found.count[:, 0].tolist() == [1, 2]
    assert found.mean[:, 0].tolist() == [3.0, 2.0]
    windows.advance(60.0)
    assert np.isnan(windows.statistics().mean).all()
    windows.push(61.0, [5.0])
    assert windows.statistics().mean[:, 0].tolist() == [5.0, 5.0]


def test_infinite_and_missing_values_are_not_counted():
    windows = TrailingWindows(2, (1.0,))
    windows.push(0.0, [0.5, np.inf])
    windows.push(0.1, [np.nan, 0.25])
    windows.push(0.2, [-np.inf, np.nan])
    found = windows.statistics()
    assert found.count[0].tolist() == [1, 1]
    assert found.mean[0].tolist() == [0.5, 0.25]
    assert found.range[0].tolist() == [0.0, 0.0]


def test_a_constant_varies_by_exactly_nothing():
    windows = TrailingWindows(1)
    for i in range(400):
        windows.push(i / 30, [0.1])
    found = windows.statistics()
    assert not found.std.any()
    assert not found.range.any()
    assert not found.slope.any()


@pytest.mark.parametrize("t", [0.9, float("nan")])
def test_time_does_not_go_back(t):
    windows = TrailingWindows(1)
    windows.push(1.0, [0.0])
    with pytest.raises(ValueError, match="time went back"):
        windows.push(t, [0.0])
