"""Several channels become one without loss, however the wires are."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.capture.media import SAMPLE_RATE
from service.capture.mono import MonoMixer

Samples = NDArray[np.float32]


def voice(seconds: float = 3.0, seed: int = 1) -> Samples:
    """Noise that comes and goes four times a second, as syllables do."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(seed).normal(0, 0.1, len(t))
    return (noise * np.maximum(0, np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def level(samples: Samples) -> float:
    return float(np.sqrt(np.mean(samples[SAMPLE_RATE // 2 :].astype(float) ** 2)))


@pytest.mark.parametrize("gain", [1.0, 0.3, 3.0])
def test_a_channel_turned_over_is_turned_back(gain: float) -> None:
    one = voice()
    mixed = MonoMixer()(np.stack([one, -gain * one]))
    assert level(mixed) == pytest.approx(level(one) * (1 + gain) / 2, rel=0.02)


def test_equal_channels_are_as_loud_as_one() -> None:
    one = voice()
    np.testing.assert_allclose(MonoMixer()(np.stack([one, one])), one, atol=1e-6)


def test_channels_that_have_nothing_to_do_with_each_other_are_averaged() -> None:
    one, other = voice(seed=1), voice(seed=2)
    np.testing.assert_allclose(MonoMixer()(np.stack([one, other])), (one + other) / 2, atol=1e-6)


def test_a_silent_channel_turns_nothing_over() -> None:
    one = voice()
    mixer = MonoMixer()
    np.testing.assert_allclose(mixer(np.stack([one, np.zeros_like(one)])), one / 2, atol=1e-6)
    assert not mixer.inverted


def test_the_mix_does_not_depend_on_how_the_sound_was_cut() -> None:
    channels = np.stack([voice(), -voice()])
    whole, mixer = MonoMixer()(channels), MonoMixer()
    cuts = np.sort(np.random.default_rng(3).integers(0, channels.shape[1], 60))
    pieces = [mixer(piece) for piece in np.split(channels, cuts, axis=1)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_a_plug_turned_over_on_the_way_is_followed_without_a_click() -> None:
    t = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.5 * np.sin(2 * np.pi * 200 * t)).astype(np.float32)
    other = np.where(t < 1.0, tone, -tone).astype(np.float32)
    mixed = MonoMixer()(np.stack([tone, other]))
    assert level(mixed[-SAMPLE_RATE:]) == pytest.approx(level(tone), rel=0.02)
    assert np.abs(np.diff(mixed)).max() < 3 * np.abs(np.diff(tone)).max()


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_any_number_of_channels_is_taken(channels: int) -> None:
    assert MonoMixer()(np.zeros((channels, 100), np.float32)).shape == (100,)


@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_no_numbers_are_silence(channels: int) -> None:
    sound = np.stack([voice()] * channels)
    broken = sound.copy()
    broken[:, 1000:1010], broken[:, 2000], broken[:, 3000] = np.nan, np.inf, -3e38
    mixed, wanted = MonoMixer()(broken), MonoMixer()(sound)
    assert np.isfinite(mixed).all()
    assert np.abs(mixed).max() <= 4.0
    np.testing.assert_allclose(np.delete(mixed, slice(990, 3100)), np.delete(wanted, slice(990, 3100)), atol=1e-6)
