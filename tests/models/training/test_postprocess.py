"""Medians and fusions, whole and causal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import postprocess

VALUES = st.lists(st.floats(-1, 1), min_size=1, max_size=40)


@given(VALUES, st.integers(1, 16))
def test_trailing_median_is_the_median_of_the_last_values(values, window):
    median = postprocess.TrailingMedian(window)
    for t, value in enumerate(values):
        assert median(value) == pytest.approx(np.median(values[max(0, t - window + 1) : t + 1]))


@given(VALUES, st.integers(0, 7))
def test_centred_median_is_the_trailing_one_half_a_window_later(values, half):
    window = 2 * half + 1
    centred = postprocess.centred_median(values, window)
    median = postprocess.TrailingMedian(window)
    trailing = [median(value) for value in values]
    for t in range(half, len(values) - half):
        assert centred[t] == pytest.approx(trailing[t + half])


def test_an_utterance_is_the_mean_of_its_sequences_medians():
    sequences = [[(0, 1), (9, 2), (1, 9)], [(4, 0), (2, 0)]]
    assert postprocess.utterance_estimate(sequences).tolist() == [(1 + 3) / 2, (2 + 0) / 2]


def test_networks_are_weighted_by_their_validation_scores():
    fused = postprocess.decision_fusion([(0.2, 0.6), (0.8, 0.0)], [(0.3, 0.5), (0.1, -0.2)])
    assert fused == pytest.approx([(0.06 + 0.08) / 0.4, 0.6])
