"""Descriptors, functionals and the running baseline: right on sounds whose answer is known, at any gain and cut."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.voice_mt.baseline import DELAY, MEMORY, RunningBaseline
from models.voice_mt.baseline import of as baseline_of
from models.voice_mt.descriptors import BLOCK, COLUMN, HOP, MARGIN, NAMES, RATE, DescriptorStream, describe
from models.voice_mt.functionals import MIN_VOICED, RELATIVE, functionals
from models.voice_mt.functionals import NAMES as FUNCTIONALS

Floats = NDArray[np.float32]


def pulses(hertz: float, *, jitter: float = 0.0, shimmer: float = 0.0, seconds: float = 2.0, seed: int = 0) -> Floats:
    """A voice: pulses that ring at 600 and 1700 Hz, their lengths and sizes varied by these deviations (share, dB)."""
    rng = np.random.default_rng(seed)
    out, t = np.zeros(int(RATE * seconds)), 0.01
    while t < seconds - 0.03:
        at = np.arange(int(np.ceil(t * RATE)), min(int(np.ceil(t * RATE)) + 320, len(out)))
        u = at / RATE - t
        ring = np.exp(-300 * u) * np.sin(2 * np.pi * 600 * u) + np.exp(-500 * u) * np.sin(2 * np.pi * 1700 * u)
        out[at] += 10 ** (shimmer * rng.standard_normal() / 20) * ring
        t += (1 + jitter * rng.standard_normal()) / hertz
    return (0.1 * out).astype(np.float32)


def speech(samples: Floats) -> Floats:
    return np.ones(len(samples) // HOP, np.float32)


def median(samples: Floats, name: str) -> float:
    frames = describe(samples, speech(samples))
    inside = frames[20:-20]
    return float(np.median(inside[inside[:, COLUMN["voiced"]] > 0, COLUMN[name]]))


@pytest.mark.parametrize("hertz", [70, 110, 180, 290, 450, 640])
def test_pitch_is_found_over_the_whole_range_of_voices(hertz: float) -> None:
    assert median(pulses(hertz), "f0") == pytest.approx(12 * np.log2(hertz / 27.5), abs=0.2)


def test_an_octave_error_is_mended_by_the_usual_pitch() -> None:
    steady = pulses(120, seconds=1.5)
    doubled = pulses(120, shimmer=6.0, seconds=0.5, seed=1)  # uneven pulses look like half the pitch
    frames = describe(np.concatenate([steady, doubled]), speech(np.concatenate([steady, doubled])))
    voiced = frames[20:-10][frames[20:-10, COLUMN["voiced"]] > 0]
    wrong = np.abs(voiced[:, COLUMN["f0"]] - 12 * np.log2(120 / 27.5)) > 2
    assert wrong.mean() < 0.05


def test_noise_and_silence_are_not_voiced() -> None:
    noise = (0.05 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    for samples in (noise, np.zeros(RATE, np.float32)):
        frames = describe(samples, speech(samples))
        assert frames[:, COLUMN["voiced"]].mean() < 0.05
        assert np.isfinite(frames).all()


def test_jitter_and_shimmer_grow_with_the_unevenness_of_the_pulses_and_only_so() -> None:
    even = pulses(200)
    assert median(even, "jitter") < 0.003
    assert median(even, "shimmer") < 0.2
    jitter = [median(pulses(200, jitter=v), "jitter") for v in (0.005, 0.01, 0.02)]
    assert jitter == sorted(jitter)
    assert jitter[1] == pytest.approx(0.01, rel=0.5)
    shimmer = [median(pulses(200, shimmer=v), "shimmer") for v in (0.3, 0.8, 1.5)]
    assert shimmer == sorted(shimmer)
    assert shimmer[1] == pytest.approx(0.8 * 2 / np.sqrt(np.pi), rel=0.4)  # mean difference of two normal variables


def test_harmonicity_falls_with_noise() -> None:
    clean = pulses(150)
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32) * clean.std()
    levels = [median(clean + noise * 10 ** (-snr / 20), "hnr") for snr in (30, 15, 5)]
    assert levels == sorted(levels, reverse=True)
    assert levels[1] == pytest.approx(15, abs=4)


def test_the_spectrum_tells_dark_from_bright() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    bins = np.fft.rfft(noise) * 0.05
    dark, bright = (np.fft.irfft(bins * np.maximum(hertz, 50) ** p).astype(np.float32) * 50**-p for p in (-1.0, 0.5))
    means = [describe(one, speech(one))[20:-20].mean(0) for one in (dark, bright)]
    assert means[0][COLUMN["alpha"]] < means[1][COLUMN["alpha"]] - 10
    assert means[0][COLUMN["hammarberg"]] > means[1][COLUMN["hammarberg"]] + 10
    assert means[0][COLUMN["centroid"]] < means[1][COLUMN["centroid"]]
    assert means[0][COLUMN["mfcc1"]] > means[1][COLUMN["mfcc1"]]


def test_the_difference_of_the_first_two_harmonics_is_that_of_their_amplitudes() -> None:
    t = np.arange(RATE) / RATE
    tone = (0.2 * np.sin(2 * np.pi * 200 * t) + 0.05 * np.sin(2 * np.pi * 400 * t)).astype(np.float32)
    assert median(tone, "h1h2") == pytest.approx(20 * np.log10(4), abs=1.0)  # the bins lie 15 Hz apart


@pytest.mark.parametrize("decibels", [-30, 10])
def test_gain_changes_loudness_alone(decibels: float) -> None:
    samples = pulses(160, jitter=0.01, shimmer=0.5)
    first, other = (describe(x, speech(x)) for x in (samples, samples * np.float32(10 ** (decibels / 20))))
    rest = [i for name, i in COLUMN.items() if name != "loudness"]
    assert np.allclose(first[20:-20, rest], other[20:-20, rest], atol=0.1)
    change = (other - first)[20:-20, COLUMN["loudness"]]
    assert change == pytest.approx(0.33 * decibels * np.log(10) / 10, abs=0.05)
    row, again = functionals(first[20:-20]), functionals(other[20:-20])
    assert row is not None
    assert again is not None
    for name, a, b in zip(FUNCTIONALS, row, again, strict=True):
        assert name in RELATIVE or a == pytest.approx(b, abs=0.05, rel=0.01), name


def test_a_stream_gives_what_a_recording_gives() -> None:
    samples = pulses(140, jitter=0.02)
    n = len(samples) // HOP // BLOCK * BLOCK
    whole = describe(samples, speech(samples))
    around = np.zeros(2 * MARGIN + n * HOP, np.float32)
    around[MARGIN : MARGIN + len(samples)] = samples
    stream, size = DescriptorStream(), BLOCK * HOP
    ones = np.ones(BLOCK, np.float32)
    parts = [stream.describe(around[k * size : (k + 1) * size + 2 * MARGIN], ones) for k in range(n // BLOCK)]
    assert np.allclose(np.concatenate(parts), whole, atol=1e-3)


def test_a_frame_reads_nothing_beyond_its_margin() -> None:
    samples = pulses(140, seconds=1.0)
    other = samples.copy()
    cut = 60
    other[cut * HOP :] = 0.3
    first, second = (describe(x, speech(x)) for x in (samples, other))
    whole = (cut * HOP - MARGIN) // (BLOCK * HOP) * BLOCK  # blocks whose frames lie before it
    assert np.array_equal(first[:whole], second[:whole])


def test_functionals_need_some_voiced_speech() -> None:
    samples = pulses(140)
    frames = describe(samples, speech(samples))
    row = functionals(frames)
    assert row is not None
    assert row.shape == (len(FUNCTIONALS),)
    assert np.isfinite(row).all()
    assert functionals(np.zeros((300, len(NAMES)), np.float32)) is None
    voiced = np.flatnonzero(frames[:, COLUMN["voiced"]] > 0)
    frames[voiced[MIN_VOICED - 1 :], COLUMN["voiced"]] = 0
    assert functionals(frames) is None


def test_what_is_no_speech_does_not_count() -> None:
    samples = pulses(140)
    frames = describe(samples, speech(samples))
    hum = describe(pulses(400), speech(samples))
    hum[:, COLUMN["speech"]] = 0.1
    alone, beside = functionals(frames[:100]), functionals(np.concatenate([hum[:100], frames[:100]]))
    assert alone is not None
    assert beside is not None
    level = [FUNCTIONALS.index(name) for name in ("f0.mean", "f0.p80", "alpha.mean", "voiced.share", "jitter.mean")]
    assert np.allclose(alone[level], beside[level], atol=1e-4)


def test_the_baseline_is_the_mean_by_seconds_of_speech_and_causal() -> None:
    running = RunningBaseline()
    rows = np.random.default_rng(0).normal(20, 3, (6, len(FUNCTIONALS))).astype(np.float32)
    seconds = np.array([1.0, 2.0, 0.5, 4.0, 1.0, 1.0])
    for k, (row, s) in enumerate(zip(rows, seconds, strict=True)):
        running.add(float(k), row, float(s))
    assert running.at(DELAY - 0.1).seconds == 0
    some = running.at(DELAY + 2.0)
    expected = baseline_of(rows[:3].astype(np.float64), seconds[:3])
    assert some.seconds == pytest.approx(3.5)
    assert some.newest == 2.0
    assert np.allclose(some.mean, expected.mean, atol=1e-4)
    assert np.allclose(some.variance, expected.variance, atol=1e-3)


def test_the_baseline_forgets_what_lies_far_back() -> None:
    running = RunningBaseline()
    for k in range(700):
        value = 0.0 if k < 300 else 1.0
        running.add(float(k), np.full(len(FUNCTIONALS), value, np.float32), 1.0)
    late = running.at(1000.0)
    assert late.seconds == pytest.approx(MEMORY)
    assert late.mean[0] > 0.7
