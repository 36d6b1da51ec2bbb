"""Windows that grow frame by frame are those of the whole recording, at every block's end."""

import numpy as np
import pytest
from golden import networks
from hypothesis import given, settings
from hypothesis import strategies as st

from models.multiterm.live_windows import BlockWindows, slot_of
from models.multiterm.windows import SHIFT, STATISTICS, TERMS, statistics


def evaluated(x, slot=0, terms=TERMS):
    """Block's end (frame of `x`) -> seconds -> (4, columns)."""
    windows, found = BlockWindows(x.shape[1], slot, terms), {}
    for i, row in enumerate(x):
        windows.push(row)
        if windows.complete:
            found[i] = windows.statistics()
    return found


def test_windows_of_a_stream_are_the_reference():
    arrays = networks.load("fujitsu_windows")
    seconds = tuple(int(term) for term in arrays["window_seconds"])
    found = evaluated(arrays["signal"], terms=seconds)
    assert list(found) == arrays["eval_frames"].tolist()
    for w, term in enumerate(seconds):
        for i, name in enumerate(STATISTICS):
            ours = np.stack([windows[term][i] for windows in found.values()])
            np.testing.assert_allclose(ours, arrays[name][:, w], atol=1e-9, rtol=0, err_msg=f"{name} {term}")


@given(
    slot=st.integers(0, 1000), frames=st.integers(1, 500), gap=st.floats(0, 1), seed=st.integers(0, 1000),
    offset=st.sampled_from([0.0, -3.0, 1e4]),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_wherever_a_face_begins_and_whatever_is_missing_they_are_those_of_the_recording(
    slot, frames, gap, seed, offset
):
    rng = np.random.default_rng(seed)
    x = rng.normal(offset, 1, (frames, 3))
    x[rng.random((frames, 3)) < gap] = np.nan
    before = np.full((slot % SHIFT, 3), np.nan)  # of the first block
    whole = np.concatenate((before, x))
    for end, windows in evaluated(x, slot).items():
        for term, ours in windows.items():
            (theirs,) = statistics(whole, term, np.array([end + len(before)]))
            np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)


def test_what_comes_later_changes_nothing():
    x = np.random.default_rng(0).normal(size=(240, 2))
    changed = np.concatenate((x[:120], x[120:] * 100))
    one, other = evaluated(x), evaluated(changed)
    for end in range(SHIFT - 1, 120, SHIFT):
        for term in TERMS:
            np.testing.assert_array_equal(one[end][term], other[end][term])


@pytest.mark.parametrize("fps", [24, 25, 30, 60])
def test_frames_fall_into_slots_of_a_thirtieth_of_a_second(fps):
    slots = np.array([slot_of(i / fps) for i in range(10 * fps)])
    assert (np.diff(slots) >= 0).all()
    assert slots[-1] in (298, 299)
    assert np.abs(slots / 30 - np.arange(10 * fps) / fps).max() <= 1 / 30 + 1e-9
