"""The rules of the house that aggregation answers for: causal, seconds instead of frames, and saying when it does not
know. Whole streams are in test_rules.py."""

from math import sin

import numpy as np
import pytest
from helpers.estimates import check, estimate, face
from hypothesis import given, settings
from hypothesis import strategies as st

from service.aggregation.aggregate import Aggregator


def lively(t):
    """Valence, arousal and probabilities of somebody who moves, at `t` seconds."""
    happy = 0.45 + 0.4 * sin(t)
    return {
        "valence": 0.6 * sin(t),
        "arousal": 0.3 * sin(2.3 * t) + 0.2,
        "expression": np.array([0.95 - happy, 0.01, 0.01, 0.01, happy, 0.01, 0.01], np.float32),
    }


@st.composite
def streams(draw):
    """Per frame: time, whether the face is there, its yaw, and the estimate's values (None: no estimate)."""
    values = st.one_of(
        st.none(),
        st.fixed_dictionaries({"valence": st.floats(-1, 1), "arousal": st.floats(-1, 1)}),
        st.just({"valence": float("nan")}),
    )
    frame = st.tuples(
        st.sampled_from([0.02, 0.04, 0.4, 1.5]), st.booleans(), st.sampled_from([0.0, 47.0, 80.0]), values
    )
    t, out = 0.0, []
    for step, present, yaw, read in draw(st.lists(frame, min_size=1, max_size=60)):
        t += step
        out.append((t, present, yaw, read))
    return out


def run(stream):
    aggregator, out = Aggregator(), []
    for t, present, yaw, values in stream:
        faces = [face(t, yaw=yaw)] if present else []
        estimates = {1: estimate(t, **values)} if values is not None else {}
        out.append(aggregator.update(t, faces, estimates))
    return out


@given(streams(), streams())
@settings(max_examples=60, deadline=None)
def test_rule_1_causal_another_future_changes_nothing(stream, other):
    end = stream[-1][0]
    future = [(t + end, *rest) for t, *rest in other]
    assert run(stream + future)[: len(stream)] == run(stream)


@given(streams())
@settings(max_examples=60, deadline=None)
def test_rule_6_say_when_you_do_not_know(stream):
    for entries in run(stream):
        for entry in entries:
            check(entry)  # the schema has no NaN, and JSON none either
            known = entry["valence"] is not None
            assert known == (entry["status"] != "abstained")
            assert known or entry["reasons"]
            if entry["status"] == "ok":
                assert None not in entry["windows"].values()
            if entry["status"] == "warming_up":
                assert None in entry["windows"].values()
            assert (entry["baseline"]["source"] is None) == bool(entry["baseline"]["reasons"])
            if known and None in entry["from_baseline"].values():
                assert entry["baseline"]["reasons"]


@pytest.mark.parametrize("fps", [15, 60])
def test_rule_5_seconds_not_frames(fps):
    last = {}
    for rate in (30, fps):
        aggregator = Aggregator()
        for t in np.arange(0, 14 * rate + 1) / rate:
            (entry,) = aggregator.update(t, [face(t)], {1: estimate(t, **lively(t))})
        last[rate] = entry
    a, b = last[30], last[fps]
    assert a["status"] == b["status"] == "ok"
    for name in ("valence", "arousal"):
        assert a[name] == pytest.approx(b[name], abs=0.02)
        assert a["from_baseline"][name] == pytest.approx(b["from_baseline"][name], abs=0.03)
        for window in a["windows"]:
            one, two = (entry["windows"][window][name] for entry in (a, b))
            assert one == pytest.approx(two, abs=0.03)
    assert a["expression"]["probabilities"] == pytest.approx(b["expression"]["probabilities"], abs=0.02)
    assert {w: a["windows"][w]["expression"] for w in a["windows"]} == {
        w: b["windows"][w]["expression"] for w in b["windows"]
    }
