"""The `faces` of an event: what goes out when, with which status, and null with a reason for what is not known."""

import numpy as np
import pytest
from helpers.estimates import NEUTRAL, check, estimate, face

from models.labels import COMPOUND_EXPRESSIONS, EXPRESSIONS
from service.aggregation.aggregate import FORGET_SECONDS, HOLD_SECONDS, WINDOW_NAMES, Aggregator
from service.aggregation.status import CLEAR, OCCLUDED, UNCLEAR, UNCOVERED
from service.metrics import ABSTENTIONS
from service.perception.picture_size import Scale


def watch(aggregator, times, **values):
    """Reads one face at `times`; the last entry."""
    for t in times:
        entries = aggregator.update(t, [face(t)], {1: estimate(t, **values)})
        for entry in entries:
            check(entry)
    return entries[0]


def seconds(start, end, fps=30):
    return np.arange(round(start * fps), round(end * fps) + 1) / fps


def test_a_new_face_is_warming_up_with_values_and_without_windows_and_baseline():
    entry = watch(Aggregator(), [0.5])
    assert entry["status"] == "warming_up"
    assert entry["reasons"] == []
    assert entry["valence"] == entry["raw"]["valence"] == 0.3
    assert entry["expression"]["label"] == "happiness"
    assert entry["windows"] == dict.fromkeys(WINDOW_NAMES)
    assert entry["from_baseline"] == {"valence": None, "arousal": None}
    assert entry["box"] == [212.0, 80.0, 140.0, 140.1]


def test_windows_come_one_after_the_other_and_then_the_face_is_ok():
    aggregator = Aggregator()
    missing = lambda entry: [name for name, window in entry["windows"].items() if window is None]  # noqa: E731
    assert missing(watch(aggregator, seconds(0, 0.9))) == ["1s", "6s", "12s"]
    assert missing(watch(aggregator, seconds(1, 5.9))) == ["6s", "12s"]
    entry = watch(aggregator, seconds(6, 11.9))
    assert missing(entry) == ["12s"]
    assert entry["status"] == "warming_up"
    assert entry["baseline"]["reasons"] == ["not_neutral_yet"]
    entry = watch(aggregator, seconds(12, 13))
    assert missing(entry) == []
    assert entry["status"] == "ok"
    assert entry["windows"]["6s"] == {
        "valence": {"mean": 0.3, "std": 0.0, "range": 0.0, "slope": 0.0},
        "arousal": {"mean": 0.1, "std": 0.0, "range": 0.0, "slope": 0.0},
        "expression": "happiness",
    }
    assert entry["from_baseline"] == {"valence": None, "arousal": None}  # it smiled all the time


def test_a_smile_rises_above_the_neutral_baseline_and_shows_as_slope():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 12), valence=-0.2, arousal=0.0, expression=NEUTRAL)
    for t in seconds(12, 13)[1:]:
        entry = watch(aggregator, [t], valence=-0.2 + 0.6 * (t - 12), arousal=0.0)
    assert entry["from_baseline"]["valence"] == pytest.approx(0.6, abs=0.12)
    assert entry["windows"]["1s"]["valence"]["slope"] == pytest.approx(0.6, abs=0.01)
    assert entry["windows"]["1s"]["expression"] == "happiness"
    assert entry["windows"]["12s"]["expression"] == "neutral"


def test_a_lost_face_is_held_for_a_second_and_then_gone():
    aggregator = Aggregator()
    last = watch(aggregator, seconds(0, 2))
    (held,) = aggregator.update(2.5, [], {})
    check(held)
    assert held == {**last, "status": "held", "age_ms": 500}
    assert aggregator.update(2 + HOLD_SECONDS, [], {})[0]["age_ms"] == 1000
    assert aggregator.update(3.04, [], {}) == []


def test_a_face_that_returns_soon_goes_on_and_one_that_returns_late_starts_anew():
    for away, anew in ((0.9, False), (FORGET_SECONDS + 0.1, True)):
        aggregator = Aggregator()
        watch(aggregator, seconds(0, 2))
        aggregator.update(2 + away, [], {})
        entry = watch(aggregator, [2.05 + away])
        assert (entry["windows"]["1s"] is None) is anew


def test_a_return_after_a_stall_starts_anew_too():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 2))
    assert watch(aggregator, [9.0])["windows"]["1s"] is None


def test_a_value_is_never_repeated_for_longer_than_the_hold():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 2))
    (entry,) = aggregator.update(2.8, [face(2.8)], {})
    assert (entry["status"], entry["age_ms"]) == ("held", 800)
    assert aggregator.update(2.95, [], {})[0]["age_ms"] == 950
    assert aggregator.update(3.1, [], {}) == []


def test_a_face_without_a_new_estimate_is_held_where_it_is_now():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 2))
    for estimates in ({}, {1: estimate(2.0, valence=-1.0)}):
        moved = face(2.2, yaw=11.0)
        (entry,) = aggregator.update(2.2, [moved], estimates)
        check(entry)
        assert entry["status"] == "held"
        assert entry["age_ms"] == 200
        assert entry["valence"] == 0.3
        assert entry["head_pose"]["yaw"] == 11.0


def test_an_engine_that_fails_is_named_and_ends_in_abstention():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 2))
    (entry,) = aggregator.update(2.5, [face(2.5)], {}, engine_failed=True)
    assert (entry["status"], entry["reasons"]) == ("held", ["engine_failed"])
    (entry,) = aggregator.update(3.1, [face(3.1)], {}, engine_failed=True)
    check(entry)
    assert (entry["status"], entry["reasons"], entry["valence"]) == ("abstained", ["engine_failed"], None)
    assert watch(aggregator, [3.2])["valence"] == 0.3


@pytest.mark.parametrize(
    "broken",
    [
        {"valence": float("nan")},
        {"arousal": float("inf")},
        {"std": (float("nan"), 0.1)},
        {"expression": np.full(7, np.nan, np.float32)},
        {"expression": np.zeros(7, np.float32)},
        {"aus": {"AU12": float("nan")}},
        {"other": float("-inf")},
        {"compound": np.full(11, np.inf, np.float32)},
    ],
)
def test_nan_from_an_engine_is_counted_and_never_gets_out(broken):
    aggregator = Aggregator()
    before = ABSTENTIONS.labels("engine_failed")._value.get()
    healthy = watch(aggregator, seconds(0, 2))
    entry = watch(aggregator, [2.1], **broken)
    assert (entry["status"], entry["reasons"]) == ("abstained", ["engine_failed"])
    assert entry["valence"] is None
    assert entry["expression"] is None
    assert entry["aus"] == {}
    assert ABSTENTIONS.labels("engine_failed")._value.get() == before + 1
    assert watch(aggregator, [2.2])["windows"] == healthy["windows"]


def test_an_abstention_has_no_values_and_leaves_the_windows_as_they_were():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 7))
    for t in seconds(7, 7.5)[1:]:
        (entry,) = aggregator.update(t, [face(t, yaw=70)], {1: estimate(t, valence=-1.0)})
        check(entry)
        assert (entry["status"], entry["reasons"]) == ("abstained", ["turned_away"])
        assert entry["valence"] is None
        assert entry["windows"]["6s"]["valence"]["mean"] == 0.3
    (lost,) = aggregator.update(8.0, [], {})
    assert (lost["status"], lost["reasons"], lost["age_ms"]) == ("abstained", ["turned_away"], 500)


def test_a_model_in_doubt_abstains_until_it_is_well_out_of_doubt():
    aggregator = Aggregator()
    middle = (UNCLEAR + CLEAR) / 2
    statuses = [watch(aggregator, [t], certainty=c) for t, c in enumerate((0.9, middle, UNCLEAR - 0.01, middle, 0.9))]
    assert [entry["reasons"] for entry in statuses] == [[], [], ["unclear"], ["unclear"], []]
    assert statuses[2]["status"] == "abstained"
    assert statuses[2]["valence"] is None


def test_what_the_model_does_not_give_is_null_with_a_reason():
    aggregator = Aggregator()
    only_expressions = {"valence": None, "arousal": None, "std": None, "aus": {}}
    entry = watch(aggregator, seconds(0, 13), **only_expressions)
    assert (entry["status"], entry["reasons"]) == ("ok", ["not_in_model"])
    assert entry["valence"] is None
    assert entry["std"] == {"valence": None, "arousal": None}
    assert entry["aus"] == {}
    assert entry["windows"]["1s"] == {"valence": None, "arousal": None, "expression": "happiness"}
    entry = watch(Aggregator(), [0.0], expression=None)
    assert (entry["expression"], entry["reasons"]) == (None, ["not_in_model"])


def test_an_eighth_class_and_compound_expressions_go_out_beside_the_seven():
    scores = np.linspace(0, 1, 11).astype(np.float32)
    entry = watch(Aggregator(), [0.0], other=0.25, compound=scores)
    assert entry["expression"]["other"] == 0.25
    assert list(entry["compound"]) == list(COMPOUND_EXPRESSIONS)


def test_probabilities_sum_to_one_after_rounding():
    aggregator = Aggregator()
    random = np.random.default_rng(3)
    for t in seconds(0, 3):
        watch(aggregator, [t], expression=random.dirichlet(np.ones(7)).astype(np.float32))


def test_each_face_has_its_own_state():
    aggregator, alone = Aggregator(), Aggregator()
    for t in seconds(0, 3):
        both = aggregator.update(t, [face(t, 1), face(t, 2)], {1: estimate(t), 2: estimate(t, 2, valence=-0.5)})
        single = alone.update(t, [face(t, 1)], {1: estimate(t)})
    assert both[0] == single[0]
    assert both[1]["valence"] == -0.5


def test_twenty_faces_at_once_all_get_their_entry():
    aggregator = Aggregator()
    for t in seconds(0, 1):
        entries = aggregator.update(t, [face(t, n) for n in range(20)], {n: estimate(t, n) for n in range(20)})
    assert [entry["track"] for entry in entries] == list(range(20))


def test_a_reset_baseline_starts_anew_and_leaves_what_went_out_alone():
    aggregator = Aggregator()
    before = watch(aggregator, seconds(0, 13), expression=NEUTRAL)
    aggregator.reset_baseline()
    assert before["from_baseline"]["valence"] == 0.0
    (held,) = aggregator.update(13.1, [], {})
    assert held["from_baseline"]["valence"] is None
    entry = watch(aggregator, [13.2], expression=NEUTRAL)
    assert (entry["baseline"]["source"], entry["from_baseline"]["valence"]) == (None, None)
    assert watch(aggregator, seconds(13.3, 17), expression=NEUTRAL)["from_baseline"]["valence"] == 0.0


def neutral_step(aggregator, faces, start=0.0, end=10.5, **values):
    """What came of a step from `start` on, in which the faces (by track: valence) are read."""
    aggregator.begin_neutral_step(start)
    for t in seconds(start, end):
        estimates = {n: estimate(t, n, valence=valence, **values) for n, valence in faces.items()}
        entries = aggregator.update(t, [face(t, n) for n in faces], estimates)
        for entry in entries:
            check(entry)
        step = aggregator.neutral_step(t)
        if step.state != "running":
            return step
    return step


def test_a_neutral_step_is_the_baseline_of_the_faces_that_were_read_in_it():
    aggregator = Aggregator()
    step = neutral_step(aggregator, {1: -0.3, 2: 0.2})
    assert (step.state, step.left_s, [one.track for one in step.faces]) == ("done", 0.0, [1, 2])
    assert (step.faces[0].valence, step.faces[0].arousal, step.faces[0].read_s) == (-0.3, 0.1, pytest.approx(10.0))
    assert step.faces[0].neutral_share == 0.0  # by the model's word it smiled all the time
    assert aggregator.neutral_step(11.0) is None
    entry = watch(aggregator, [10.1], valence=-0.3)
    assert entry["baseline"] == {
        "source": "neutral_step", "valence": -0.3, "arousal": 0.1, "neutral_s": 10.0, "reasons": [],
    }  # fmt: skip
    assert entry["from_baseline"] == {"valence": 0.0, "arousal": 0.0}
    aggregator.reset_baseline()
    assert watch(aggregator, [10.2])["baseline"]["source"] is None


def test_a_neutral_step_without_a_face_for_long_enough_fails():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 4), expression=NEUTRAL)
    aggregator.begin_neutral_step(4.0)
    watch(aggregator, seconds(4, 8.5), expression=NEUTRAL)
    assert aggregator.neutral_step(8.5).left_s == 5.5
    for t in seconds(8.5, 14.1):
        aggregator.update(t, [], {})
    step = aggregator.neutral_step(14.1)
    assert step.state == "failed"
    (one,) = step.faces
    assert (one.valence, one.read_s, one.neutral_share) == (None, pytest.approx(4.5), 1.0)


def test_a_neutral_step_serves_a_model_without_expressions():
    step = neutral_step(Aggregator(), {1: 0.1}, expression=None)
    assert (step.state, step.faces[0].valence, step.faces[0].neutral_share) == ("done", 0.1, None)


def test_a_picture_a_second_still_has_all_windows():
    entry = watch(Aggregator(), seconds(0, 20, fps=1))
    assert entry["status"] == "ok"
    assert entry["windows"]["1s"]["valence"]["mean"] == 0.3


def test_values_outside_the_scale_are_put_at_its_end():
    entry = watch(Aggregator(), [0.0], valence=1.7, arousal=-3.0)
    assert (entry["raw"]["valence"], entry["valence"], entry["arousal"]) == (1.0, 1.0, -1.0)


def test_expression_names_are_in_the_order_of_the_contract():
    assert list(watch(Aggregator(), [0.0])["expression"]["probabilities"]) == list(EXPRESSIONS)


def test_values_that_doubt_hides_are_not_shown_in_between_either():
    """A slow model is read less often than there are frames: what it last said holds until it says more."""
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 2), certainty=0.9)
    watch(aggregator, [2.1], certainty=UNCLEAR - 0.05)
    for t in (2.13, 2.17, 2.2):
        (entry,) = aggregator.update(t, [face(t)], {})
        check(entry)
        assert (entry["status"], entry["reasons"], entry["valence"]) == ("abstained", ["unclear"], None)
    assert watch(aggregator, [2.3], certainty=0.9)["valence"] == 0.3


def test_a_covered_face_is_not_read_and_says_so():
    aggregator = Aggregator()
    shown = watch(aggregator, seconds(0, 2), occluded=0.1)
    assert (shown["occluded"], shown["valence"]) == (0.1, 0.3)
    middle = (OCCLUDED + UNCOVERED) / 2
    reasons = [watch(aggregator, [2 + 0.1 * i], occluded=x)["reasons"] for i, x in enumerate((0.9, middle, 0.1), 1)]
    assert reasons == [["occluded"], ["occluded"], []]
    covered = watch(Aggregator(), [0.0], occluded=0.9)
    assert (covered["status"], covered["occluded"], covered["valence"]) == ("abstained", 0.9, None)


def test_intensities_go_out_beside_the_probabilities():
    entry = watch(Aggregator(), [0.0], intensities={"AU12": 3.456, "AU04": 7.0})
    assert entry["intensities"] == {"AU12": 3.46, "AU04": 5.0}
    assert watch(Aggregator(), [0.0])["intensities"] == {}


def test_one_abstained_frame_does_not_ruin_the_windows_of_a_model_that_answers_late():
    late = 0.3  # s
    aggregator = Aggregator()
    for t in seconds(0, 8):
        rising = {1: estimate(t - late, valence=0.1 * (t - late) - 0.4)} if t > late else {}
        blurred = {"sharpness": 1.0} if abs(t - 4.0) < 0.01 else {}
        (entry,) = aggregator.update(t, [face(t, **blurred)], rising)
        check(entry)
        if t > 2:
            slopes = entry["windows"]["1s"]["valence"]
            assert slopes["slope"] == pytest.approx(0.1, abs=2e-3), t
    assert entry["windows"]["6s"]["valence"]["slope"] == pytest.approx(0.1, abs=2e-3)


def test_a_late_answer_about_a_frame_that_could_not_be_read_is_not_used():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 2))
    aggregator.update(2.1, [face(2.1, yaw=70)], {})
    (entry,) = aggregator.update(2.2, [face(2.2)], {1: estimate(2.1, valence=-1.0)})
    assert (entry["status"], entry["valence"]) == ("held", 0.3)


def test_a_lost_face_is_held_in_the_pixels_of_the_picture_that_it_goes_out_with():
    aggregator = Aggregator()
    watch(aggregator, seconds(0, 2))
    aggregator.scale(Scale(2.0, 2.0))
    (held,) = aggregator.update(2.1, [], {})
    assert held["box"] == [424.0, 160.0, 280.0, 280.2]
    aggregator.forget()
    assert aggregator.update(2.2, [], {}) == []


def test_the_deviation_is_about_the_value_that_is_published():
    aggregator = Aggregator()
    assert watch(aggregator, seconds(0, 5))["std"] == {"valence": 0.11, "arousal": 0.14}
    entry = watch(aggregator, [5 + 1 / 30], valence=0.9)  # the smoothed value is still on its way
    behind = 0.9 - entry["valence"]
    assert behind > 0.1
    assert entry["std"]["valence"] == pytest.approx((0.11**2 + behind**2) ** 0.5, abs=1e-3)
    assert entry["std"]["arousal"] == 0.14


def test_intensities_go_out_with_their_deviations():
    entry = watch(Aggregator(), [0.0], intensities={"AU12": 2.5}, intensity_std={"AU12": 0.444})
    assert entry["intensity_std"] == {"AU12": 0.44}
    assert watch(Aggregator(), [0.0], occluded=0.95)["intensity_std"] == {}
