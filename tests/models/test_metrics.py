"""The challenges' scores, with sentinels, absent classes and constant predictions; intervals by video."""

import numpy as np
import pytest
from golden import networks

from models import metrics


@pytest.fixture(scope="module")
def arrays():
    return networks.load("metrics")


def close(value, expected):
    np.testing.assert_allclose(value, expected, atol=1e-9, rtol=0)


def test_valence_and_arousal(arrays):
    scores = metrics.va_scores(arrays["va_label"], arrays["va_pred"])
    assert metrics.annotated(arrays["va_label"], metrics.VA_SENTINEL).sum() == arrays["va_n_valid"]
    close([scores["ccc_valence"], scores["ccc_arousal"]], [arrays["ccc_valence"], arrays["ccc_arousal"]])
    close(scores["va"], arrays["va_score"])


def test_expressions_of_2020(arrays):
    scores = metrics.expression_scores(arrays["expr7_label"], arrays["expr7_pred"], 7)
    close(scores.f1, arrays["expr7_f1_per_class"])
    close(scores.mean_f1, arrays["expr7_macro_f1"])
    close(scores.accuracy, arrays["expr7_accuracy"])
    close(metrics.expression_2020(scores), arrays["expr2020_score"])


def test_action_units_of_2020(arrays):
    scores = metrics.au_scores(arrays["au8_label"], arrays["au8_pred"])
    close(scores.f1, arrays["au8_f1_per_au"])
    close(scores.accuracy, arrays["au8_accuracy"])
    close(metrics.au_2020(scores), arrays["au2020_score"])


def test_multi_task_score_of_2022(arrays):
    va = metrics.va_scores(arrays["mtl_va_label"], arrays["mtl_va_pred"])
    expression = metrics.expression_scores(arrays["mtl_expr8_label"], arrays["mtl_expr8_pred"], 8)
    au = metrics.au_scores(arrays["mtl_au12_label"], arrays["mtl_au12_pred"])
    close(expression.f1, arrays["mtl_expr8_f1_per_class"])
    close(expression.accuracy, arrays["mtl_expr8_accuracy"])
    close(au.f1, arrays["mtl_au12_f1_per_au"])
    close(metrics.multi_task_2022(va, expression, au), arrays["mtl2022_score"])


def test_a_class_that_occurs_nowhere_scores_zero_in_the_mean(arrays):
    scores = metrics.expression_scores(arrays["absent_class_label"], arrays["absent_class_pred"], 7)
    close(scores.mean_f1, arrays["absent_class_macro_f1_fixed7"])


def test_a_constant_prediction_scores_zero(arrays):
    close(metrics.ccc(arrays["constant_label"], arrays["constant_pred"]), arrays["constant_ccc"])
    assert metrics.ccc([1, 1], [1, 1]) == 0


def test_nothing_annotated_scores_zero():
    assert metrics.va_scores(np.full((3, 2), -5), np.zeros((3, 2)))["va"] == 0
    assert metrics.expression_scores(np.full(3, -1), np.zeros(3), 7).accuracy == 0
    assert metrics.au_scores(np.full((3, 8), -1), np.zeros((3, 8))).mean_f1 == 0


def test_confusion_counts_labels_by_row():
    counts = metrics.confusion([0, 0, 1, -1, 2], [0, 1, 1, 0, 0], 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_intervals_draw_videos_not_frames():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=20), 100)  # frames of a video are all alike
    videos = np.repeat(np.arange(20), 100).astype(str)
    low, high = metrics.bootstrap(lambda frames: float(values[frames].mean()), videos, rounds=500)
    assert low < values.mean() < high
    assert 0.4 < high - low < 1.2  # 4 standard errors over 20 videos, and not over 2000 frames (0.09)
    assert metrics.bootstrap(lambda frames: float(values[frames].mean()), videos, rounds=500) == (low, high)


def test_two_equal_constants_have_a_concordance_of_zero_whatever_their_rounding():
    for value in (0.1, 0.3, -0.7, 1 / 3):
        for frames in (1, 3, 7, 1000):
            assert metrics.ccc(np.full(frames, value), np.full(frames, value)) == 0
            assert metrics.ccc(np.full(frames, value), np.full(frames, -value)) == 0


def test_the_papers_other_measures_are_those_of_their_definitions():
    label, pred = np.array([0, 0, 0, 0, 1, 1, 2, -1]), np.array([0, 0, 0, 1, 1, 0, 2, 2])
    assert metrics.mean_diagonal(label, pred, 3) == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert metrics.mean_diagonal(label, pred, 4) == pytest.approx((3 / 4 + 1 / 2 + 1) / 4)  # a class nobody shows
    assert metrics.unweighted_recall(label, pred, 4) == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert metrics.mse([0.5, -0.5], [0.0, 0.0]) == pytest.approx(0.25)
    units, given = np.array([(1, 0, -1), (1, 1, -1), (0, -1, -1)]), np.array([(1, 1, 1), (0, 1, 1), (0, 0, 1)])
    f1, accuracy = (2 / 3, 2 / 3), (2 / 3, 1 / 2)
    assert metrics.average_f1_accuracy(units, given) == pytest.approx((np.mean(f1) + np.mean(accuracy)) / 2)
    assert metrics.average_f1_accuracy(np.full((2, 3), -1), np.ones((2, 3))) == 0
    assert metrics.unweighted_recall([-1], [0], 3) == 0


def test_the_average_of_f1_and_accuracy_is_the_criterion_of_2020_where_all_units_are_annotated(arrays):
    scores = metrics.au_scores(arrays["au8_label"], arrays["au8_pred"])
    known = (arrays["au8_label"] != -1).all(1)
    found = metrics.average_f1_accuracy(arrays["au8_label"][known], arrays["au8_pred"][known])
    close(found, metrics.au_2020(scores))
