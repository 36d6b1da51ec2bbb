"""TSAV's sound in training is the published window, or what the service hears, in the columns that `prepare` writes."""

import numpy as np
import pytest
from golden import networks, recipe

from models.training import inputs
from service.perception.mel import SAMPLE_RATE, mel_power

TOLERANCE = 3e-4  # of filters in float32, as the published code has them
WAVE = (recipe.waveform(networks.SEED) / 32768).astype(np.float32)  # 12 s


@pytest.fixture(scope="module")
def arrays():
    return networks.load("tsav_audio")


@pytest.fixture(scope="module")
def power():
    return mel_power(WAVE)


def same(window, expected, columns):
    """Equal but for the first and last of the window's `columns`, at which the published code reflects the sound."""
    padding = window.shape[1] - columns
    inner = slice(padding + 1, window.shape[1] - 1)
    np.testing.assert_allclose(window[:, inner], expected[:, inner], atol=TOLERANCE)
    # 80 dB below the loudest cell, which lies in the last column of the shortest windows.
    np.testing.assert_allclose(window[:, :padding], expected[:, :padding], atol=TOLERANCE if columns > 100 else 0.02)


@pytest.mark.parametrize("ms", [0, 500, 3000, 5000, 9000, 11900])
def test_the_centred_window_is_the_published_one(arrays, power, ms):
    columns = int(arrays["n_columns"][list(arrays["times_ms"]).index(ms)])
    same(inputs.sound_window(power, ms / 1000, "centred"), arrays[f"feat_{ms:05}ms"][0], columns)


def test_windows_without_a_future_are_those_of_the_service(arrays, power):
    same(inputs.sound_window(power, 11.0, "past10"), arrays["feat_past10_11000ms"][0], 1001)
    same(inputs.sound_window(power, 11.0, "truncate"), arrays["feat_truncate_11000ms"][0], 501)
    silence = inputs.sound_window(np.zeros((64, 100), np.float32), 0.5, "past10")
    np.testing.assert_allclose(silence, arrays["feat_silent_value"][0], atol=1e-5)


@pytest.mark.parametrize("window", ["past10", "truncate"])
def test_sound_after_the_frame_changes_nothing(power, window):
    later = power.copy()
    later[:, 701:] = 1
    np.testing.assert_array_equal(*(inputs.sound_window(p, 7.0, window) for p in (power, later)))
    assert (inputs.sound_window(later, 7.0, "centred") != inputs.sound_window(power, 7.0, "centred")).any()


def test_all_windows_are_alike_in_the_first_five_seconds(power):
    for t in (0.5, 2.0, 4.9):
        past, short, centred = (inputs.sound_window(power, t, w) for w in ("past10", "truncate", "centred"))
        np.testing.assert_array_equal(past, short)
        np.testing.assert_allclose(past[:, :-1], centred[:, :-1], atol=0.02)  # whose last column reaches beyond t
    assert SAMPLE_RATE == 441 * inputs.MEL_RATE
