"""Mel windows: equal to the reference's, causal, and the same however the sound was cut into pieces."""

from pathlib import Path

import numpy as np
import pytest
from golden import recipe
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE, Sound
from service.perception.mel import (
    HOP,
    MEAN_DB,
    RANGE_DB,
    SILENCE_DB,
    STD_DB,
    MelStream,
    Mode,
    log_mel,
    mel_filters,
    span,
)

TOLERANCE = 3e-4  # with filters in float32, as the reference has them
SILENT = (SILENCE_DB - MEAN_DB) / STD_DB
WAVE = (recipe.waveform(1).astype(np.float32) / 32768).astype(np.float32)  # 12 s
MODES: tuple[Mode, ...] = ("past10", "truncate", "delayed")


def fed(samples: NDArray[np.float32], sizes: list[int], t: float = 0.0) -> MelStream:
    """A stream that was given `samples` in pieces of `sizes`, over and over."""
    mel = MelStream()
    at = turn = 0
    while at < len(samples):
        size = sizes[turn % len(sizes)]
        mel.push(Sound(samples[at : at + size], t + at / SAMPLE_RATE))
        at, turn = at + size, turn + 1
    return mel


def test_windows_equal_the_reference(golden: Path) -> None:
    expected = np.load(golden / "tsav_audio.npz")
    for t_ms, offset, count in zip(
        expected["times_ms"], expected["offset_samples"], expected["n_samples"], strict=True
    ):
        window = log_mel(WAVE[offset : offset + count])
        np.testing.assert_allclose(window, expected[f"feat_{t_ms:05d}ms"][0], atol=TOLERANCE)
    quiet = log_mel(WAVE[:132_300] / 1024)
    np.testing.assert_allclose(quiet, expected["feat_quiet_03000ms"][0], atol=TOLERANCE)
    np.testing.assert_allclose(mel_filters().sum(0), expected["mel_filter_sums"], atol=1e-4)
    np.testing.assert_allclose(log_mel(np.zeros(44_100, np.float32)), expected["feat_silent_value"][0], atol=1e-6)


@pytest.mark.parametrize("exact", [False, True])
def test_the_stream_equals_the_reference_without_looking_ahead(golden: Path, exact: bool) -> None:
    expected = np.load(golden / "tsav_audio.npz")
    mel = fed(WAVE[: 11 * SAMPLE_RATE], [1470])
    for mode in ("truncate", "past10"):
        window = mel.window(11.0, mode, exact=exact)  # type: ignore[arg-type]
        np.testing.assert_allclose(window, expected[f"feat_{mode}_11000ms"][0], atol=TOLERANCE)


def test_delayed_windows_equal_the_centred_reference_five_seconds_ago(golden: Path) -> None:
    expected = np.load(golden / "tsav_audio.npz")
    for t_ms in (500, 3000, 5000, 6767):
        now = t_ms / 1000 + 5
        mel = fed(WAVE[: round(now * SAMPLE_RATE)], [1024])
        window = mel.window(now, "delayed", exact=True)
        np.testing.assert_allclose(window, expected[f"feat_{t_ms:05d}ms"][0], atol=TOLERANCE)


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=6),
    seconds=st.floats(0.05, 12.0),
    back=st.floats(0.0, 1.5),
    mode=st.sampled_from(MODES),
    length=st.sampled_from([10.0, 2.0]),
)
def test_any_cutting_gives_the_same_window_and_that_of_the_whole(
    sizes: list[int], seconds: float, back: float, mode: Mode, length: float
) -> None:
    samples = WAVE[: int(seconds * SAMPLE_RATE)]
    t = max(len(samples) / SAMPLE_RATE - back, 0.0)
    sizes = [max(size, 200) for size in sizes] if seconds > 1 else sizes
    window = fed(samples, sizes).window(t, mode, length)
    np.testing.assert_array_equal(window, fed(samples, [1470]).window(t, mode, length))
    p = int(t * SAMPLE_RATE + 1e-4)
    start, end = span(p - p % HOP, mode, length)
    if mode == "delayed":
        start, end = start - start % HOP, end - end % HOP
    np.testing.assert_allclose(window, log_mel(samples[start:end], length), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(t=st.floats(0.0, 5.0), mode=st.sampled_from(MODES), exact=st.booleans())
def test_sound_after_t_changes_nothing(t: float, mode: Mode, exact: bool) -> None:
    samples = WAVE[: 6 * SAMPLE_RATE].copy()
    future = samples.copy()
    future[int(t * SAMPLE_RATE + 1e-4) :] = np.random.default_rng(0).uniform(-1, 1)
    a, b = (fed(s, [4410]).window(t, mode, 4.0, exact=exact) for s in (samples, future))
    np.testing.assert_array_equal(a, b)


def test_the_newest_sound_is_in_the_window() -> None:
    samples = np.zeros(3 * SAMPLE_RATE, np.float32)
    samples[-HOP:] = WAVE[:HOP]
    window = fed(samples, [1470]).window(3.0)
    assert window[:, -1].max() > window[:, :-2].max()


def test_columns_stay_right_for_hours_and_over_the_ring() -> None:
    start = 7200.0
    mel = fed(np.tile(WAVE, 3), [8000], start)
    expected = log_mel(np.tile(WAVE, 3)[-10 * SAMPLE_RATE :])
    np.testing.assert_allclose(mel.window(start + 36.0), expected, atol=1e-4)


def test_missing_sound_is_silence_and_counted() -> None:
    mel = MelStream()
    mel.push(Sound(WAVE[:44_100], 0.0))
    mel.push(Sound(WAVE[88_200:132_300], 2.0))
    assert mel.filled == 44_100
    assert mel.cut == 0
    gapped = WAVE[:132_300].copy()
    gapped[44_100:88_200] = 0
    np.testing.assert_allclose(mel.window(3.0), log_mel(gapped), atol=1e-4)


def test_a_gap_longer_than_the_memory_leaves_only_silence_behind() -> None:
    mel = MelStream()
    mel.push(Sound(WAVE[:44_100], 0.0))
    mel.push(Sound(WAVE[:44_100], 3600.0))
    assert mel.filled == 3599 * SAMPLE_RATE
    expected = np.concatenate([np.zeros(9 * SAMPLE_RATE, np.float32), WAVE[:44_100]])
    np.testing.assert_allclose(mel.window(3601.0), log_mel(expected), atol=1e-4)


def test_time_that_is_taken_is_cut_and_counted() -> None:
    mel = MelStream()
    mel.push(Sound(WAVE[:44_100], 0.0))
    mel.push(Sound(WAVE[22_050:66_150], 0.5))
    mel.push(Sound(WAVE[:1000], 0.1))
    assert mel.cut == 22_050 + 1000
    assert mel.end == 1.5
    np.testing.assert_allclose(mel.window(1.5), log_mel(WAVE[:66_150]), atol=1e-4)


def test_jitter_of_a_few_milliseconds_leaves_no_seam() -> None:
    mel = MelStream()
    rng = np.random.default_rng(0)
    for at in range(0, 2 * SAMPLE_RATE, 882):
        mel.push(Sound(WAVE[at : at + 882], max(at / SAMPLE_RATE + rng.uniform(-0.01, 0.01), 0.0)))
    assert (mel.filled, mel.cut) == (0, 0)


def test_sound_that_is_a_little_late_ends_the_window_where_it_ends() -> None:
    mel = fed(WAVE[: 2 * SAMPLE_RATE], [1470])
    np.testing.assert_array_equal(mel.window(2.2), mel.window(2.0))


def test_sound_that_stopped_becomes_silence() -> None:
    window = fed(WAVE[: 2 * SAMPLE_RATE], [1470]).window(4.0)
    floor = window.min()
    assert (window[:, -199:] == floor).all()
    assert window[:, -300:-205].max() > floor


def test_without_sound_the_window_is_silent() -> None:
    window = MelStream().window(5.0)
    assert window.shape == (64, 1001)
    assert window.dtype == np.float32
    np.testing.assert_allclose(window, SILENT, atol=1e-6)


def test_broken_samples_do_not_spread() -> None:
    samples = WAVE[:44_100].copy()
    samples[[100, 20_000]] = np.nan, np.inf
    clean = WAVE[:44_100].copy()
    clean[[100, 20_000]] = 0
    np.testing.assert_array_equal(fed(samples, [44_100]).window(1.0), fed(clean, [44_100]).window(1.0))


def test_what_lies_before_session_time_is_cut() -> None:
    mel = MelStream()
    mel.push(Sound(WAVE[:44_100], -0.5))
    assert mel.end == 0.5
    assert mel.cut == 22_050


def test_the_picture_spans_eighty_decibels_at_most() -> None:
    window = fed(WAVE, [1470]).window(12.0)
    assert window.max() - window.min() <= RANGE_DB / STD_DB + 1e-5


@pytest.mark.parametrize("seconds", [3.0, 30.0])
def test_columns_are_the_same_whenever_they_are_asked_for(seconds: float) -> None:
    sound = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    often, once = MelStream(), MelStream()
    for begin in range(0, len(sound), 1000):
        piece = Sound(sound[begin : begin + 1000], begin / SAMPLE_RATE)
        often.push(piece)
        once.push(piece)
        often.window(often.end)
    first, last = max(once.oldest, 0), once.columns
    assert last - first == min(round(seconds * 100), 1200)
    np.testing.assert_array_equal(once.decibels(first, last), often.decibels(first, last))
