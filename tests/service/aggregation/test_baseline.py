"""The neutral baseline: what a person's face says at rest, whatever it did in between."""

import numpy as np
import pytest

from service.aggregation.baseline import HALF_LIFE, WARM_UP, Baseline


def feed(baseline, start, end, valence, arousal=0.0, neutral=1.0, fps=30):
    for t in np.arange(round(start * fps), round(end * fps)) / fps:
        baseline.push(float(t), valence, arousal, neutral)
    return baseline.value


def test_there_is_none_until_the_face_was_neutral_for_a_while():
    baseline = Baseline()
    assert feed(baseline, 0, WARM_UP - 0.1, 0.2) is None
    assert feed(baseline, WARM_UP - 0.1, WARM_UP + 0.2, 0.2) == pytest.approx((0.2, 0.0))


def test_a_resting_face_is_its_own_zero():
    baseline = Baseline()
    random = np.random.default_rng(1)
    for t in np.arange(0, 20, 1 / 30):
        baseline.push(float(t), random.normal(-0.2, 0.05), random.normal(0.1, 0.05), 0.8)
    assert baseline.value == pytest.approx((-0.2, 0.1), abs=0.02)


def test_a_long_laugh_does_not_move_it():
    baseline = Baseline()
    feed(baseline, 0, 5, -0.2, neutral=0.8)
    assert feed(baseline, 5, 20, 0.9, 0.6, neutral=None) == pytest.approx((-0.2, 0.0))


def test_a_face_that_came_in_laughing_has_none_until_it_is_neutral():
    baseline = Baseline()
    assert feed(baseline, 0, 20, 0.8, neutral=None) is None
    assert baseline.entry() == {
        "source": None, "valence": None, "arousal": None, "neutral_s": 0.0, "reasons": ["not_neutral_yet"],
    }  # fmt: skip
    assert feed(baseline, 20, 23.2, -0.1, neutral=0.9) == pytest.approx((-0.1, 0.0))
    assert (baseline.entry()["source"], baseline.entry()["reasons"]) == ("running", [])


def test_without_expressions_there_is_none_that_anybody_could_vouch_for():
    baseline = Baseline()
    for t in np.arange(0, 10, 0.1):
        baseline.push(float(t), 0.1, 0.0, None, can_tell=False)
    assert baseline.value is None
    assert baseline.entry()["reasons"] == ["not_in_model"]


def test_what_was_asked_for_stays_until_a_reset():
    baseline = Baseline()
    feed(baseline, 0, 5, -0.2)
    baseline.set((0.3, 0.1), 8.0)
    assert feed(baseline, 5, 30, -0.2) == (0.3, 0.1)
    assert baseline.entry() == {
        "source": "neutral_step", "valence": 0.3, "arousal": 0.1, "neutral_s": 8.0, "reasons": [],
    }  # fmt: skip
    baseline.reset()
    assert feed(baseline, 30, 35, -0.2) == pytest.approx((-0.2, 0.0))


def test_after_an_hour_it_is_about_the_last_minutes():
    baseline = Baseline()
    feed(baseline, 0, 1200, 0.0, fps=4)
    assert feed(baseline, 1200, 1200 + 1.2 * HALF_LIFE, 0.3, fps=4) == pytest.approx((0.3, 0.0))


def test_the_frame_rate_does_not_matter():
    values = []
    for fps in (10, 15, 30, 60):
        baseline = Baseline()
        feed(baseline, 0, 4, 0.0, neutral=0.5, fps=fps)
        values.append(feed(baseline, 4, 9, 0.4, neutral=0.5, fps=fps))
    assert values == [pytest.approx((0.4, 0.0))] * 4


def test_a_gap_does_not_count_as_seen():
    baseline = Baseline()
    baseline.push(0.0, 0.5, 0.0, 1.0)
    baseline.push(60.0, 0.5, 0.0, 1.0)
    assert baseline.value is None


def test_a_reset_starts_anew():
    baseline = Baseline()
    feed(baseline, 0, 5, 0.5)
    baseline.reset()
    assert baseline.value is None
    assert feed(baseline, 5, 9, -0.5) == pytest.approx((-0.5, 0.0))


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_the_ends_of_the_scale_are_met(value):
    assert feed(Baseline(), 0, 5, value, value) == pytest.approx((value, value))
