"""Smoothing: steadier than the raw value, late by less than a tenth of a second, the same at any frame rate."""

import numpy as np
import pytest

from service.aggregation.smooth import EXPRESSION_TIME_CONSTANT, AffectFilter, ProbabilityFilter

RATES = (15, 30, 60)


@pytest.mark.parametrize("noise", [0.03, 0.06])
def test_noise_shrinks_to_about_a_third(noise):
    smooth, raw = AffectFilter(), np.random.default_rng(0).normal(0, noise, (2, 2000))
    out = np.array([smooth(i / 30, *raw[:, i]) for i in range(2000)])
    assert (out[60:].std(0) < 0.4 * noise).all()


@pytest.mark.parametrize("noise", [0.03, 0.06])
def test_strong_smoothing_leaves_about_a_fifth_and_off_all(noise):
    raw = np.random.default_rng(0).normal(0, noise, (2, 2000))
    strong, off = AffectFilter("strong"), AffectFilter("off")
    out = np.array([strong(i / 30, *raw[:, i]) for i in range(2000)])
    assert (out[60:].std(0) < 0.25 * noise).all()
    assert [off(i / 30, *raw[:, i]) for i in range(5)] == [tuple(raw[:, i]) for i in range(5)]
    probabilities, same = np.eye(7)[:2], ProbabilityFilter("off")
    assert [same(i / 30, one).tolist() for i, one in enumerate(probabilities)] == probabilities.tolist()


@pytest.mark.parametrize(("smoothing", "late"), [("normal", 0.07), ("strong", 0.21)])
@pytest.mark.parametrize("fps", RATES)
def test_a_smile_is_not_late(fps, smoothing, late):
    smooth, times = AffectFilter(smoothing), np.arange(0, 3, 1 / fps)
    raw = np.clip((times - 1) / 0.5, 0, 1) * 0.8
    out = np.array([smooth(t, x, 0.0)[0] for t, x in zip(times, raw, strict=True)])
    for level in (0.4, 0.72):
        assert times[np.argmax(out >= level)] - times[np.argmax(raw >= level)] < late


def test_what_a_model_leaves_out_stays_out():
    smooth = AffectFilter()
    assert smooth(0.0, None, 0.5) == (None, 0.5)
    assert smooth(0.1, None, None) == (None, None)


@pytest.mark.parametrize("fps", RATES)
def test_probabilities_follow_by_the_clock_and_sum_to_one(fps):
    smooth = ProbabilityFilter()
    before, after = np.eye(7)[0], np.eye(7)[4]
    smooth(0.0, before)
    frames = round(0.2 * fps)
    for i in range(1, frames + 1):
        value = smooth(i / fps, after)
        assert value.sum() == pytest.approx(1.0)
    assert value[4] == pytest.approx(1 - np.exp(-0.2 / EXPRESSION_TIME_CONSTANT["normal"]), abs=1e-9)


def test_the_given_arrays_are_left_alone():
    smooth, first = ProbabilityFilter(), np.eye(7)[0]
    smooth(0.0, first)
    smooth(0.1, np.eye(7)[1])
    assert first.tolist() == np.eye(7)[0].tolist()
