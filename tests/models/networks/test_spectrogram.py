"""The sound picture of A/V-MT-VGG-GRU: windows of 33 ms that overlap by 11 ms, intensities in [-1, 1]."""

import numpy as np
import pytest

from models.networks import spectrogram
from models.networks.spectrogram import HOP, SAMPLE_RATE, SIZE, WINDOW, columns_before, complete, picture, power
from service.adapters.vgg import SoundPictures
from service.capture.media import Sound
from service.perception.mel import MelStream

SAMPLES = np.random.default_rng(3).normal(0, 0.1, 4 * SAMPLE_RATE).astype(np.float32)


def test_the_sound_picture_has_windows_of_33_ms_with_11_ms_overlap():
    assert pytest.approx(0.033, abs=1e-4) == WINDOW / SAMPLE_RATE
    assert pytest.approx(0.011, abs=1e-4) == (WINDOW - HOP) / SAMPLE_RATE
    assert complete(WINDOW - 1) == 0
    assert complete(WINDOW) == 1
    assert complete(WINDOW + HOP) == 2
    assert columns_before(0.033) == 1
    found = picture(power(SAMPLES)[:, :SIZE])
    assert found.shape == (3, SIZE, SIZE)
    assert found.max() == 1
    assert found.min() >= -1
    assert picture(np.zeros((SIZE, SIZE), np.float32)).tolist() == np.ones((3, SIZE, SIZE)).tolist()


@pytest.mark.parametrize("hertz", [300, 3_000, 15_000])
def test_a_tone_lies_in_its_band_and_low_tones_at_the_bottom(hertz):
    tone = np.sin(2 * np.pi * hertz * np.arange(SAMPLE_RATE * 3) / SAMPLE_RATE).astype(np.float32)
    columns = power(tone)
    band = int(hertz / (SAMPLE_RATE / 2) * SIZE)
    assert abs(int(columns[:, 10].argmax()) - band) <= 1
    assert abs(int(picture(columns[:, :SIZE])[0, :, 10].argmax()) - (SIZE - 1 - band)) <= 1


def test_power_is_the_mean_of_the_bins_by_an_independent_transform():
    k = np.arange(WINDOW)
    frame = SAMPLES[5 * HOP : 5 * HOP + WINDOW].astype(np.float64) * np.sin(np.pi * k / WINDOW) ** 2
    bins = np.array([abs(np.sum(frame * np.exp(-2j * np.pi * f * k / 2048))) ** 2 for f in range(1, 22)])
    expected = [bins[0:10].mean(), bins[10:21].mean()]
    np.testing.assert_allclose(power(SAMPLES)[:2, 5], expected, rtol=1e-4)


def test_pictures_of_a_stream_are_those_of_the_whole_whatever_the_pieces():
    mel, live, whole, at = MelStream(), SoundPictures(), power(SAMPLES), 0
    for size in (1_000, 30_000, 441, 44_100, 7, 60_000):
        mel.push(Sound(SAMPLES[at : at + size], at / SAMPLE_RATE))
        at += size
        last = columns_before(at / SAMPLE_RATE)
        expected = np.zeros((SIZE, SIZE), np.float32)
        kept = whole[:, max(last - SIZE, 0) : last]
        expected[:, SIZE - kept.shape[1] :] = kept
        np.testing.assert_allclose(live.before(mel, at / SAMPLE_RATE), picture(expected), atol=1e-5)


def test_sound_that_is_late_is_silence_and_counts_when_it_comes():
    mel, live = MelStream(), SoundPictures()
    mel.push(Sound(SAMPLES[:SAMPLE_RATE], 0.0))
    early = live.before(mel, 1.5)
    assert (early[0, :, -20:] == -1).all(), "half a second has not come yet"
    mel.push(Sound(SAMPLES[SAMPLE_RATE:], 1.0))
    np.testing.assert_array_equal(live.before(mel, 2.0), SoundPictures().before(mel, 2.0))
    assert spectrogram.complete(mel.samples_end) > columns_before(2.0)
